"""The main job as a user types it: `manage.py` as a process, real git, real tmux."""

import json
import os
import re
import signal
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cli import MANAGE, Cli
from tests.support.desk import until
from tests.support.git_repos import RepoBuilder, git
from tests.support.offload_home import worker_root

KEYS = {
    *("id", "session", "repository", "number", "name", "action", "state", "reason", "attention", "verdict"),
    *(
        "sha",
        "worker",
        "image",
        "isolation",
        "worktree",
        "created_at",
        "started_at",
        "finished_at",
        "tasks",
        "url",
        "attach",
    ),
}
RFC3339_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def test_from_launch_to_removal(cli: Cli, shop: RepoBuilder) -> None:
    done = cli.run("offload", "1", "review", "--repo", shop.url, "--wait")
    assert "Verdict on #1" in done.stdout
    assert "pass" in done.stdout
    assert re.search(r"^\[1/5\] +\d+\.\d s  ", done.stderr, re.MULTILINE)
    assert "safe to close" in done.stderr

    # Every verb finds the same job, by its number alone as there is but one repository.
    where = ("1", "--repo", shop.url)
    answer = cli.json("offload", "status", *where)
    assert answer["schema"] == "offload/1"
    job = answer["job"]
    assert set(job) >= KEYS
    assert (job["number"], job["action"], job["state"], job["verdict"]) == (1, "review", "succeeded", "pass")
    assert job["sha"] == shop.sha("refs/pull/1/head")
    assert (job["name"], job["attention"], job["image"]) == (None, None, None)
    for key in ("created_at", "started_at", "finished_at"):
        assert RFC3339_UTC.fullmatch(job[key])
    test = next(task for task in job["tasks"] if task["id"] == "test")
    assert set(test) == {"id", "name", "state", "exit_code", "seconds", "log"}
    assert test["exit_code"] == 0
    assert Path(test["log"]).exists()

    cli.env["PYTHONIOENCODING"] = "iso-8859-1:strict"  # as in a locale that is not UTF-8
    assert "? pass" in cli.run("offload", "ls").stdout, "what the locale lacks is replaced"
    del cli.env["PYTHONIOENCODING"]

    why = cli.json("offload", "status", *where, "--why")["why"]
    assert (why["state"]["value"], why["attention"], why["agent"]) == ("succeeded", None, None)
    assert json.loads(why["state"]["evidence"])["kind"] == "finished"
    assert (why["takes_input"], why["no_input"]) == (False, "It has no agent.")
    assert "state: succeeded (" in cli.run("offload", "status", *where, "--why").stdout
    text = cli.run("offload", "status", *where).stdout
    assert "Not isolated: the job's code runs as the user of local" in text
    assert "Known from the journal on local" in text
    assert f"offload rm 1 review --repo {job['repository']}" in text
    assert re.search(r"tmux -[SL] ", text)
    assert [listed["id"] for listed in cli.json("offload", "ls")["jobs"]] == [job["id"]]
    assert "test.sh" in cli.run("offload", "logs", *where[:1], "test", *where[1:]).stdout
    assert "==> test <==" in cli.run("offload", "logs", *where).stdout
    assert "+two" in cli.run("offload", "diff", *where).stdout
    assert "app.txt" in cli.json("offload", "diff", *where, "--stat")["diff"]
    assert "test" in cli.json("offload", "peek", *where)["screen"]
    assert cli.json("offload", "wait", job["session"])["job"]["verdict"] == "pass"

    # The same command again: the same job.
    again = cli.json("offload", "1", "review", "--repo", shop.url)
    assert again["job"]["id"] == job["id"]
    # An option that the existing job does not have is refused, with the way to apply it.
    refusal = cli.json("offload", "1", "review", "--repo", shop.url, "--prompt", "Be strict.", code=5)[
        "error"
    ]
    assert "--prompt cannot change it" in refusal["message"]
    refusal = cli.json("offload", "1", "review", "--repo", shop.url, "--base", "v1", code=5)["error"]
    assert "--base cannot change it" in refusal["message"]
    assert "--fresh" in refusal["hint"]
    assert "1:again" in refusal["hint"]

    cli.run("offload", "rm", *where)
    assert not Path(job["worktree"]).exists()
    assert cli.json("offload", "ls")["jobs"] == []
    assert "test.sh" in cli.run("offload", "logs", "1", "test", "--repo", shop.url).stdout
    cli.run("offload", "rm", *where, code=5)


