// What can be done when the session or its machine is gone: resume the job, start the machine.

import { toast } from "./toast.js";

const AGAIN = 2_000;
const PATIENCE = 180_000;

/** @typedef {import("./banner.js").Action} Action */

export class Remedies {
  /** @param {string} address where to ask @param {() => void} connect attaches the terminal */
  constructor(address, connect) {
    this.address = address;
    this.connect = connect;
    this.until = 0; // while a resumed job may still get its session
  }

  /** Whether a session is awaited; attaching is tried again then. */
  get waiting() {
    if (Date.now() > this.until) return false;
    setTimeout(this.connect, AGAIN);
    return true;
  }

  /** What helps now. @returns {Promise<Action[]>} */
  async find() {
    try {
      const answer = await fetch(this.address, { cache: "no-store" });
      if (!answer.ok) return [];
      const { resume, start } = /** @type {{resume: string, start: string}} */ (await answer.json());
      /** @type {Action[]} */
      const actions = [];
      if (resume) actions.push({ label: "Resume the job", run: () => void this.#resume(resume) });
      if (start) actions.push({ label: "Start the machine…", run: () => location.assign(start) });
      return actions;
    } catch {
      return [];
    }
  }

  /** @param {string} address */
  async #resume(address) {
    const token = /** @type {HTMLInputElement | null} */ (document.querySelector("[name=csrfmiddlewaretoken]"));
    const answer = await fetch(address, { method: "POST", headers: { "X-CSRFToken": token?.value ?? "" } });
    if (!answer.ok) {
      toast("The job was not resumed. Its page says why.");
      return;
    }
    this.until = Date.now() + PATIENCE;
    this.connect();
  }
}
