// The browser's own notifications, by kind, once the user has allowed them. This browser keeps the choice.

const KINDS = "offload-notices";
const LAST = "offload-notices-last";

/** @typedef {{event: number, job: number, kind: string, title: string, message: string}} Notice */

/** @param {string} key */
function read(key) {
  try {
    return localStorage.getItem(key) ?? "";
  } catch {
    return ""; // storage is off: nothing is kept
  }
}

/** @param {string} key @param {string} value */
function keep(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch {
    // Storage is off: it lasts as long as the page.
  }
}

/** @param {Notice} notice */
function show(notice) {
  const page = `${document.body.dataset.base ?? "/"}jobs/${notice.job}/`;
  // Several tabs show one notification: those with the same tag replace each other.
  const shown = new Notification(notice.title, { body: notice.message, tag: `offload-${notice.event}` });
  shown.onclick = () => {
    window.focus();
    location.assign(page);
  };
}

export function startNotices() {
  const menu = document.getElementById("notices");
  if (!menu || !("Notification" in window)) return;
  menu.hidden = false;
  const status = menu.querySelector("[role=status]");
  const boxes = /** @type {NodeListOf<HTMLInputElement>} */ (menu.querySelectorAll("input[type=checkbox]"));
  let kinds = new Set(read(KINDS).split(",").filter(Boolean));
  let last = read(LAST) || document.getElementById("live")?.dataset.event || "";
  let busy = false;
  let again = false;

  function say() {
    for (const box of boxes) box.checked = kinds.has(box.value) && Notification.permission === "granted";
    if (!status) return;
    const denied = "Your browser does not allow notifications of this page. Allow them in its settings for this site.";
    status.textContent = Notification.permission === "denied" ? denied : "";
  }

  async function ask() {
    if (!kinds.size || Notification.permission !== "granted") return;
    if (busy) {
      again = true;
      return;
    }
    busy = true;
    try {
      const kept = read(LAST);
      if (Number(kept) > Number(last)) last = kept; // another tab has shown those
      const answer = await fetch(`${menu?.dataset.url}?since=${last}`);
      if (answer.ok) {
        const told = /** @type {{newest: number, notices: Notice[]}} */ (await answer.json());
        last = String(told.newest);
        keep(LAST, last);
        for (const notice of told.notices) if (kinds.has(notice.kind)) show(notice);
      }
    } catch {
      // The server does not answer; the next change asks again.
    } finally {
      busy = false;
    }
    if (again) {
      again = false;
      ask();
    }
  }

  menu.addEventListener("change", async () => {
    const wanted = [...boxes].filter((box) => box.checked).map((box) => box.value);
    const first = !kinds.size;
    if (wanted.length && Notification.permission === "default") await Notification.requestPermission();
    kinds = new Set(Notification.permission === "granted" ? wanted : []);
    keep(KINDS, [...kinds].join(","));
    if (first && kinds.size) {
      // What happened before is no news.
      last = document.getElementById("live")?.dataset.event ?? "";
      keep(LAST, last);
    }
    say();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.hasAttribute("open")) return;
    menu.removeAttribute("open");
    menu.querySelector("summary")?.focus();
  });
  document.addEventListener("offload:changed", ask);
  say();
  ask();
}
