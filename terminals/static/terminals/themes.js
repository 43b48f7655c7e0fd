// Colours of the terminal. Both sets keep text at 4.5:1 or better on their background.

const LIGHT = {
  foreground: "#24292f", cursor: "#24292f",
  selectionBackground: "#b6d7ff", selectionInactiveBackground: "#dbe6f3",
  black: "#24292f", red: "#b3202a", green: "#116329", yellow: "#7d4e00", blue: "#0756b8", magenta: "#7a3bc2",
  cyan: "#0f6678", white: "#6e7781", brightBlack: "#57606a", brightRed: "#a40e26", brightGreen: "#1a6f36",
  brightYellow: "#633c01", brightBlue: "#0969da", brightMagenta: "#8250df", brightCyan: "#1b7c83",
  brightWhite: "#4b535d",
};
const DARK = {
  foreground: "#d7dce2", cursor: "#e8ecf1",
  selectionBackground: "#34527a", selectionInactiveBackground: "#2b3644",
  black: "#3a414b", red: "#ff7b72", green: "#6bcf7f", yellow: "#e3b341", blue: "#79b8ff", magenta: "#d2a8ff",
  cyan: "#66d0db", white: "#c3cad3", brightBlack: "#848d97", brightRed: "#ffa198", brightGreen: "#8ce5a0",
  brightYellow: "#f2cc60", brightBlue: "#a5d0ff", brightMagenta: "#e2c5ff", brightCyan: "#93e5ee",
  brightWhite: "#ffffff",
};

// What the user chose on the dashboard, before this page shows the terminal's own choice there.
const page = document.documentElement.dataset.theme;

/** @param {"auto"|"light"|"dark"} choice */
export function isDark(choice) {
  if (choice === "auto" && page) return page === "dark";
  return choice === "dark" || (choice === "auto" && matchMedia("(prefers-color-scheme: dark)").matches);
}

/** Show the page in the chosen colours; return the terminal's. @param {"auto"|"light"|"dark"} choice */
export function palette(choice) {
  const dark = isDark(choice);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  // The bars around the terminal have its background: tokens.css says which.
  const background = getComputedStyle(document.documentElement).getPropertyValue("--screen").trim();
  return { ...(dark ? DARK : LIGHT), background, cursorAccent: background };
}
