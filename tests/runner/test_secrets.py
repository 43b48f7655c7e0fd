"""Secrets on the worker: in memory, for one reader, for the tasks that name them, in nothing that is kept."""

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path
from urllib.parse import quote

import pytest

from jobs.remote.offload_runner.commands import secrets
from jobs.remote.offload_runner.engine.redact import MARK, BytesRedactor
from jobs.remote.offload_runner.engine.task_log import TaskLog
from jobs.remote.offload_runner.files.paths import JobPaths
from jobs.remote.offload_runner.protocol import Task
from tests.support.runner_root import SESSION, RunnerRoot, wait_for

VALUE = "s3cr3t/+ü value-that-nobody-else-has"


def deliver(root: RunnerRoot, values: dict[str, str]) -> dict[str, object]:
    spec = {"secrets": values, "for": ["run", "record"]}
    return root.lines("secrets", "--session", SESSION, spec=spec)[-1]


def kept(root: RunnerRoot) -> list[Path]:
    folder = secrets._of_root(JobPaths(root.path, SESSION))
    return [file for place in secrets._places() for file in (place / folder).glob("*")]


def test_secrets_lie_in_memory_for_their_reader_alone(root: RunnerRoot) -> None:
    root.job([])
    answer = deliver(root, {"TOKEN": VALUE})
    assert answer == {
        "type": "kept", "session": SESSION, "names": ["TOKEN"], "in_memory": True
    }  # fmt: skip
    files = kept(root)
    assert sorted(file.name for file in files) == [f"{SESSION}.record", f"{SESSION}.run"]
    for file in files:
        assert file.stat().st_mode & 0o777 == 0o600
        assert file.parent.parent.stat().st_mode & 0o777 == 0o700
        kind = subprocess.run(
            ["stat", "-f", "-c", "%T", str(file)], capture_output=True, text=True, check=True
        )
        assert kind.stdout.strip() == "tmpfs"
    paths = JobPaths(root.path, SESSION)
    assert secrets.take(paths, "run") == {"TOKEN": VALUE}
    assert secrets.take(paths, "run") == {}
    deliver(root, {})
    assert kept(root) == []


def test_no_other_task_runs_beside_one_with_a_secret(root: RunnerRoot) -> None:
    # All run as one user: a task could read the other's environment.
    spy = "grep -l TOKEN= /proc/[0-9]*/environ"
    gateway = {"api": "gemini", "secret": "TOKEN", "env": {}}
    root.job(
        [
            Task("first", "first", shell=spy),
            Task("deploy", "deploy", shell="env", secrets=["TOKEN"]),
            Task("agent", "agent", shell="env", gateway=gateway),
            Task("second", "second", shell=spy),
            Task("last", "last", shell=spy, needs=["deploy"]),
        ],
        parallel=5,
    )
    deliver(root, {"TOKEN": VALUE})
    root.run()
    kinds = ("task_started", "task_finished")
    steps = [(event["task"], event["kind"]) for event in root.events() if event["kind"] in kinds]
    for task in ("deploy", "agent"):
        began = steps.index((task, "task_started"))
        assert steps[began + 1] == (task, "task_finished"), steps
        running = {name for name, kind in steps[:began] if kind == kinds[0]}
        assert running == {name for name, kind in steps[:began] if kind == kinds[1]}, steps
    assert {name for name, _ in steps} == {"first", "deploy", "agent", "second", "last"}


def test_a_task_gets_only_what_it_names(root: RunnerRoot) -> None:
    show = "echo TOKEN=${TOKEN:-none} OTHER=${OTHER:-none} | tr a-z A-Z"
    root.job([Task("named", "named", shell=show, secrets=["TOKEN"]), Task("other", "other", shell=show)])
    deliver(root, {"TOKEN": "abcdefgh", "OTHER": "ijklmnop"})
    root.run()
    assert root.log("named") == "TOKEN=ABCDEFGH OTHER=NONE\n"
    assert root.log("other") == "TOKEN=NONE OTHER=NONE\n"


def test_without_its_secret_a_task_does_not_start(root: RunnerRoot) -> None:
    root.job([Task("named", "named", shell="true", secrets=["TOKEN"])])
    done = root.run()
    assert done.returncode != 0
    assert b"needs the secret TOKEN" in done.stderr
    assert root.events() == []


