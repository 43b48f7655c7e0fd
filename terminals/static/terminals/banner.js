// The words above the terminal that say what is happening, and what can be done about it.

import { visible } from "./typing.js";

/** @typedef {{label: string, run: () => void}} Action */

export class Banner {
  /** @param {HTMLElement} element */
  constructor(element) {
    this.element = element;
    this.text = /** @type {HTMLElement} */ (element.querySelector("[data-text]"));
    this.hint = /** @type {HTMLElement} */ (element.querySelector("[data-hint]"));
    this.held = /** @type {HTMLElement} */ (element.querySelector("[data-held]"));
    this.actions = /** @type {HTMLElement} */ (element.querySelector("[data-actions]"));
    this.until = 0;
    this.prefix = "";
    setInterval(() => this.#count(), 500);
  }

  /**
   * @param {string} text
   * @param {{hint?: string, until?: number, actions?: Action[], tone?: "info"|"warn"|"bad"}} [more]
   */
  show(text, { hint = "", until = 0, actions = [], tone = "info" } = {}) {
    this.prefix = text;
    this.until = until;
    this.hint.textContent = hint;
    this.element.dataset.tone = tone;
    this.actions.replaceChildren(
      ...actions.map(({ label, run }) => {
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = label;
        button.addEventListener("click", run);
        return button;
      }),
    );
    this.element.hidden = false;
    this.#count();
  }

  hide() {
    this.until = 0;
    this.element.hidden = true;
  }

  /** Keys that wait for the line. @param {string} text */
  holding(text) {
    const shown = visible(text);
    this.held.textContent = text
      ? `Held until then: ${shown.length > 80 ? `…${shown.slice(-80)}` : shown}`
      : "";
  }

  #count() {
    if (this.element.hidden) return;
    const left = Math.ceil((this.until - Date.now()) / 1000);
    const text = this.until && left > 0 ? `${this.prefix} Trying again in ${left} s.` : this.prefix;
    if (this.text.textContent !== text) this.text.textContent = text;
  }
}
