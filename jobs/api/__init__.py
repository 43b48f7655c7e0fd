"""The HTTP API below `/api/v1/`: the objects of `--json`, for programs with a token. See docs/api.md."""
