"""The gateways of a job's tasks that run agents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Dict, Mapping, Tuple

from jobs.remote.offload_runner.engine.places import Places
from jobs.remote.offload_runner.files.paths import AGENT
from jobs.remote.offload_runner.gateway.spent import Spent

if TYPE_CHECKING:
    from jobs.remote.offload_runner.gateway.forward import Gateway

_LISTEN_SECONDS = 30.0


class Gateways:
    """Opens and closes gateways, by task; `spent` is what all of them count."""

    def __init__(self, places: Places, append: Callable[..., Any]) -> None:
        self.spent = Spent()
        self._places = places
        self._append = append
        self._open: Dict[str, Tuple[Gateway, int]] = {}  # with the number of the listener

    def open(self, task: str, spec: Mapping[str, Any], secrets: Mapping[str, str]) -> Dict[str, str]:
        """Have the supervisor of agents listen for the task's; return the variables that say where."""
        # HTTP and TLS would take a fifth of the start of every runner, and only agents need them.
        from jobs.remote.offload_runner.gateway.forward import Gateway

        key = secrets.get(str(spec.get("secret")), "")
        gateway = Gateway(task, spec, key, self.spent, self._append)
        listener, port = self._places.supervisor(AGENT).listen(gateway.serve, _LISTEN_SECONDS)
        self._open[task] = gateway, listener
        return gateway.environment(port)

    def close(self, task: str) -> None:
        """Close a task's gateway, if it has one."""
        if task in self._open:
            gateway, listener = self._open.pop(task)
            gateway.close()
            self._places.supervisor(AGENT).unlisten(listener)

    def close_all(self) -> None:
        """Close what is open."""
        for task in list(self._open):
            self.close(task)
