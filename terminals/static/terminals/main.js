// The terminal's page: puts the parts together. Each part is a module of its own.

import { Banner } from "./banner.js";
import { acceptClipboardWrites, copy, copySelection, guardPastes, pasteFromClipboard } from "./clipboard.js";
import { Drawing } from "./draw.js";
import { Files } from "./files.js";
import { Finder } from "./finder.js";
import { Gauges } from "./gauges.js";
import { KeyBar } from "./keybar.js";
import { Link } from "./link.js";
import { Mouse } from "./mouse.js";
import { allowNotifications, Notifier } from "./notify.js";
import { load, save, tabName } from "./preferences.js";
import { Screen } from "./screen.js";
import { isDark } from "./themes.js";
import { toast } from "./toast.js";
import { isReply, Typing } from "./typing.js";

/** @param {string} id @returns {any} */
const element = (id) => document.getElementById(id);
const page = JSON.parse(element("terminal-settings").textContent);
const preferences = load();
const host = element("terminal");
const touch = matchMedia("(pointer: coarse)").matches;
const small = () => innerWidth < 700 || touch;

const screen = new Screen(host, preferences);
const { term } = screen;
let tab = tabName();
const state = {
  attached: false, ended: false, fresh: true, role: "drive", /** @type {any[]} */ viewers: [],
  lostAttempts: 0, lostTimer: 0, freshUpTo: 0, typed: false, number: 0, drawnNumber: 0, /** @type {(() => void) | null} */ refreshed: null,
};

const link = new Link(() => {
  const { cols, rows } = screen.lead ? screen.room : term;
  const mode = page.watch ? "watch" : small() ? "follow" : "drive";
  const query = new URLSearchParams({ cols: String(cols), rows: String(rows), mode, tab });
  return `${location.origin.replace(/^http/, "ws")}${page.socket}?${query}`;
});
const drawing = new Drawing(term, (count) => link.control({ t: "ack", n: count }));
const typing = new Typing(link);
const banner = new Banner(element("banner"));
const notifier = new Notifier(screen, page.title, (text) => link.control({ t: "attention", text }));
const mouse = new Mouse(screen, preferences, () => link.open && link.control({ t: "info" }));
const gauges = new Gauges(element("gauges"), drawing);
const finder = new Finder(element("finder"), screen);
const files = new Files(page, (text) => {
  typing.type(text);
  term.focus();
});
const keys = new KeyBar(element("keybar"), screen, {
  type: (text) => typing.type(text),
  paste: () => void pasteFromClipboard(screen, preferences),
});

// -- what arrives ------------------------------------------------------------------------------------------

link.addEventListener("bytes", (event) => drawing.draw(/** @type {CustomEvent} */ (event).detail));
link.addEventListener("round-trip", (event) => gauges.measured(/** @type {CustomEvent} */ (event).detail));
link.addEventListener("state", (event) => {
  const { state: now, trouble, retryAt } = /** @type {CustomEvent} */ (event).detail;
  if (now === "open") {
    drawing.begin();
    state.fresh = true;
    banner.show("Attaching to the session…");
    return;
  }
  state.attached = false;
  typing.detached();
  host.classList.add("stale");
  notifier.mark("×");
  const again = { label: "Reconnect now", run: () => link.connect() };
  if (now === "connecting") {
    banner.show(trouble ? `${trouble.message} Connecting…` : "Connecting…", { hint: trouble?.hint });
  } else if (now === "waiting") {
    banner.show(trouble.message, { hint: trouble.hint, until: retryAt, actions: [again], tone: "warn" });
  } else {
    const actions = [again];
    if (trouble.kind === "login") actions.unshift({ label: "Log in", run: () => void open("/login/", "_blank") });
    if (trouble.kind === "replaced")
      again.run = () => {
        tab = tabName(true);
        link.connect();
      };
    banner.show(trouble.message, { hint: trouble.hint, actions, tone: "bad" });
  }
});
link.addEventListener("control", (event) => {
  const message = /** @type {CustomEvent} */ (event).detail;
  if (message.t === "ready") ready(message);
  else if (message.t === "exit") ended(message);
  else if (message.t === "taken") typing.took(message.n);
  else if (message.t === "viewers") viewers(message.viewers);
  else if (message.t === "size") screen.follow(state.role === "drive" ? null : message.size);
  else if (message.t === "info") mouse.learn(message);
  else if (message.t === "refused") toast(message.message);
});

