"""The first-run page: steps, what is known of each, and buttons that test them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_GET, require_POST

from jobs import invocation, operations
from jobs.dashboard.pages import render_page
from jobs.dashboard.present import Mark
from jobs.dashboard.settings.views import present_check
from jobs.operations import FirstStep
from jobs.providers.base import Problem, Severity

ALL = "all"
MOST_TEXT = 1000
# what came of a test, the worst first
_RESULTS: Mapping[Severity, Mark] = {
    Severity.FAIL: Mark("cross", "does not work", "bad"),
    Severity.WARN: Mark("alert", "not set up", "warn"),
    Severity.PASS: Mark("check", "works", "good"),
}
_WARNED = Mark("alert", "works, with a warning", "warn")


@dataclass(frozen=True)
class StepView:
    """A step as the page shows it. `found`: what its test found; None: it was not tested since."""

    step: FirstStep
    found: Sequence[Problem] | None = None
    text: str = ""

    @property
    def mark(self) -> Mark:
        """Return the state: of the test, else what is known without one."""
        if self.found:
            severities = {problem.severity for problem in self.found}
            worst = next(severity for severity in _RESULTS if severity in severities)
            return _WARNED if worst is Severity.WARN and self._is_taken else _RESULTS[worst]
        if self.step.done is None:
            return Mark("dot", "not tested", "quiet")
        if self.step.done:
            return Mark("done", "there, not tested", "quiet")
        return Mark("alert", "missing", "warn")

    @property
    def wrong(self) -> list[tuple[Mark, str, str, str, str]]:
        """Return what is not right, with what to do about each."""
        return [present_check(one) for one in self.found or () if one.severity is not Severity.PASS]

    @property
    def passed(self) -> list[tuple[Mark, str, str, str, str]]:
        """Return what is right."""
        return [present_check(one) for one in self.found or () if one.severity is Severity.PASS]

    @property
    def works(self) -> bool:
        """Return whether the test found nothing wrong."""
        return bool(self.found) and not self.wrong

    @property
    def shows_command(self) -> bool:
        """Return whether to show the command that takes the step: it is open, and its test names none."""
        failed = any(problem.severity is Severity.FAIL for problem in self.found or ())
        typed = any(typed for *_, typed in self.wrong)
        return not self.works and not typed and (failed or not self._is_taken)

    @property
    def _is_taken(self) -> bool:
        return self.step.needed and bool(self.step.done)


async def _views(found: Mapping[str, Sequence[Problem]], text: str = "") -> list[StepView]:
    steps = await operations.list_first_steps()
    return [StepView(one, found.get(one.name), text if one.name == "repository" else "") for one in steps]


def _context(views: Sequence[StepView]) -> dict[str, object]:
    missing = [view.step.title.lower() for view in views if view.step.needed and view.step.done is False]
    return {"steps": views, "missing": missing, "command": invocation.command("123 review")}


@require_GET
async def start(request: HttpRequest) -> HttpResponse:
    """Show the steps and what is known of them."""
    return await render_page(request, "start/start.html", _context(await _views({})))


@require_POST
async def check_step(request: HttpRequest, name: str) -> HttpResponse:
    """Test one step, or all at the same time; a test ends within 30 seconds."""
    names = [one.name for one in await operations.list_first_steps()]
    if name not in (ALL, *names):
        raise Http404(f"There is no step {name}.")
    text = request.POST.get("repository", "")[:MOST_TEXT]
    chosen = names if name == ALL else [name]
    results = await asyncio.gather(*(operations.check_first_step(one, text) for one in chosen))
    views = await _views(dict(zip(chosen, results, strict=True)), text)
    if not request.headers.get("HX-Request"):
        return await render_page(request, "start/start.html", _context(views))
    if name == ALL:
        return await render_page(request, "start/_steps.html", _context(views))
    view = next(view for view in views if view.step.name == name)
    return await render_page(request, "start/_result.html", {"view": view, "is_answer": True})
