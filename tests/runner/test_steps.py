"""The built-in tasks on real repositories: context, conflicts, base, proof, synthesis."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from jobs.remote import bundle
from jobs.remote.offload_runner import steps
from jobs.remote.offload_runner.engine.journal import Journal
from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files import paths
from jobs.remote.offload_runner.files.paths import BASE, PROOF
from jobs.remote.offload_runner.git.command import Git
from jobs.remote.offload_runner.steps.conflicts import merged_by_index
from jobs.remote.offload_runner.steps.proof import classify, read_groups
from jobs.remote.offload_runner.steps.record import Job
from jobs.remote.offload_runner.steps.results import Case, Results
from jobs.remote.offload_runner.steps.trees import Run, execute, ready_base
from tests.support.bench import PROJECT, Bench, session_of
from tests.support.git_repos import RepoBuilder, git

S = session_of(1)
# A test is a shell script here: what is under test is the comparison of two trees, not a test framework.
RUN = 'sh "$1"'


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    # A step starts the runner's own program where the job's code runs.
    (tmp_path / "runner.pyz").write_bytes(bundle.current().data)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "runner.pyz")])
    return Bench(tmp_path / "root")


@pytest.fixture
def shop(tmp_path: Path) -> RepoBuilder:
    return RepoBuilder(tmp_path / "shop").commit({"price": "1\n", "old.sh": "grep -q 1 price\n"}, "Begin")


def read(bench: Bench, name: str) -> Any:
    return json.loads((bench.job_dir() / name).read_text())


def write_plan(bench: Bench, *tasks: dict[str, Any]) -> None:
    job = {"repository": "acme/shop", "number": 1, "action": "review"}
    plan = {"schema": "offload-plan/1", "job": job, "tasks": list(tasks)}
    (bench.job_dir() / "plan.json").write_text(json.dumps(plan))


def task(role: str, shell: str = "true", **fields: Any) -> dict[str, Any]:
    return {"id": role, "name": f"run {role}", "role": role, "shell": shell, **fields}


def prove(bench: Bench, **group: Any) -> tuple[int, dict[str, Any]]:
    outputs = {"setup": group.pop("setup", []), "proof": [{"shell": RUN, **group}]}
    write_plan(bench, task("proof", outputs=outputs))
    code = steps.main("proof", bench.root, S)
    return code, read(bench, "proof.json")


def results(answer: dict[str, Any]) -> dict[str, str]:
    return {item["path"]: item["result"] for item in answer["files"]}


def base_files(bench: Bench) -> list[str]:
    return sorted(entry.name for entry in (bench.root / "base" / "worktrees" / S).iterdir())


# context


def test_context_names_commits_and_files(
    bench: Bench, shop: RepoBuilder, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    shop.pull(1, {"price": "2\n", b"b\xff\n|.txt": "x\n"}, message="Fix the `price` *now*")
    shop.pull(1, {"more.py": ""}, keep=True, message="And more")
    shop.commit({"later.py": ""})
    bench.prepare(shop)
    assert steps.main("context", bench.root, S) == 0
    text = (bench.job_dir() / "context.md").read_text()
    assert "- 2 commits ahead, 1 commit behind the base" in text
    assert text.index("Fix the \\`price\\` \\*now\\*") < text.rindex("And more")
    assert "3 files changed, +2 −1." in text
    assert "| `b\\xff\\n\\|.txt` | added | 1 | 0 |" in text
    assert text.encode() in capfdbinary.readouterr().out


def test_context_without_a_base(bench: Bench, shop: RepoBuilder) -> None:
    shop.pull(1, {"price": "2\n"})
    bench.prepare(shop, base={"ref": "nope"}, needs_base=False)
    assert steps.main("context", bench.root, S) == 0
    assert "- base: none" in (bench.job_dir() / "context.md").read_text()
    assert steps.main("conflicts", bench.root, S) == 70


# conflicts


def test_no_conflict(bench: Bench, shop: RepoBuilder) -> None:
    shop.pull(1, {"price": "2\n"}).commit({"other.py": ""})
    bench.prepare(shop)
    assert steps.main("conflicts", bench.root, S) == 0
    answer = read(bench, "conflicts.json")
    assert (answer["clean"], answer["files"], answer["behind"]) == (True, [], 1)


def test_conflicts_are_with_the_base_as_it_is_now(bench: Bench, shop: RepoBuilder) -> None:
    shop.pull(1, {"price": "2\n", "old.sh": None, b"n\xff.txt": "a"})
    shop.commit({"price": "3\n", "old.sh": "changed", b"n\xff.txt": "b"})
    bench.prepare(shop)
    assert steps.main("conflicts", bench.root, S) == 1
    assert read(bench, "conflicts.json")["files"] == ["n\\xff.txt", "old.sh", "price"]
    assert git(bench.worktree(), "status", "--porcelain") == ""


def test_no_common_history_is_a_conflict(bench: Bench, shop: RepoBuilder) -> None:
    git(shop.path, "checkout", "--quiet", "--orphan", "island")
    shop.commit({"price": "9\n"}).checkout("main")
    bench.prepare(shop, head={"ref": "island"})
    assert steps.main("conflicts", bench.root, S) == 1
    assert read(bench, "conflicts.json")["reason"] == "the two have no common history"


def test_an_old_git_finds_the_same_conflicts(bench: Bench, shop: RepoBuilder) -> None:
    body = "".join(f"{n}\n" for n in range(30))
    shop.commit({"both": body, "same": "a", "gone": "a", "bin": b"\0a"})
    shop.pull(1, {"both": "x\n" + body, "same": "b", "gone": None, "price": "2\n", "bin": b"\0b"})
    shop.commit({"both": body + "y\n", "same": "b", "gone": "b", "price": "3\n", "bin": b"\0c"})
    answer = bench.prepare(shop)
    found = merged_by_index(Git(str(bench.mirror)), answer["base_sha"], answer["sha"], answer["merge_base"])
    assert found == ["bin", "gone", "price"]
    assert steps.main("conflicts", bench.root, S) == 1
    assert read(bench, "conflicts.json")["files"] == found


# proof


def test_every_result_of_the_proof(bench: Bench, shop: RepoBuilder) -> None:
    shop.pull(
        1,
        {
            "price": "2\n",
            "new.sh": "grep -q 2 price",
            "both.sh": "true",
            "neither.sh": "echo no luck; false",
            "old.sh": "grep -q 1 price # touched\n",
        },
    )
    bench.prepare(shop)
    files = ["new.sh", "both.sh", "neither.sh", "old.sh", "deleted.sh"]
    code, answer = prove(bench, test_files=files)
    assert code == 1
    assert results(answer) == {
        "new.sh": "proof",
        "both.sh": "proves_nothing",
        "neither.sh": "still_fails",
        "old.sh": "regression",
    }
    (item,) = (item for item in answer["files"] if item["path"] == "neither.sh")
    assert item["head"]["tail"] == ["no luck"]
    assert base_files(bench) == [".git", "old.sh", "price"]
    assert git(bench.root / "base" / "worktrees" / S, "status", "--porcelain") == ""


def test_proof_alone_exits_with_zero(bench: Bench, shop: RepoBuilder) -> None:
    shop.pull(
        1, {"price": "2\n", "sub/new.sh": "grep -q 2 ../price && . ./lib", "sub/lib": 'test -n "$MODE"'}
    )
    bench.prepare(shop)
    code, answer = prove(
        bench, test_files=["sub/new.sh"], support=["sub/lib"], cwd="sub", shell='MODE={worktree} sh "$1"'
    )
    assert (code, results(answer)) == (0, {"sub/new.sh": "proof"})


def test_the_setup_sees_the_base_and_its_failure_is_the_bases(bench: Bench, shop: RepoBuilder) -> None:
    shop.pull(1, {"price": "2\n", "new.sh": "true"})
    bench.prepare(shop)
    code, answer = prove(bench, test_files=["new.sh"], setup=["test ! -e new.sh", "exit 3"])
    assert (code, answer["base_built"]) == (0, False)
    assert answer["base_error"] == "`exit 3` ends with exit code 3"
    assert results(answer) == {"new.sh": "passes"}


def test_tests_that_cannot_be_loaded_fail(bench: Bench, shop: RepoBuilder) -> None:
    shop.pull(1, {"tax.py": "RATE = 1\n", "test_tax.py": "import tax\n"})
    bench.prepare(shop)
    code, answer = prove(bench, test_files=["test_tax.py"], shell='{python} "$1"')
    assert (code, results(answer)) == (0, {"test_tax.py": "proof"})


def test_a_test_that_hangs_is_ended_with_its_children(
    bench: Bench, shop: RepoBuilder, tmp_path: Path
) -> None:
    shop.pull(1, {"hang.sh": f"sleep 600 & echo $! >> {tmp_path}/pids; wait\n"})
    bench.prepare(shop)
    code, answer = prove(bench, test_files=["hang.sh"], timeout=1)
    assert (code, results(answer)) == (1, {"hang.sh": "still_fails"})
    assert answer["files"][0]["head"]["timed_out"]
    for pid in (tmp_path / "pids").read_text().split():
        end = time.monotonic() + 5
        while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                break  # dead, and waiting for an init to collect it
            time.sleep(0.01)
        else:
            assert not Path(f"/proc/{pid}").exists()


def test_a_command_that_cannot_be_started(bench: Bench, shop: RepoBuilder) -> None:
    shop.pull(1, {"new.sh": "true"})
    bench.prepare(shop)
    code, answer = prove(bench, test_files=["new.sh"], shell='no-such-program "$1"')
    assert (code, results(answer)) == (1, {"new.sh": "fails"})
    assert "no-such-program" in answer["files"][0]["head"]["tail"][-1]


def test_names_that_look_like_placeholders_or_options(bench: Bench, shop: RepoBuilder) -> None:
    names = ["{dir} {worktree}.sh", "b\n\u00fc.sh", ":(top)x.sh"]
    shop.pull(1, dict.fromkeys(names, "grep -q 2 price") | {"price": "2\n"})
    bench.prepare(shop)
    code, answer = prove(bench, test_files=names)
    assert (code, set(results(answer).values())) == (0, {"proof"})


def test_the_proof_ended_early_leaves_a_clean_base(bench: Bench, shop: RepoBuilder, tmp_path: Path) -> None:
    shop.pull(1, {"slow.sh": f"touch {tmp_path}/started; sleep 600\n"})
    bench.prepare(shop)
    write_plan(bench, task("proof", outputs={"proof": [{"shell": RUN, "test_files": ["slow.sh"]}]}))
    code = "import sys; from pathlib import Path; from jobs.remote.offload_runner import steps;"
    code += f"sys.exit(steps.main('proof', Path(sys.argv[1]), '{S}'))"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(bench.root)],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        env=dict(os.environ),
    )
    end = time.monotonic() + 30
    while not (tmp_path / "started").exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGTERM
    assert base_files(bench) == [".git", "old.sh", "price"]


def test_the_base_is_installed_once_and_left_as_its_commit(bench: Bench, shop: RepoBuilder) -> None:
    shop.pull(1, {"price": "2\n"})
    bench.prepare(shop)
    write_plan(bench, task("base", outputs={"setup": ["echo x >> ../installed"]}))
    assert steps.main("base", bench.root, S) == 0
    base = bench.root / "base" / "worktrees" / S
    (base / "price").write_text("left by a killed proof")
    again = ready_base(Job.load(paths.existing_job(bench.root, S)), ["echo x >> ../installed"])
    assert (again.built, (base / "price").read_text()) == (True, "1\n")
    assert (base.parent / "installed").read_text() == "x\n"


def test_packages_of_the_base_are_compiled_once(bench: Bench, shop: RepoBuilder) -> None:
    """Runs in the base's tree write no bytecode, so each would compile all that it imports."""
    shop.pull(1, {"price": "2\n"})
    bench.prepare(shop)
    lib = ".venv/lib/python3/site-packages"
    setup = f"mkdir -p .venv/bin {lib}; ln -s {sys.executable} .venv/bin/python; touch {lib}/a.py b.py"
    base = ready_base(Job.load(paths.existing_job(bench.root, S)), [setup])
    assert base.built
    assert [path.suffix for path in (base.path / lib / "__pycache__").iterdir()] == [".pyc"]
    assert not (base.path / "__pycache__").exists()