/** @param {{role: string, size: [number, number] | null, history: number, n: number}} message */
function ready(message) {
  state.role = message.role;
  typing.readOnly = message.role === "watch";
  term.options.disableStdin = typing.readOnly;
  mouse.reset();
  state.number = message.n;
  link.control({ t: "attached", n: message.n });
  // In its turn, after what is still to be drawn: empties screen, scrollback and modes. What the terminal
  // answers to questions before that point is for a program that is no longer attached.
  term.write("\x1bc", () => (state.drawnNumber = message.n));
  screen.follow(message.role === "drive" ? null : message.size);
  state.attached = true;
  state.ended = false;
  state.lostAttempts = 0;
  host.classList.remove("stale");
  banner.hide();
  notifier.mark("");
  link.settled();
  tellSize();
  settle(drawing.received + message.history);
  typing.attached(Boolean(state.fresh));
  state.fresh = false;
  role();
}

/** @param {{status: number | null, lost: boolean, message: string, hint: string}} message */
function ended(message) {
  state.attached = false;
  typing.detached();
  host.classList.add("stale");
  const attach = () => {
    clearTimeout(state.lostTimer);
    banner.show("Attaching again…");
    link.control({ t: "attach" });
  };
  if (message.lost) {
    // Offload is there; the line from it to the worker is not.
    const wait = Math.min(15_000, 500 * 2 ** state.lostAttempts) * (0.6 + 0.4 * Math.random());
    state.lostAttempts += 1;
    clearTimeout(state.lostTimer);
    state.lostTimer = setTimeout(attach, wait);
    banner.show(`Offload is here, the worker's line is not: ${message.message}`, {
      hint: message.hint, until: Date.now() + wait, tone: "warn", actions: [{ label: "Reconnect now", run: attach }],
    });
    return;
  }
  state.ended = true;
  const status = message.status === null ? "" : ` Exit status ${message.status}.`;
  banner.show(`${message.message}${status} Press Enter to attach again.`, {
    hint: message.hint, actions: [{ label: "Attach again", run: attach }],
  });
}

/** @param {{who: string, role: string, you: boolean}[]} people */
function viewers(people) {
  state.viewers = people;
  const me = people.find((person) => person.you);
  if (me) state.role = me.role;
  if (state.role === "drive") screen.follow(null);
  else if (!people.some((person) => person.role === "drive")) screen.follow(null);
  role();
}

const ROLE = { drive: "driving", follow: "following", watch: "watching" };

function role() {
  const others = state.viewers.filter((person) => !person.you);
  const chip = element("viewers");
  const mine = { drive: "You drive", follow: "You follow", watch: "Watching only" }[state.role];
  chip.textContent = others.length ? `${mine} · ${others.length} more` : state.role === "drive" ? "" : mine;
  chip.hidden = !chip.textContent;
  chip.title = others.map((person) => `${person.who} is ${ROLE[person.role]}`).join("\n");
  element("take").hidden = state.role !== "follow" || !others.some((person) => person.role === "drive");
}

// -- what the user does ------------------------------------------------------------------------------------

term.onData((text) => {
  if (isReply(text)) {
    if (state.attached && state.number === state.drawnNumber) typing.bytes(new TextEncoder().encode(text));
    return;
  }
  if (state.ended) {
    if (text === "\r") {
      banner.show("Attaching again…");
      link.control({ t: "attach" });
    }
    return;
  }
  typing.type(keys.modify(text));
});
term.onBinary((text) => typing.bytes(Uint8Array.from(text, (char) => char.charCodeAt(0))));
typing.addEventListener("refused", (event) => toast(/** @type {CustomEvent} */ (event).detail));
typing.addEventListener("held", (event) => {
  const { text, ask } = /** @type {CustomEvent} */ (event).detail;
  banner.holding(text);
  if (ask)
    banner.show("Connected again. You typed while the line was down:", {
      tone: "warn",
      actions: [
        { label: "Send it", run: () => { banner.hide(); typing.releaseHeld(); term.focus(); } },
        { label: "Discard", run: () => { banner.hide(); typing.discardHeld(); term.focus(); } },
      ],
    });
});
typing.addEventListener("progress", (event) => {
  const { sent, total } = /** @type {CustomEvent} */ (event).detail;
  element("progress").hidden = sent >= total;
  element("progress").value = sent / total;
});

