"""What is configured and by which layer, and the checks of `offload doctor`."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_GET, require_POST

from jobs import invocation, operations
from jobs.dashboard.pages import render_page
from jobs.dashboard.present import CHECK_RESULTS, Mark, mark_of
from jobs.providers.base import Problem, Severity


def _context() -> dict[str, object]:
    return {
        "home": settings.OFFLOAD.home,
        "file": settings.OFFLOAD.config_file,
        "settings": operations.list_settings(),
        "command": invocation.command("doctor"),
    }


def present_check(problem: Problem) -> tuple[Mark, str, str, str, str]:
    """Return a check's mark, subject and detail, and, unless it passed, what to do and what to type."""
    open_ = problem.severity is not Severity.PASS
    remedy = invocation.render_commands(problem.remedy) if open_ else ""
    detail = invocation.render_commands(problem.detail)
    typed = problem.command if open_ else ""
    return mark_of(CHECK_RESULTS, problem.severity), problem.subject, detail, remedy, typed


@require_GET
async def settings_page(request: HttpRequest) -> HttpResponse:
    """Show the settings; a button runs the checks."""
    return await render_page(request, "settings/settings.html", _context())


@require_POST
async def run_checks(request: HttpRequest) -> HttpResponse:
    """Check Offload's home, database and workers; a worker that does not answer takes 20 seconds."""
    checks = [present_check(problem) for problem in await operations.check_everything()]
    template = "settings/_checks.html" if request.headers.get("HX-Request") else "settings/settings.html"
    return await render_page(request, template, {**_context(), "checks": checks})
