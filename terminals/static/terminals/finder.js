// Searching the terminal's text.

const MARKS = {
  matchBackground: "#f2cc60", matchBorder: "#9a6700", matchOverviewRuler: "#d4a72c",
  activeMatchBackground: "#ff9b50", activeMatchBorder: "#bc4c00", activeMatchColorOverviewRuler: "#bc4c00",
};

export class Finder {
  /** @param {HTMLFormElement} form @param {import("./screen.js").Screen} screen */
  constructor(form, screen) {
    this.form = form;
    this.screen = screen;
    this.input = /** @type {HTMLInputElement} */ (form.elements.namedItem("find"));
    this.count = /** @type {HTMLOutputElement} */ (form.querySelector("output"));
    this.input.addEventListener("input", () => this.find(false, true));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.find(true);
    });
    form.querySelector("[data-find=next]")?.addEventListener("click", () => this.find(false));
    form.querySelector("[data-find=close]")?.addEventListener("click", () => this.close());
    form.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.close();
      else if (event.key === "Enter" && event.shiftKey) {
        event.preventDefault();
        this.find(false);
      }
    });
    screen.search.onDidChangeResults(({ resultIndex, resultCount }) => {
      if (!this.input.value) this.count.value = "";
      else if (!resultCount) this.count.value = "none";
      else this.count.value = resultIndex < 0 ? `${resultCount}+` : `${resultIndex + 1} of ${resultCount}`;
    });
  }

  open() {
    this.form.hidden = false;
    const selected = this.screen.term.getSelection();
    if (selected && !selected.includes("\n")) this.input.value = selected;
    this.input.focus();
    this.input.select();
    if (this.input.value) this.find(true);
  }

  close() {
    this.form.hidden = true;
    this.screen.search.clearDecorations();
    this.screen.term.focus();
  }

  /** Newest first, as one looks for the last error. @param {boolean} older @param {boolean} [typing] */
  find(older, typing = false) {
    const options = { caseSensitive: false, incremental: false, decorations: MARKS };
    if (!this.input.value) {
      this.screen.search.clearDecorations();
      this.count.value = "";
    } else if (older || typing) this.screen.search.findPrevious(this.input.value, options);
    else this.screen.search.findNext(this.input.value, options);
  }
}
