"""The runner's commands, one module each, with `main(options) -> int`."""
