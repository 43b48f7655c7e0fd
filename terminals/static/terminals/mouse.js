// Who gets the mouse: the program behind tmux, or this page.
//
// tmux asks for mouse reports all the time, so that a plain terminal could neither select text nor scroll its
// own history. The page holds tmux's request for the mouse back and grants it only while a full-screen program is on
// (`auto`), always (`program`) or never (`page`). Shift gives the page the mouse in every case.
// tmux also draws in the alternate screen, which has no scrollback: that switch is not followed at all.

const MOUSE_MODES = new Set([9, 1000, 1001, 1002, 1003, 1005, 1006, 1015, 1016]);
const ALTERNATE = new Set([47, 1047, 1049]);
const OURS = 25565; // a parameter that no program sends: marks the page's own requests
const INFO_AGE = 1500;
const LONG_PRESS = 500;

export class Mouse {
  /**
   * @param {import("./screen.js").Screen} screen
   * @param {import("./preferences.js").Preferences} preferences
   * @param {() => void} ask asks the server what the session is doing
   */
  constructor(screen, preferences, ask) {
    this.screen = screen;
    this.preferences = preferences;
    this.ask = ask;
    /** @type {Set<number>} */
    this.wanted = new Set();
    this.granted = false;
    this.fullScreen = false;
    this.askedAt = 0;
    this.askTimer = 0;
    /** @type {(lines: number) => boolean} */
    this.beforeBack = () => false;
    const { parser } = screen.term;
    parser.registerCsiHandler({ prefix: "?", final: "h" }, (params) => this.#mode(params, true));
    parser.registerCsiHandler({ prefix: "?", final: "l" }, (params) => this.#mode(params, false));
    const host = screen.host;
    for (const kind of ["mousemove", "wheel", "mousedown", "touchstart", "focusin"])
      host.addEventListener(kind, () => this.#freshen(), { capture: true, passive: true });
    this.#touch(host);
  }

  /** What the server said about the session. @param {{alternate: boolean}} info */
  learn(info) {
    this.fullScreen = info.alternate;
    this.apply();
  }

  /** A fresh terminal was attached: it has asked for nothing yet. */
  reset() {
    this.wanted.clear();
    this.granted = false;
    this.askedAt = 0;
  }

  get toProgram() {
    const { mouse } = this.preferences;
    return mouse === "program" || (mouse === "auto" && this.fullScreen);
  }

  apply() {
    if (this.toProgram === this.granted || !this.wanted.size) return;
    this.granted = this.toProgram;
    for (const mode of this.wanted) this.#set(mode, this.granted);
  }

  /** @param {number} mode @param {boolean} on */
  #set(mode, on) {
    this.screen.term.write(`\x1b[?${mode};${OURS}${on ? "h" : "l"}`);
  }

  /** @param {(number | number[])[]} params @param {boolean} on */
  #mode(params, on) {
    const modes = params.flat();
    if (modes.includes(OURS)) return false;
    if (modes.every((mode) => ALTERNATE.has(mode))) return true;
    if (!modes.every((mode) => MOUSE_MODES.has(mode))) return false;
    for (const mode of modes) {
      if (on) this.wanted.add(mode);
      else this.wanted.delete(mode);
    }
    if (!this.toProgram) return true;
    this.granted = true;
    return false;
  }

  #freshen() {
    if (this.preferences.mouse !== "auto" || this.askTimer) return;
    // At once when the answer is old, else when it will be: a program may have started in between.
    const wait = Math.max(0, INFO_AGE - (Date.now() - this.askedAt));
    this.askTimer = setTimeout(() => {
      this.askTimer = 0;
      this.askedAt = Date.now();
      this.ask();
    }, wait);
  }

  /** One finger scrolls, a long press selects, two fingers change the font. @param {HTMLElement} host */
  #touch(host) {
    let y = 0;
    let rest = 0;
    let spread = 0;
    let press = 0;
    let selecting = false;
    const cell = () => (host.querySelector(".xterm-screen")?.clientHeight ?? 0) / this.screen.term.rows || 16;
    /** @param {TouchList} touches */
    const distance = (touches) =>
      Math.hypot(touches[0].clientX - touches[1].clientX, touches[0].clientY - touches[1].clientY);
    host.addEventListener("touchstart", (event) => {
      clearTimeout(press);
      selecting = false;
      rest = 0;
      if (event.touches.length === 2) {
        spread = distance(event.touches);
        return;
      }
      const touch = event.touches[0];
      y = touch.clientY;
      press = setTimeout(() => {
        selecting = true;
        this.#selectAt(touch.clientX, touch.clientY);
      }, LONG_PRESS);
    }, { passive: true });
    host.addEventListener("touchmove", (event) => {
      const touch = event.touches[0];
      if (event.touches.length === 2 && spread) {
        const now = distance(event.touches);
        if (Math.abs(now - spread) > 24) {
          this.screen.fontSize(this.preferences.fontSize + Math.sign(now - spread));
          spread = now;
        }
        event.preventDefault();
        return;
      }
      if (selecting) {
        this.#selectAt(touch.clientX, touch.clientY, true);
        event.preventDefault();
        return;
      }
      if (Math.abs(touch.clientY - y) > 8) clearTimeout(press);
      rest += y - touch.clientY;
      y = touch.clientY;
      const lines = Math.trunc(rest / cell());
      if (!lines) return;
      rest -= lines * cell();
      event.preventDefault();
      if (this.granted) {
        const target = host.querySelector(".xterm-screen");
        for (let n = 0; n < Math.abs(lines); n += 1)
          target?.dispatchEvent(
            new WheelEvent("wheel", {
              deltaY: Math.sign(lines) * 60, clientX: touch.clientX, clientY: touch.clientY,
              bubbles: true, cancelable: true,
            }),
          );
      } else if (lines > 0 || !this.beforeBack(-lines)) {
        this.screen.term.scrollLines(lines);
      }
    }, { passive: false });
    host.addEventListener("touchend", () => clearTimeout(press), { passive: true });
    host.addEventListener("touchcancel", () => clearTimeout(press), { passive: true });
  }

  /** @param {number} x @param {number} y @param {boolean} [extend] */
  #selectAt(x, y, extend = false) {
    const { term, host } = this.screen;
    const box = host.querySelector(".xterm-screen")?.getBoundingClientRect();
    if (!box) return;
    const column = Math.max(0, Math.min(term.cols - 1, Math.floor(((x - box.left) / box.width) * term.cols)));
    const row = Math.max(0, Math.min(term.rows - 1, Math.floor(((y - box.top) / box.height) * term.rows)));
    const line = row + term.buffer.active.viewportY;
    if (!extend || !this.anchor) {
      const text = term.buffer.active.getLine(line)?.translateToString() ?? "";
      const before = text.slice(0, column + 1).match(/\S*$/)?.[0].length ?? 0;
      const after = text.slice(column + 1).match(/^\S*/)?.[0].length ?? 0;
      this.anchor = { column: Math.max(0, column + 1 - before), line };
      term.select(this.anchor.column, line, Math.max(1, before + after));
      return;
    }
    const from = this.anchor.line * term.cols + this.anchor.column;
    const to = line * term.cols + column;
    const start = Math.min(from, to);
    term.select(start % term.cols, Math.floor(start / term.cols), Math.abs(to - from) + 1);
  }
}