@pytest.fixture
def other_root(cli: Cli) -> Iterator[Path]:
    """Give the root of a second worker here."""
    with worker_root(cli.home / "other", str(Path.home() / ".offload")) as root:
        yield root


def test_several_targets_at_once(cli: Cli, shop: RepoBuilder, other_root: Path) -> None:
    words = ("1", "2", "99", "2", "review", "--repo", shop.url)
    answer = cli.json("offload", *words, "--wait", code=20)
    assert [(job["number"], job["verdict"]) for job in answer["jobs"]] == [(1, "pass"), (2, "fail")]
    assert [(error["target"], error["code"]) for error in answer["errors"]] == [("#99", "not_found")]
    done = cli.run("offload", *words, code=3)
    assert [line.split()[:4] for line in done.stdout.splitlines()] == [
        ["#1", "review", "●", "pass"],
        ["#2", "review", "●", "fail"],
    ]
    assert "#99: " in done.stderr
    cli.run("offload", "1", "2", "--wait", "--repo", shop.url, code=20)

    # With --fresh a job moves to another worker; without, the refusal says so.
    cli.run("fleet", "add", "other", "--provider", "local", "--root", str(other_root))
    where = ("1", "--repo", shop.url, "--worker", "other")
    assert "--fresh" in cli.json("offload", *where, code=5)["error"]["hint"]
    assert cli.json("offload", *where, "--fresh", "--wait")["job"]["worker"] == "other"

    # The verbs that act on jobs find all of them before they act on one.
    assert (
        "verdict"
        in cli.run("offload", "wait", "1", "2", "review", "--repo", shop.url, code=20).stdout.lower()
    )
    cli.run("offload", "rm", "1", "revew", "--repo", shop.url, code=3)
    sessions = cli.run("offload", "ls", "-q").stdout.split()
    assert len(sessions) == 2
    cli.run("offload", "rm", *sessions, "1")
    assert cli.json("offload", "ls")["jobs"] == []
    cli.run("offload", "cancel", *sessions, code=5)


def test_a_failing_review_is_exit_code_20_and_listed_with_its_reason(cli: Cli, shop: RepoBuilder) -> None:
    answer = cli.json("offload", "2", "--repo", shop.url, "--base", "main", "--wait", code=20)
    assert answer["job"]["verdict"] == "fail"
    job_dir = Path(answer["job"]["worktree"]).parents[1] / "jobs" / answer["job"]["session"]
    assert "Not isolated: the change's code ran as" in (job_dir / "assessment.md").read_text()
    because = json.loads((job_dir / "assessment.json").read_text())["base"]["chosen_because"]
    assert because == "named with --base"
    assert answer["job"]["findings"]
    done = cli.run("offload", "wait", "2", "--repo", shop.url, code=20)
    assert "error:" in done.stdout
    cli.run("offload", "1", "--repo", shop.url, "--wait")
    cli.run("offload", "1:tree", "open", "--repo", shop.url, "--detach")
    cli.run("offload", "wait", "1:tree", "--repo", shop.url)
    lines = [re.split(r"  +", line) for line in cli.run("offload", "ls").stdout.splitlines()]
    assert [line[0] for line in lines] == [
        *("Ready to act (2)", "#1 review", "#2 review", ""),
        *("Running (1)", "#1:tree open"),
    ]
    assert lines[2][1:4] == ["● fail", "shop", "local"]
    assert lines[2][5].startswith("The test run (make test) fails on the head (exit code 2)")
    assert lines[5][5] == "The worktree is ready."
    listed = cli.json("offload", "ls", "--state", "succeeded", "-R", "shop", "-L", "1")["jobs"]
    assert [(job["title"], job["group"], job["headline"]) for job in listed] == [
        ("Pull request 1", "running", "The worktree is ready.")
    ]
    assert cli.run("offload", "ls", "-s", "queued").stdout == "No job matches.\n"


