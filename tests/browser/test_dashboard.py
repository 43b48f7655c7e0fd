"""The dashboard in a real Chromium, against a real `serve`."""

import http.server
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.support.dashboard import Dashboard, dashboard, until

pytestmark = pytest.mark.browser

SEED = """
from datetime import timedelta
from django.utils import timezone
from tests.support.factories import make_job, make_task, make_repository
make_repository("demo", url="/nowhere/demo.git")
began = timezone.now().replace(microsecond=0) - timedelta(minutes=4)
ended = [make_task("build", seconds=30, started_at=began.isoformat()),
         make_task("test", "failed", tail="1 failed", seconds=60, needs=["build"],
                   started_at=(began + timedelta(seconds=30)).isoformat())]
make_job(verdict="fail", number=123, title="Stack discounts " + "and more " * 12,
         tasks=ended, observed_at=None,
         archived_at=timezone.now(), assessment="# Review", moved_to="9" * 40,
         findings=[{"severity": "error", "task": "test", "message": "x" * 120, "file": "a" * 60 + ".py",
                    "line": 1}])
make_job(verdict="pass", number=124, title="Tidy", archived_at=timezone.now())
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    with dashboard(tmp_path_factory.mktemp("dashboard") / "home") as running:
        running.python(SEED)
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def page(served: Dashboard, browser: Browser) -> Iterator[Page]:
    """A page that is logged in, and that ends the test when the browser complains."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    tab = context.new_page()
    complaints: list[str] = []
    # A refused form answers 422, which Chromium reports as a failed load; one test cuts the network itself.
    meant = ("422", "ERR_INTERNET_DISCONNECTED")
    tab.on(
        "console",
        lambda m: (
            complaints.append(m.text)
            if m.type == "error" and not any(word in m.text for word in meant)
            else None
        ),
    )
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.goto(served.link())
    yield tab
    context.close()
    assert complaints == []


def test_the_link_logs_in_once_and_leaves_the_address(served: Dashboard, browser: Browser) -> None:
    link = served.link()
    context = browser.new_context()
    tab = context.new_page()
    tab.goto(link)
    assert served.serving is not None
    assert tab.url == f"{served.serving.url}/"
    assert context.cookies()[0]["sameSite"] == "Strict"
    context.close()
    other = browser.new_context()
    tab = other.new_page()
    tab.goto(link)
    expect(tab.get_by_role("alert")).to_contain_text("used already")
    other.close()


def test_a_link_on_another_site_logs_in_too(served: Dashboard, browser: Browser) -> None:
    link = served.link()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(f'<a id="go" href="{link}">log in</a>'.encode())

        def log_message(self, *args: object) -> None:
            pass

    # `localhost` is another site than 127.0.0.1.
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        context = browser.new_context()
        try:
            tab = context.new_page()
            tab.goto(f"http://localhost:{server.server_address[1]}/")
            tab.click("#go")
            expect(tab.get_by_role("heading", name="Ready to act")).to_be_visible()
            assert "token" not in tab.url
        finally:
            context.close()
            server.shutdown()
            thread.join()


def test_a_row_changes_without_a_reload(served: Dashboard, page: Page) -> None:
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    page.evaluate("window.same = true")
    expect(page.locator("#row-2-pull-124")).to_contain_text("pass")
    served.python(
        "from jobs.transitions import set_attention\nfrom jobs.states import Attention\n"
        "set_attention(2, Attention.INPUT)"
    )
    expect(page.locator("#row-2-pull-124")).to_contain_text("Waits for your input")
    served.python(
        "from jobs.transitions import set_attention\nfrom jobs.states import Attention\n"
        "set_attention(2, Attention.NONE)"
    )
    expect(page.locator("#row-2-pull-124")).not_to_contain_text("Waits for your input")
    assert page.evaluate("window.same")


