"""The verbs of `offload`: one module each, with `async def run(request: Request) -> int`."""
