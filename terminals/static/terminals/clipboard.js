// Copying out, pasting in, and what a program may do with the clipboard: write, visibly; never read.

import { toast } from "./toast.js";

const MOST = 1024 * 1024;

/** Put text on the clipboard; if the browser wants a click first, offer one. @param {string} text @param {string} what */
export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    toast(`Copied ${what}.`);
  } catch {
    // To try takes the focus away for a moment, which a program that asked for it hears: not in vain.
    if (navigator.userActivation?.isActive !== false && copiedByCommand(text)) {
      toast(`Copied ${what}.`);
      return;
    }
    toast(`${what[0].toUpperCase()}${what.slice(1)} is ready to copy.`, {
      action: "Copy",
      run: () => toast(copiedByCommand(text) ? `Copied ${what}.` : "The browser does not let this page copy."),
      sticky: true,
    });
  }
}

/**
 * Works without permission and on plain http, but only soon after a click or a key.
 * @param {string} text
 * @returns {boolean} whether it did
 */
function copiedByCommand(text) {
  const focused = document.activeElement;
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "offscreen";
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (focused instanceof HTMLElement) focused.focus();
  return done;
}

/** @param {number} count */
function characters(count) {
  return count === 1 ? "1 character" : `${count.toLocaleString("en")} characters`;
}

/**
 * @param {import("./screen.js").Screen} screen
 * @returns {boolean} whether there was a selection
 */
export function copySelection(screen) {
  const text = screen.term.getSelection();
  if (!text) return false;
  void copy(text, characters(text.length));
  return true;
}

/**
 * OSC 52: a program (or tmux, whose target is empty: `52;;...`) sets the clipboard.
 * @param {import("./screen.js").Screen} screen
 */
export function acceptClipboardWrites(screen) {
  screen.term.parser.registerOscHandler(52, (data) => {
    const cut = data.indexOf(";");
    const payload = cut < 0 ? "" : data.slice(cut + 1);
    if (cut < 0 || payload === "?" || payload === "") return true; // reads are refused, silence is no copy
    if (payload.length > (MOST * 4) / 3) {
      toast("A program wanted to put more than 1 MB on the clipboard: refused.");
      return true;
    }
    try {
      const bytes = Uint8Array.from(atob(payload), (char) => char.charCodeAt(0));
      const text = new TextDecoder().decode(bytes);
      if (text) void copy(text, `${characters(text.length)} (from the terminal)`);
    } catch {
      // Not base64: nothing to copy.
    }
    return true;
  });
}

/**
 * Pasting: files are uploaded, several lines are shown first.
 * @param {import("./screen.js").Screen} screen
 * @param {import("./preferences.js").Preferences} preferences
 * @param {(files: File[]) => void} upload
 */
export function guardPastes(screen, preferences, upload) {
  screen.host.addEventListener("paste", (event) => {
    const data = event.clipboardData;
    if (!data) return;
    event.preventDefault();
    event.stopPropagation();
    const text = data.getData("text/plain");
    if (!text && data.files.length) upload([...data.files]);
    else void paste(screen, preferences, text);
  }, { capture: true });
}

/**
 * @param {import("./screen.js").Screen} screen
 * @param {import("./preferences.js").Preferences} preferences
 * @param {string} text
 */
export async function paste(screen, preferences, text) {
  if (!text) return;
  const several = /[\r\n]/.test(text.trimEnd()) || (/[\r\n]$/.test(text) && !screen.term.modes.bracketedPasteMode);
  if (several && preferences.pasteGuard && !(await confirmed(text))) return;
  screen.term.paste(text);
  screen.term.focus();
}

/** @param {import("./screen.js").Screen} screen @param {import("./preferences.js").Preferences} preferences */
export async function pasteFromClipboard(screen, preferences) {
  try {
    await paste(screen, preferences, await navigator.clipboard.readText());
  } catch {
    toast("The browser does not let this page read the clipboard: use its own paste (Ctrl+Shift+V).");
  }
}

/** @param {string} text @returns {Promise<boolean>} */
function confirmed(text) {
  const dialog = /** @type {HTMLDialogElement} */ (document.getElementById("paste-dialog"));
  const lines = text.replace(/(\r\n|\r|\n)$/, "").split(/\r\n|\r|\n/).length;
  const heading = lines > 1 ? `Paste ${lines.toLocaleString("en")} lines?` : "Paste a line with its Enter?";
  /** @type {HTMLElement} */ (dialog.querySelector("h2")).textContent = heading;
  /** @type {HTMLElement} */ (dialog.querySelector("pre")).textContent =
    text.length > 4000 ? `${text.slice(0, 4000)}\n… and ${characters(text.length - 4000)} more` : text;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) =>
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "paste"), { once: true }),
  );
}
