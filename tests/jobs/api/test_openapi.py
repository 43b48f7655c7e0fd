"""The OpenAPI document describes what the server does: schemathesis asks a real server."""

from typing import Any

import hypothesis
import schemathesis
from hypothesis import Phase
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.jobs.api.conftest import Served

EXAMPLES = 6
BEYOND = 10**6  # no job and no draft has such a number: the other tests keep theirs


def means_more_than_its_schema(case: Any) -> bool:
    submits = str(case.method) == "POST" and str(case.path).endswith("/jobs")
    # An answer to a thread needs a text, which a draft of another kind has not.
    drafts = str(case.method) == "POST" and str(case.path).endswith("/outbox")
    return submits or drafts or str(case.path).endswith("/jobs/find")


def test_every_answer_is_as_documented(served: Served) -> None:
    schema = schemathesis.openapi.from_url(f"{served.url}/openapi.json")
    found: Any
    tried = []
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.path.endswith("/v1/events"):
            continue  # it has no end; test_events.py reads it

        @hypothesis.settings(max_examples=EXAMPLES, phases=[Phase.explicit, Phase.generate], deadline=None)
        @hypothesis.given(case=operation.as_strategy())
        def check(case: Any) -> None:
            if case.method != "GET":
                for name, value in case.path_parameters.items():
                    if isinstance(value, int) and 0 <= value < BEYOND:
                        case.path_parameters[name] = value + BEYOND
            case.call_and_validate(
                headers={"Authorization": f"Bearer {served.tokens['all']}"},
                # What is a target or a repository is more than a schema says.
                excluded_checks=[positive_data_acceptance] if means_more_than_its_schema(case) else [],
            )

        check()
        tried.append(operation.label)
    assert len(tried) >= 15, tried