// tmux draws what is on the screen, not what rushed past it: before the user looks back, the page's own
// scrollback is filled anew from tmux, which has every line.
const REDRAWN = 250; // what tmux draws after the history
const LOOK_MS = 40;
const PATIENCE_MS = 10_000;

/** Notes when history and screen are drawn: from then on, what comes may push lines past the page. @param {number} whole */
function settle(whole) {
  const { number } = state;
  const end = performance.now() + PATIENCE_MS;
  state.freshUpTo = 0;
  state.typed = false;
  const look = () => {
    if (number !== state.number) return; // attached anew meanwhile
    if (drawing.drawn < whole && performance.now() < end) {
      setTimeout(look, LOOK_MS);
      return;
    }
    setTimeout(() => {
      if (number !== state.number) return;
      // tmux's status line alone is no reason to look again; what typing brought may already have run past.
      state.freshUpTo = state.typed ? 0 : drawing.received + 2 * term.cols;
      state.refreshed?.();
    }, REDRAWN);
  };
  look();
}

term.onKey(() => (state.typed = true));

/** @returns {Promise<void>} when the scrollback holds the session's history */
function lookBack() {
  if (!state.attached || drawing.received <= state.freshUpTo) return Promise.resolve();
  return new Promise((resolve) => {
    state.refreshed = () => {
      state.refreshed = null;
      resolve();
    };
    link.control({ t: "attach" });
  });
}

/** @param {number} lines @returns {boolean} whether scrolling back waits for the history */
function scrollBack(lines) {
  const { viewportY, baseY } = term.buffer.active;
  if (state.refreshed) return true;
  if (viewportY < baseY || drawing.received <= state.freshUpTo || !state.attached) return false;
  void lookBack().then(() => term.scrollLines(-lines));
  return true;
}
mouse.beforeBack = scrollBack;
host.addEventListener("wheel", (/** @type {WheelEvent} */ event) => {
  if (mouse.granted || event.deltaY >= 0 || event.ctrlKey || !scrollBack(3)) return;
  event.preventDefault();
  event.stopPropagation();
}, { capture: true, passive: false });

function tellSize() {
  if (!state.attached) return;
  const { cols, rows } = term;
  link.control({ t: "resize", cols, rows });
}
screen.addEventListener("size", tellSize);

/** @type {Record<string, () => unknown>} */
const actions = {
  copy: () => copySelection(screen) || toast("Select something first: drag, or Shift+drag in full-screen programs."),
  paste: () => pasteFromClipboard(screen, preferences),
  url: async () => {
    await lookBack();
    const found = screen.lastUrl();
    if (found) void copy(found, found.length > 60 ? "the last address" : found);
    else toast("There is no web address in this terminal.");
  },
  find: async () => {
    await lookBack();
    finder.open();
  },
  larger: () => zoom(1),
  smaller: () => zoom(-1),
  theme: () => {
    preferences.theme = isDark(preferences.theme) ? "light" : "dark";
    keep();
  },
  mouse: () => {
    const order = /** @type {const} */ (["auto", "program", "page"]);
    preferences.mouse = order[(order.indexOf(preferences.mouse) + 1) % order.length];
    mouse.apply();
    keep();
  },
  reader: () => {
    preferences.screenReader = !preferences.screenReader;
    term.options.screenReaderMode = preferences.screenReader;
    keep();
  },
  guard: () => {
    preferences.pasteGuard = !preferences.pasteGuard;
    keep();
  },
  notify: async () => toast(await allowNotifications()),
  fullscreen: () => fullscreen(),
  upload: () => element("file").click(),
  download: () => askDownload(),
  history: () => link.control({ t: "attach" }),
  take: () => link.control({ t: "take" }),
  watchlink: () => copy(`${location.origin}${location.pathname}?mode=watch`, "the read-only link"),
  keys: () => element("keybar").toggleAttribute("hidden"),
};
document.addEventListener("click", (event) => {
  const button = /** @type {HTMLElement} */ (event.target).closest("[data-action]");
  if (!button) {
    if (!(/** @type {HTMLElement} */ (event.target).closest("#menu"))) element("menu").open = false;
    return;
  }
  void actions[button.getAttribute("data-action") ?? ""]?.();
  if (button.closest("#menu")) element("menu").open = false;
  if (!["find", "upload", "download"].includes(button.getAttribute("data-action") ?? "")) term.focus();
});

