// The machine that stops soon: said while there is time to push and to finish.

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

/** @typedef {(string | number)[]} Parts words, and moments in seconds since 1970 */

/** @param {HTMLElement} chip @param {Parts} parts none: it does not stop soon */
export function showEnding(chip, parts) {
  const words = parts.map((part) => (typeof part === "number" ? clock.format(part * 1000) : part));
  // "Stops at 12:25" is enough next to the title; its tooltip has the reason.
  chip.textContent = words.slice(0, 2).join("");
  chip.title = words.join("");
  chip.hidden = !parts.length;
}
