"""The verbs of `manage.py offload`, one function each: `async def verb(request: Request) -> int`."""

from jobs.cli.offload import cancel, doctor, launch, logs, ls, secret
from jobs.cli.offload.request import Request

VERBS = {
    "launch": launch.launch,
    "ls": ls.ls,
    "status": ls.status,
    "attach": launch.attach,
    "shell": launch.shell,
    "peek": logs.peek,
    "logs": logs.logs,
    "wait": logs.wait,
    "cancel": cancel.cancel,
    "rm": cancel.rm,
    "diff": logs.diff,
    "secret": secret.secret,
    "doctor": doctor.doctor,
    "setup": doctor.setup,
}

__all__ = ["VERBS", "Request"]
