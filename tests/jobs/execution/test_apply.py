"""What is seen of a job becomes its row: old sightings say nothing, and the truth comes back."""

from datetime import timedelta
from typing import Any

from asgiref.sync import async_to_sync
from django.test import TestCase
from django.utils import timezone

from jobs.cli.output import state_words
from jobs.dashboard.job.presenters import JobView
from jobs.execution import read_account
from jobs.execution.apply import apply_events, apply_missing, apply_start, apply_status
from jobs.models import Job
from jobs.serializers import account_json, job_json
from jobs.states import JobState
from tests.support.factories import make_job

GONE: dict[str, Any] = {"alive": False, "tmux": False, "pane_dead": False}


def event(seq: int, kind: str, **fields: Any) -> dict[str, Any]:
    return {"seq": seq, "kind": kind, "at": timezone.now().isoformat(), **fields}


class Applying(TestCase):
    def setUp(self) -> None:
        self.job = make_job(state=JobState.PREPARING, finished_at=None)
        apply_events(self.job.id, [event(1, "prepared"), event(2, "started", tasks=[], resumed=False)])

    def state(self) -> str:
        return Job.objects.get(id=self.job.id).state

    def test_the_journal_starts_the_job(self) -> None:
        self.assertEqual(self.state(), JobState.RUNNING)

    def test_events_are_applied_once_and_never_across_a_gap(self) -> None:
        again = [
            event(2, "started", tasks=[]),
            event(3, "note", text="x"),
            event(5, "finished", state="failed"),
        ]
        self.assertEqual(apply_events(self.job.id, again), 1)
        self.assertEqual(self.state(), JobState.RUNNING)

    def test_a_malformed_event_becomes_a_note_and_stops_nothing(self) -> None:
        bad: list[dict[str, Any]] = [
            {"kind": "finished", "state": "nonsense"},
            {"kind": "finished", "state": "succeeded", "findings": ["text"]},
            {"kind": "finished", "state": "succeeded", "verdict": ["pass"]},
            {"kind": "finished", "state": "succeeded", "proof": "yes"},
            {"kind": "finished", "state": "succeeded", "judged_sha": "main"},
            {"kind": "task_finished", "task": "test", "state": "succeeded", "seconds": "long"},
            {"kind": "task_finished", "task": "test", "state": "done"},
            {"kind": "task_finished", "state": "succeeded"},
            {"kind": "started", "tasks": [{"name": "no id"}]},
            {"kind": "started", "tasks": 7},
            {"kind": "attention", "attention": "all of it"},
            {"kind": "note", "text": "x", "at": "yesterday"},
            {"kind": "note", "text": "\ud800"},
            {"kind": ["note"]},
            {"kind": "note", "text": "x", "at": "9999-12-31T23:59:59-23:00"},
            {"kind": "model_limit", "until": "2026-11-28T12:00:00"},
            {"kind": "model_limit", "until": 5},
        ]
        events = [{**event(number, ""), **fields} for number, fields in enumerate(bad, 3)]
        last = event(len(bad) + 3, "task_started", task="test")
        self.assertEqual(apply_events(self.job.id, [*events, last]), len(bad) + 1)
        job = Job.objects.get(id=self.job.id)
        self.assertEqual((job.state, [task["state"] for task in job.tasks]), (JobState.RUNNING, ["running"]))
        notes = [note.data["text"] for note in job.events.filter(kind="note")]
        self.assertEqual(len([text for text in notes if "is malformed" in text]), len(bad), notes)

    def test_a_limit_of_the_model_is_shown_until_the_agent_goes_on(self) -> None:
        limit, call = {"task": "agent", "api": "gemini", "status": 429}, {"task": "agent", "status": 429}
        events = iter(range(3, 99))

        def apply(kind: str, **fields: Any) -> tuple[str | None, str | None, bool]:
            apply_events(self.job.id, [event(next(events), kind, **fields)])
            job = Job.objects.get(id=self.job.id)
            shown = job_json(job)
            is_told = "limit" in state_words(job) and "stopped at a limit" in JobView.of(job).attention
            return shown["attention"], shown["attention_until"], is_told

        soon = "2026-01-31T12:00:07Z"
        self.assertEqual(apply("model_limit", **limit, until=soon), ("limit", soon, True))
        self.assertEqual(apply("model_call", **call), ("limit", soon, True))
        job = Job.objects.get(id=self.job.id)
        self.assertEqual(JobView.of(job).attention, "stopped at a limit until 2026-01-31 12:00 UTC")
        self.assertIn("stopped at a limit until 2026-0", state_words(job))  # in the zone of this machine
        self.assertEqual(apply("model_limit", **limit, until=None), ("limit", None, True))
        self.assertEqual(apply("model_call", **{**call, "status": 200}), (None, None, False))
        apply("model_limit", **limit, until=soon)
        ended = apply("task_finished", task="agent", state="failed", exit_code=1, seconds=2.0)
        self.assertEqual(ended, (None, None, False))
        # What only a person can do stays, and a job without a runner has no limit.
        apply("attention", attention="input")
        self.assertEqual(apply("model_limit", **limit, until=soon), ("input", None, False))
        self.assertEqual(apply("model_call", **{**call, "status": 200}), ("input", None, False))
        apply("attention", attention="")
        apply("model_limit", **limit, until=soon)
        apply_status(self.job.id, {**GONE, "seq": next(events) - 1})
        job = Job.objects.get(id=self.job.id)
        self.assertEqual((job.state, job.attention, job.attention_until), ("interrupted", "error", None))

    def test_what_an_agent_does_is_known_from_the_best_source(self) -> None:
        events = iter(range(4, 99))
        agent = {"id": "agent", "name": "review by claude", "role": "agent"}
        apply_events(self.job.id, [event(3, "started", tasks=[agent], resumed=False)])

        def known(kind: str, **fields: Any) -> tuple[str, str, str, str]:
            apply_events(self.job.id, [event(next(events), kind, task="agent", **fields)])
            account = async_to_sync(read_account)(Job.objects.get(id=self.job.id))
            assert account.agent is not None
            assert not account_json(account, None)["takes_input"]
            return account.agent.value, account.agent.detail, account.agent.source, account.agent.evidence

        self.assertEqual(known("note", text="x")[0], "not_started")
        self.assertEqual(known("task_started")[::2], ("starting", "its process"))
        said = {"state": "tool", "detail": "Read", "since": "2026-01-31T12:00:07Z", "evidence": '{"type": 1}'}
        self.assertEqual(known("agent_state", **said), ("tool", "Read", "its events", '{"type": 1}'))
        limit = {"api": "anthropic", "status": 429, "until": "2126-01-31T12:00:07Z"}
        value, _, source, evidence = known("model_limit", **limit)
        self.assertEqual((value, source), ("limit", "the gateway to its model"))
        self.assertIn('"until": "2126-01-31T12:00:07Z"', evidence)
        self.assertEqual(known("model_call", status=200)[0], "tool", "what it said last counts again")
        # A resumed agent is not what it was before.
        self.assertEqual(known("task_started")[0], "starting")
        failed = {"state": "failed", "exit_code": 1, "seconds": 2.0, "reason": "timeout"}
        self.assertEqual(known("task_finished", **failed)[:3], ("failed", "timeout", "its task"))
        apply_events(self.job.id, [event(next(events), "task_started", task="agent")])
        apply_status(self.job.id, {**GONE, "seq": next(events) - 1})
        self.assertEqual(known("note", text="x")[0], "interrupted", "not idle")

    def test_a_sighting_from_before_the_start_says_nothing(self) -> None:
        apply_status(self.job.id, {**GONE, "seq": 1})
        self.assertEqual(self.state(), JobState.RUNNING)

    def test_a_late_sighting_from_before_a_launch_says_nothing(self) -> None:
        self.job = make_job(session="offload-shop-2-review", state=JobState.PREPARING, finished_at=None)
        apply_events(self.job.id, [event(1, "prepared")])
        apply_start(self.job.id, [event(2, "started", tasks=[], resumed=False)])
        Job.objects.filter(id=self.job.id).update(started_at=timezone.now() - timedelta(minutes=1))
        apply_status(self.job.id, {**GONE, "seq": 1})
        self.assertEqual(self.state(), JobState.RUNNING)
        apply_status(self.job.id, {**GONE, "seq": 2})
        self.assertEqual(self.state(), JobState.INTERRUPTED)

    def test_a_start_does_not_take_back_a_stop(self) -> None:
        job = Job.objects.get(id=self.job.id)
        apply_status(job.id, {**GONE, "seq": 2})
        apply_start(job.id, [event(3, "started", tasks=[], resumed=True)])
        self.assertEqual(self.state(), JobState.INTERRUPTED)

    def test_a_sighting_with_unread_events_says_nothing_yet(self) -> None:
        apply_status(self.job.id, {**GONE, "seq": 3})
        self.assertEqual(self.state(), JobState.RUNNING)

    def test_a_runner_that_is_gone_interrupts(self) -> None:
        apply_status(self.job.id, {**GONE, "seq": 2})
        self.assertEqual(self.state(), JobState.INTERRUPTED)

    def test_a_runner_that_is_back_is_believed(self) -> None:
        apply_status(self.job.id, {**GONE, "seq": 2})
        apply_status(self.job.id, {"alive": True, "tmux": True, "seq": 2})
        self.assertEqual(self.state(), JobState.RUNNING)

    def test_a_job_started_after_the_look_is_not_missing(self) -> None:
        apply_missing(self.job.id, timezone.now() - timedelta(minutes=1))
        self.assertEqual(self.state(), JobState.RUNNING)
        apply_missing(self.job.id, timezone.now() + timedelta(minutes=1))
        self.assertEqual(self.state(), JobState.INTERRUPTED)
