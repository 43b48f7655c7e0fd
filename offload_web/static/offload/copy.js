// Buttons that copy a command; they say so, and say when the browser refuses.

export function copyButtons() {
  document.addEventListener("click", async (event) => {
    const button = event.target instanceof Element ? event.target.closest("[data-copy]") : null;
    if (!(button instanceof HTMLElement)) return;
    const announce = document.getElementById("announce");
    try {
      await write(button);
      button.classList.add("copied");
      button.querySelector("use")?.setAttribute("href", "#i-check");
      if (announce) announce.textContent = "Copied.";
      setTimeout(() => {
        button.classList.remove("copied");
        button.querySelector("use")?.setAttribute("href", "#i-copy");
      }, 1500);
    } catch {
      if (announce) announce.textContent = "The browser refused to copy; the command is selected instead.";
    }
  });
}

/** Where the browser refuses, as on plain http, the command is selected, and copied as if by hand. @param {HTMLElement} button */
async function write(button) {
  try {
    await navigator.clipboard.writeText(button.dataset.copy ?? "");
  } catch (error) {
    const code = button.parentElement?.querySelector("code");
    if (code) getSelection()?.selectAllChildren(code);
    if (!code || !document.execCommand("copy")) throw error;
  }
}
