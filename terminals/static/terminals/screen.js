// The terminal on the page: xterm.js, its addons, its renderer, its size.

import { Terminal } from "../vendor/xterm/xterm.mjs";
import { FitAddon } from "../vendor/xterm/addon-fit.mjs";
import { ImageAddon } from "../vendor/xterm/addon-image.mjs";
import { SearchAddon } from "../vendor/xterm/addon-search.mjs";
import { UnicodeGraphemesAddon } from "../vendor/xterm/addon-unicode-graphemes.mjs";
import { WebLinksAddon } from "../vendor/xterm/addon-web-links.mjs";
import { WebglAddon } from "../vendor/xterm/addon-webgl.mjs";
import { FONT } from "./preferences.js";
import { palette } from "./themes.js";

const FAMILY =
  'ui-monospace, "SF Mono", SFMono-Regular, Menlo, "Cascadia Mono", Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace';
const SCROLLBACK = 20_000;
const COLUMN_WAIT = 90;
const FOLLOW_MIN = 3; // pixels: a phone that follows a wide screen shows all of it, small

/**
 * Owns the xterm.js terminal. Events: `size` {cols, rows} when the user's own size changed.
 */
export class Screen extends EventTarget {
  /** @param {HTMLElement} host @param {import("./preferences.js").Preferences} preferences */
  constructor(host, preferences) {
    super();
    this.host = host;
    this.preferences = preferences;
    this.term = new Terminal({
      allowProposedApi: true,
      cursorBlink: true,
      fontFamily: FAMILY,
      fontSize: preferences.fontSize,
      lineHeight: 1.1,
      linkHandler: { activate: (_event, uri) => openLink(uri), allowNonHttpProtocols: false },
      macOptionIsMeta: true,
      macOptionClickForcesSelection: true,
      minimumContrastRatio: 3,
      scrollback: SCROLLBACK,
      screenReaderMode: preferences.screenReader,
      theme: palette(preferences.theme),
    });
    this.fitting = new FitAddon();
    this.search = new SearchAddon();
    this.term.loadAddon(this.fitting);
    this.term.loadAddon(this.search);
    this.term.loadAddon(new UnicodeGraphemesAddon());
    this.term.loadAddon(new WebLinksAddon((_event, uri) => openLink(uri)));
    this.term.loadAddon(new ImageAddon({ storageLimit: 32, sixelSupport: true, iipSupport: true }));
    /** @type {WebglAddon | null} */
    this.webgl = null;
    this.contextLosses = 0;
    /** @type {{cols: number, rows: number} | null} */
    this.lead = null; // the size of the driving viewer, when we follow
    this.columnTimer = 0;
    /** @type {{cols: number, rows: number} | null} */
    this.told = null;
  }

  /** Put the terminal on the page, once the fonts are there. */
  async open() {
    await document.fonts.ready;
    this.term.open(this.host);
    this.#renderer();
    this.fit();
    new ResizeObserver(() => this.#resized()).observe(this.host);
    this.#distrustPixels();
    document.addEventListener("visibilitychange", () => this.#renderer());
    addEventListener("pageshow", () => this.repaint());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.theme());
  }

  /** The size that this page has room for at the user's font size. */
  get room() {
    const cell = this.#cell(this.preferences.fontSize);
    const style = getComputedStyle(this.host);
    const width = this.host.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight) - 14;
    const height = this.host.clientHeight - parseFloat(style.paddingTop) - parseFloat(style.paddingBottom);
    return {
      cols: Math.max(2, Math.min(1000, Math.floor(width / cell.width))),
      rows: Math.max(1, Math.min(500, Math.floor(height / cell.height))),
    };
  }

