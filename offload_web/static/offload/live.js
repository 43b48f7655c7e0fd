// Replaces the part of the page that changes when the feed says that it did.

import { listen } from "./feed.js";

const GATHER_MS = 150; // several changes at once are one fetch

/** @typedef {import("./feed.js").FeedMessage} FeedMessage */

/** @param {HTMLElement} part @param {FeedMessage} message */
function concerns(part, message) {
  const jobs = Array.isArray(message.jobs) ? message.jobs : [];
  const workers = Array.isArray(message.workers) ? message.workers : [];
  const wanted = part.dataset.liveJobs;
  if (wanted === "all") return jobs.length > 0;
  if (wanted) return jobs.includes(Number(wanted)) || workers.includes(Number(part.dataset.liveWorkers));
  return workers.length > 0 || jobs.length > 0;
}

/** @param {FeedMessage} message */
function age(message) {
  for (const kind of /** @type {const} */ (["job", "worker"])) {
    const seen = kind === "job" ? message.jobs : message.workers;
    if (!seen || Array.isArray(seen)) continue;
    for (const [id, at] of Object.entries(seen)) {
      for (const time of document.querySelectorAll(`time[data-seen-${kind}="${CSS.escape(id)}"]`)) {
        time.setAttribute("datetime", at);
      }
    }
  }
}

/** What a screen reader should hear: the states that changed, not the whole list. @param {HTMLElement} part */
function states(part) {
  const words = new Map();
  for (const row of part.querySelectorAll(".row, .summary")) {
    const name = row.querySelector(".row-link")?.textContent?.trim() ?? "This job";
    const marks = [...row.querySelectorAll(".verdict, .mark, .stops")].map((mark) => mark.textContent?.trim());
    words.set(name, marks.join(", "));
  }
  return words;
}

export function startLive() {
  const badge = document.getElementById("live");
  if (!badge) return;
  const part = document.getElementById("live-part");
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let waiting;
  let busy = false;
  let again = false;

  async function refresh() {
    waiting = undefined;
    if (!part) return;
    if (busy) {
      again = true;
      return;
    }
    busy = true;
    const before = states(part);
    const scrolled = [...part.querySelectorAll(".timeline, .tail pre")].map((box) => box.scrollTop);
    const focused = document.activeElement?.id;
    const unfolded = [...part.querySelectorAll("details[open][id]")].map((box) => box.id);
    try {
      await /** @type {any} */ (window).htmx.ajax("GET", part.dataset.live ?? "", {
        target: part,
        swap: "innerHTML",
        select: part.dataset.liveSelect ? `${part.dataset.liveSelect} > *` : undefined,
      });
    } finally {
      busy = false;
    }
    for (const id of unfolded) document.getElementById(id)?.setAttribute("open", "");
    [...part.querySelectorAll(".timeline, .tail pre")].forEach((box, i) => (box.scrollTop = scrolled[i] ?? 0));
    if (focused && document.activeElement?.id !== focused) {
      document.getElementById(focused)?.focus({ preventScroll: true });
    }
    const news = [...states(part)].filter(([name, words]) => before.get(name) !== words);
    const announce = document.getElementById("announce");
    if (announce && news.length) announce.textContent = news.map(([n, w]) => `${n}: ${w}`).join(". ");
    if (again) {
      again = false;
      soon();
    }
  }

  const soon = () => {
    waiting ??= setTimeout(() => void refresh(), GATHER_MS);
  };
  // What only time changes: costs, a moment that has passed.
  const every = Number(part?.dataset.liveEvery ?? 0);
  if (every) setInterval(() => document.hidden || soon(), every * 1000);
  listen(
    badge,
    (message) => {
      if (message.type === "seen") age(message);
      if (message.type === "changed") {
        document.dispatchEvent(new CustomEvent("offload:changed", { detail: message }));
        if (part && concerns(part, message)) soon();
      }
    },
    soon,
  );
}
