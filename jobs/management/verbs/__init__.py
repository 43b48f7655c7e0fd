"""The verbs of `manage.py offload`, one function each: `async def verb(request: Request) -> int`."""

from jobs.management.verbs import changing, confidential, launching, looking, reading, system
from jobs.management.verbs.request import Request

VERBS = {
    "launch": launching.launch,
    "ls": looking.ls,
    "status": looking.status,
    "attach": launching.attach,
    "shell": launching.shell,
    "peek": reading.peek,
    "logs": reading.logs,
    "wait": reading.wait,
    "cancel": changing.cancel,
    "rm": changing.rm,
    "diff": reading.diff,
    "secret": confidential.secret,
    "doctor": system.doctor,
    "setup": system.setup,
}

__all__ = ["VERBS", "Request"]