@pytest.mark.parametrize(
    ("attack", "installed"),
    [
        ("true", 1),
        ("touch env/new $HOME/.config; mkdir -p env/deep/er; touch env/deep/er/x; echo 7 > price", 1),
        (
            "GIT_INDEX_FILE=$HOME/.base.index git update-index --skip-worktree price; echo 7 > price",
            1,
        ),
        ("mkdir $TMPDIR/cache; touch $TMPDIR/cache/code", 1),
        ("rm -rf $TMPDIR; ln -s $OFFLOAD_WORKTREE/env $TMPDIR", 2),
        ("echo bad > env/tool; touch -d @0 env/tool", 2),
        ("rm env/tool", 2),
        ("mv env env2; mkdir env; mv env2/tool env/tool", 2),
        ("mv env/tool env/x", 2),
        ("rm -rf env; ln -s /etc env", 2),
        ("echo bad > $HOME/.installed", 2),
        ("chmod 0 env/tool", 2),
        ("git config core.fsmonitor evil", 2),
    ],
)
def test_code_of_the_change_leaves_nothing_in_the_base(
    bench: Bench, shop: RepoBuilder, attack: str, installed: int
) -> None:
    shop.commit({".gitignore": "env*\n"})
    shop.pull(1, {"price": "2\n"})
    bench.prepare(shop)
    setup = ["mkdir env; echo good > env/tool; echo $TMPDIR > $HOME/.installed; echo x >> ../installed"]
    job = Job.load(paths.existing_job(bench.root, S))
    base = ready_base(job, setup)
    assert execute(job, base.path, attack, place=PROOF).passed
    again = ready_base(job, setup, pure=True)
    home = job.paths.place(BASE).home
    assert (again.built, (base.path / "env/tool").read_text()) == (True, "good\n")
    assert sorted(path.name for path in (base.path / "env").iterdir()) == ["tool"]
    assert sorted(path.name for path in home.iterdir()) == [".base.index", ".installed", ".tmp"]
    assert (base.path / "price").read_text() == "1\n"
    assert [path.name for path in (home / ".tmp").iterdir() if not path.name.startswith("results-")] == []
    assert not (home / ".tmp").is_symlink()
    assert (base.path.parent / "installed").read_text() == "x\n" * installed
    assert b"fsmonitor" not in (base.path / ".git/config").read_bytes()
    assert ready_base(job, setup, pure=True).built
    assert (base.path.parent / "installed").read_text() == "x\n" * installed


