"""Machines in motion: the only way to a worker for everything above.

`connect` gives a worker's transport, layout and runner client; `open_terminal` and its siblings are all
that terminals may know of jobs. May import providers, remote, transitions, models, transport.
"""

from jobs.transport.base import Pty, PtyReceiver, Size
from jobs.transport.pool import aclose_all as close_lines
from jobs.workers.connection import Connection, connect, layout_of
from jobs.workers.container.check import check_container
from jobs.workers.container.jobs import (
    ensure_container,
    ensure_job_container,
    place_runs,
    remove_job_container,
)
from jobs.workers.container.sibling import ensure_sibling, find_sibling, sibling_name
from jobs.workers.container.spec import isolation_of, spec_of
from jobs.workers.host_keys import forget_pins, pins_of
from jobs.workers.idle import Parts
from jobs.workers.lifecycle import check_worker, ensure_local_worker, find_worker, get_job, observe_worker
from jobs.workers.probe import Machine, look_at
from jobs.workers.programs import find_program
from jobs.workers.repair import repair_machine
from jobs.workers.ssh_config import words_for_ssh
from jobs.workers.terminal import (
    Kind,
    SessionInfo,
    TerminalJob,
    TerminalRequest,
    Viewer,
    download_file,
    ending,
    note_terminal,
    open_terminal,
    read_session,
    request_attention,
    terminal_job,
    upload_file,
)

__all__ = [
    "Connection",
    "Kind",
    "Machine",
    "Parts",
    "Pty",
    "PtyReceiver",
    "SessionInfo",
    "Size",
    "TerminalJob",
    "TerminalRequest",
    "Viewer",
    "check_container",
    "check_worker",
    "close_lines",
    "connect",
    "download_file",
    "ending",
    "ensure_container",
    "ensure_job_container",
    "ensure_local_worker",
    "ensure_sibling",
    "find_program",
    "find_sibling",
    "find_worker",
    "forget_pins",
    "get_job",
    "isolation_of",
    "layout_of",
    "look_at",
    "note_terminal",
    "observe_worker",
    "open_terminal",
    "pins_of",
    "place_runs",
    "read_session",
    "remove_job_container",
    "repair_machine",
    "request_attention",
    "sibling_name",
    "spec_of",
    "terminal_job",
    "upload_file",
    "words_for_ssh",
]
