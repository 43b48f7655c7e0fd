// What the buttons, the menu and some keys do.

import { copy, copySelection, pasteFromClipboard } from "./clipboard.js";
import { allowNotifications } from "./notify.js";
import { FONT, save } from "./preferences.js";
import { isDark } from "./themes.js";
import { toast } from "./toast.js";

/** @param {string} id @returns {any} */
const element = (id) => document.getElementById(id);

/**
 * Make the commands and let the page's buttons (`data-action`) run them.
 * @param {object} parts
 * @param {import("./screen.js").Screen} parts.screen
 * @param {import("./preferences.js").Preferences} parts.preferences
 * @param {import("./mouse.js").Mouse} parts.mouse
 * @param {import("./finder.js").Finder} parts.finder
 * @param {import("./files.js").Files} parts.files
 * @param {import("./lookback.js").LookBack} parts.past
 * @param {import("./link.js").Link} parts.link
 */
export function makeCommands({ screen, preferences, mouse, finder, files, past, link }) {
  const { term } = screen;
  const actions = {
    copy: () => copySelection(screen) || toast("Select something first: drag, or Shift+drag in full-screen programs."),
    paste: () => pasteFromClipboard(screen, preferences),
    url: async () => {
      await past.refill();
      const found = screen.lastUrl();
      if (found) void copy(found, found.length > 60 ? "the last address" : found);
      else toast("There is no web address in this terminal.");
    },
    find: async () => {
      await past.refill();
      finder.open();
    },
    larger: () => zoom(1),
    usual: () => zoom(FONT.usual - preferences.fontSize),
    smaller: () => zoom(-1),
    theme: () => {
      preferences.theme = isDark(preferences.theme) ? "light" : "dark";
      keep();
    },
    mouse: () => {
      const order = /** @type {const} */ (["auto", "program", "page"]);
      preferences.mouse = order[(order.indexOf(preferences.mouse) + 1) % order.length];
      mouse.apply();
      keep();
    },
    reader: () => {
      preferences.screenReader = !preferences.screenReader;
      term.options.screenReaderMode = preferences.screenReader;
      keep();
    },
    guard: () => {
      preferences.pasteGuard = !preferences.pasteGuard;
      keep();
    },
    notify: async () => toast(await allowNotifications()),
    fullscreen: () => fullscreen(),
    upload: () => element("file").click(),
    download: () => askDownload(),
    history: () => link.control({ t: "attach" }),
    take: () => link.control({ t: "take" }),
    watchlink: () => copy(`${location.origin}${location.pathname}?mode=watch`, "the read-only link"),
    keys: () => element("keybar").toggleAttribute("hidden"),
  };
  document.addEventListener("click", (event) => {
    const button = /** @type {HTMLElement} */ (event.target).closest("[data-action]");
    if (!button) {
      if (!(/** @type {HTMLElement} */ (event.target).closest("#menu"))) element("menu").open = false;
      return;
    }
    void /** @type {Record<string, () => unknown>} */ (actions)[button.getAttribute("data-action") ?? ""]?.();
    if (button.closest("#menu")) element("menu").open = false;
    if (!["find", "upload", "download"].includes(button.getAttribute("data-action") ?? "")) term.focus();
  });

  /** @param {number} by */
  function zoom(by) {
    screen.fontSize(preferences.fontSize + by);
    keep();
  }

  function keep() {
    save(preferences);
    screen.theme();
    labels();
  }

  function labels() {
    const mice = { auto: "Mouse: automatic", program: "Mouse: to the program", page: "Mouse: selects and scrolls here" };
    const label = document.querySelector("[data-action=mouse] [data-label]");
    if (label) label.textContent = mice[preferences.mouse];
    for (const [name, on] of [["reader", preferences.screenReader], ["guard", preferences.pasteGuard]])
      document.querySelector(`[data-action=${name}]`)?.setAttribute("aria-checked", String(on));
  }

  async function fullscreen() {
    if (document.fullscreenElement) {
      await document.exitFullscreen();
      return;
    }
    await document.documentElement.requestFullscreen();
    // In full screen, and only there, a page may have Ctrl+W and Esc.
    await /** @type {any} */ (navigator).keyboard?.lock?.(["KeyW", "KeyN", "KeyT", "Escape"]);
  }

  function askDownload() {
    const dialog = element("download-dialog");
    const input = dialog.querySelector("input");
    const selected = term.getSelection().trim();
    if (selected && !selected.includes("\n")) input.value = selected;
    dialog.returnValue = "";
    dialog.showModal();
    dialog.addEventListener(
      "close",
      () => dialog.returnValue === "get" && input.value.trim() && void files.download(input.value.trim()),
      { once: true },
    );
  }

  labels();
  return actions;
}