@pytest.mark.parametrize(
    "told",
    [[{}], [{"shell": "", "test_files": ["a"]}], [{"shell": RUN, "test_files": ["../a"]}], [{"surprise": 1}]],
)
def test_a_malformed_plan(told: list[dict[str, Any]]) -> None:
    with pytest.raises(RunnerError) as caught:
        read_groups({"tasks": [task("proof", outputs={"proof": told})]})
    assert caught.value.code == "bad_plan"


@pytest.mark.parametrize(
    ("base", "head", "expected"),
    [
        (1, 0, "proof"),
        (124, 0, "proof"),
        (0, 0, "proves_nothing"),
        (1, 1, "still_fails"),
        (0, 124, "regression"),
        (None, 0, "passes"),
        (None, 1, "fails"),
    ],
)
def test_classify_by_exit_code(base: int | None, head: int, expected: str) -> None:
    before = Run(base, 0.0) if base is not None else None
    assert classify("a", before, Run(head, 0.0)) == (expected, {})


def ran(code: int, **outcomes: str) -> Run:
    cases = tuple(Case(name, outcome, file="a") for name, outcome in outcomes.items())
    return Run(code, 0.0, results=Results(cases, source="JUnit XML"))


@pytest.mark.parametrize(
    ("base", "head", "expected"),
    [
        (ran(1, a="failed", b="passed"), ran(0, a="passed", b="passed"), "proof"),
        # A threshold that the base's run misses is not a test.
        (ran(1, a="passed"), ran(0, a="passed"), "proves_nothing"),
        (ran(1, a="failed", b="passed"), ran(1, a="passed", b="failed"), "regression"),
        (ran(1, a="failed", b="failed"), ran(1, a="passed", b="failed"), "still_fails"),
        (ran(5), ran(5), "not_run"),
        # Results do not count against the exit code.
        (ran(0, a="passed"), ran(1, a="passed"), "regression"),
        (ran(1, a="failed"), ran(1, a="passed"), "still_fails"),
    ],
)
def test_classify_by_test(base: Run, head: Run, expected: str) -> None:
    assert classify("a", base, head)[0] == expected


