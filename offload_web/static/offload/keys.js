// Keys of every page: `?` shows them, `g` and a letter go to a page. Single keys can be turned off (WCAG 2.1.4).

import { startPalette } from "./palette.js";

const KEYS_OFF = "offload.keys-off";
const SECOND_KEY_MS = 1500;

/** @typedef {Record<string, () => void>} Actions */
/** @type {Actions} */
const actions = {};

/** Add the keys of a page. @param {Actions} more */
export function addKeys(more) {
  Object.assign(actions, more);
}

export function startKeys() {
  const help = /** @type {HTMLDialogElement | null} */ (document.getElementById("keys"));
  const keysOn = /** @type {HTMLInputElement | null} */ (document.getElementById("keys-on"));
  if (!help || !keysOn) return;
  let going = 0;
  addKeys({
    g: () => (going = Date.now()),
    "?": () => help.showModal(),
  });

  document.addEventListener("keydown", (event) => {
    const typing = event.target instanceof Element && event.target.closest("input:not([type=checkbox]), select, textarea");
    if (typing || document.querySelector("dialog[open]") || event.ctrlKey || event.altKey || event.metaKey) return;
    if (!keysOn.checked && event.key !== "?") return;
    const second = Date.now() - going < SECOND_KEY_MS && /^[a-z]$/.test(event.key);
    const place = second ? document.querySelector(`[data-go="${event.key}"]`) : null;
    going = 0;
    const action = place instanceof HTMLElement ? () => place.click() : actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });

  keysOn.checked = localStorage.getItem(KEYS_OFF) === null;
  keysOn.addEventListener("change", () => {
    if (keysOn.checked) localStorage.removeItem(KEYS_OFF);
    else localStorage.setItem(KEYS_OFF, "yes");
  });
  const opener = document.getElementById("keys-open");
  if (opener) {
    opener.hidden = false;
    opener.addEventListener("click", () => help.showModal());
  }
  startPalette();
}
