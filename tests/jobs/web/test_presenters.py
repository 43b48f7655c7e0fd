"""Words, order, Markdown, diffs."""

import re
import time
from datetime import timedelta

from django.test import TestCase
from django.utils import timezone

from jobs import serializers
from jobs.dashboard.changes.presenters import Note, parse_diff
from jobs.dashboard.inbox.presenters import GROUPS, NO_JOB, ROWS_PER_GROUP, SNOOZED, WAITING, Filters, Inbox
from jobs.dashboard.job.markdown import render_markdown
from jobs.dashboard.job.presenters import JobView
from jobs.models import Draft, Job, JobEvent, PullRequest
from jobs.operations import InboxRow, dismiss_rows, newest_event, restore_rows
from jobs.states import Attention, JobState, TaskState, Verdict
from jobs.transitions import set_attention
from tests.support.factories import make_job, make_repository, make_task


def test_markdown_runs_nothing_and_loads_nothing() -> None:
    html = render_markdown(
        "<script>x</script> <img src=x onerror=y>\n\n[a](javascript:alert(1)) [b](https://x.example)\n\n"
        "![pixel](https://spy.example/p.gif)\n\n| a |\n|---|\n| b |"
    )
    assert "<script" not in html
    assert "<img" not in html
    assert "spy.example" not in html
    assert 'href="javascript' not in html
    assert '<a href="https://x.example" rel="nofollow noopener noreferrer">' in html
    assert "<td>b</td>" in html


DIFF = b"""diff --git a/old.py b/new.py
similarity index 90%
rename from old.py
rename to new.py
--- a/old.py
+++ b/new.py
@@ -1,2 +1,2 @@ def f():
 same
-<gone>
+<here>
diff --git a/logo.png b/logo.png
new file mode 100644
index 0000000..1111111
Binary files /dev/null and b/logo.png differ
"""


def test_a_diff_becomes_rows() -> None:
    diff = parse_diff(DIFF)
    renamed, binary = diff.files
    assert (renamed.was, renamed.path, renamed.status) == ("old.py", "new.py", "renamed")
    rows = re.findall(r'<tr class="(add|del|same)"><td class="no" data-no="(.*?)"></td>.*?data-no="(.*?)".*?'
                      r"</span>(.*?)</code>", renamed.rows)  # fmt: skip
    assert rows == [
        ("same", "1", "1", "same"), ("del", "2", "", "&lt;gone&gt;"), ("add", "", "2", "&lt;here&gt;"),
    ]  # fmt: skip
    assert binary.binary
    assert (diff.added, diff.removed, diff.total) == (1, 1, 2)


def test_findings_are_at_their_lines_of_the_diff() -> None:
    notes = [
        Note(0, "new.py", 2, "error", "bad", "<i>wrong</i>"),
        Note(1, "new.py", 77, "note", "quiet", "elsewhere"),
        Note(2, "gone.py", 1, "note", "quiet", "no such file"),
    ]  # fmt: skip
    file = parse_diff(DIFF, notes=notes).files[0]
    line, finding = file.rows.index("&lt;here&gt;"), file.rows.index('id="finding-0"')
    assert line < finding
    assert "&lt;i&gt;wrong&lt;/i&gt;" in file.rows[finding:]
    assert [note.number for note in file.notes] == [1]
    many = b"".join(
        b"diff --git a/%d b/%d\n--- a/%d\n+++ b/%d\n@@ -1 +1 @@\n+x\n" % ((n,) * 4) for n in range(150)
    )
    assert parse_diff(many, shown=Note(0, "149", 1, "note", "quiet", "")).number == 2


def test_a_text_that_is_no_diff_is_shown_as_it_is() -> None:
    diff = parse_diff(b"fatal: <bad>\n")
    assert diff.raw == "fatal: <bad>"
    assert diff.note
    assert parse_diff(b"").total == 0


