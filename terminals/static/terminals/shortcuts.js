// Keys that are the page's own. Everything else goes to the program.

import { copySelection } from "./clipboard.js";

/**
 * @param {import("./screen.js").Screen} screen
 * @param {Record<"leave"|"copy"|"find"|"larger"|"smaller"|"usual"|"back"|"forth", () => unknown>} actions
 */
export function ownKeys(screen, actions) {
  const { term } = screen;
  term.attachCustomKeyEventHandler((event) => {
    if (event.type !== "keydown") return true;
    const key = event.key.toLowerCase();
    const mod = event.ctrlKey && !event.altKey && !event.metaKey;
    const shifted = mod && event.shiftKey;
    const command = event.metaKey && !event.ctrlKey && !event.altKey;
    /** @type {(() => unknown) | undefined} */
    let run;
    if ((shifted || command) && key === "c") run = actions.copy;
    else if (mod && !shifted && key === "c" && term.hasSelection())
      run = () => {
        copySelection(screen);
        term.clearSelection();
      };
    else if ((shifted || command) && key === "v") return false; // the browser pastes
    else if ((shifted || command) && key === "f") run = actions.find;
    else if (shifted && key === "l") run = actions.leave;
    else if (mod && (key === "=" || key === "+")) run = actions.larger;
    else if (mod && key === "-") run = actions.smaller;
    else if (mod && key === "0") run = actions.usual;
    else if (event.shiftKey && key === "pageup") run = actions.back;
    else if (event.shiftKey && key === "pagedown") run = actions.forth;
    if (!run) return true;
    event.preventDefault();
    run();
    return false;
  });
}

/**
 * Ctrl+W deletes a word in a shell and closes the tab in a browser, which no page may forbid: it may ask.
 * Browsers keep that key from pages, but not Ctrl itself; a click on the tab's cross asks nothing.
 * @param {() => boolean} wanted whether there is something to lose
 */
export function guardClosing(wanted) {
  let held = false;
  addEventListener("keydown", (event) => (held = event.ctrlKey || event.metaKey), { capture: true });
  addEventListener("keyup", (event) => (held = event.ctrlKey || event.metaKey), { capture: true });
  addEventListener("blur", () => (held = false));
  addEventListener("beforeunload", (event) => {
    if (held && wanted()) event.preventDefault();
  });
}
