"""What the agents of a job used of their budget."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any, Dict, Mapping


@dataclass
class Spent:
    """What the agents of a job used so far. Locked by `lock`."""

    calls: int = 0
    tokens: int = 0
    dollars: float = 0.0
    # Tokens of the calls that are under way, as far as they are known, by call.
    under_way: Dict[object, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, event: Mapping[str, Any]) -> None:
        """Count a `model_call` event."""
        with self.lock:
            self.calls += 1
            self.tokens += int(event.get("input") or 0) + int(event.get("output") or 0)
            self.dollars += float(event.get("dollars") or 0.0)
