// The form of a new job shows the command that does the same.

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
