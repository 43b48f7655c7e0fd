// Reads a task's log piece by piece, and follows it while the task runs.

const POLL_MS = 700;
const RETRY_MS = 3000;
const KEEP_CHARS = 8_000_000; // beyond this the oldest pieces leave the page

const log = document.getElementById("log");
const foot = document.getElementById("log-foot");
const follow = /** @type {HTMLInputElement | null} */ (document.getElementById("follow"));
const wrap = /** @type {HTMLInputElement | null} */ (document.getElementById("wrap"));

/** @param {string} text */
function say(text) {
  if (foot && foot.textContent !== text) foot.textContent = text;
}

/** @param {HTMLElement} into @param {string} html */
function append(into, html) {
  const piece = document.createElement("span");
  // The server escaped every character of the log; only its own colour spans are markup.
  piece.innerHTML = html;
  into.append(piece);
  while ((into.textContent?.length ?? 0) > KEEP_CHARS && into.childNodes.length > 1) {
    into.firstChild?.remove();
    into.dataset.cut = "yes";
  }
  if (follow?.checked) scrollTo({ top: document.body.scrollHeight });
}

/** @param {HTMLElement} into */
async function read(into) {
  let offset = Number(into.dataset.offset);
  for (;;) {
    let pause = POLL_MS;
    try {
      const answer = await fetch(`${into.dataset.part}?offset=${offset}`, { headers: { Accept: "text/html" } });
      if (!answer.ok || !answer.headers.has("X-Offset")) throw new Error(`The server answered ${answer.status}.`);
      const html = await answer.text();
      if (html) append(into, html);
      offset = Number(answer.headers.get("X-Offset"));
      const running = answer.headers.get("X-Running") === "1";
      const more = answer.headers.get("X-More") === "1";
      if (!running && !more) {
        const cut = into.dataset.cut ? " The oldest lines are left out; download the log for all of it." : "";
        say(offset ? `The end, ${offset.toLocaleString()} bytes.${cut}` : "Nothing was written.");
        return;
      }
      say(more ? `Reading… ${offset.toLocaleString()} bytes so far.` : "Following: new lines appear here.");
      if (more) pause = 0;
    } catch (error) {
      say(`Reading the log failed (${error instanceof Error ? error.message : error}); trying again.`);
      pause = RETRY_MS;
    }
    await new Promise((done) => setTimeout(done, pause));
  }
}

wrap?.addEventListener("change", () => log?.classList.toggle("wrap", wrap.checked));
follow?.addEventListener("change", () => follow.checked && scrollTo({ top: document.body.scrollHeight }));
if (log) {
  if (follow?.checked) scrollTo({ top: document.body.scrollHeight });
  void read(log);
}