def test_the_inbox_is_worked_through_by_keyboard(served: Dashboard, page: Page) -> None:
    job = served.python(
        "from tests.support.factories import make_job\n"
        "make_job(verdict='fail', number=201, title='By hand')\n"
        "print(make_job(verdict='pass', number=202, title='By hand too', proof=True).id)"
    ).strip()
    assert served.serving is not None
    page.goto(f"{served.serving.url}/?q=hand")
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    ready = page.locator("section", has=page.get_by_role("heading", name="Ready to act"))
    done = page.locator("section", has=page.get_by_role("heading", name="Done"))
    rows = ready.locator(".row")
    expect(rows).to_have_count(2)
    page.keyboard.press("j")
    expect(rows.nth(0).locator(".row-link")).to_be_focused()
    for key in "xjx":
        page.keyboard.press(key)
    expect(rows.nth(1).locator(".row-link")).to_be_focused()
    expect(page.locator("#bulk-count")).to_have_text("2 selected")
    # A live update keeps the selection and the focus.
    served.python(
        "from jobs.models import Job\nfrom jobs.execution.heads import _set_moved\n"
        f"_set_moved(Job.objects.get(id={job}), '8' * 40)"
    )
    expect(page.locator("#row-2-pull-202")).to_contain_text("stale")
    expect(page.locator(".row-check :checked")).to_have_count(2)
    expect(rows.nth(1).locator(".row-link")).to_be_focused()
    page.keyboard.press("e")
    expect(done.locator(".row")).to_have_count(2)
    expect(ready).to_have_count(0)
    expect(page.locator("#undo")).to_contain_text("2 rows done.")
    page.locator("#undo-button").click()
    expect(rows).to_have_count(2)
    # One row, without a selection; what happens to its job brings it back.
    page.locator("#row-2-pull-202 .row-link").focus()
    page.keyboard.press("s")
    snoozed = page.locator("section", has=page.get_by_role("heading", name="Snoozed"))
    expect(snoozed.locator("#row-2-pull-202")).to_contain_text("until")
    expect(rows.first.locator(".row-link")).to_be_focused()
    served.python(
        "from jobs.transitions import set_attention\nfrom jobs.states import Attention\n"
        f"set_attention({job}, Attention.INPUT); set_attention({job}, Attention.NONE)"
    )
    expect(rows).to_have_count(2)
    # Keys are text in the search, and can be turned off.
    page.keyboard.press("/")
    page.keyboard.press("End")
    page.keyboard.type(" too")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"\?q=hand\+too"))
    expect(page.locator("#keys-open")).to_be_visible()
    expect(page.locator(".row")).to_have_count(1)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()
    page.get_by_label("Use single keys").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    expect(page.locator(".row-link:focus")).to_have_count(0)
    page.keyboard.press("?")
    page.get_by_label("Use single keys").check()
    page.get_by_role("button", name="Close").click()
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("#202")


def test_the_palette_and_go_to_keys_reach_every_page(served: Dashboard, page: Page) -> None:
    assert served.serving is not None
    page.goto(f"{served.serving.url}/jobs/1/")
    page.locator("#log-build").focus()
    page.keyboard.press("Control+k")
    palette = page.get_by_role("dialog", name="Commands")
    expect(palette.get_by_role("combobox")).to_be_focused()
    page.keyboard.type("NEW head")
    chosen = palette.locator("[aria-selected=true]")
    expect(chosen).to_have_text("Run on the new head")
    page.keyboard.press("ArrowDown")
    expect(chosen).to_have_text("Search all jobs for “NEW head”")
    page.keyboard.press("Escape")
    expect(page.locator("#log-build")).to_be_focused()
    for keys, path in (("gw", "/wall/"), ("gm", "/workers/"), ("gj", "/"), ("gn", "/#new-job")):
        expect(page.locator("#live")).to_have_attribute("data-state", "live")  # its scripts run
        for key in keys:
            page.keyboard.press(key)
        expect(page).to_have_url(served.serving.url + path)
    expect(page.get_by_label("Target")).to_be_focused()
    page.keyboard.press("Control+k")
    page.keyboard.type("<i>Tidy")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"\?q=%3Ci%3ETidy$"))
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard")).to_contain_text("go to the jobs")


def test_a_live_update_keeps_focus_selection_and_open_menus(served: Dashboard, page: Page) -> None:
    page.goto(f"{served.serving.url if served.serving else ''}/jobs/1/")
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    page.locator("#log-build").focus()
    page.evaluate("""() => {
        document.getElementById("log-build").mine = true;
        getSelection().selectAllChildren(document.querySelector(".commands code"));
        document.querySelector(".tail pre").scrollTop = 0;
    }""")
    chosen = page.evaluate("getSelection().toString()")
    served.python(
        "from jobs.transitions import set_attention\nfrom jobs.states import Attention\n"
        "set_attention(1, Attention.INPUT)"
    )
    expect(page.locator(".summary")).to_contain_text("waits for your input")
    assert page.evaluate("document.activeElement.mine")
    assert page.evaluate("getSelection().toString()") == chosen
    served.python(
        "from jobs.transitions import set_attention\nfrom jobs.states import Attention\n"
        "set_attention(1, Attention.NONE)"
    )
    expect(page.locator(".summary")).not_to_contain_text("waits for your input")


