// The form of a new job offers the open pull requests that are known, and shows the command that does the same.

/** One word of a POSIX shell. @param {string} text */
export function quoted(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'"'"'`)}'`;
}

/** @param {string} program how the command line is started here @param {FormData} data */
export function commandOf(program, data) {
  const value = (/** @type {string} */ name) => String(data.get(name) ?? "").trim();
  const target = value("name") ? `${value("target")}:${value("name")}` : value("target");
  const words = [target, value("action")];
  for (const [name, option] of [["repository", "repo"], ["worker", "worker"], ["agent", "agent"], ["prompt", "prompt"]]) {
    const pool = name === "worker" && /^pool:(.*)/.exec(value(name));
    if (pool) words.push("--class", pool[1]);
    else if (value(name)) words.push(`--${option}`, value(name));
  }
  for (const secret of new Set(value("secrets").split(/[\s,]+/).filter(Boolean))) words.push("--secret", secret);
  return [program, ...words.map(quoted), ...(value("trust") ? ["--trust"] : [])].join(" ");
}

export function showCommand() {
  const form = /** @type {HTMLFormElement | null} */ (document.querySelector("form[data-program]"));
  const box = document.getElementById("launch-typed");
  const code = box?.querySelector("code");
  const copy = /** @type {HTMLElement | null | undefined} */ (box?.querySelector("[data-copy]"));
  if (!form || !box || !code || !copy) return;
  const data = new FormData(form);
  box.hidden = !String(data.get("target")).trim();
  const text = commandOf(form.dataset.program ?? "", data);
  code.textContent = text;
  copy.dataset.copy = text;
}

showCommand();
// The form is replaced when the server refuses it.
for (const moment of ["input", "change", "htmx:afterSwap"]) document.addEventListener(moment, showCommand);

/** @typedef {{repository: string, number: number, title: string, author: string}} Pull */

/** Offer the open pull requests of the named repository, or of all. They are read when they are needed. */
async function offerTargets() {
  const form = /** @type {HTMLFormElement | null} */ (document.querySelector("form[data-targets]"));
  const list = document.getElementById("known-targets");
  if (!form || !list) return;
  const repository = String(new FormData(form).get("repository") ?? "").trim();
  if (form.dataset.offered === repository) return;
  form.dataset.offered = repository;
  try {
    const answer = await fetch(`${form.dataset.targets}?repository=${encodeURIComponent(repository)}`);
    if (!answer.ok || form.dataset.offered !== repository) return;
    const pulls = /** @type {Pull[]} */ ((await answer.json()).pulls);
    const options = pulls.map((pull) => {
      const option = document.createElement("option");
      option.value = repository ? String(pull.number) : `${pull.repository}#${pull.number}`;
      option.label = `#${pull.number} ${pull.title}${pull.author ? `, by ${pull.author}` : ""}`;
      return option;
    });
    list.replaceChildren(...options);
  } catch {
    delete form.dataset.offered; // a number can be typed; the next focus tries again
  }
}

/** Say of each worker, pool and agent how busy it is and what it costs, as of the form's opening. */
async function describeChoices() {
  const form = /** @type {HTMLFormElement | null} */ (document.querySelector("details[open] > form[data-choices]"));
  if (!form?.dataset.choices) return;
  try {
    const answer = await fetch(form.dataset.choices);
    if (!answer.ok) return;
    const said = /** @type {Record<string, Record<string, string>>} */ (await answer.json());
    for (const [name, texts] of Object.entries(said))
      for (const option of form.querySelectorAll(`select[name="${name}"] option`))
        if (option instanceof HTMLOptionElement && texts[option.value]) option.label = texts[option.value];
  } catch {
    // The names can be chosen; the next opening asks again.
  }
}

void describeChoices();
document.addEventListener("htmx:afterSwap", () => void describeChoices());
// `toggle` does not bubble.
document.addEventListener("toggle", (event) => {
  if (event.target instanceof Element && event.target.id === "new-job") void describeChoices();
}, true);

document.addEventListener("focusin", (event) => {
  if (event.target instanceof Element && event.target.closest(".field-target")) void offerTargets();
});