def test_a_go_file_that_build_tags_leave_out_is_not_run() -> None:
    run = ran(0, TestA="passed")
    assert classify("a_test.go", run, run, {"TestA"})[0] == "proves_nothing"
    assert classify("slow_test.go", run, run, {"TestSlow"})[0] == "not_run"


# synthesis


def run_all(bench: Bench, *tasks: dict[str, Any], ends: dict[str, dict[str, Any]]) -> str:
    write_plan(bench, *tasks, task("synthesis"))
    journal = Journal(bench.job_dir() / "events.jsonl")
    for one in tasks:
        end = {"state": "succeeded", "exit_code": 0, "seconds": 1.5, **ends.get(one["role"], {})}
        journal.append("task_started", task=one["id"])
        journal.append(
            "task_finished", task=one["id"], reason=end.pop("reason", ""), tail=end.pop("tail", ""), **end
        )
    assert steps.main("synthesis", bench.root, S) == 0
    return (bench.job_dir() / "assessment.md").read_text()


def test_a_good_change_passes(bench: Bench, shop: RepoBuilder) -> None:
    shop.pull(1, {"price": "2\n", "new.sh": "grep -q 2 price"}, message="Double the price")
    answer = bench.prepare(shop)
    assert prove(bench, test_files=["new.sh"])[0] == 0
    assert steps.main("conflicts", bench.root, S) == 0
    text = run_all(bench, task("conflicts"), task("test", "make test | tee log"), task("proof"), ends={})
    verdict = read(bench, "verdict.json")
    assert (verdict["verdict"], verdict["sha"]) == ("pass", answer["sha"])
    assert text.startswith(f"# acme/shop #1: Double the price\n\n**PASS** for `{answer['sha']}`.")
    assert "| test: run test | passed | 1.5 | 0 | `make test \\| tee log` |" in text
    assert "| `new.sh` | exit 1, " in text
    assert "fails on the base, passes on the head: **proof**" in text
    assert f"Merges cleanly with `{answer['base_sha']}`" in text
    assert f"git checkout --detach {answer['sha']}" in text