def test_a_lost_line_is_shown_and_comes_back(page: Page) -> None:
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    page.context.set_offline(True)
    page.evaluate("dispatchEvent(new Event('online'))")
    expect(page.locator("#live")).to_have_attribute("data-state", "reconnecting")
    expect(page.locator("#live")).to_contain_text("reconnecting")
    page.context.set_offline(False)
    expect(page.locator("#live")).to_have_attribute("data-state", "live", timeout=20_000)


def test_launching_by_keyboard(page: Page) -> None:
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.locator(".launch summary").focus()
    page.keyboard.press("Enter")
    page.get_by_label("Target").fill("rm")
    page.locator("#id_repository").fill("demo")
    page.keyboard.press("Enter")
    expect(page.locator(".field-target .error")).to_contain_text("is not a target")
    page.get_by_label("Target").fill("77")
    page.get_by_label("Prompt").fill("it's the tax")
    # The names are replaced by the answer; the form was swapped when it was refused.
    workers = page.locator("#id_worker option")
    expect(workers.nth(1)).to_have_attribute("label", re.compile(r"^local: ready, \d+ of \d+ slots free"))
    page.get_by_label("Secrets").fill("SHOP-1, SHOP-1")
    typed = page.locator("#launch-typed code")
    words = r"""offload 77 review --repo demo --prompt 'it'"'"'s the tax' --secret SHOP-1$"""
    expect(typed).to_have_text(re.compile(words))
    page.get_by_label("Target").press("Enter")
    expect(page.locator(".field-secrets .error")).to_contain_text("SHOP-1")
    page.get_by_label("Secrets").fill("")
    page.get_by_label("Target").press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("#77")


def test_the_form_offers_the_open_pull_requests_that_are_known(served: Dashboard, page: Page) -> None:
    served.python(
        "from jobs.models import PullRequest\nfrom tests.support.factories import make_repository\n"
        "for slug, number, state in (('acme/a', 7, 'open'), ('acme/b', 8, 'open'), ('acme/b', 9, '')):\n"
        "    PullRequest.objects.create(repository=make_repository(slug), number=number, state=state,\n"
        "                               title='<img src=x onerror=pwned=1>', author='ann')"
    )
    assert served.serving is not None
    page.goto(f"{served.serving.url}/#new-job")
    offered = "list => list.map((item) => [item.value, item.label])"
    options = page.locator("#known-targets option")
    page.get_by_label("Target").focus()
    expect(options).to_have_count(2)
    label = "<img src=x onerror=pwned=1>, by ann"
    assert options.evaluate_all(offered) == [["acme/b#8", f"#8 {label}"], ["acme/a#7", f"#7 {label}"]]
    page.locator("#id_repository").fill("acme/a")
    page.get_by_label("Target").focus()
    expect(options).to_have_count(1)
    assert options.evaluate_all(offered) == [["7", f"#7 {label}"]]
    assert not page.evaluate("'pwned' in window")
    served.python("from jobs.models import PullRequest\nPullRequest.objects.all().delete()")


def test_a_plain_form_is_ours(served: Dashboard, page: Page) -> None:
    served.python(
        "from tests.support.factories import make_job\n"
        "make_job(state='queued', attention='approval', number=900)"
    )
    page.get_by_role("link", name="#900").click()
    page.get_by_role("button", name="I trust this repository").click()
    expect(page.locator(".messages")).to_contain_text("is trusted from now on")


def test_the_theme_is_remembered(served: Dashboard, page: Page) -> None:
    page.locator("#theme").click()
    page.locator("#theme").click()
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.evaluate("getComputedStyle(document.body).colorScheme") == "dark"


