// The button that cycles through: as the system, light, dark.

const ORDER = /** @type {const} */ (["system", "light", "dark"]);
const WORDS = { system: "follow the system", light: "light", dark: "dark" };

/** @param {HTMLElement} button */
export function themeButton(button) {
  const root = document.documentElement;
  const current = () => /** @type {"system" | "light" | "dark"} */ (root.dataset.theme ?? "system");
  const name = () => {
    button.setAttribute("aria-label", `Colours: ${WORDS[current()]}`);
    button.title = `Colours: ${WORDS[current()]}`;
  };
  button.hidden = false;
  name();
  button.addEventListener("click", () => {
    const next = ORDER[(ORDER.indexOf(current()) + 1) % ORDER.length];
    if (next === "system") delete root.dataset.theme;
    else root.dataset.theme = next;
    try {
      if (next === "system") localStorage.removeItem("offload-theme");
      else localStorage.setItem("offload-theme", next);
    } catch {
      // Storage is off: it lasts as long as the page.
    }
    name();
    document.dispatchEvent(new CustomEvent("offload:theme"));
  });
}
