"""Every error that Offload raises on purpose, in one tree.

    OffloadError
    ├── UsageError              the command or the form asked for something that makes no sense
    ├── NotFound                a job, worker, pull request, branch or file does not exist
    │   └── RemoteUnreachable   the repository's address does not answer
    ├── NotConfigured           a setting, a credential or a program is missing
    ├── Refused                 a safety rule said no (trust, unpushed work, a running job)
    ├── JobFailed               the job itself could not do its work
    ├── TransportError          reaching a machine
    │   ├── ConnectFailed       the endpoint does not answer
    │   ├── AuthRefused         the endpoint answers and refuses the login
    │   ├── HostKeyMismatch     the endpoint answers with another host key
    │   ├── ConnectionLost      the line broke while we were talking
    │   ├── CommandFailed       the line is fine; the command exited non-zero
    │   └── TimedOut            the line is fine; the answer did not come before the deadline
    ├── WorkerUnavailable       the machine is there and cannot take work now
    │   ├── MachineDown         its provider says that it does not run
    │   └── NoCapacity          the provider has no machine for us
    │       └── QuotaExceeded   the account's quota is used up; another zone does not help
    ├── ForgeUnreachable        a forge's API did not answer, or not as it must
    │   └── ForgeLimited        the forge refuses further requests for a while
    └── ProtocolMismatch        the runner on the worker speaks another version

An error says what we were doing, to what, what happened, and what to do next. `code` is its short, stable
label (the `code` of `--json`), `exit_code` the process exit code of DESIGN's table, `retryable` whether
the same call can succeed later with nothing changed. Foreign exceptions are translated where they are
caught and kept as `__cause__`.
"""

from __future__ import annotations

from typing import ClassVar


class OffloadError(Exception):
    """Base of every deliberate error.

    `message` is a full sentence about what happened; `hint` a full sentence about what to do next.
    """

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class UsageError(OffloadError):
    """The request makes no sense as it stands."""

    code = "usage"
    exit_code = 2


class NotFound(OffloadError):
    """The thing named does not exist."""

    code = "not_found"
    exit_code = 3


class RemoteUnreachable(NotFound):
    """The repository's address does not answer; the same request may work later."""

    code = "remote_unreachable"
    retryable = True


class NotConfigured(OffloadError):
    """A setting, a credential or a program is missing."""

    code = "not_configured"
    exit_code = 4


class Refused(OffloadError):
    """A safety rule said no; the hint names the way to insist."""

    code = "refused"
    exit_code = 5


class JobFailed(OffloadError):
    """The job could not do its work (which is not the same as a bad verdict)."""

    code = "job_failed"
    exit_code = 10


class TransportError(OffloadError):
    """A machine could not be reached or did not answer as it must."""

    code = "transport"
    exit_code = 15
    retryable = True


class ConnectFailed(TransportError):
    """The endpoint does not answer."""

    code = "connect_failed"


class AuthRefused(TransportError):
    """The machine answered and refused our credentials."""

    code = "auth_refused"
    retryable = False


class HostKeyMismatch(TransportError):
    """The machine's host key is not the one pinned for it."""

    code = "host_key_mismatch"
    retryable = False


class ConnectionLost(TransportError):
    """The connection broke during a call; what the far side did is unknown."""

    code = "connection_lost"


class CommandFailed(TransportError):
    """A command ran and exited non-zero (or died by a signal: negative `exit_status`)."""

    code = "command_failed"
    exit_code = 1
    retryable = False

    def __init__(
        self, message: str, *, exit_status: int, stdout: bytes = b"", stderr: bytes = b"", hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.exit_status = exit_status
        self.stdout = stdout
        self.stderr = stderr


class TooLarge(TransportError):
    """A machine sent more than its reader accepts; the rest was not read."""

    code = "too_large"
    exit_code = 1
    retryable = False


class TimedOut(TransportError):
    """The deadline passed; the command was killed."""

    code = "timed_out"
    exit_code = 124


class WorkerUnavailable(OffloadError):
    """The worker exists and cannot take work now."""

    code = "worker_unavailable"
    exit_code = 15
    retryable = True


class MachineDown(WorkerUnavailable):
    """The worker's provider says that its machine does not run, or that there is none."""

    code = "machine_down"


class NoCapacity(WorkerUnavailable):
    """The provider has no machine, or no quota left, for what was asked."""

    code = "no_capacity"
    exit_code = 16


class QuotaExceeded(NoCapacity):
    """The account may have no more of this; the hint has the page where quotas are raised."""

    code = "quota_exceeded"
    retryable = False


class ForgeUnreachable(OffloadError):
    """A forge's API did not answer, or not as it must; whether a post was made is unknown."""

    code = "forge_unreachable"
    exit_code = 15
    retryable = True


class ForgeLimited(ForgeUnreachable):
    """A forge refuses further requests until a moment that the message names. Nothing was posted."""

    code = "forge_limited"


class ProtocolMismatch(OffloadError):
    """The runner on the worker did not answer in the protocol that we speak."""

    code = "protocol_mismatch"
