// A window on a log of any size: parts are loaded as the page scrolls, and those far away leave the page.

const POLL_MS = 700;
const RETRY_MS = 3000;
const MOST_LINES = 4000; // lines on the page at once
const NEAR_PX = 1500; // distance from an edge at which the next part is loaded

const log = document.getElementById("log");
const foot = document.getElementById("log-foot");
const follow = /** @type {HTMLInputElement | null} */ (document.getElementById("follow"));
const wrap = /** @type {HTMLInputElement | null} */ (document.getElementById("wrap"));
const hits = document.getElementById("log-hits");
const form = document.getElementById("log-search");
const query = /** @type {HTMLInputElement | null} */ (document.getElementById("log-query"));

/** @param {string} text */
function say(text) {
  if (foot && foot.textContent !== text) foot.textContent = text;
}

/** @param {HTMLElement} view */
function openLog(view) {
  const running = () => view.dataset.running === "1";
  let atEnd = false; // the last part of the log is on the page
  let loading = false;
  let searched = 0; // a newer search makes the answer of an older one void

  const first = () => /** @type {HTMLElement} */ (view.firstElementChild);
  const last = () => /** @type {HTMLElement} */ (view.lastElementChild);
  const lines = () => view.querySelectorAll(".log-line").length;

  /** @param {string} parameters */
  async function fetchPart(parameters) {
    const answer = await fetch(`${view.dataset.part}?${parameters}`);
    if (!answer.ok || !answer.headers.has("X-End")) throw new Error(`the server answered ${answer.status}`);
    const part = document.createElement("div");
    part.className = "log-part";
    // The server escaped every character of the log; lines, colours and links are the only markup.
    part.innerHTML = await answer.text();
    for (const [name, header] of [["start", "X-Start"], ["end", "X-End"], ["line", "X-Line"], ["next", "X-Next-Line"]]) {
      part.dataset[name] = answer.headers.get(header) ?? "0";
    }
    view.dataset.running = answer.headers.get("X-Running") ?? "0";
    return part;
  }

  function showEnd() {
    const bytes = Number(last().dataset.end);
    if (!atEnd) say("");
    else if (running()) say("Following: new lines appear here.");
    else say(bytes ? `The end, ${bytes.toLocaleString()} bytes.` : "Nothing was written.");
  }

  async function loadLater() {
    const { end, next } = last().dataset;
    const part = await fetchPart(`offset=${end}&line=${next}`);
    atEnd = part.dataset.end === end;
    if (!atEnd) {
      view.append(part);
      while (lines() > MOST_LINES && first() !== last()) {
        const height = first().offsetHeight;
        first().remove();
        view.scrollTop -= height;
      }
      if (follow?.checked) view.scrollTop = view.scrollHeight;
    }
    showEnd();
  }

  async function loadEarlier() {
    const { start, line } = first().dataset;
    const part = await fetchPart(`before=${start}&line=${line}`);
    view.prepend(part);
    view.scrollTop += part.offsetHeight;
    while (lines() > MOST_LINES && first() !== last()) {
      last().remove();
      atEnd = false;
    }
  }

  async function fill() {
    if (loading) return;
    loading = true;
    try {
      while (view.scrollTop < NEAR_PX && Number(first().dataset.start) > 0 && !follow?.checked) await loadEarlier();
      while (!atEnd && (follow?.checked || view.scrollHeight - view.scrollTop - view.clientHeight < NEAR_PX)) {
        await loadLater();
      }
    } catch (error) {
      say(`Reading the log failed (${error instanceof Error ? error.message : error}); trying again.`);
      setTimeout(() => void fill(), RETRY_MS);
    } finally {
      loading = false;
    }
  }

  /** Replace the window. @param {string} parameters */
  async function jump(parameters) {
    const part = await fetchPart(parameters);
    view.replaceChildren(part);
    atEnd = false;
  }

  /** @param {number} line */
  async function showLine(line) {
    if (follow) follow.checked = false;
    if (!document.getElementById(`L${line}`)) await jump(`goto=${Math.max(1, line - 10)}`);
    mark(line);
    history.replaceState(null, "", `?line=${line}`);
    await fill();
  }

  /** @param {number} line */
  function mark(line) {
    view.querySelector(".log-line.wanted")?.classList.remove("wanted");
    const found = document.getElementById(`L${line}`);
    found?.classList.add("wanted");
    found?.scrollIntoView({ block: "center" });
  }

  /** @param {string} parameters */
  async function find(parameters) {
    const mine = ++searched;
    const list = /** @type {HTMLElement} */ (hits);
    /** @type {{line: number, text: string}[]} */ const found = [];
    let offset = 0;
    let line = 1;
    for (;;) {
      say(offset ? `Searching… ${offset.toLocaleString()} bytes so far.` : "Searching…");
      const answer = await fetch(`${view.dataset.search}?${parameters}&offset=${offset}&line=${line}`);
      if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
      const page = await answer.json();
      if (mine !== searched) return [];
      found.push(...page.hits);
      if (page.resume < 0 || found.length >= 100 || (found.length && parameters.startsWith("failure"))) break;
      offset = page.resume;
      line = page.line;
    }
    list.replaceChildren(
      ...found.map((hit) => {
        const item = document.createElement("li");
        const link = document.createElement("a");
        const number = document.createElement("span");
        link.href = `?line=${hit.line}`;
        number.className = "num";
        number.textContent = String(hit.line);
        link.append(number, ` ${hit.text}`);
        item.append(link);
        return item;
      }),
    );
    list.hidden = !found.length || parameters.startsWith("failure");
    return found;
  }

  document.addEventListener("click", (event) => {
    const link = event.target instanceof Element ? event.target.closest('a[href^="?line="]') : null;
    if (!(link instanceof HTMLAnchorElement) || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    void showLine(Number(new URL(link.href).searchParams.get("line")));
  });
  form?.addEventListener("submit", (event) => {
    event.preventDefault();
    const wanted = query?.value ?? "";
    find(`q=${encodeURIComponent(wanted)}`).then(
      (found) => say(found.length ? `${found.length}${found.length >= 100 ? " or more" : ""} lines found.` : "No line found."),
      (error) => say(`Searching failed: ${error.message}.`),
    );
  });
  document.getElementById("log-failure")?.addEventListener("click", () => {
    find("failure=1").then(
      (found) => (found.length ? showLine(found[0].line) : say("No line looks like a failure.")),
      (error) => say(`Searching failed: ${error.message}.`),
    );
  });
  document.getElementById("log-start")?.addEventListener("click", async () => {
    if (follow) follow.checked = false;
    await jump("offset=0");
    view.scrollTop = 0;
    await fill();
  });
  const toEnd = async () => {
    await jump("at=end");
    view.scrollTop = view.scrollHeight;
    atEnd = true;
    showEnd();
  };
  document.getElementById("log-end")?.addEventListener("click", () => void toEnd());
  follow?.addEventListener("change", () => follow.checked && void toEnd());
  wrap?.addEventListener("change", () => view.classList.toggle("wrap", wrap.checked));
  view.addEventListener("scroll", () => void fill(), { passive: true });
  // A reader who scrolls up reads: new lines must not move the text.
  view.addEventListener("wheel", (event) => event.deltaY < 0 && follow && (follow.checked = false), { passive: true });
  setInterval(() => {
    if (!running() || document.hidden) return;
    const near = view.scrollHeight - view.scrollTop - view.clientHeight < NEAR_PX;
    if (follow?.checked || near) {
      atEnd = false;
      void fill();
    }
  }, POLL_MS);

  for (const id of ["log-search", "log-failure", "log-start", "log-end"]) document.getElementById(id)?.removeAttribute("hidden");
  if (Number(view.dataset.wanted)) mark(Number(view.dataset.wanted));
  else if (view.dataset.fromEnd === "1") view.scrollTop = view.scrollHeight;
  void fill();
}

if (log) openLog(log);
