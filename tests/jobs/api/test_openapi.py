"""The OpenAPI document describes what the server does: schemathesis asks a real server."""

from typing import Any

import hypothesis
import schemathesis
from hypothesis import Phase

from tests.jobs.api.conftest import Served

EXAMPLES = 12


def test_every_answer_is_as_documented(served: Served) -> None:
    headers = {"Authorization": f"Bearer {served.tokens['read']}"}
    schema = schemathesis.openapi.from_url(f"{served.url}/openapi.json")
    tried = []
    found: Any
    for found in schema.get_all_operations():
        operation = found.ok()

        @hypothesis.settings(max_examples=EXAMPLES, phases=[Phase.explicit, Phase.generate], deadline=None)
        @hypothesis.given(case=operation.as_strategy())
        def check(case: Any) -> None:
            case.call_and_validate(headers=headers)

        check()
        tried.append(operation.label)
    assert len(tried) >= 10, tried
