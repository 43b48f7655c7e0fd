"""Which files of npm packages pages may load. Only data: the build of a wheel reads it without Django."""

from __future__ import annotations

from collections.abc import Mapping

# Name below /static/ -> file below node_modules. Nothing else of node_modules is served.
PACKAGE_FILES: Mapping[str, str] = {
    "vendor/htmx.js": "htmx.org/dist/htmx.min.js",
    "vendor/idiomorph.js": "idiomorph/dist/idiomorph.min.js",
    "vendor/xterm/xterm.mjs": "@xterm/xterm/lib/xterm.mjs",
    "vendor/xterm/xterm.css": "@xterm/xterm/css/xterm.css",
    "vendor/xterm/addon-clipboard.mjs": "@xterm/addon-clipboard/lib/addon-clipboard.mjs",
    "vendor/xterm/addon-fit.mjs": "@xterm/addon-fit/lib/addon-fit.mjs",
    "vendor/xterm/addon-image.mjs": "@xterm/addon-image/lib/addon-image.mjs",
    "vendor/xterm/addon-search.mjs": "@xterm/addon-search/lib/addon-search.mjs",
    "vendor/xterm/addon-serialize.mjs": "@xterm/addon-serialize/lib/addon-serialize.mjs",
    "vendor/xterm/addon-unicode-graphemes.mjs": (
        "@xterm/addon-unicode-graphemes/lib/addon-unicode-graphemes.mjs"
    ),
    "vendor/xterm/addon-web-links.mjs": "@xterm/addon-web-links/lib/addon-web-links.mjs",
    "vendor/xterm/addon-webgl.mjs": "@xterm/addon-webgl/lib/addon-webgl.mjs",
    "vendor/asciinema-player.js": "asciinema-player/dist/bundle/asciinema-player.min.js",
    "vendor/asciinema-player.css": "asciinema-player/dist/bundle/asciinema-player.css",
}