def test_without_a_terminal_it_never_attaches(cli: Cli, shop: RepoBuilder) -> None:
    done = cli.run("offload", "3", "--repo", shop.url)
    assert f"Attach from a terminal with: {sys.executable} {MANAGE} offload 3 review" in done.stderr
    assert "running" in done.stdout
    timed_out = cli.run("offload", "wait", "3", "--repo", shop.url, "--timeout", "1s", code=124)
    assert "goes on" in timed_out.stderr
    refusal = cli.json("offload", "rm", "3", "--repo", shop.url, code=5)["error"]
    assert refusal["code"] == "refused"
    assert "--force" in refusal["hint"]

    # A second job of the same target: without an action the verb asks which one.
    cli.run("offload", "3:again", "--repo", shop.url, "--detach")
    choices = cli.run("offload", "cancel", "3", "--repo", shop.url, code=2)
    assert "#3:again review" in choices.stderr
    # With the action, as `ls` prints the commands, the number means the job without a name.
    assert cli.json("offload", "status", "3", "review", "--repo", shop.url)["job"]["name"] is None

    cancelled = cli.json("offload", "cancel", "3:again", "--repo", shop.url)
    assert cancelled["job"]["state"] == "cancelled"
    cli.run("offload", "wait", "3:again", "--repo", shop.url, code=12)
    # What is cancelled already is what was asked for.
    cli.run("offload", "cancel", "3:again", "--repo", shop.url)


def test_status_tells_of_a_dead_runner_at_the_first_look(cli: Cli, shop: RepoBuilder, tmp_path: Path) -> None:
    where = ("3", "--repo", shop.url)
    session = cli.json("offload", *where)["job"]["session"]
    lock = cli.home / "worker" / "jobs" / session / "run.lock"
    until(lambda: states(cli, *where)["test"] == "running", "the test runs")
    os.kill(json.loads(lock.read_text())["pid"], signal.SIGKILL)
    with sqlite3.connect(cli.home / "offload.sqlite3") as database:
        database.execute("UPDATE jobs_job SET observed_at = '2020-01-01 00:00:00'")
    database.close()
    assert cli.json("offload", "status", *where)["job"]["state"] == "interrupted"
    assert states(cli, *where)["test"] == "interrupted"
    # Cancelled and started again, what comes after is waiting and not cancelled.
    cli.run("offload", *where)
    cli.run("offload", "cancel", *where)
    assert states(cli, *where)["synthesis"] == "cancelled"
    cli.run("offload", *where)
    cli.run("offload", "wait", *where, "--timeout", "2s", code=124)
    assert states(cli, *where)["synthesis"] == "pending"


def states(cli: Cli, *where: str) -> dict[str, str]:
    job = cli.json("offload", "status", *where)["job"]
    return {task["id"]: task["state"] for task in job["tasks"]}


def test_ctrl_c_while_waiting_leaves_the_job_alone(cli: Cli, shop: RepoBuilder, tmp_path: Path) -> None:
    with cli.start("offload", "3", "--repo", shop.url, "--wait") as process:
        assert process.stderr is not None
        heard = ""
        while "safe to close" not in heard:
            line = process.stderr.readline()
            assert line, heard
            heard += line
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=30)
        assert process.returncode == 130
    assert "the job keeps running" in rest
    assert "Traceback" not in rest
    assert cli.json("offload", "status", "3", "--repo", shop.url)["job"]["state"] == "running"
    (tmp_path / "go").touch()
    assert cli.json("offload", "wait", "3", "--repo", shop.url, "--timeout", "60s")["job"]["verdict"]


