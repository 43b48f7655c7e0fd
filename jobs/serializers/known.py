"""THE JSON of what is known of a job and from where, for every interface."""

from __future__ import annotations

from typing_extensions import TypedDict

from jobs.execution import Account, Known
from jobs.serializers.times import utc


class KnownJson(TypedDict):
    """One thing that is known of a job. `source`: from where; `evidence`: the event that says so."""

    value: str
    detail: str | None
    source: str
    since: str | None
    until: str | None
    evidence: str | None


class AccountJson(TypedDict):
    """What is known of a job, with `observed_at`: when its worker was asked last."""

    observed_at: str | None
    state: KnownJson
    attention: KnownJson | None
    agent: KnownJson | None
    takes_input: bool
    no_input: str | None


def account_json(account: Account, observed_at: str | None) -> AccountJson:
    """Return what is known of a job as data."""
    return {
        "observed_at": observed_at,
        "state": _known(account.state),
        "attention": _known(account.attention) if account.attention else None,
        "agent": _known(account.agent) if account.agent else None,
        "takes_input": not account.no_input,
        "no_input": account.no_input or None,
    }


def _known(known: Known) -> KnownJson:
    return {
        "value": known.value,
        "detail": known.detail or None,
        "source": known.source,
        "since": utc(known.since),
        "until": utc(known.until),
        "evidence": known.evidence or None,
    }
