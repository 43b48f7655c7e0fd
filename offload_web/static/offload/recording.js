// Replays a session: seek by task, search in what was shown.

/** @typedef {{at: number, text: string}} Place */
/** @typedef {{seek: (at: number) => Promise<void>, play: () => void}} Player */

const IDLE_SECONDS = 2; // longer pauses are shortened to this
const HITS_AT_MOST = 100;
const AROUND = 40;
// CSI, OSC and the other escape sequences, and control characters: not part of the text that was shown.
const ESCAPES = /\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[PX^_][^\x1b]*\x1b\\|\x1b[ -/]*[0-~]|[\x00-\x08\x0b-\x1f\x7f]/g;

const screen = document.getElementById("player");
const state = document.getElementById("recording-state");
const query = /** @type {HTMLInputElement} */ (document.getElementById("query"));

/** @param {string} text */
function say(text) {
  if (state) state.textContent = text;
}

/** @param {number} seconds */
function clock(seconds) {
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

/**
 * Reads an asciicast: markers and output with the times that the player uses, pauses shortened.
 * @param {string} cast
 */
function parse(cast) {
  /** @type {Place[]} */ const markers = [];
  /** @type {Place[]} */ const outputs = [];
  let last = 0;
  let shown = 0;
  for (const line of cast.split("\n").slice(1)) {
    if (!line) continue;
    let event;
    try {
      event = JSON.parse(line);
    } catch {
      continue; // the last line of a recording that is still being written
    }
    const [at, code, data] = event;
    shown += Math.min(at - last, IDLE_SECONDS);
    last = at;
    if (code === "m") markers.push({ at: shown, text: data });
    else if (code === "o") outputs.push({ at: shown, text: data.replace(ESCAPES, "") });
  }
  return { markers, outputs, seconds: shown };
}

/**
 * @param {HTMLElement} list
 * @param {Place[]} places
 * @param {Player} player
 */
function show(list, places, player) {
  list.replaceChildren(
    ...places.map(({ at, text }) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      const time = document.createElement("span");
      const what = document.createElement("span");
      time.className = "at";
      time.textContent = clock(at);
      what.className = "what";
      what.textContent = text;
      button.append(time, what);
      button.type = "button";
      button.addEventListener("click", () => void player.seek(at));
      item.append(button);
      return item;
    }),
  );
}

/**
 * The places where a text was shown: events joined, so that a word written in two pieces is found.
 * @param {Place[]} outputs
 * @param {string} wanted
 */
function find(outputs, wanted) {
  const needle = wanted.toLowerCase();
  /** @type {Place[]} */ const hits = [];
  let text = "";
  const starts = outputs.map((output) => {
    const start = text.length;
    text += output.text;
    return start;
  });
  const lower = text.toLowerCase();
  let index = 0;
  for (let from = lower.indexOf(needle); from >= 0 && hits.length < HITS_AT_MOST; from = lower.indexOf(needle, from + needle.length)) {
    while (index + 1 < starts.length && starts[index + 1] <= from) index += 1;
    const around = text.slice(Math.max(0, from - AROUND), from + needle.length + AROUND).replace(/\s+/g, " ").trim();
    // A screen that is drawn again shows the same words again.
    if (hits.at(-1)?.text !== around) hits.push({ at: outputs[index].at, text: around });
  }
  return hits;
}

async function main() {
  if (!screen) return;
  const answer = await fetch(screen.dataset.file ?? "");
  const cast = await answer.text();
  if (!answer.ok) {
    say(cast || `The server answered ${answer.status}.`);
    return;
  }
  const { markers, outputs, seconds } = parse(cast);
  // @ts-ignore: a global of the player's script
  const player = /** @type {Player} */ (AsciinemaPlayer.create({ data: cast }, screen, {
    idleTimeLimit: IDLE_SECONDS,
    fit: "width",
    preload: true,
    poster: `npt:${Math.max(0, seconds - 0.1)}`,
    terminalFontFamily: "ui-monospace, 'Cascadia Mono', 'DejaVu Sans Mono', Menlo, monospace",
  }));
  const list = /** @type {HTMLElement} */ (document.getElementById("markers"));
  const hits = /** @type {HTMLElement} */ (document.getElementById("hits"));
  show(list, markers, player);
  say(`${clock(seconds)}, ${markers.length} markers`);
  document.getElementById("search")?.addEventListener("submit", (event) => {
    event.preventDefault();
    const wanted = query.value.trim();
    const found = wanted ? find(outputs, wanted) : [];
    show(hits, found, player);
    if (wanted) say(found.length ? `${found.length} places with “${wanted}”` : `Nothing with “${wanted}”`);
    if (found.length) void player.seek(found[0].at);
  });
}

main().catch((error) => say(`The recording cannot be shown: ${error instanceof Error ? error.message : error}`));