def test_a_reader_of_the_steps_that_leaves_does_not_fail_the_job(cli: Cli, shop: RepoBuilder) -> None:
    with cli.start("offload", "1", "--repo", shop.url, "--wait") as process:
        assert process.stderr is not None
        assert process.stdout is not None
        process.stderr.readline()
        process.stderr.close()
        assert "Verdict on #1" in process.stdout.read()
    assert process.returncode == 0


def test_two_equal_commands_at_once_are_one_job(cli: Cli, shop: RepoBuilder) -> None:
    # The very first commands of a fresh home: both make the database, too.
    (cli.home / "offload.sqlite3").unlink()
    both = [cli.start("offload", "1", "--repo", shop.url, "--wait", "--json") for _ in range(2)]
    answers = []
    for process in both:
        with process:
            out, err = process.communicate(timeout=60)
        assert process.returncode == 0, out + err
        answers.append(json.loads(out)["job"])
    assert len({answer["id"] for answer in answers}) == 1
    assert {answer["verdict"] for answer in answers} == {"pass"}


def test_what_is_not_there_leaves_nothing_behind(cli: Cli, shop: RepoBuilder, tmp_path: Path) -> None:
    assert cli.json("offload", "99", "--repo", shop.url, code=3)["error"]["code"] == "not_found"
    cli.run("offload", "1", "--repo", str(tmp_path / "nowhere"), code=3)
    (tmp_path / "empty").mkdir()
    cli.run("offload", "1", "--repo", str(tmp_path / "empty"), code=3)
    cli.run("offload", "1", "--repo", shop.url, "--worker", "absent", code=3)
    cli.run("offload", "status", "1", "--repo", shop.url, code=3)
    cli.run("offload", "1", code=4)  # no repository named, none here, no default
    assert cli.json("offload", "ls")["jobs"] == []
    assert not list((cli.home / "worker" / "worktrees").glob("*"))


def test_what_cannot_be_planned_leaves_nothing_behind(cli: Cli, shop: RepoBuilder) -> None:
    shop.commit({".offload/config.toml": "[commandz]\n"})
    done = cli.run("offload", "1", "--repo", shop.url, "--wait", code=2)
    assert "commandz" in done.stderr
    assert "Starting the session" not in done.stderr
    assert cli.json("offload", "ls")["jobs"] == []
    assert not list((cli.home / "worker" / "worktrees").glob("*"))


def test_an_abbreviated_commit_is_the_commit_unless_a_branch_has_the_name(
    cli: Cli, shop: RepoBuilder
) -> None:
    sha, where = shop.sha("refs/pull/1/head"), ("--repo", shop.url)
    short = next(sha[:length] for length in range(7, 40) if not sha[:length].isdigit())  # else a number
    job = cli.json("offload", short.upper(), "review", *where)["job"]
    assert job["sha"] == sha
    assert cli.json("offload", "cancel", short, *where)["job"]["id"] == job["id"]
    url = f"https://127.0.0.1/o/r/commit/{short}"
    assert "Give its full id." in cli.run("offload", url, "--yes", code=2).stderr
    git(shop.path, "branch", short, "main")
    assert "There is no job" in cli.run("offload", "cancel", short, *where, code=3).stderr
    unknown = cli.run("offload", "abcdef0", "review", *where, code=3).stderr
    assert "If it is a commit, give its full id." in unknown


def test_a_deleted_head_is_told_and_fresh_keeps_the_old_job(cli: Cli, shop: RepoBuilder) -> None:
    job = cli.json("offload", "1", "--repo", shop.url, "--wait")["job"]
    shop.delete("refs/pull/1/head")
    again = cli.run("offload", "1", "--repo", shop.url)
    assert "has no refs/pull/1/head any more" in again.stderr
    assert "Verdict on #1" in again.stdout
    error = cli.json("offload", "1", "--repo", shop.url, "--fresh", code=3)["error"]
    assert "any more" in error["message"]
    assert Path(job["worktree"]).exists()


