"""The one writer of state columns."""

import os
import socket
import subprocess
import sys
from datetime import timedelta

from django.test import TestCase
from django.utils import timezone

from jobs import transitions
from jobs.models import Job, JobEvent, Repository, Worker
from jobs.states import (
    JOB_ENDED,
    JOB_MOVES,
    REASON_TEXT,
    Attention,
    JobState,
    Reason,
    Verdict,
    WorkerState,
    job_sources,
)


def make_job(number: int = 1, state: JobState = JobState.QUEUED, **columns: object) -> Job:
    worker, _ = Worker.objects.get_or_create(name="w", defaults={"provider": "memory", "root": "/w"})
    repository, _ = Repository.objects.get_or_create(
        slug="o/r", defaults={"short": "r", "url": "https://example.org/o/r"}
    )
    return Job.objects.create(
        repository=repository,
        worker=worker,
        session=f"offload-r-{number}-review",
        number=number,
        ref=f"refs/pull/{number}/head",
        target=f"#{number}",
        action="review",
        state=state.value,
        **columns,
    )


class MoveJob(TestCase):
    def test_every_legal_move_is_made_and_every_other_is_dropped(self) -> None:
        number = 0
        for source in JobState:
            for target in JobState:
                number += 1
                job = make_job(number, source)
                moved = transitions.move_job(job.id, target, reason=Reason.STARTED)
                job.refresh_from_db()
                legal = target in JOB_MOVES[source]
                self.assertEqual(moved, legal, f"{source} -> {target}")
                self.assertEqual(job.state, target if legal else source)
                self.assertEqual(job.events.count(), int(legal), "an event for each move, and only for it")

    def test_the_event_says_what_the_row_says(self) -> None:
        job = make_job(state=JobState.RUNNING)
        transitions.move_job(
            job.id, JobState.SUCCEEDED, reason=Reason.FINISHED, verdict=Verdict.FAIL, actor="mira"
        )
        event = JobEvent.objects.get(job=job)
        self.assertEqual(event.actor, "mira")
        self.assertEqual(
            event.data, {"state": "succeeded", "reason": "finished", "detail": "", "verdict": "fail"}
        )

    def test_sources_narrow_the_move(self) -> None:
        job = make_job(state=JobState.INTERRUPTED)
        narrowed = frozenset({JobState.PREPARING})
        self.assertFalse(transitions.move_job(job.id, JobState.RUNNING, sources=narrowed))

    def test_an_end_has_a_time_and_a_new_start_takes_it_back(self) -> None:
        job = make_job(state=JobState.RUNNING)
        transitions.move_job(job.id, JobState.INTERRUPTED)
        job.refresh_from_db()
        self.assertIsNotNone(job.finished_at)
        transitions.move_job(job.id, JobState.RUNNING)
        job.refresh_from_db()
        self.assertIsNone(job.finished_at)

    def test_a_failed_job_needs_attention_and_a_bad_verdict_does_not(self) -> None:
        failed, judged = make_job(1, JobState.RUNNING), make_job(2, JobState.RUNNING)
        transitions.move_job(failed.id, JobState.FAILED)
        transitions.move_job(judged.id, JobState.SUCCEEDED, verdict=Verdict.FAIL)
        failed.refresh_from_db()
        judged.refresh_from_db()
        self.assertEqual((failed.attention, judged.attention), (Attention.ERROR, Attention.NONE))

    def test_attention_changes_once(self) -> None:
        job = make_job(state=JobState.RUNNING)
        self.assertTrue(transitions.set_attention(job.id, Attention.INPUT))
        self.assertFalse(transitions.set_attention(job.id, Attention.INPUT))
        self.assertEqual(JobEvent.objects.filter(job=job, kind="attention").count(), 1)

    def test_every_reason_has_a_sentence_and_final_states_are_ends(self) -> None:
        self.assertEqual(set(REASON_TEXT), set(Reason))
        self.assertTrue(all(job_sources(state) for state in JOB_ENDED))


class MoveWorker(TestCase):
    def test_a_stale_move_is_dropped(self) -> None:
        worker = Worker.objects.create(name="w", provider="memory", root="/w")
        self.assertTrue(transitions.move_worker(worker.id, WorkerState.READY, detail="seen"))
        self.assertFalse(transitions.move_worker(worker.id, WorkerState.CREATING))
        worker.refresh_from_db()
        self.assertEqual((worker.state, worker.state_detail), ("ready", "seen"))


class Lease(TestCase):
    ours = f"{socket.gethostname()}:{os.getpid()}:a"

    def test_one_owner_at_a_time(self) -> None:
        job = make_job()
        other = "elsewhere:1:b"
        self.assertTrue(transitions.claim_job(job.id, other, 30))
        self.assertFalse(transitions.claim_job(job.id, self.ours, 30))
        self.assertTrue(transitions.claim_job(job.id, other, 30), "renewal")
        transitions.release_job(job.id, other)
        self.assertTrue(transitions.claim_job(job.id, self.ours, 30))

    def test_a_lease_runs_out(self) -> None:
        job = make_job(lease_owner="elsewhere:1:b", lease_until=timezone.now() - timedelta(seconds=1))
        self.assertTrue(transitions.claim_job(job.id, self.ours, 30))

    def test_a_dead_holder_on_this_machine_holds_nothing(self) -> None:
        child = subprocess.Popen([sys.executable, "-c", ""])
        child.wait()
        later = timezone.now() + timedelta(seconds=60)
        job = make_job(lease_owner=f"{socket.gethostname()}:{child.pid}:x", lease_until=later)
        self.assertTrue(transitions.claim_job(job.id, self.ours, 30))

    def test_releasing_what_another_holds_changes_nothing(self) -> None:
        job = make_job(lease_owner="elsewhere:1:b", lease_until=timezone.now() + timedelta(seconds=60))
        transitions.release_job(job.id, self.ours)
        job.refresh_from_db()
        self.assertEqual(job.lease_owner, "elsewhere:1:b")
