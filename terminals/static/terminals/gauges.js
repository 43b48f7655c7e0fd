// Small figures: round trip, what is not yet drawn, how fast output comes.

export class Gauges {
  /** @param {HTMLElement} element @param {import("./draw.js").Drawing} drawing */
  constructor(element, drawing) {
    this.element = element;
    this.drawing = drawing;
    this.roundTrip = 0;
    this.before = { received: 0, at: performance.now() };
    setInterval(() => document.hidden || this.#show(), 1000);
  }

  /** @param {number} milliseconds */
  measured(milliseconds) {
    this.roundTrip = this.roundTrip ? this.roundTrip * 0.6 + milliseconds * 0.4 : milliseconds;
    this.#show();
  }

  #show() {
    const now = performance.now();
    const seconds = Math.max(0.2, (now - this.before.at) / 1000);
    const rate = Math.max(0, this.drawing.received - this.before.received) / seconds;
    this.before = { received: this.drawing.received, at: now };
    const trip = this.roundTrip ? `${this.roundTrip < 10 ? this.roundTrip.toFixed(1) : Math.round(this.roundTrip)} ms` : "";
    const parts = [trip];
    if (rate > 2048) parts.push(`${size(rate)}/s`);
    if (this.drawing.backlog > 16_384) parts.push(`${size(this.drawing.backlog)} to draw`);
    this.element.textContent = parts.filter(Boolean).join(" · ");
    this.element.title =
      `Round trip to Offload ${trip || "unknown"}; output ${size(rate)}/s; not yet drawn ${size(this.drawing.backlog)}`;
  }
}

/** @param {number} bytes */
function size(bytes) {
  if (bytes < 1024) return `${Math.round(bytes)} B`;
  return bytes < 1024 * 1024 ? `${(bytes / 1024).toFixed(0)} KB` : `${(bytes / 1024 / 1024).toFixed(1)} MB`;
}
