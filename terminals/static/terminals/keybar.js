// The keys that a phone does not have. Ctrl and Alt stick until the next key.

/** @type {Record<string, [string, string]>} name: [normal, with application cursor keys] */
const KEYS = {
  Esc: ["\x1b", "\x1b"], Tab: ["\t", "\t"], Up: ["\x1b[A", "\x1bOA"], Down: ["\x1b[B", "\x1bOB"],
  Right: ["\x1b[C", "\x1bOC"], Left: ["\x1b[D", "\x1bOD"], PageUp: ["\x1b[5~", "\x1b[5~"],
  PageDown: ["\x1b[6~", "\x1b[6~"], Home: ["\x1b[H", "\x1bOH"], End: ["\x1b[F", "\x1bOF"],
};

export class KeyBar {
  /**
   * @param {HTMLElement} bar
   * @param {import("./screen.js").Screen} screen
   * @param {{type: (text: string) => void, paste: () => void}} actions
   */
  constructor(bar, screen, { type, paste }) {
    this.bar = bar;
    this.screen = screen;
    this.ctrl = false;
    this.alt = false;
    // Not `click`: that would take the focus, and with it the phone's keyboard.
    bar.addEventListener("pointerdown", (event) => {
      const button = /** @type {HTMLElement} */ (event.target).closest("button");
      if (!button) return;
      event.preventDefault();
      this.#press(button, type, paste);
    });
    bar.addEventListener("keydown", (event) => {
      const button = /** @type {HTMLElement} */ (event.target).closest("button");
      if (button && (event.key === "Enter" || event.key === " ")) {
        event.preventDefault();
        this.#press(button, type, paste);
      }
    });
  }

  /** Apply the sticky modifiers to what was typed, and release them. @param {string} text */
  modify(text) {
    if (!this.ctrl && !this.alt) return text;
    let out = text;
    const arrow = text.match(/^\x1b[[O]([A-DFH])$/);
    if (arrow) out = `\x1b[1;${1 + (this.alt ? 2 : 0) + (this.ctrl ? 4 : 0)}${arrow[1]}`;
    else {
      if (this.ctrl && text.length === 1 && /[@-_a-z ?]/.test(text))
        out = text === "?" ? "\x7f" : String.fromCharCode(text.toUpperCase().charCodeAt(0) & 0x1f);
      if (this.alt) out = `\x1b${out}`;
    }
    this.#stick("ctrl", false);
    this.#stick("alt", false);
    return out;
  }

  /** @param {HTMLElement} button @param {(text: string) => void} type @param {() => void} paste */
  #press(button, type, paste) {
    const name = button.dataset.key ?? "";
    if (name === "Ctrl") this.#stick("ctrl", !this.ctrl);
    else if (name === "Alt") this.#stick("alt", !this.alt);
    else if (name === "Paste") paste();
    else if (name in KEYS) type(this.modify(KEYS[name][this.screen.term.modes.applicationCursorKeysMode ? 1 : 0]));
    else type(this.modify(name));
    navigator.vibrate?.(8);
  }

  /** @param {"ctrl"|"alt"} which @param {boolean} on */
  #stick(which, on) {
    this[which] = on;
    this.bar.querySelector(`[data-key=${which === "ctrl" ? "Ctrl" : "Alt"}]`)?.setAttribute("aria-pressed", String(on));
  }
}