def test_a_resumed_job_gets_its_secrets_again(root: RunnerRoot) -> None:
    go = root.path / "go"
    shell = f"echo is ${{#TOKEN}} long; while ! test -f {go}; do sleep 0.05; done"
    root.job([Task("named", "named", shell=shell, secrets=["TOKEN"])])
    value = "eleven-long"
    deliver(root, {"TOKEN": value})
    child = root.spawn_run()
    wait_for(lambda: "long" in root.log("named"))
    child.kill()
    child.wait()
    go.touch()
    assert b"was not delivered" in root.run().stderr
    deliver(root, {"TOKEN": value})
    assert root.run().returncode == 0
    assert root.log("named").count("is 11 long") == 2


def test_stopping_and_cleaning_leave_nothing_in_memory(root: RunnerRoot) -> None:
    root.job([])
    deliver(root, {"TOKEN": VALUE})
    root.lines("stop", "--session", SESSION)
    assert kept(root) == []
    deliver(root, {"TOKEN": VALUE})
    root.lines("clean", "--session", SESSION, "--force")
    assert kept(root) == []


def test_a_place_that_is_not_ours_alone_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared, own = Path(f"/dev/shm/{tmp_path.name}-shared"), Path(f"/dev/shm/{tmp_path.name}-own")
    monkeypatch.setattr(secrets, "_places", lambda: [tmp_path / "disk", shared, own])
    monkeypatch.setattr(secrets, "_is_in_memory", lambda place: str(place).startswith("/dev/shm/"))
    try:
        shared.mkdir()
        shared.chmod(0o755)
        assert secrets._make_place() == own
    finally:
        for place in (shared, own):
            shutil.rmtree(place, ignore_errors=True)


@pytest.mark.parametrize("spec", [{"secrets": {"A B": "x"}, "for": ["run"]}, {"secrets": [], "for": []}, {}])
def test_a_request_that_makes_no_sense_keeps_nothing(root: RunnerRoot, spec: dict[str, object]) -> None:
    root.job([])
    done = root.call("secrets", "--session", SESSION, spec=spec)
    assert done.returncode == 64
    assert kept(root) == []


def encodings(value: str) -> list[bytes]:
    raw = value.encode()
    return [
        raw,
        quote(value, safe="").encode(),
        quote(value).encode(),
        raw.hex().encode(),
        json.dumps(value).encode(),
        *(base64.b64encode(b"x" * before + raw + b"y" * after) for before in range(4) for after in range(3)),
        base64.urlsafe_b64encode(b"user:" + raw),
    ]


def test_a_log_holds_no_form_of_a_secret(tmp_path: Path) -> None:
    log = TaskLog(tmp_path / "log", secrets=[VALUE])
    for text in encodings(VALUE):
        for byte in text:
            log.write(bytes([byte]))
        log.write(b"\n")
    log.write(VALUE.encode())
    log.close()
    written = (tmp_path / "log").read_bytes()
    core = base64.b64encode(VALUE.encode())[4:-4]
    assert VALUE.encode() not in written
    assert core not in written
    assert written.count(MARK.encode()) == len(encodings(VALUE)) + 1
    assert VALUE not in log.tail()


def test_the_lines_of_a_key_are_found_one_by_one() -> None:
    key = "-----BEGIN KEY-----\nMIIEvAIBADANBgkqhkiG9w0\nAQEFAASCBKYwggSiAgEAAo\n-----END KEY-----\n"
    redactor = BytesRedactor([key])
    told = redactor.feed(b"1: MIIEvAIBADANBgkqhkiG9w0\r\n2: AQEFAASCBKYwggSiAgEAAo\r\n") + redactor.flush()
    assert told == f"1: {MARK}\r\n2: {MARK}\r\n".encode()


def test_bytes_of_no_encoding_pass_unchanged() -> None:
    data = os.urandom(20_000)
    redactor = BytesRedactor([VALUE])
    assert redactor.feed(data[:7000]) + redactor.feed(data[7000:]) + redactor.flush() == data
