"""Addresses of the API, and its description as an OpenAPI document."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, re_path
from ninja import NinjaAPI
from ninja.responses import Response
from pydantic import TypeAdapter

from jobs.api import answers, drafts, errors, events, jobs, pulls, workers

api = NinjaAPI(
    title="Offload",
    version="1",
    description="Jobs, workers, pull requests and the outbox: the objects of the command line's `--json`.",
    urls_namespace="api",
    docs_url=None,
    openapi_url=None,
)
errors.install(api)
api.add_router("/jobs", jobs.router)
api.add_router("/workers", workers.router)
api.add_router("/pulls", pulls.router)
api.add_router("/outbox", drafts.router)
api.add_router("/events", events.router)


@api.get("/openapi.json", auth=None, include_in_schema=False)
async def get_openapi(request: HttpRequest) -> HttpResponse:
    """Return the OpenAPI document. It holds nothing secret, and needs no token."""
    return Response(_document())


@cache
def _document() -> dict[str, Any]:
    """Return the document of Ninja with the answers to requests that failed, which every operation shares.

    Documented by Ninja they would be a model for each operation and status, which cost each start 0.2 s.
    """
    document = dict(api.get_openapi_schema())
    failed = TypeAdapter(answers.ErrorAnswer).json_schema(ref_template="#/components/schemas/{model}")
    document["components"]["schemas"] |= {**failed.pop("$defs"), "ErrorAnswer": failed}
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorAnswer"}}}
    for operations in document["paths"].values():
        for operation in operations.values():
            for status, described in (("4XX", "Refused or not possible"), ("5XX", "Failed")):
                operation["responses"][status] = {"description": described, "content": content}
    return document


async def _not_found(request: HttpRequest) -> HttpResponse:
    return errors.answer(errors.missing(request))


def _finish(view: Callable[..., Any]) -> Callable[..., Any]:
    """Return a view that checks access itself, and names a wrong method as it names every error."""

    async def answer(request: HttpRequest, **values: Any) -> HttpResponse:
        response: HttpResponse = await view(request, **values)
        if response.status_code != 405:
            return response
        told = errors.WrongMethod(
            f"{request.path_info} does not take {request.method}.", hint=f"It takes {response['Allow']}."
        )
        return errors.answer(told, {"Allow": response["Allow"]})

    answer.csrf_exempt = True  # type: ignore[attr-defined]  # `access.Login` checks it
    return login_not_required(answer)


def _patterns() -> Iterator[URLPattern]:
    for pattern in api.urls[0]:
        if isinstance(pattern, URLPattern):  # there are no others
            pattern.callback = _finish(pattern.callback if pattern.name != "api-root" else _not_found)
            yield pattern
    yield re_path("", _finish(_not_found))


app_name = "api"
urlpatterns = list(_patterns())
