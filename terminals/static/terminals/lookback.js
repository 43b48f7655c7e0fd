// Before the user scrolls back, the page's scrollback is filled again.
//
// tmux draws what is on the screen, not what rushed past it; but tmux has every line. So looking back first
// attaches again, which brings the history, unless nothing new can have rushed past since the last time.

const REDRAWN = 250; // milliseconds: what tmux draws after the history
const LOOK_MS = 40;
const PATIENCE_MS = 10_000;

export class LookBack {
  /**
   * @param {import("./screen.js").Screen} screen
   * @param {import("./draw.js").Drawing} drawing
   * @param {{attached: boolean}} session
   * @param {() => void} attach asks the server to attach again
   */
  constructor(screen, drawing, session, attach) {
    this.term = screen.term;
    this.drawing = drawing;
    this.session = session;
    this.attach = attach;
    this.freshUpTo = 0; // bytes received up to which the scrollback holds everything
    this.typed = false;
    this.moved = false;
    this.shown = "";
    this.turn = 0;
    /** @type {(() => void) | null} */
    this.refreshed = null;
    this.term.onKey(() => (this.typed = true));
    // Lines that come at once may be one scroll (SU), or no more than another screen, in less than a status line.
    this.term.onLineFeed(() => (this.moved = true));
    this.term.parser.registerCsiHandler({ final: "S" }, () => {
      this.moved = true;
      return false;
    });
  }

  get fresh() {
    if (!this.session.attached) return true;
    return !this.moved && this.drawing.received <= this.freshUpTo && this.text() === this.shown;
  }

  /** @returns {string} what the screen shows, without tmux's status line */
  text() {
    const { active } = this.term.buffer;
    const line = (/** @type {unknown} */ _, /** @type {number} */ y) => active.getLine(active.baseY + y)?.translateToString(true);
    return Array.from({ length: this.term.rows - 1 }, line).join("\n");
  }

  /** Notes when history and screen are drawn: from then on, what comes may push lines past the page. @param {number} whole */
  settle(whole) {
    const turn = ++this.turn;
    const end = performance.now() + PATIENCE_MS;
    this.freshUpTo = 0;
    this.typed = false;
    const look = () => {
      if (turn !== this.turn) return; // attached again, or about to be
      if (this.drawing.drawn < whole && performance.now() < end) {
        setTimeout(look, LOOK_MS);
        return;
      }
      const { baseY } = this.term.buffer.active;
      setTimeout(() => {
        if (turn !== this.turn) return;
        // tmux's status line alone is no reason to look again; what typing brought may already have run past.
        this.freshUpTo = this.typed ? 0 : this.drawing.received + 2 * this.term.cols;
        this.moved = this.term.buffer.active.baseY !== baseY; // since the history was drawn
        this.shown = this.text();
        this.refreshed?.();
      }, REDRAWN);
    };
    look();
  }

  /** @returns {Promise<void>} when the scrollback holds the session's history */
  refill() {
    if (this.fresh) return Promise.resolve();
    this.turn++; // who waits for an earlier history must not take it for this one
    return new Promise((resolve) => {
      this.refreshed = () => {
        this.refreshed = null;
        resolve();
      };
      this.attach();
    });
  }

  /** @param {number} lines @returns {boolean} whether scrolling back waits for the history */
  back(lines) {
    const { viewportY, baseY } = this.term.buffer.active;
    if (this.refreshed) return true;
    if (viewportY < baseY || this.fresh) return false;
    void this.refill().then(() => this.term.scrollLines(-lines));
    return true;
  }
}
