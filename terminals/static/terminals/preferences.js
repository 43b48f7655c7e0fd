// What the user likes, kept in this browser.

/**
 * @typedef {object} Preferences
 * @property {number} fontSize pixels
 * @property {"auto"|"light"|"dark"} theme
 * @property {"auto"|"program"|"page"} mouse who gets the mouse: see mouse.js
 * @property {boolean} screenReader
 * @property {boolean} pasteGuard ask before several lines are pasted
 */

const KEY = "offload.terminal";
/** @type {Preferences} */
const DEFAULTS = { fontSize: 14, theme: "auto", mouse: "auto", screenReader: false, pasteGuard: true };
export const FONT = { min: 7, usual: 14, max: 32 };

/** @returns {Preferences} */
export function load() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY) ?? "{}");
    const known = Object.entries(kept).filter(
      ([name, value]) => name in DEFAULTS && typeof value === typeof DEFAULTS[/** @type {keyof Preferences} */ (name)],
    );
    return { ...DEFAULTS, ...Object.fromEntries(known) };
  } catch {
    return { ...DEFAULTS }; // storage is blocked or damaged: the defaults serve
  }
}

/** @param {Preferences} preferences */
export function save(preferences) {
  try {
    localStorage.setItem(KEY, JSON.stringify(preferences));
  } catch {
    // Private windows may refuse; the choice then lasts as long as the page.
  }
}

/**
 * This tab's name: the server closes the older of two sockets of one tab, which it may still believe alive.
 * @param {boolean} [fresh]
 */
export function tabName(fresh = false) {
  const key = "offload.tab";
  try {
    const kept = sessionStorage.getItem(key);
    if (kept && !fresh) return kept;
    const made = newName();
    sessionStorage.setItem(key, made);
    return made;
  } catch {
    return newName();
  }
}

/** `crypto.randomUUID` is not there on plain http. */
function newName() {
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join("-");
}
