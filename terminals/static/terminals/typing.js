// From the keyboard and the clipboard to the server: nothing typed is lost without a word.

const PIECE = 16 * 1024;
const IN_FLIGHT = 8;
const HELD_MOST = 4096;
const ASK_AFTER = 10_000;
const encoder = new TextEncoder();

/**
 * Sends input in order. Events: `held` {text, ask}: what was typed while there was no line;
 * `refused` string: input that went nowhere; `progress` {sent, total} of a large paste.
 */
export class Typing extends EventTarget {
  /** @param {import("./link.js").Link} link */
  constructor(link) {
    super();
    this.link = link;
    this.ready = false; // attached: the server takes keys
    this.readOnly = false;
    this.sent = 0;
    this.taken = 0;
    /** @type {Uint8Array[]} */
    this.pieces = [];
    /** @type {number[]} */
    this.flying = [];
    this.total = 0;
    this.held = "";
    this.heldSince = 0;
  }

  /** Type text. Keys go out at once; large texts in pieces, as the far side takes them. @param {string} text */
  type(text) {
    if (this.readOnly) {
      this.#refuse("You are watching: what you type goes nowhere.");
      return;
    }
    if (!this.ready) {
      this.#hold(text);
      return;
    }
    this.bytes(encoder.encode(text), text === "\x03");
  }

  /** @param {Uint8Array<ArrayBuffer>} bytes @param {boolean} [interrupt] */
  bytes(bytes, interrupt = false) {
    if (this.readOnly || !this.ready) return;
    if (interrupt && this.pieces.length) {
      this.pieces = [encoder.encode("\x1b[201~")]; // Ctrl-C ends a paste that is still on its way
      this.#refuse("The rest of the paste was dropped.");
    }
    if (!this.pieces.length && bytes.length <= PIECE) {
      this.#send(bytes);
      return;
    }
    for (let at = 0; at < bytes.length; at += PIECE) this.pieces.push(bytes.slice(at, at + PIECE));
    this.total += bytes.length;
    this.#pump();
  }

  /** The server took `count` bytes of ours in all. @param {number} count */
  took(count) {
    this.taken = count;
    this.flying = this.flying.filter((end) => end > count);
    this.#pump();
  }

  /** A session is attached on a new socket (`fresh`: counters start over). @param {boolean} fresh */
  attached(fresh) {
    if (fresh) {
      this.sent = 0;
      this.taken = 0;
      this.flying = [];
    }
    this.ready = true;
    if (!this.held) return;
    if (Date.now() - this.heldSince > ASK_AFTER) this.#tellHeld(true);
    else this.releaseHeld();
  }

  /** There is no line: hold what is typed. */
  detached() {
    this.ready = false;
    if (this.pieces.length) {
      this.pieces = [];
      this.#refuse("The connection broke during a paste: its end was not sent.");
    }
    this.flying = [];
    this.total = 0;
  }

  releaseHeld() {
    const text = this.held;
    this.discardHeld();
    if (text) this.type(text);
  }

  discardHeld() {
    this.held = "";
    this.#tellHeld(false);
  }

  /** @param {string} text */
  #hold(text) {
    if (this.held.length + text.length > HELD_MOST) {
      this.#refuse("Not connected: this was not sent and is not kept.");
      return;
    }
    if (!this.held) this.heldSince = Date.now();
    this.held += text;
    this.#tellHeld(false);
  }

  /** @param {boolean} ask */
  #tellHeld(ask) {
    this.dispatchEvent(new CustomEvent("held", { detail: { text: this.held, ask } }));
  }

  /** @param {string} message */
  #refuse(message) {
    this.dispatchEvent(new CustomEvent("refused", { detail: message }));
  }

  /** @param {Uint8Array<ArrayBuffer>} bytes */
  #send(bytes) {
    if (this.link.send(bytes)) this.sent += bytes.length;
  }

  #pump() {
    while (this.pieces.length && this.flying.length < IN_FLIGHT) {
      const piece = /** @type {Uint8Array<ArrayBuffer>} */ (this.pieces.shift());
      this.#send(piece);
      this.flying.push(this.sent);
    }
    const left = this.pieces.reduce((size, piece) => size + piece.length, 0);
    if (this.total > 4 * PIECE)
      this.dispatchEvent(
        new CustomEvent("progress", { detail: { sent: this.total - left, total: this.total } }),
      );
    if (!this.pieces.length) {
      this.total = 0;
      this.flying = []; // a last short piece is not acknowledged by itself
    }
  }
}

// `is_reply` in frames.py has the same pattern; tests/terminals/replies.json has the cases that both must pass.
const REPLIES = new RegExp(
  String.raw`^(?:\x1b\[[?>=][\d;]*(?:c|n|R|u)|\x1b\[\??[\d;]*\$y|\x1b\[\d*n|\x1b\[[\d;]+t|\x1b\[[IO]` +
    String.raw`|\x1b\[<[\d;]+[Mm]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1bP[^\x1b]*\x1b\\)+$`,
);

/**
 * Tell whether the terminal itself produced this input: an answer to a query, a focus or mouse report.
 * @param {string} text
 */
export function isReply(text) {
  return REPLIES.test(text);
}

/** Show control characters so that a person can read them. @param {string} text */
export function visible(text) {
  return text
    .replaceAll("\r", "⏎")
    .replaceAll("\x7f", "⌫")
    .replaceAll("\t", "⇥")
    .replace(/\x1b\[[0-9;]*[A-Za-z~]|\x1bO[A-Z]/g, "⇄")
    .replace(/[\x00-\x1f]/g, (char) => "^" + String.fromCharCode(char.charCodeAt(0) + 64));
}
