// Short messages above the terminal; read aloud by screen readers.

/**
 * @param {string} message
 * @param {{action?: string, run?: () => void, sticky?: boolean}} [options]
 */
export function toast(message, { action, run, sticky } = {}) {
  const list = document.getElementById("toasts");
  if (!list) return;
  const item = document.createElement("div");
  item.append(message);
  if (action && run) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = action;
    button.addEventListener("click", () => {
      item.remove();
      run();
    });
    item.append(button);
  }
  while (list.children.length > 2) list.firstElementChild?.remove();
  list.append(item);
  setTimeout(() => item.remove(), sticky ? 15_000 : 3_500);
}
