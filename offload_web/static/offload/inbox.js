// The inbox by keyboard, and its forms without a reload.

import { addKeys } from "./keys.js";

const found = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));
const list = found("live-part");
const undo = found("undo");
/** The row that a key acts on when none has the focus. */
let place = 0;
/** @type {string[]} */
let marked = [];

const rows = () => /** @type {HTMLElement[]} */ ([...list.querySelectorAll(".row")]);
const chosen = () => /** @type {HTMLInputElement[]} */ ([...list.querySelectorAll(".row-check :checked")]);
const current = () => /** @type {HTMLElement | null} */ (document.activeElement?.closest("#live-part .row") ?? null);

/** @param {HTMLElement} row */
const keyOf = (row) => /** @type {HTMLInputElement | null} */ (row.querySelector(".row-check input"))?.value ?? "";

/** @param {number} number */
function focusRow(number) {
  const all = rows();
  place = Math.max(0, Math.min(number, all.length - 1));
  /** @type {HTMLElement | null | undefined} */ (all[place]?.querySelector(".row-link"))?.focus();
}

/** @param {string} text */
function say(text) {
  undo.hidden = false;
  found("undo-text").textContent = text;
}

function count() {
  const number = chosen().length;
  const label = document.getElementById("bulk-count");
  if (label && number) label.textContent = `${number} selected`;
  const clear = document.getElementById("clear-selection");
  if (clear) clear.hidden = false;
}

function clearSelection() {
  for (const box of chosen()) box.checked = false;
}

/**
 * Send a form; return what the answer says, null when it failed.
 * @param {string} address @param {FormData} data
 */
async function post(address, data) {
  try {
    const answer = await fetch(address, { method: "POST", body: data, headers: { "HX-Request": "true" } });
    const login = answer.headers.get("HX-Redirect");
    if (login) location.assign(login);
    const text = await answer.text();
    if (answer.ok) return text;
    say(answer.status === 409 ? text : `That failed (status ${answer.status}). Reload the page.`);
  } catch {
    say("The dashboard does not answer. Nothing was changed.");
  }
  found("undo-button").hidden = true;
  return null;
}

list.addEventListener("change", count);
list.addEventListener("click", (event) => {
  if (event.target instanceof Element && event.target.closest("#clear-selection")) clearSelection();
});
document.addEventListener("focusin", () => {
  const row = current();
  if (row) place = rows().indexOf(row);
});

document.addEventListener("submit", (event) => {
  const form = event.target;
  const button = event.submitter;
  if (!(form instanceof HTMLFormElement) || form.id !== "mark" || !(button instanceof HTMLButtonElement)) return;
  event.preventDefault();
  const data = new FormData(form, button);
  const keys = button.value === "selected" ? data.getAll("row").map(String) : [button.value];
  const words = { done: "done", snooze: "snoozed", restore: "moved back" }[button.name];
  const here = current() ? place : -1;
  void post(button.getAttribute("formaction") ?? form.action, data).then((text) => {
    if (text === null) return;
    if (button.value) clearSelection();
    document.dispatchEvent(new Event("offload:refresh"));
    // The next row takes the place of one that leaves its group, and the focus with it.
    const goOn = () => {
      const row = current();
      if (!row || keys.includes(keyOf(row))) focusRow(here);
    };
    if (here >= 0 && words) document.addEventListener("offload:morphed", goOn, { once: true });
    marked = button.name === "done" || button.name === "snooze" ? keys : [];
    say(words ? `${keys.length === 1 ? keys[0]?.replace(/^\d+:/, "") : `${keys.length} rows`} ${words}.` : text);
    found("undo-button").hidden = marked.length === 0;
  });
});

found("undo-button").addEventListener("click", () => {
  const data = new FormData(/** @type {HTMLFormElement} */ (found("mark")));
  data.delete("row");
  data.set("restore", "selected");
  for (const key of marked) data.append("row", key);
  void post(/** @type {HTMLFormElement} */ (found("mark")).action, data).then((text) => {
    if (text === null) return;
    undo.hidden = true;
    document.dispatchEvent(new Event("offload:refresh"));
    focusRow(place);
  });
});

/** Press the button of the selected rows, or that of the current row. @param {string} key @param {string} name */
function mark(key, name) {
  const bulk = chosen().length > 0;
  const button = bulk ? list.querySelector(`#mark [name="${name}"]`) : pick(key);
  if (button instanceof HTMLElement) button.click();
}

/** @param {string} key */
function pick(key) {
  const row = current() ?? rows()[place];
  return row?.querySelector(`[data-key="${key}"]`) ?? null;
}

/** @param {string} key */
function press(key) {
  const button = pick(key);
  if (button instanceof HTMLElement) button.click();
}

addKeys({
  j: () => focusRow(current() ? place + 1 : place),
  k: () => focusRow(place - 1),
  x: () => /** @type {HTMLElement | null | undefined} */ ((current() ?? rows()[place])?.querySelector(".row-check input"))?.click(),
  e: () => mark("e", "done"),
  s: () => mark("s", "snooze"),
  r: () => press("r"),
  t: () => press("t"),
  "/": () => document.getElementById("q")?.focus(),
});

/** `#new-job` in the address opens the form. */
function openForm() {
  const form = /** @type {HTMLDetailsElement | null} */ (document.getElementById("new-job"));
  if (location.hash !== "#new-job" || !form) return;
  form.open = true;
  document.getElementById("id_target")?.focus();
}
openForm();
addEventListener("hashchange", openForm);
document.querySelector('[data-go="n"]')?.addEventListener("click", () => setTimeout(openForm));
document.addEventListener("offload:morphed", count);