def test_every_line_of_a_large_diff_is_on_one_page_of_bounded_size() -> None:
    header = b"diff --git a/f b/f\nnew file mode 100644\n--- /dev/null\n+++ b/f\n@@ -0,0 +1,20000 @@\n"
    data = header + b"".join(b"+line %d <b>\n" % number for number in range(20_000))
    data += DIFF + header + b"+" + b"<" * 5_000_000 + b"\n"
    started = time.process_time()
    first = parse_diff(data)
    pages = [first, *(parse_diff(data, number) for number in range(2, first.pages + 1))]
    seconds = time.process_time() - started
    shown = "".join(file.rows for page in pages for file in page.files)
    assert all(f"line {number} &lt;b&gt;" in shown for number in (0, 2_999, 3_000, 19_999))
    assert shown.count("<tr ") == 20_000 + 1 + 4 + 2
    assert max(len("".join(file.rows for file in page.files)) for page in pages) < 1_000_000
    assert [entry.anchor for entry in first.entries] == ["#f1", "?page=7#f2", "?page=7#f3", "?page=7#f4"]
    assert first.files[0].goes_on
    assert pages[1].files[0].starts_inside
    assert parse_diff(data, 99).number == first.pages
    assert seconds / len(pages) < 1


class InboxTests(TestCase):
    def groups(self, **query: str) -> dict[str, list[int]]:
        inbox = Inbox.load(Filters.from_query(query))
        groups = {group.key: [row.job.id for row in group.rows if row.views] for group in inbox.groups}
        return {key: ids for key, ids in groups.items() if ids}

    def test_every_job_is_in_one_group_and_what_needs_a_person_comes_first(self) -> None:
        lost = make_job(state=JobState.INTERRUPTED)
        failed = make_job(state=JobState.FAILED)
        asks = make_job(state=JobState.RUNNING, attention="input")
        untrusted = make_job(state=JobState.QUEUED, attention="approval")
        waits = make_job(state=JobState.QUEUED, attention="error")
        busy = make_job(state=JobState.RUNNING)
        bad = make_job(verdict=Verdict.NEEDS_WORK)
        good = make_job(verdict=Verdict.PASS)
        opened = make_job(action="open")
        cancelled = make_job(state=JobState.CANCELLED)
        gone = make_job(verdict=Verdict.FAIL, removed_at=good.created_at)
        groups = self.groups()
        assert list(groups) == ["needs-you", "ready", "running", "queued", "done"]
        assert {key: set(ids) for key, ids in groups.items()} == {
            "needs-you": {lost.id, failed.id, asks.id, untrusted.id},
            "ready": {bad.id, good.id},
            "running": {busy.id, opened.id},
            "queued": {waits.id},
            "done": {cancelled.id, gone.id},
        }
        for state in JobState:
            for attention in ("", "input", "error"):
                for verdict, action in (("", "review"), ("pass", "review"), ("", "open")):
                    make_job(state=state, attention=attention, verdict=verdict, action=action)
        inbox = Inbox.load(Filters())
        assert inbox.total == Job.objects.count()  # each has a target of its own
        # The command line applies the same rule to one job at a time.
        of_jobs = {key: GROUPS[key] for key in GROUPS if key not in (WAITING, NO_JOB, SNOOZED)}
        assert {key: heading for key, (heading, _) in of_jobs.items()} == serializers.GROUPS
        rest = set(Job.objects.all())
        for key, (_, match) in of_jobs.items():
            found = {job for job in rest if serializers.group_of(job) == key}
            assert found == rest & set(Job.objects.filter(match)), key
            rest -= found
        assert rest == set()
        assert inbox.title == f"({inbox.counts['needs-you']}) Jobs · Offload"

    def test_the_jobs_of_a_pull_request_are_one_row(self) -> None:
        old = make_job(number=7, verdict=Verdict.PASS, removed_at=timezone.now())
        review = make_job(number=7, verdict=Verdict.FAIL, title="Subject")
        ready = make_job(number=7, action="ready", state=JobState.RUNNING)
        other = make_job(number=7, repository=make_repository("acme/other"), verdict=Verdict.PASS)
        assert self.groups() == {"ready": [other.id, review.id]}
        pull = PullRequest.objects.create(
            repository=review.repository, number=7, title="Stack", author="ada",
            head_sha="a", details_sha="a",
            checks=[{"name": name, "outcome": name} for name in ("success", "failure", "neutral")],
        )  # fmt: skip
        with self.assertNumQueries(9):
            rows = Inbox.load(Filters()).groups[0].rows
        assert [view.job.id for view in rows[1].views] == [review.id, ready.id]
        assert (rows[1].title, rows[0].title) == ("Stack", "")
        assert rows[1].checks is not None
        assert rows[1].checks.word == "1 of 3 checks failed: failure"
        assert rows[0].checks is None
        PullRequest.objects.filter(id=pull.id).update(head_sha="b")
        assert Inbox.load(Filters(text="ADA")).groups[0].rows[0].checks is None
        PullRequest.objects.create(repository=review.repository, number=8, title="New", author="bob")
        PullRequest.objects.create(repository=review.repository, number=9, title="Closed", state="closed")
        groups = {group.key: group for group in Inbox.load(Filters()).groups}
        assert [row.place.target for row in groups["no-job"].rows] == ["#8"]
        assert [Inbox.load(Filters(text=text)).total for text in ("bob new", "#8", "9", "acme")] == [
            1,
            1,
            0,
            3,
        ]
        assert Inbox.load(Filters(repository="acme/other")).counts["no-job"] == 0
        # A verdict on a pull request that was merged needs no one; a job that failed does.
        PullRequest.objects.filter(id=pull.id).update(state="merged")
        assert self.groups(q="stack") == {"done": [review.id]}
        PullRequest.objects.filter(id=pull.id).update(state="open")
        # A verdict that a newer job of the same action replaced is not found.
        assert self.groups(verdict="pass") == {"ready": [other.id]}
        set_attention(ready.id, Attention.INPUT)
        assert self.groups(q="stack") == {"needs-you": [ready.id]}
        assert Inbox.load(Filters()).groups[0].rows[0].mark.word == "input"
        assert old.target == ready.target

    def test_a_posted_review_waits_for_others_until_there_is_news(self) -> None:
        job = make_job(verdict=Verdict.FAIL, number=7)
        pull = PullRequest.objects.create(repository=job.repository, number=7, head_sha=job.sha)
        draft = Draft.objects.create(
            repository=job.repository, job=job, number=7, kind="review", head_sha=job.sha, mark="m"
        )
        assert self.groups() == {"ready": [job.id]}
        Draft.objects.filter(id=draft.id).update(state="sent", sent_at=timezone.now())
        assert self.groups() == {"waiting": [job.id]}
        # A new head, and a newer verdict, are to be acted on.
        PullRequest.objects.filter(id=pull.id).update(head_sha="b" * 40)
        assert self.groups() == {"ready": [job.id]}
        PullRequest.objects.filter(id=pull.id).update(head_sha=job.sha, state="closed")
        assert self.groups() == {"done": [job.id]}
        PullRequest.objects.filter(id=pull.id).update(state="open")
        Job.objects.filter(id=job.id).update(finished_at=timezone.now())
        assert self.groups() == {"ready": [job.id]}

    def test_what_a_user_dismissed_comes_back_with_news(self) -> None:
        job = make_job(verdict=Verdict.FAIL, number=7)
        other = make_job(verdict=Verdict.PASS, number=8)
        pull = PullRequest.objects.create(repository=job.repository, number=9)
        rows = [InboxRow(job.repository_id, f"#{number}") for number in (7, 9, 404)]
        seen = Inbox.load(Filters()).seen
        assert dismiss_rows(rows, seen, "ada") == 2  # there is no #404
        inbox = Inbox.load(Filters())
        assert (inbox.counts["ready"], inbox.counts["no-job"], inbox.counts["done"]) == (1, 0, 2)
        assert inbox.title == "Jobs · Offload"
        # What is no news leaves it there; an attention, a state, a new job and a new head bring it back.
        JobEvent.objects.create(job=job, kind="note")
        JobEvent.objects.create(job=other, kind="state")
        assert Inbox.load(Filters()).counts["done"] == 2
        set_attention(job.id, Attention.INPUT)
        assert self.groups()["needs-you"] == [job.id]
        set_attention(job.id, Attention.NONE)
        # An event that came after the page was read counts as news.
        dismiss_rows(rows[:1], seen, "ada")
        assert Inbox.load(Filters()).counts["ready"] == 2
        now = timezone.now()
        dismiss_rows(rows[:1], newest_event(), "ada", until=now + timedelta(hours=1))
        snoozed = {group.key: group for group in Inbox.load(Filters()).groups}["snoozed"].rows[0]
        assert (snoozed.job.id, snoozed.snoozed_until) == (job.id, now + timedelta(hours=1))
        dismiss_rows(rows[:1], newest_event(), "ada", until=now)
        assert Inbox.load(Filters()).counts["ready"] == 2
        dismiss_rows(rows[:1], newest_event(), "ada")
        assert restore_rows(rows, "ada") == 2
        assert Inbox.load(Filters()).counts == {
            "needs-you": 0, "ready": 2, "running": 0, "queued": 0, "waiting": 0, "no-job": 1, "snoozed": 0,
            "done": 0,
        }  # fmt: skip
        dismiss_rows(rows[1:2], newest_event(), "ada")
        make_job(state=JobState.QUEUED, number=pull.number)
        assert Inbox.load(Filters()).counts["queued"] == 1
        kinds = job.events.filter(actor="ada").values_list("kind", flat=True)
        assert list(kinds) == ["marked_done", "marked_done", "snoozed", "snoozed", "marked_done", "restored"]

    def test_no_number_of_jobs_hides_one_that_needs_a_person(self) -> None:
        first = make_job(state=JobState.FAILED)
        for _ in range(ROWS_PER_GROUP["needs-you"]):
            make_job(state=JobState.FAILED)
        inbox = Inbox.load(Filters())
        assert inbox.counts["needs-you"] == ROWS_PER_GROUP["needs-you"] + 1
        assert inbox.groups[0].more == "?group=needs-you"
        assert first.id in self.groups(group="needs-you")["needs-you"]

    def test_filters_and_pages_are_in_the_address(self) -> None:
        job = make_job(verdict=Verdict.PASS, title="Stack discounts", number=7)
        make_job(verdict=Verdict.FAIL, title="Other")
        assert self.groups(q="DISCOUNTS stack") == {"ready": [job.id]}
        assert self.groups(q="tinycart #7") == {"ready": [job.id]}
        assert self.groups(verdict="pass", repository="acme/tinycart", worker="local") == {"ready": [job.id]}
        assert self.groups(q="100%") == self.groups(worker="nowhere") == {}
        filters = Filters.from_query({"q": "a b&c", "page": "3", "group": "done"})
        assert filters.query() == "?q=a+b%26c&group=done&page=3"
        for odd in ({"page": "-1"}, {"page": "x"}, {"page": "9" * 30}, {"group": "nope"}):
            assert Filters.from_query(odd).query() == ""

    def test_every_state_has_an_icon_and_a_word(self) -> None:
        for state in JobState:
            mark = JobView.of(make_job(state=state)).state
            assert mark.icon != "dot", state
            assert mark.word
        for task in TaskState:
            view = JobView.of(make_job(tasks=[make_task("test", task)]))
            assert view.tasks[0].mark.word

    def test_words_fit_the_job(self) -> None:
        opened = JobView.of(make_job(action="open"))
        assert opened.sentence == "The worktree is ready."
        waits = JobView.of(make_job(state=JobState.QUEUED, attention="error"))
        assert waits.attention == "waits for a problem to be solved"
        again = make_job(state=JobState.RUNNING)
        again.finished_at = again.created_at
        assert JobView.of(again).duration == ""

    def test_a_task_names_what_it_waits_for_once_and_links_to_logs_that_exist(self) -> None:
        tasks = [
            make_task("build"),
            make_task("build-base", name="Build"),
            make_task("test", TaskState.PENDING, needs=["build", "build", "build-base"]),
            make_task("lint", TaskState.SKIPPED),
            make_task("types", TaskState.CANCELLED),
        ]
        finding = {"severity": "note", "task": "lint", "message": "m"}
        view = JobView.of(
            make_job(tasks=tasks, findings=[finding | {"opinion": True}, finding | {"task": "build"}])
        )
        assert view.tasks[2].needs == ["Build"]
        assert [task.has_log for task in view.tasks] == [True, True, False, False, False]
        assert [(found.task, found.opinion) for found in view.findings] == [("", True), ("build", False)]
