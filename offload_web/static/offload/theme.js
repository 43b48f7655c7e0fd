// Before the first paint: the theme that the user chose, if they chose one. A classic script for that reason.
(() => {
  try {
    const chosen = localStorage.getItem("offload-theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch {
    // Storage is off: the system's theme counts.
  }
})();
