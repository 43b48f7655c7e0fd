"""Words, order, Markdown, diffs."""

from django.test import TestCase

from jobs.dashboard.changes import presenters
from jobs.dashboard.job.presenters import JobView, markdown, sections
from jobs.states import JobState, TaskState, Verdict
from tests.support.factories import make_job, make_task


def test_markdown_runs_nothing_and_loads_nothing() -> None:
    html = markdown(
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
    diff = presenters.parse(DIFF)
    renamed, binary = diff.files
    assert (renamed.was, renamed.path, renamed.status) == ("old.py", "new.py", "renamed")
    assert [(line.kind, line.old, line.new, line.text) for line in renamed.hunks[0].lines] == [
        ("same", "1", "1", "same"), ("del", "2", "", "<gone>"), ("add", "", "2", "<here>"),
    ]  # fmt: skip
    assert binary.binary
    assert (diff.added, diff.removed) == (1, 1)


def test_an_odd_diff_is_shown_as_it_is() -> None:
    diff = presenters.parse(b"--- a/x\n+++ b/x\n@@ -1,9 +1,9 @@\n short\n")
    assert diff.raw.startswith("--- a/x")
    assert diff.note


def test_a_huge_diff_is_cut_and_says_so() -> None:
    one = b"diff --git a/f b/f\n--- a/f\n+++ b/f\n@@ -1 +1,20000 @@\n same\n" + b"+line\n" * 19_999
    diff = presenters.parse(one * 30)
    assert "only its first files" in diff.note
    assert 1 <= len(diff.files) < 30
    assert presenters.parse(b"").files == []


class SectionTests(TestCase):
    def test_what_needs_you_comes_first(self) -> None:
        bad = make_job(verdict=Verdict.NEEDS_WORK)
        lost = make_job(state=JobState.INTERRUPTED)
        asks = make_job(state=JobState.RUNNING, attention="input")
        busy = make_job(state=JobState.RUNNING)
        good = make_job(verdict=Verdict.PASS)
        gone = make_job(verdict=Verdict.FAIL, removed_at=good.created_at)
        found = sections([bad, lost, asks, busy, good, gone])
        assert {v.job.id for v in found.needs_you} == {bad.id, lost.id, asks.id}
        assert [v.job.id for v in found.active] == [busy.id]
        assert {v.job.id for v in found.ended} == {good.id, gone.id}

    def test_every_state_has_an_icon_and_a_word(self) -> None:
        for state in JobState:
            mark = JobView.of(make_job(state=state)).state
            assert mark.icon != "dot", state
            assert mark.word
        for task in TaskState:
            view = JobView.of(make_job(tasks=[make_task("test", task)]))
            assert view.tasks[0].mark.word