def test_a_failure_is_shown_with_its_last_lines(bench: Bench, shop: RepoBuilder) -> None:
    shop.pull(1, {"price": "2\n", "tests/test_a.py": "x\n"})
    bench.prepare(shop)
    tail = f"```\n{bench.worktree()}/tests/test_a.py:1: AssertionError\n\x1b[31mred\n"
    text = run_all(
        bench,
        task("test"),
        task("test_base", when="failure"),
        ends={"test": {"state": "failed", "exit_code": 1, "tail": tail}},
    )
    verdict = read(bench, "verdict.json")
    assert verdict["verdict"] == "fail"
    assert (verdict["findings"][0]["file"], verdict["findings"][0]["line"]) == ("tests/test_a.py", 1)
    assert "**FAIL**" in text
    assert "````text\n```\ntests/test_a.py:1: AssertionError\n\\x1b[31mred\n````" in text


def test_a_worktree_at_another_commit_is_not_certain_evidence(bench: Bench, shop: RepoBuilder) -> None:
    shop.pull(1, {"price": "2\n"})
    bench.prepare(shop)
    git(bench.worktree(), "commit", "--quiet", "--allow-empty", "--message", "On top")
    run_all(bench, task("test"), ends={})
    verdict = read(bench, "verdict.json")
    assert verdict["verdict"] == "needs_work"
    assert "not certain" in verdict["findings"][0]["message"]


def test_answers_about_another_commit_do_not_count(bench: Bench, shop: RepoBuilder) -> None:
    shop.pull(1, {"price": "2\n"})
    bench.prepare(shop)
    (bench.job_dir() / "proof.json").write_text(json.dumps({"sha": "0" * 40, "files": []}))
    text = run_all(bench, task("test"), task("proof"), ends={})
    assert read(bench, "verdict.json")["verdict"] == "needs_work"
    assert "Behavioural proof" not in text


def test_text_of_strangers_stays_text(bench: Bench, shop: RepoBuilder) -> None:
    shop.pull(1, {"price": "2\n"}, message="<script>alert(1)</script> [x](javascript:1)")
    bench.prepare(shop)
    text = run_all(bench, task("test"), ends={})
    assert "\\<script\\>alert(1)\\</script\\> \\[x\\](javascript:1)" in text


def test_a_step_that_cannot_work_says_why(bench: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    bench.job_dir().mkdir(parents=True)
    assert steps.main("context", bench.root, S) == 70
    assert "was never prepared" in capfd.readouterr().err
    with pytest.raises(RunnerError, match="no step 'nonsense'"):
        steps.main("nonsense", bench.root, S)
