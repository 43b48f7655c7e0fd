"""Ports of a job's own: jobs side by side on one machine do not fight over the port that a plan declares.

A port is chosen once per job and kept in its directory, so that a resumed job has the same. It is free of
other jobs, and no program listened there when it was chosen.
"""

from __future__ import annotations

import errno
import socket
from typing import Dict, List, Set

from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files.locks import held
from jobs.remote.offload_runner.files.paths import JobPaths, all_jobs, read_json, write_json

# Below the range from which Linux gives ports to outgoing connections (ip_local_port_range: from 32768).
FIRST, LAST = 20000, 29999


def of_job(paths: JobPaths, names: List[str]) -> Dict[str, str]:
    """Return the port behind each name, choosing those that are not chosen yet. Raises `RunnerError`."""
    if not names:
        return {}
    with held(str(paths.job_dir.parent / ".ports.lock"), what="The list of ports", seconds=60):
        chosen: Dict[str, int] = read_json(paths.ports) or {}
        taken = _taken(paths)
        for name in names:
            if name not in chosen:
                chosen[name] = _free(taken | set(chosen.values()))
        write_json(paths.ports, chosen)
    return {name: str(chosen[name]) for name in names}


def _taken(paths: JobPaths) -> Set[int]:
    others = [other for other in all_jobs(paths.root) if other.session != paths.session]
    return {port for other in others for port in (read_json(other.ports) or {}).values()}


def _free(taken: Set[int]) -> int:
    for port in range(FIRST, LAST + 1):
        if port not in taken and _nobody_listens(port):
            return port
    raise RunnerError(
        "no_port",
        "There is no free port between %d and %d on this machine." % (FIRST, LAST),
        "Remove jobs that are no longer needed.",
    )


def _nobody_listens(port: int) -> bool:
    for family, address in ((socket.AF_INET, ""), (socket.AF_INET6, "::")):
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind((address, port))
        except OSError as error:
            if family == socket.AF_INET6 and error.errno != errno.EADDRINUSE:
                continue  # This machine has no IPv6.
            return False
    return True
