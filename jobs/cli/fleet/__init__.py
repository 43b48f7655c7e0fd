"""The verbs of `offload fleet`: one module each, with `async def run(request: Request) -> int`."""
