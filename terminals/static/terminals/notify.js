// Calling a human: the tab's title and icon, and a desktop notification when the page is not looked at.

const AT_MOST_EVERY = 5000;
const TITLE_MOST = 120;

export class Notifier {
  /**
   * @param {import("./screen.js").Screen} screen
   * @param {string} label what this terminal is about
   * @param {(text: string) => void} report tells the server that the session asks for a human
   */
  constructor(screen, label, report) {
    this.label = label;
    this.report = report;
    this.title = "";
    this.badge = "";
    this.calledAt = 0;
    this.icon = /** @type {HTMLLinkElement | null} */ (document.querySelector("link[rel~=icon]"));
    this.plainIcon = this.icon?.href ?? "";
    screen.term.onTitleChange((title) => {
      this.title = title.replace(/[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/g, "").slice(0, TITLE_MOST);
      this.#show();
    });
    screen.term.onBell(() => this.call(""));
    screen.term.parser.registerOscHandler(9, (data) => {
      if (!/^\d+;/.test(data)) this.call(data); // 9;4;... is progress, not a message
      return true;
    });
    screen.term.parser.registerOscHandler(777, (data) => {
      const [kind, title, ...body] = data.split(";");
      if (kind === "notify") this.call([title, body.join(";")].filter(Boolean).join(": "));
      return true;
    });
    addEventListener("focus", () => this.clear());
    document.addEventListener("visibilitychange", () => document.hidden || this.clear());
    this.#show();
  }

  /** @param {string} text what the program said; empty: it only rang */
  call(text) {
    const now = Date.now();
    document.body.classList.add("rang");
    setTimeout(() => document.body.classList.remove("rang"), 300);
    if (document.hasFocus() || now - this.calledAt < AT_MOST_EVERY) return;
    this.calledAt = now;
    const said = text.replace(/[\x00-\x1f\x7f-\x9f]/g, " ").slice(0, 300);
    this.mark("!");
    this.report(said);
    if ("Notification" in window && Notification.permission === "granted") {
      const note = new Notification(this.label, { body: said || "The terminal rang.", tag: location.pathname });
      note.onclick = () => {
        window.focus();
        note.close();
      };
    }
  }

  /** @param {string} badge "!" asks for you, "×" is not connected, "" is fine */
  mark(badge) {
    this.badge = badge;
    this.#show();
  }

  clear() {
    if (this.badge === "!") this.mark("");
  }

  #show() {
    const mark = this.badge === "!" ? "(!) " : this.badge ? "(offline) " : "";
    document.title = `${mark}${this.title ? `${this.title} · ` : ""}${this.label}`;
    if (!this.icon) {
      this.icon = document.createElement("link");
      this.icon.rel = "icon";
      document.head.append(this.icon);
    }
    this.icon.href = this.badge || !this.plainIcon ? draw(this.badge) : this.plainIcon;
  }
}

/** Ask for permission; must be called from a click. @returns {Promise<string>} what to tell the user */
export async function allowNotifications() {
  if (!("Notification" in window)) return "This browser has no notifications.";
  const answer = await Notification.requestPermission();
  return answer === "granted" ? "You will be notified when the terminal rings." : "The browser refused notifications.";
}

/** @param {string} badge */
function draw(badge) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 32;
  const brush = canvas.getContext("2d");
  if (!brush) return "data:,";
  brush.fillStyle = "#14171c";
  brush.beginPath();
  brush.roundRect(1, 3, 30, 26, 6);
  brush.fill();
  brush.strokeStyle = "#d7dce2";
  brush.lineWidth = 3;
  brush.stroke(new Path2D("M8 11 l6 5 l-6 5 M16 22 h8"));
  if (badge) {
    brush.fillStyle = badge === "!" ? "#e5484d" : "#8b8f96";
    brush.beginPath();
    brush.arc(24, 8, 8, 0, 7);
    brush.fill();
  }
  return canvas.toDataURL();
}
