"""What a change does, as data for the question that an interface asks before it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ConfirmationPlan:
    """A question with what its answer decides.

    `question`: ends with a question mark. `effects`: sentences, what will happen. `cost`: a sentence, empty
    when the change costs nothing. `losses`: what is lost, one entry each. A page renders it, the command line
    prints and asks it, `--yes` accepts it.
    """

    question: str
    effects: tuple[str, ...] = ()
    cost: str = ""
    losses: tuple[str, ...] = ()