  /** Cell size in pixels at a font size, from what is drawn now. @param {number} fontSize */
  #cell(fontSize) {
    const element = this.host.querySelector(".xterm-screen");
    const now = Number(this.term.options.fontSize);
    const width = element ? element.clientWidth / this.term.cols : 0;
    const height = element ? element.clientHeight / this.term.rows : 0;
    return { width: (width || now * 0.6) * (fontSize / now), height: (height || now * 1.2) * (fontSize / now) };
  }

  /** Fill the room; when following, show the driver's size as large as it fits. */
  fit() {
    clearTimeout(this.columnTimer);
    this.columnTimer = 0;
    if (!this.host.clientWidth || !this.host.clientHeight) return;
    if (this.lead) {
      this.#scale(this.lead);
    } else {
      if (this.term.options.fontSize !== this.preferences.fontSize)
        this.term.options.fontSize = this.preferences.fontSize;
      const proposed = this.fitting.proposeDimensions();
      if (!proposed || !Number.isFinite(proposed.cols) || !Number.isFinite(proposed.rows)) return;
      const cols = Math.max(2, Math.min(1000, proposed.cols));
      const rows = Math.max(1, Math.min(500, proposed.rows));
      if (cols !== this.term.cols || rows !== this.term.rows) this.term.resize(cols, rows);
    }
    this.#tell();
  }

  /** Follow another viewer's size, or (null) our own again. @param {[number, number] | null} size */
  follow(size) {
    const next = size ? { cols: size[0], rows: size[1] } : null;
    if (next?.cols === this.lead?.cols && next?.rows === this.lead?.rows) return;
    this.lead = next;
    this.fit();
  }

  /** @param {{cols: number, rows: number}} size */
  #scale(size) {
    if (size.cols !== this.term.cols || size.rows !== this.term.rows) this.term.resize(size.cols, size.rows);
    const cell = this.#cell(1);
    const best = Math.min(
      (this.host.clientWidth - 12) / (cell.width * size.cols),
      (this.host.clientHeight - 12) / (cell.height * size.rows),
      this.preferences.fontSize,
    );
    this.term.options.fontSize = Math.max(FOLLOW_MIN, Math.floor(best * 4) / 4);
  }

  #tell() {
    const { cols, rows } = this.term;
    if (cols === this.told?.cols && rows === this.told?.rows) return;
    this.told = { cols, rows };
    this.dispatchEvent(new CustomEvent("size", { detail: this.told }));
  }

  #resized() {
    // Rows are cheap; each change of columns makes xterm.js and tmux reflow everything.
    clearTimeout(this.columnTimer);
    this.columnTimer = setTimeout(() => this.fit(), COLUMN_WAIT);
  }

  /** @param {number} size pixels */
  fontSize(size) {
    this.preferences.fontSize = Math.max(FONT.min, Math.min(FONT.max, size));
    this.fit();
  }

  theme() {
    this.term.options.theme = palette(this.preferences.theme);
  }

  /** WebGL for a page that is looked at; the DOM renderer when it is hidden, lost or not to be had. */
  #renderer() {
    if (document.hidden) {
      this.webgl?.dispose();
      this.webgl = null;
      return;
    }
    if (!this.webgl && this.contextLosses < 3) {
      try {
        const addon = new WebglAddon();
        addon.onContextLoss(() => {
          this.contextLosses += 1;
          addon.dispose();
          if (this.webgl === addon) this.webgl = null;
          this.repaint();
        });
        this.term.loadAddon(addon);
        this.webgl = addon;
        for (const canvas of this.host.querySelectorAll("canvas"))
          canvas.addEventListener("webglcontextrestored", () => this.repaint());
      } catch {
        this.contextLosses = 3; // no WebGL here: the DOM renderer it is
      }
    }
    this.repaint();
  }

  /**
   * Developer tools that play a phone tell page and canvas different numbers of pixels; WebGL would draw a part of
   * the terminal, enlarged. The DOM renderer does not count pixels.
   */
  #distrustPixels() {
    const observer = new ResizeObserver(([entry]) => {
      const seen = entry.devicePixelContentBoxSize?.[0].inlineSize;
      if (seen === undefined || Math.abs(seen - entry.contentRect.width * devicePixelRatio) <= 2) return;
      this.contextLosses = 3;
      this.webgl?.dispose();
      this.webgl = null;
      this.fit();
      this.repaint();
    });
    try {
      observer.observe(this.host, { box: "device-pixel-content-box" });
    } catch {
      observer.disconnect(); // not every browser tells
    }
  }

  get renderer() {
    return this.webgl ? "webgl" : "dom";
  }

  repaint() {
    this.webgl?.clearTextureAtlas();
    this.term.refresh(0, this.term.rows - 1);
  }

  /** Every line of the buffer from the end backwards, wrapped ones joined. @returns {Generator<string>} */
  *lines() {
    const buffer = this.term.buffer.active;
    let tail = "";
    for (let y = buffer.length - 1; y >= 0; y -= 1) {
      const line = buffer.getLine(y);
      if (!line) continue;
      if (line.isWrapped) {
        tail = line.translateToString(false) + tail;
      } else {
        yield (tail ? line.translateToString(false) + tail : line.translateToString(true)).trimEnd();
        tail = "";
      }
    }
  }

  /** @returns {string | null} the last web address on the screen or above it */
  lastUrl() {
    for (const line of this.lines()) {
      const found = line.match(/https?:\/\/[^\s"'<>`{}|\\^]+/g);
      if (found) return found[found.length - 1].replace(/[),.;:!?\]]+$/, "");
    }
    return null;
  }
}

/** Only the web: a terminal's output must not make the browser open anything else. @param {string} uri */
export function openLink(uri) {
  try {
    const url = new URL(uri);
    if (url.protocol === "http:" || url.protocol === "https:") open(url.href, "_blank", "noopener,noreferrer");
  } catch {
    // Not an address.
  }
}
