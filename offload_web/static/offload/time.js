// Ages ("4 s ago"), running durations and times of the day, once a second, from the moments in the markup.

/** @param {number} seconds */
export function ageText(seconds) {
  if (seconds < 2) return "just now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} d ago`;
}

/** @param {number} seconds */
export function durationText(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (/** @type {number} */ n) => String(n).padStart(2, "0");
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`;
}

/**
 * A moment in the reader's own time: the time alone when it is today.
 * @param {Date} at @param {Date} now
 */
export function clockText(at, now) {
  const time = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  if (at.toDateString() === now.toDateString()) return time;
  return `${at.toLocaleDateString([], { weekday: "short", day: "numeric", month: "short" })} ${time}`;
}

/** @param {Element} element @param {string} text */
function show(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function tick() {
  const now = Date.now();
  for (const time of document.querySelectorAll("time[data-age]")) {
    const at = Date.parse(time.getAttribute("datetime") ?? "");
    if (Number.isNaN(at)) continue;
    time.setAttribute("title", new Date(at).toLocaleString());
    show(time, ageText(Math.max(0, now - at) / 1000));
  }
  for (const time of document.querySelectorAll("time[data-clock]")) {
    const at = new Date(time.getAttribute("datetime") ?? "");
    if (!Number.isNaN(at.getTime())) show(time, clockText(at, new Date(now)));
  }
  for (const element of document.querySelectorAll("[data-since]")) {
    const at = Date.parse(element.getAttribute("data-since") ?? "");
    if (!Number.isNaN(at)) show(element, durationText((now - at) / 1000));
  }
}

export function startClock() {
  tick();
  setInterval(tick, 1000);
  for (const moment of ["htmx:afterSwap", "offload:morphed"]) document.addEventListener(moment, tick);
}
