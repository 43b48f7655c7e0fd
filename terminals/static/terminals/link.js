// The line to the server: one WebSocket at a time, and what to do when it breaks.

/**
 * @typedef {"connecting"|"open"|"waiting"|"stopped"} State
 * @typedef {object} Trouble What went wrong, in words.
 * @property {string} message
 * @property {string} [hint]
 * @property {"login"|"replaced"|"gone"|"offline"|"server"|"silent"} kind
 */

const PING_EVERY = 10_000;
const SILENT_AFTER = 45_000;
const PROBE_WAIT = 4_000;
const SLEPT = 6_000;
const BACKOFF = { first: 250, most: 15_000 };
// Trying again does not fix these.
const FINAL = new Map([
  [4400, "gone"], [4401, "login"], [4403, "gone"], [4404, "gone"], [4409, "replaced"], [4413, "gone"],
  [4422, "gone"], [4429, "gone"],
]);

/**
 * Keeps a WebSocket open. Events: `state` {state, trouble, retryAt}, `bytes` Uint8Array, `control` object,
 * `round-trip` milliseconds.
 */
export class Link extends EventTarget {
  /** @param {() => string} address gives the URL for each attempt: size and mode may have changed */
  constructor(address) {
    super();
    this.address = address;
    // Until the first `connect`: the page may be shown before its terminal is ready.
    /** @type {State} */
    this.state = "stopped";
    /** @type {WebSocket | null} */
    this.socket = null;
    /** @type {Trouble | null} */
    this.trouble = null;
    this.attempts = 0;
    this.retryAt = 0;
    this.heardAt = 0;
    this.pingId = 0;
    /** @type {Map<number, number>} */
    this.pings = new Map();
    this.retryTimer = 0;
    this.probeTimer = 0;
    this.tickedAt = Date.now();
    /** @type {any} */
    this.lastError = null;
    setInterval(() => this.#tick(), 1000);
    addEventListener("online", () => this.nudge());
    addEventListener("offline", () => this.#note({ kind: "offline", message: "This computer is offline." }));
    addEventListener("pageshow", () => this.nudge());
    addEventListener("focus", () => this.nudge());
    document.addEventListener("visibilitychange", () => document.hidden || this.nudge());
  }

  get open() {
    return this.state === "open";
  }

  /** Connect now, whatever was planned. */
  connect() {
    clearTimeout(this.retryTimer);
    this.#drop();
    this.lastError = null;
    const socket = new WebSocket(this.address());
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    this.#become("connecting");
    const giveUp = setTimeout(() => socket.close(), 15_000);
    socket.onopen = () => {
      clearTimeout(giveUp);
      if (socket !== this.socket) return;
      this.heardAt = Date.now();
      this.trouble = null;
      this.#become("open");
      this.ping();
    };
    socket.onmessage = (event) => socket === this.socket && this.#receive(event.data);
    socket.onclose = (event) => {
      clearTimeout(giveUp);
      if (socket === this.socket) this.#closed(event);
    };
  }

  /** Stop trying. @param {Trouble} trouble */
  stop(trouble) {
    clearTimeout(this.retryTimer);
    this.#drop();
    this.trouble = trouble;
    this.#become("stopped");
  }

  /** The network came back, the page woke up or became visible: find out at once how things are. */
  nudge() {
    if (this.state === "waiting") {
      this.attempts = 0;
      this.connect();
    } else if (this.state === "open" && !this.probeTimer) {
      const before = this.heardAt;
      this.ping();
      this.probeTimer = setTimeout(() => {
        this.probeTimer = 0;
        if (this.state === "open" && this.heardAt === before) this.#silent();
      }, PROBE_WAIT);
    }
  }

  ping() {
    this.pingId += 1;
    if (this.pings.size > 8) this.pings.clear();
    this.pings.set(this.pingId, performance.now());
    this.control({ t: "ping", id: this.pingId });
  }

  /** @param {object} message */
  control(message) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  /** @param {Uint8Array<ArrayBuffer>} bytes @returns {boolean} whether they are on their way */
  send(bytes) {
    if (this.socket?.readyState !== WebSocket.OPEN) return false;
    this.socket.send(bytes);
    return true;
  }

  /** A session began: the next break starts its waits from the shortest again. */
  settled() {
    this.attempts = 0;
  }

  /** @param {string | ArrayBuffer} data */
  #receive(data) {
    this.heardAt = Date.now();
    if (typeof data !== "string") {
      this.dispatchEvent(new CustomEvent("bytes", { detail: new Uint8Array(data) }));
      return;
    }
    const message = JSON.parse(data);
    if (message.t === "ping") {
      this.control({ t: "pong", id: message.id });
    } else if (message.t === "pong") {
      const sent = this.pings.get(message.id);
      this.pings.delete(message.id);
      if (sent !== undefined)
        this.dispatchEvent(new CustomEvent("round-trip", { detail: performance.now() - sent }));
    } else if (message.t === "error") {
      this.lastError = message;
    } else {
      this.dispatchEvent(new CustomEvent("control", { detail: message }));
    }
  }

  /** @param {CloseEvent} event */
  async #closed(event) {
    this.#drop();
    const final = FINAL.get(event.code);
    const said = this.lastError;
    if (final && !said?.retry) {
      const message = said?.message ?? "The server closed this terminal.";
      this.stop({ kind: /** @type {Trouble["kind"]} */ (final), message, hint: said?.hint });
      return;
    }
    this.#retry(
      said
        ? { kind: "server", message: said.message, hint: said.hint }
        : { kind: "server", message: "The connection to Offload broke." },
    );
    // A refused handshake says nothing to a page: ask over HTTP what is wrong.
    const found = await diagnose();
    if (this.state !== "waiting" || !found) return;
    if (found.kind === "login") this.stop(found);
    else if (!said) this.#note(found);
  }

  /** @param {Trouble} trouble */
  #retry(trouble) {
    this.trouble = trouble;
    const wait = Math.min(BACKOFF.most, BACKOFF.first * 2 ** this.attempts) * (0.6 + 0.4 * Math.random());
    this.attempts += 1;
    this.retryAt = Date.now() + wait;
    clearTimeout(this.retryTimer);
    this.retryTimer = setTimeout(() => this.connect(), wait);
    this.#become("waiting");
  }

  /** @param {Trouble} trouble */
  #note(trouble) {
    if (this.state === "open") this.nudge();
    else if (this.state !== "stopped") {
      this.trouble = trouble;
      this.#become(this.state);
    }
  }

  #silent() {
    this.#drop();
    this.#retry({ kind: "silent", message: "Offload has stopped answering (sleep, or a change of network?)." });
  }

  #tick() {
    const now = Date.now();
    const slept = now - this.tickedAt > SLEPT;
    this.tickedAt = now;
    if (slept) this.nudge();
    if (this.state !== "open") return;
    // After a sleep the silence is ours; the probe of `nudge` decides.
    if (!slept && !this.probeTimer && now - this.heardAt > SILENT_AFTER) this.#silent();
    else if (now - (this.pingedAt ?? 0) > PING_EVERY) {
      this.pingedAt = now;
      this.ping();
    }
  }

  #drop() {
    const socket = this.socket;
    this.socket = null;
    clearTimeout(this.probeTimer);
    this.probeTimer = 0;
    this.pings.clear();
    if (socket && socket.readyState < WebSocket.CLOSING) socket.close();
  }

  /** @param {State} state */
  #become(state) {
    this.state = state;
    this.dispatchEvent(
      new CustomEvent("state", { detail: { state, trouble: this.trouble, retryAt: this.retryAt } }),
    );
  }
}

/** Ask over HTTP why the WebSocket fails. @returns {Promise<Trouble | null>} */
async function diagnose() {
  if (!navigator.onLine) return { kind: "offline", message: "This computer is offline." };
  try {
    const answer = await fetch(location.href, {
      method: "HEAD", redirect: "manual", cache: "no-store", signal: AbortSignal.timeout(5000),
    });
    if (answer.type === "opaqueredirect" || answer.status === 401 || answer.status === 403)
      return { kind: "login", message: "Your login has ended.", hint: "The session itself goes on." };
    return null;
  } catch {
    return {
      kind: "server", message: "Offload's server does not answer.",
      hint: "The session goes on without it; start `manage.py serve` again.",
    };
  }
}
