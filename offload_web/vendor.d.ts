// The types of the npm packages, under the addresses that pages load them from (`offload_web/packages.py`).

declare module "*/vendor/xterm/xterm.mjs" { export * from "@xterm/xterm"; }
declare module "*/vendor/xterm/addon-fit.mjs" { export * from "@xterm/addon-fit"; }
declare module "*/vendor/xterm/addon-image.mjs" { export * from "@xterm/addon-image"; }
declare module "*/vendor/xterm/addon-search.mjs" { export * from "@xterm/addon-search"; }
declare module "*/vendor/xterm/addon-unicode-graphemes.mjs" { export * from "@xterm/addon-unicode-graphemes"; }
declare module "*/vendor/xterm/addon-web-links.mjs" { export * from "@xterm/addon-web-links"; }
declare module "*/vendor/xterm/addon-webgl.mjs" { export * from "@xterm/addon-webgl"; }
