// The wall: shows what the visible sessions show, and moves between tiles by keyboard.
//
// Only tiles on the screen are asked for, and none while the page is hidden. Pictures are text of jobs: they become
// text nodes; their classes are names that the server chose.

import { addKeys } from "./keys.js";

const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 15_000;
const GATHER_MS = 100;
const NOT_ALLOWED = 4403;
const CLASSES = /^a-[a-z-]+( a-[a-z-]+)*$/;

/** @typedef {{job: number, columns: number, dead: boolean, gone: boolean, lines: [string, string][][]}} Picture */
/** @typedef {{job: number, error: string, seen: string | null}} LineState */

/** @type {Set<number>} */
const visible = new Set();
/** @type {WebSocket | null} */
let socket = null;
let tries = 0;
let asked = "";
/** @type {ReturnType<typeof setTimeout> | undefined} */
let waiting;

/** @param {number} job */
function screenOf(job) {
  return document.getElementById(`screen-${job}`);
}

/** Say something below a picture; the moment of `since` is shown as an age. @param {HTMLElement} box @param {string} state */
function note(box, state, text = "", since = "") {
  box.dataset.state = state;
  const line = box.querySelector(".tile-note");
  if (!(line instanceof HTMLElement)) return;
  line.hidden = !text;
  line.textContent = text;
  if (!since) return;
  const time = document.createElement("time");
  time.dateTime = since;
  time.dataset.age = "";
  line.append(" Seen ", time, ".");
  document.dispatchEvent(new CustomEvent("offload:morphed")); // the age is shown at once
}

/** @param {Picture} picture */
function draw(picture) {
  const box = screenOf(picture.job);
  const pre = box?.querySelector("pre");
  if (!box || !pre) return;
  if (picture.gone) {
    note(box, "ended", "Its session is not there. Its job's page says what is next.");
    return;
  }
  const parts = picture.lines.flatMap((line, at) => {
    const runs = line.map(([text, classes]) => {
      if (!CLASSES.test(classes)) return text;
      const span = document.createElement("span");
      span.className = classes;
      span.textContent = text;
      return span;
    });
    return at ? ["\n", ...runs] : runs;
  });
  pre.replaceChildren(...parts);
  box.style.setProperty("--columns", String(picture.columns));
  note(box, picture.dead ? "ended" : "live", picture.dead ? "The program in this session has ended." : "");
}

/** @param {LineState} line */
function sayState(line) {
  const box = screenOf(line.job);
  if (!box) return;
  if (line.error) note(box, "away", `${box.dataset.worker} does not answer: ${line.error}`, line.seen ?? "");
  else if (box.dataset.state === "away") note(box, "live");
}

/** Tell the server which tiles are visible. */
function ask() {
  waiting = undefined;
  if (socket?.readyState !== WebSocket.OPEN) return;
  const show = document.hidden ? [] : [...visible].sort((a, b) => a - b);
  const text = JSON.stringify({ show });
  if (text === asked) return;
  asked = text;
  socket.send(text);
}

const soon = () => {
  waiting ??= setTimeout(ask, GATHER_MS);
};

function connect() {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  const mine = new WebSocket(`${scheme}//${location.host}${document.body.dataset.base ?? "/"}ws/wall/`);
  socket = mine;
  mine.onopen = () => {
    tries = 0;
    asked = "";
    ask();
  };
  mine.onmessage = (event) => {
    const message = JSON.parse(event.data);
    if (message.type === "picture") draw(message);
    else if (message.type === "line") sayState(message);
  };
  mine.onclose = (event) => {
    if (socket !== mine) return;
    const refused = event.code === NOT_ALLOWED;
    const why = refused ? "Your login may not watch terminals." : "The dashboard does not answer; trying again.";
    for (const job of visible) {
      const box = screenOf(job);
      if (box) note(box, "away", why);
    }
    if (!refused) setTimeout(connect, Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** tries++));
  };
}

const observer = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      const job = Number(/** @type {HTMLElement} */ (entry.target).dataset.job);
      if (entry.isIntersecting) visible.add(job);
      else visible.delete(job);
    }
    soon();
  },
  { rootMargin: "100px" },
);

/** Watch the tiles that there are; one that left the page is no longer asked for. */
function observe() {
  const jobs = new Set();
  for (const tile of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(".tile[data-job]"))) {
    jobs.add(Number(tile.dataset.job));
    observer.observe(tile);
  }
  for (const job of visible) if (!jobs.has(job)) visible.delete(job);
  soon();
}

/** Move to another tile. @param {(boxes: DOMRect[], at: number) => number} choose */
function move(choose) {
  const links = /** @type {HTMLElement[]} */ ([...document.querySelectorAll(".tile .row-link")]);
  const at = links.findIndex((link) => link === document.activeElement);
  const boxes = links.map((link) => /** @type {Element} */ (link.closest(".tile")).getBoundingClientRect());
  const next = links[at < 0 ? 0 : choose(boxes, at)];
  next?.focus();
  next?.closest(".tile")?.scrollIntoView({ block: "nearest" });
}

/** The tile above or below: of the next row, the nearest. @param {DOMRect[]} boxes @param {number} at @param {number} way */
function vertical(boxes, at, way) {
  const rows = boxes.map((box) => box.top).filter((top) => (top - boxes[at].top) * way > 1);
  const row = way > 0 ? Math.min(...rows) : Math.max(...rows);
  const far = (/** @type {DOMRect} */ box) => (Math.abs(box.top - row) > 1 ? Infinity : Math.abs(box.left - boxes[at].left));
  const best = boxes.reduce((found, box, n) => (far(box) < far(boxes[found]) ? n : found), at);
  return rows.length ? best : at;
}

/** @type {Record<string, (boxes: DOMRect[], at: number) => number>} */
const WAYS = {
  ArrowRight: (boxes, at) => Math.min(boxes.length - 1, at + 1),
  ArrowLeft: (_, at) => Math.max(0, at - 1),
  ArrowDown: (boxes, at) => vertical(boxes, at, 1),
  ArrowUp: (boxes, at) => vertical(boxes, at, -1),
};

addKeys({ j: () => move(WAYS.ArrowRight), k: () => move(WAYS.ArrowLeft) });
document.addEventListener("keydown", (event) => {
  const way = WAYS[event.key];
  if (!way || event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
  // Arrows scroll the page until a tile has the focus.
  if (!document.activeElement?.closest(".tile .row-link")) return;
  event.preventDefault();
  move(way);
});
document.addEventListener("offload:morphed", observe);
document.addEventListener("visibilitychange", soon);
observe();
connect();
