// Updates the part of the page that changes when the feed reports a change. The new markup is morphed into the
// page, so that focus, selection, scroll positions and open menus stay.

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
function updateAges(message) {
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

/** The states that a screen reader announces when they change. @param {HTMLElement} part */
function states(part) {
  const words = new Map();
  for (const row of part.querySelectorAll(".row, .summary")) {
    const name = row.querySelector(".row-link")?.textContent?.trim() ?? "This job";
    const marks = [...row.querySelectorAll(".verdict, .mark, .stops")].map((mark) => mark.textContent?.trim());
    words.set(name, marks.join(", "));
  }
  return words;
}

/** Show the newest lines of boxes that show the end of a text. */
export function scrollTails() {
  for (const box of document.querySelectorAll("[data-at-end]:not([data-seen])")) {
    box.setAttribute("data-seen", "");
    box.scrollTop = box.scrollHeight;
  }
}

/** The title and the icon say how many jobs need a person. */
function updateTitle() {
  const title = document.getElementById("page-title")?.dataset.title;
  if (!title) return;
  if (document.title !== title) document.title = title;
  const icon = /** @type {HTMLLinkElement | null} */ (document.getElementById("favicon"));
  const name = title.startsWith("(") ? "favicon-attention.svg" : "favicon.svg";
  if (icon && !icon.href.endsWith(`/${name}`)) icon.href = icon.href.replace(/favicon[^/]*$/, name);
}

/** The versions of the rows on this page: the answer leaves those rows empty. @param {HTMLElement} part */
function versions(part) {
  const rows = /** @type {NodeListOf<HTMLElement>} */ (part.querySelectorAll("[data-version]"));
  return [...rows].map((row) => row.dataset.version).join(",");
}

/** @param {HTMLElement} part @param {string} html */
function morph(part, html) {
  const page = new DOMParser().parseFromString(html, "text/html");
  for (const place of page.querySelectorAll("[data-same]")) {
    const row = document.getElementById(place.id);
    if (row) place.replaceWith(row.cloneNode(true));
  }
  const select = part.dataset.liveSelect;
  const content = select ? page.querySelector(select) : page.body;
  if (!content) throw new Error("The answer has no such part.");
  /** @type {any} */ (window).Idiomorph.morph(part, content.innerHTML, {
    morphStyle: "innerHTML",
    ignoreActiveValue: true,
    restoreFocus: true,
    callbacks: {
      // What a script draws there is not the server's.
      beforeNodeMorphed: (/** @type {Node} */ node) => !(node instanceof Element && node.hasAttribute("data-keep")),
      // Open menus stay open, and selections and scripts' own marks stay.
      beforeAttributeUpdated: (/** @type {string} */ name, /** @type {Element} */ node) =>
        !(name === "open" && node instanceof HTMLDetailsElement) && name !== "data-seen" && name !== "checked",
    },
  });
}

export function startLive() {
  scrollTails();
  updateTitle();
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
    try {
      const answer = await fetch(part.dataset.live ?? "", { headers: { "HX-Request": "true", "Offload-Rows": versions(part) } });
      const login = answer.headers.get("HX-Redirect");
      if (login) location.assign(login);
      else if (answer.ok) morph(part, await answer.text());
    } catch {
      // The badge says when the server does not answer; the next change tries again.
    } finally {
      busy = false;
    }
    scrollTails();
    updateTitle();
    document.dispatchEvent(new CustomEvent("offload:morphed"));
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
  // Costs and passed moments change with time alone.
  const every = Number(part?.dataset.liveEvery ?? 0);
  if (every) setInterval(() => document.hidden || soon(), every * 1000);
  document.addEventListener("offload:refresh", soon);
  listen(
    badge,
    (message) => {
      if (message.type === "seen") updateAges(message);
      if (message.type === "changed") {
        document.dispatchEvent(new CustomEvent("offload:changed", { detail: message }));
        if (part && concerns(part, message)) soon();
      }
    },
    soon,
  );
}