def test_code_of_strangers_is_not_run_unasked(cli: Cli) -> None:
    refusal = cli.json("offload", "1", "--repo", "https://127.0.0.1:1/o/r", "--yes", code=5)["error"]
    assert "--trust" in refusal["hint"]
    # Who is trusted is an address; another host may have an o/r, too.
    assert "https://127.0.0.1:1/o/r" in refusal["message"]
    assert "Without a container, because the setting `container` is `never`." in refusal["message"]
    assert cli.json("offload", "ls")["jobs"] == []
    # Trusted, it goes on to what is wrong next: no server answers there.
    cli.run("offload", "1", "--repo", "https://127.0.0.1:1/o/r", "--trust", code=3)


def test_a_moved_head_is_told_and_fresh_starts_over(cli: Cli, shop: RepoBuilder) -> None:
    first = cli.json("offload", "1", "--repo", shop.url, "--wait")["job"]
    shop.pull(1, {"app.txt": "three\n"}, keep=True)
    done = cli.run("offload", "1", "--repo", shop.url)
    assert "has moved" in done.stderr
    assert "--fresh" in done.stderr
    second = cli.json("offload", "1", "--repo", shop.url, "--fresh", "--wait")["job"]
    assert second["id"] != first["id"]
    assert second["sha"] == shop.sha("refs/pull/1/head")


def test_unpushed_work_is_not_removed_without_force(cli: Cli, shop: RepoBuilder) -> None:
    job = cli.json("offload", "1", "--repo", shop.url, "--wait")["job"]
    (Path(job["worktree"]) / "app.txt").write_text("mine\n")
    refusal = cli.run("offload", "rm", "1", "--repo", shop.url, code=5)
    assert "app.txt" in refusal.stderr
    assert Path(job["worktree"]).exists()
    removed = cli.json("offload", "rm", "1", "--repo", shop.url, "--force", "--yes")
    assert Path(removed["bundle"]).exists()
    assert removed["job"]["removed_at"]


def test_the_repository_comes_from_the_directory_or_the_default(cli: Cli, shop: RepoBuilder) -> None:
    cli.run("offload", "setup", "--set", f"repo={shop.url}", "--set", "max_jobs=3")
    assert "max_jobs = 3" in (cli.home / "config.toml").read_text()
    job = cli.json("offload", "1", "--wait")["job"]
    assert job["repository"].endswith("shop")
    cli.cwd = shop.path
    assert cli.json("offload", "status", "1")["job"]["id"] == job["id"]


def test_an_unexpected_error_is_short_and_its_traceback_kept(cli: Cli, shop: RepoBuilder) -> None:
    cli.run("offload", "ls")
    with sqlite3.connect(cli.home / "offload.sqlite3") as database:
        database.execute("ALTER TABLE jobs_job DROP COLUMN title")
    database.close()
    error = cli.json("offload", "ls", code=1)["error"]
    assert error["code"] == "unexpected"
    kept = cli.home / "logs" / "errors.log"
    assert str(kept) in error["hint"]
    assert "Traceback" in kept.read_text()
    assert kept.stat().st_mode & 0o077 == 0


def test_a_home_that_cannot_be_written_is_named(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cli.env["OFFLOAD_HOME"] = str(tmp_path / "file" / "home")
    error = cli.json("offload", "ls", code=4)["error"]
    assert str(tmp_path / "file") in error["message"]
    # A database that cannot be made: there is a directory in its place.
    cli.env["OFFLOAD_HOME"] = str(tmp_path / "other")
    (tmp_path / "other" / "offload.sqlite3").mkdir(parents=True)
    error = cli.json("offload", "ls", code=4)["error"]
    assert str(tmp_path / "other") in error["message"]
    assert "OFFLOAD_HOME" in error["hint"]


def test_a_number_that_is_none_is_told_in_words(cli: Cli) -> None:
    done = cli.run("offload", "setup", "--set", "max_jobs=abc", code=2)
    assert "'abc' is not a whole number" in done.stderr
