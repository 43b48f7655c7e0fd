// The terminal's page: puts the parts together. Each part is a module of its own.

import { Banner } from "./banner.js";
import { acceptClipboardWrites, guardPastes, pasteFromClipboard } from "./clipboard.js";
import { makeCommands } from "./commands.js";
import { Drawing } from "./draw.js";
import { showEnding } from "./ending.js";
import { Files } from "./files.js";
import { Finder } from "./finder.js";
import { Gauges } from "./gauges.js";
import { KeyBar } from "./keybar.js";
import { Link } from "./link.js";
import { LookBack } from "./lookback.js";
import { Mouse } from "./mouse.js";
import { Notifier } from "./notify.js";
import { showPeople } from "./people.js";
import { linkPlaces } from "./places.js";
import { load, tabName } from "./preferences.js";
import { Remedies } from "./remedies.js";
import { Screen } from "./screen.js";
import { guardClosing, ownKeys } from "./shortcuts.js";
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
  attached: false, ended: false, fresh: true, lostAttempts: 0, lostTimer: 0, number: 0, drawnNumber: 0,
  role: /** @type {import("./people.js").Role} */ ("drive"),
  viewers: /** @type {import("./people.js").Person[]} */ ([]),
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
const remedies = new Remedies(page.remedies, () => link.connect());
const gauges = new Gauges(element("gauges"), drawing);
const past = new LookBack(screen, drawing, state, () => link.control({ t: "attach" }));
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
    // An attempt may hang for long.
    if (trouble) banner.show(`${trouble.message} Connecting…`, { hint: trouble.hint, actions: [again] });
    else banner.show("Connecting…");
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
    if (trouble.kind === "gone" && remedies.waiting) {
      banner.show("Resuming the job. The terminal attaches when its session is there.");
      return;
    }
    banner.show(trouble.message, { hint: trouble.hint, actions, tone: "bad" });
    if (trouble.kind === "gone") void offer(trouble.message, { hint: trouble.hint, actions, tone: "bad" });
  }
});

/** Show what else helps, unless something else is shown by then.
 * @param {string} text @param {{hint?: string, actions: import("./banner.js").Action[], tone?: "warn"|"bad"}} more */
async function offer(text, more) {
  const found = page.watch ? [] : await remedies.find();
  if (found.length && !banner.element.hidden && banner.prefix === text)
    banner.show(text, { ...more, until: banner.until, actions: [...found, ...more.actions] });
}

link.addEventListener("control", (event) => {
  const message = /** @type {CustomEvent} */ (event).detail;
  if (message.t === "ready") ready(message);
  else if (message.t === "exit") ended(message);
  else if (message.t === "taken") typing.took(message.n);
  else if (message.t === "viewers") viewers(message.viewers);
  else if (message.t === "size") screen.follow(state.role === "drive" ? null : message.size);
  else if (message.t === "info") mouse.learn(message);
  else if (message.t === "ending") ending(message.parts);
  else if (message.t === "refused") toast(message.message);
});

/** @param {{role: import("./people.js").Role, size: [number, number] | null, history: number, n: number}} message */
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
  remedies.until = 0;
  host.classList.remove("stale");
  banner.hide();
  notifier.mark("");
  link.settled();
  tellSize();
  past.settle(drawing.received + message.history);
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
    const text = `Offload is here, the worker's line is not: ${message.message}`;
    const actions = [{ label: "Reconnect now", run: attach }];
    banner.show(text, { hint: message.hint, until: Date.now() + wait, tone: "warn", actions });
    void offer(text, { hint: message.hint, tone: "warn", actions });
    return;
  }
  state.ended = true;
  const status = message.status === null ? "" : ` Exit status ${message.status}.`;
  banner.show(`${message.message}${status} Press Enter to attach again.`, {
    hint: message.hint, actions: [{ label: "Attach again", run: attach }],
  });
}

/** @param {import("./people.js").Person[]} people */
function viewers(people) {
  state.viewers = people;
  const me = people.find((person) => person.you);
  if (me) state.role = me.role;
  if (state.role === "drive") screen.follow(null);
  role();
}

/** @param {import("./ending.js").Parts} parts */
function ending(parts) {
  const chip = element("ending");
  const isNew = chip.hidden;
  showEnding(chip, parts);
  if (isNew && parts.length)
    toast(`${page.worker}: ${chip.title} Files stay; what runs is interrupted.`, { sticky: true });
}

function role() {
  showPeople(element("viewers"), element("take"), state.role, state.viewers);
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

mouse.beforeBack = (/** @type {number} */ lines) => past.back(lines);
host.addEventListener("wheel", (/** @type {WheelEvent} */ event) => {
  if (mouse.granted || event.deltaY >= 0 || event.ctrlKey || !past.back(3)) return;
  event.preventDefault();
  event.stopPropagation();
}, { capture: true, passive: false });

function tellSize() {
  if (!state.attached) return;
  const { cols, rows } = term;
  link.control({ t: "resize", cols, rows });
}
screen.addEventListener("size", tellSize);

const commands = makeCommands({ screen, preferences, mouse, finder, files, past, link });
ownKeys(screen, {
  ...commands,
  leave: () => element("back").focus(),
  back: () => past.back(term.rows) || term.scrollPages(-1),
  forth: () => term.scrollPages(1),
});
guardClosing(() => state.attached && !state.ended);

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
linkPlaces(screen, (path) => files.download(path));
await screen.open();
link.connect();
term.focus();
term.textarea?.setAttribute("aria-description", "Ctrl+Shift+L leaves the terminal.");
// For tests and for a look from the browser's console.
host.offload = { term, link, screen, drawing, typing, mouse, past, state };