/** @param {number} by */
function zoom(by) {
  screen.fontSize(preferences.fontSize + by);
  keep();
}

function keep() {
  save(preferences);
  screen.theme();
  labels();
}

function labels() {
  document.documentElement.dataset.terminalTheme = isDark(preferences.theme) ? "dark" : "light";
  const mice = { auto: "Mouse: automatic", program: "Mouse: to the program", page: "Mouse: selects and scrolls here" };
  document.querySelector("[data-action=mouse] [data-label]").textContent = mice[preferences.mouse];
  for (const [name, on] of [["reader", preferences.screenReader], ["guard", preferences.pasteGuard]])
    document.querySelector(`[data-action=${name}]`)?.setAttribute("aria-checked", String(on));
}

async function fullscreen() {
  if (document.fullscreenElement) {
    await document.exitFullscreen();
    return;
  }
  await document.documentElement.requestFullscreen();
  // In full screen, and only there, a page may have Ctrl+W and Esc.
  await /** @type {any} */ (navigator).keyboard?.lock?.(["KeyW", "KeyN", "KeyT", "Escape"]);
}

function askDownload() {
  const dialog = element("download-dialog");
  const input = dialog.querySelector("input");
  const selected = term.getSelection().trim();
  if (selected && !selected.includes("\n")) input.value = selected;
  dialog.returnValue = "";
  dialog.showModal();
  dialog.addEventListener(
    "close",
    () => dialog.returnValue === "get" && input.value.trim() && void files.download(input.value.trim()),
    { once: true },
  );
}

term.attachCustomKeyEventHandler((event) => {
  if (event.type !== "keydown") return true;
  const mod = event.ctrlKey && !event.altKey && !event.metaKey;
  const key = event.key.toLowerCase();
  const command = event.metaKey && !event.ctrlKey && !event.altKey;
  let run;
  if ((mod && event.shiftKey && key === "c") || (command && key === "c")) run = actions.copy;
  else if (mod && !event.shiftKey && key === "c" && term.hasSelection())
    run = () => {
      copySelection(screen);
      term.clearSelection();
    };
  else if ((mod && event.shiftKey && key === "v") || (command && key === "v")) return false; // the browser pastes
  else if ((mod && event.shiftKey && key === "f") || (command && key === "f")) run = actions.find;
  else if (mod && (key === "=" || key === "+")) run = actions.larger;
  else if (mod && key === "-") run = actions.smaller;
  else if (mod && key === "0") run = () => zoom(14 - preferences.fontSize);
  else if (event.shiftKey && key === "pageup") run = () => scrollBack(term.rows) || term.scrollPages(-1);
  else if (event.shiftKey && key === "pagedown") run = () => term.scrollPages(1);
  if (!run) return true;
  event.preventDefault();
  run();
  return false;
});

element("file").addEventListener("change", (/** @type {Event} */ event) => {
  const input = /** @type {HTMLInputElement} */ (event.target);
  void files.upload([...(input.files ?? [])]);
  input.value = "";
});
if (touch) element("keybar").hidden = false;
visualViewport?.addEventListener("resize", () => {
  // The phone's keyboard covers the page instead of shrinking it.
  document.documentElement.style.setProperty("--visible-height", `${visualViewport?.height ?? innerHeight}px`);
});

acceptClipboardWrites(screen);
guardPastes(screen, preferences, (list) => void files.upload(list));
files.acceptDrops(host);
labels();
await screen.open();
link.connect();
term.focus();
// For tests and for a look from the browser's console.
host.offload = { term, link, screen, drawing, typing, mouse, state };
