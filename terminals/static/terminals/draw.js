// Draws what arrives, and tells the server how much of it has been drawn.

const ACK_EVERY = 64 * 1024;

/** Counts bytes between the socket and the screen. */
export class Drawing {
  /**
   * @param {import("../vendor/xterm/xterm.mjs").Terminal} term
   * @param {(count: number) => void} acknowledge
   */
  constructor(term, acknowledge) {
    this.term = term;
    this.acknowledge = acknowledge;
    this.epoch = 0;
    this.received = 0;
    this.drawn = 0;
    this.marked = 0;
    this.tail = 0;
  }

  /** A new socket: the server counts from zero. */
  begin() {
    this.epoch += 1;
    this.received = 0;
    this.drawn = 0;
    this.marked = 0;
  }

  get backlog() {
    return this.received - this.drawn;
  }

  /** @param {Uint8Array} bytes */
  draw(bytes) {
    this.received += bytes.length;
    const { received, epoch } = this;
    // A callback per chunk would cost a fifth of the throughput.
    if (received - this.marked < ACK_EVERY) {
      this.term.write(bytes);
      clearTimeout(this.tail);
      this.tail = setTimeout(() => this.term.write("", () => this.#drawn(received, epoch, false)), 50);
      return;
    }
    this.marked = received;
    this.term.write(bytes, () => this.#drawn(received, epoch, true));
  }

  /** @param {number} count @param {number} epoch @param {boolean} tell */
  #drawn(count, epoch, tell) {
    if (epoch !== this.epoch) return;
    this.drawn = Math.max(this.drawn, count);
    if (tell) this.acknowledge(count);
  }
}
