// The line that says what changed: reconnects by itself, and says on the page whether it is up.

const SILENCE_MS = 40_000; // the server pings every 15 s
const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 15_000;

/**
 * @typedef {{type: string, jobs?: number[] | Record<string, string>, workers?: number[] | Record<string, string>}} FeedMessage
 */

/**
 * Listen until the page goes. `onMessage` gets every message; `onGap` is called after each reconnect, when
 * something may have been missed.
 * @param {HTMLElement | null} badge
 * @param {(message: FeedMessage) => void} onMessage
 * @param {() => void} onGap
 */
export function listen(badge, onMessage, onGap) {
  let tries = 0;
  let heard = Date.now();
  let opened = false;
  /** @type {WebSocket | null} */
  let socket = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let retry;

  const say = (/** @type {string} */ state) => {
    if (!badge || badge.dataset.state === state) return;
    badge.dataset.state = state;
    const word = badge.querySelector(".live-word");
    if (word) word.textContent = state;
  };

  function connect() {
    clearTimeout(retry);
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    // The first connection hears of what happened since the page was made; after a later one all is asked.
    const since = opened ? "" : `?since=${badge?.dataset.event ?? ""}`;
    const mine = new WebSocket(`${scheme}//${location.host}${document.body.dataset.base ?? "/"}ws/feed/${since}`);
    socket = mine;
    heard = Date.now();
    mine.onmessage = (event) => {
      heard = Date.now();
      const message = /** @type {FeedMessage} */ (JSON.parse(event.data));
      if (message.type === "hello") {
        say("live");
        tries = 0;
        if (opened) onGap();
        opened = true;
      }
      onMessage(message);
    };
    mine.onclose = () => {
      if (socket !== mine) return;
      say("reconnecting");
      const pause = Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** tries++) * (0.75 + Math.random() / 2);
      retry = setTimeout(connect, pause);
    };
  }

  function again() {
    const old = socket;
    socket = null;
    old?.close();
    say("reconnecting");
    connect();
  }

  setInterval(() => {
    // A line that died in silence, or a laptop that slept.
    if (socket?.readyState === WebSocket.OPEN && Date.now() - heard > SILENCE_MS) again();
  }, 5000);
  addEventListener("online", again);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && socket?.readyState !== WebSocket.OPEN) again();
  });
  // A page kept in the browser's back-forward cache must not keep its line.
  addEventListener("pagehide", () => {
    const old = socket;
    socket = null;
    clearTimeout(retry);
    old?.close();
  });
  addEventListener("pageshow", (event) => {
    if (event.persisted) again();
  });
  connect();
}
