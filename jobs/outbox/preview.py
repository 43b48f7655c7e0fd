"""What a draft becomes on the forge, as data that every interface shows. Pure."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from jobs.forges.pulls import LineComment


@dataclass(frozen=True)
class Preview:
    """A draft exactly as it will appear.

    `title`: what sending it does. `verdict`: a review's. `contexts`: for each comment, the end of the hunk it
    is about, as a patch. `quote`: the text that is answered. `details`: one line each. `notes`: what was
    changed in placing it, as sentences.
    """

    title: str
    body: str = ""
    verdict: str = ""
    comments: tuple[LineComment, ...] = ()
    contexts: tuple[str, ...] = ()
    quote: str = ""
    details: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """Return a hash of what is posted, by which a person's yes names what they saw."""
        posted = {name: value for name, value in asdict(self).items() if name not in ("contexts", "notes")}
        return hashlib.sha256(json.dumps(posted, sort_keys=True).encode()).hexdigest()