def test_a_log_of_100_mb_is_shown_in_a_window(served: Dashboard, page: Page) -> None:
    path = Path(served.home) / "archive" / "1" / "tasks" / "test.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(b"\x1b[31mred\x1b[0m\n")
        for _ in range(100):
            file.write(b"0123456789abcdef0123456789abcdef\n" * 32_000)
        file.write(b"FAILED the last line")
    assert served.serving is not None
    page.goto(f"{served.serving.url}/jobs/1/logs/test/")
    # The task failed: its end is shown, with line numbers.
    expect(page.locator("#log")).to_contain_text("the last line")
    expect(page.locator("#L3200002")).to_be_visible()
    page.locator("#log-start").click()
    expect(page.locator("#log .a-fg-red").first).to_have_text("red")
    page.locator("#log").evaluate("(log) => (log.scrollTop = log.scrollHeight)")
    expect(page.locator("#L2000")).to_be_attached()
    assert page.locator("#log .log-line").count() < 6_000
    page.get_by_label("Search the log").fill("the LAST line")
    page.keyboard.press("Enter")
    page.locator("#log-hits a").click()
    expect(page.locator("#L3200002.wanted")).to_be_visible()
    page.reload()
    expect(page.locator("#L3200002.wanted")).to_be_visible()
    page.locator("#log-start").click()
    page.locator("#log-failure").click()
    expect(page.locator("#L3200002.wanted")).to_be_visible()


def test_tasks_are_bars_on_one_axis_and_a_table_to_a_screen_reader(served: Dashboard, page: Page) -> None:
    assert served.serving is not None
    page.goto(f"{served.serving.url}/jobs/1/")
    table = page.get_by_role("table", name="Longest chain: Build → Test, 1 min 30 s of 1 min 30 s.")
    row = table.get_by_role("row", name=re.compile("^failed Test"))
    expect(row.get_by_role("cell").nth(1)).to_have_text("30 s to 1 min 30 s, in the longest chain")
    boxes = [box for bar in table.locator(".bar rect").all() if (box := bar.bounding_box())]
    build, test = boxes
    assert abs(build["x"] + build["width"] - test["x"]) < 1
    assert 1.9 < test["width"] / build["width"] < 2.1


def test_a_command_is_copied(served: Dashboard, page: Page) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    assert served.serving is not None
    page.goto(f"{served.serving.url}/jobs/1/")
    page.get_by_role("button", name=re.compile(r"^Copy: .*offload 123")).first.click()
    expect(page.locator("#announce")).to_have_text("Copied.")
    assert "offload 123 review" in page.evaluate("navigator.clipboard.readText()")


def test_the_browser_notifies_of_the_chosen_kinds_once(served: Dashboard, page: Page) -> None:
    # The browser's own notifications are the only part that is replaced: a test cannot see them.
    page.context.add_init_script(
        """window.Notification = class {
             static permission = sessionStorage.permission ?? "default";
             static async requestPermission() {
               return (this.permission = sessionStorage.permission = "granted");
             }
             constructor(title, options) {
               const told = JSON.parse(localStorage.told ?? "[]");
               localStorage.told = JSON.stringify([...told, [title, options.body, options.tag]]);
             }
           };"""
    )
    told = "() => JSON.parse(localStorage.told ?? '[]')"
    change = (
        "from tests.support.factories import make_job\n"
        "from jobs.states import Attention, JobState, Reason\n"
        "from jobs.transitions import move_job, set_attention\n"
    )
    page.reload()
    page.get_by_label("Notifications").click()
    page.get_by_label("needs me").check()
    expect(page.get_by_label("needs me")).to_be_checked()
    served.python(
        f"{change}job = make_job(state='running', number=501, title='<img src=x onerror=alert(1)>')\n"
        "set_attention(job.id, Attention.INPUT)\n"
        "other = make_job(state='running', number=502)\n"
        "move_job(other.id, JobState.FAILED, reason=Reason.TASK_FAILED)\n"
    )
    until(lambda: page.evaluate(told), "a notification")
    ((title, body, tag),) = page.evaluate(told)
    assert title == "Needs you: #501 review of acme/tinycart"
    assert "input" in body
    assert tag.startswith("offload-")
    # The choice is kept, and what was told is not told again.
    page.reload()
    page.get_by_label("Notifications").click()
    expect(page.get_by_label("needs me")).to_be_checked()
    page.get_by_label("has failed").check()
    served.python(
        f"{change}job = make_job(state='running', number=503)\n"
        "move_job(job.id, JobState.FAILED, reason=Reason.TASK_FAILED)\n"
    )
    until(lambda: len(page.evaluate(told)) > 1, "another notification")
    titles = [title for title, _, _ in page.evaluate(told)]
    assert titles[1:] == ["Failed: #503 review of acme/tinycart"]
    page.keyboard.press("Escape")
    expect(page.get_by_label("has failed")).not_to_be_visible()
    served.python("from jobs.models import Job\nJob.objects.filter(number__in=(501, 502, 503)).delete()")
