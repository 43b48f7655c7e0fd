// `path/to/file.py:12` in the terminal is a link: its place is copied, and the file can be had.

import { copy } from "./clipboard.js";
import { toast } from "./toast.js";

// A path with a suffix, and a line; not a host with a port, and not the middle of a web address.
const PLACE = /(?<![\w:/.@-])((?:\.{0,2}\/)?(?:[\w@+.-]+\/)*[\w@+-][\w@+.-]*\.[A-Za-z]\w{0,9}):(\d+)(?::\d+)?/g;

/** @param {string} text @returns {{path: string, place: string, index: number}[]} */
export function places(text) {
  return [...text.matchAll(PLACE)].map((found) => ({ path: found[1], place: found[0], index: found.index }));
}

/**
 * @param {import("./screen.js").Screen} screen
 * @param {(path: string) => unknown} download
 */
export function linkPlaces(screen, download) {
  const { term } = screen;
  term.registerLinkProvider({
    provideLinks(y, callback) {
      const line = term.buffer.active.getLine(y - 1);
      if (!line) return callback(undefined);
      callback(
        places(line.translateToString(true)).map(({ path, place, index }) => ({
          range: { start: { x: column(line, index) + 1, y }, end: { x: column(line, index + place.length), y } },
          text: place,
          activate: () => {
            void copy(place, place);
            toast(path, { action: "Download", run: () => void download(path.replace(/^\.\//, "")), sticky: true });
          },
        })),
      );
    },
  });
}

/**
 * The cell where a letter stands: wide letters before it take two cells, composed ones are several letters.
 * @param {import("@xterm/xterm").IBufferLine} line @param {number} index
 */
function column(line, index) {
  let letters = 0;
  for (let x = 0; x < line.length; x += 1) {
    if (letters >= index) return x;
    const cell = line.getCell(x);
    if (cell?.getWidth()) letters += cell.getChars().length || 1;
  }
  return line.length;
}
