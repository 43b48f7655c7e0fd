// The command palette: Ctrl-K or Cmd-K lists what this page offers, and goes to another. Escape leaves it.

// What a page offers, the nearest first; the words of each come from the page itself.
const OFFERED = [".job-actions a, .job-actions button", ".row-sub a", "[data-go]", ".group-tabs a", "#theme", ".row-link"];
const MOST = 50;

/** @typedef {{text: string, run: () => void}} Command */

/** @param {HTMLElement} element */
function wordsOf(element) {
  const text = element.getAttribute("aria-label") ?? element.title ?? "";
  const words = (text || element.textContent || "").replace(/\s+/g, " ").trim();
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** @returns {Command[]} */
function offered() {
  const found = OFFERED.flatMap((selector) => [...document.querySelectorAll(selector)]);
  const elements = /** @type {HTMLElement[]} */ ([...new Set(found)]);
  return elements
    .filter((element) => !element.hidden && wordsOf(element))
    .map((element) => ({ text: wordsOf(element), run: () => element.click() }));
}

export function startPalette() {
  const dialog = /** @type {HTMLDialogElement | null} */ (document.getElementById("palette"));
  const input = /** @type {HTMLInputElement | null} */ (document.getElementById("palette-text"));
  const list = document.getElementById("palette-list");
  const opener = document.getElementById("palette-open");
  if (!dialog || !input || !list) return;
  /** @type {Command[]} */
  let commands = [];
  /** @type {Command[]} */
  let shown = [];
  let place = 0;

  const choose = (/** @type {number} */ number) => {
    place = Math.max(0, Math.min(number, shown.length - 1));
    [...list.children].forEach((item, at) => item.setAttribute("aria-selected", String(at === place)));
    const item = list.children[place];
    item?.scrollIntoView({ block: "nearest" });
    if (item) input.setAttribute("aria-activedescendant", item.id);
    else input.removeAttribute("aria-activedescendant");
  };

  const show = () => {
    const text = input.value.trim();
    const words = text.toLowerCase().split(/\s+/);
    shown = commands.filter((item) => words.every((word) => item.text.toLowerCase().includes(word))).slice(0, MOST);
    if (text) {
      const address = `${document.body.dataset.base ?? "/"}?q=${encodeURIComponent(text)}`;
      shown.push({ text: `Search all jobs for “${text}”`, run: () => location.assign(address) });
    }
    const items = shown.map((item, at) => {
      const line = document.createElement("li");
      line.id = `palette-${at}`;
      line.setAttribute("role", "option");
      line.textContent = item.text;
      return line;
    });
    list.replaceChildren(...items);
    choose(0);
  };

  const run = (/** @type {number} */ number) => {
    const command = shown[number];
    if (!command) return;
    dialog.close();
    command.run();
  };

  const open = () => {
    if (document.querySelector("dialog[open]")) return;
    commands = offered();
    input.value = "";
    dialog.showModal();
    show();
  };

  document.addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() !== "k" || !(event.ctrlKey || event.metaKey) || event.altKey || event.shiftKey) return;
    event.preventDefault();
    if (dialog.open) dialog.close();
    else open();
  });
  input.addEventListener("input", show);
  input.addEventListener("keydown", (event) => {
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 };
    const step = steps[/** @type {keyof typeof steps} */ (event.key)];
    if (step) choose(place + step);
    else if (event.key === "Enter") run(place);
    else return;
    event.preventDefault();
  });
  list.addEventListener("click", (event) => {
    const item = event.target instanceof Element ? event.target.closest("li") : null;
    if (item) run([...list.children].indexOf(item));
  });
  if (opener) {
    opener.hidden = false;
    opener.addEventListener("click", open);
  }
}
