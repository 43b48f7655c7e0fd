"""Logs of CI jobs as GitHub Actions and GitLab write them, distilled."""

from jobs.forges.ci_log import MOST_LINES, CiLog, Step, distil


def actions(*lines: str, at: str = "2026-11-27T10:00:05") -> str:
    """Return lines as a log of Actions has them."""
    return "".join(f"{at}.1234567Z {line}\n" for line in lines)


GROUP = (
    "##[group]Run npm ci", "\x1b[36;1mnpm ci\x1b[0m", "\x1b[36;1mpython -m pytest\x1b[0m",
    "shell: /usr/bin/bash -e {0}", "##[endgroup]",
)  # fmt: skip
ERROR = "##[error]Process completed with exit code 1."


def test_a_step_of_actions() -> None:
    before = actions(
        "##[group]Run actions/checkout@v4", "FAILED old.py::test_x - no", at="2026-11-27T10:00:01"
    )
    noise = [f"collecting {number}" for number in range(500)]
    failing = (
        "\x1b[1m\x1b[31mE   AssertionError: assert 1 == 2\x1b[0m",
        "FAILED tests/test_a.py::test_sum[a b] - AssertionError: assert 1 == 2",
        "FAILED tests/test_a.py::test_$(touch x) - no\x1b]0;owned\x07",
    )
    after = actions("Post job cleanup.", "FAILED later.py::test_y - no", at="2026-11-27T10:00:09")
    text = "\ufeff" + before + actions(*GROUP, *noise, *failing, ERROR) + after
    steps = (
        Step("Check out", False, "2026-11-27T10:00:01Z", "2026-11-27T10:00:01Z"),
        Step("Run tests", True, "2026-11-27T10:00:02Z", "2026-11-27T10:00:06Z"),
    )
    for known in (steps, ()):
        told = distil(CiLog(text, steps=known))
        assert (told.step, told.exit_code) == ("Run tests" if known else "Run npm ci", 1)
        assert told.command == "npm ci\npython -m pytest"
        assert told.tests == ("tests/test_a.py::test_sum[a b]", "tests/test_a.py::test_$(touch x)")
        assert told.again == (
            "python -m pytest 'tests/test_a.py::test_sum[a b]' 'tests/test_a.py::test_$(touch x)'"
        )
        assert "E   AssertionError: assert 1 == 2" in told.lines
        assert len(told.lines) <= MOST_LINES
        assert "\x1b" not in "".join(told.lines)


def test_a_job_of_gitlab() -> None:
    text = (
        "\x1b[0KRunning with gitlab-runner 17.5\r\n"
        "section_start:1732700000:prepare_script\r\x1b[0KPreparing\n"
        "section_end:1732700001:prepare_script\r\x1b[0Ksection_start:1732700002:step_script\r\x1b[0KExecuting\n"
        "\x1b[32;1m$ npm ci\x1b[0;m\nadded 3 packages\rdone\n"
        "2026-11-27T10:00:05.123456Z 00O $ npx vitest run\n"
        " FAIL  src/sum.test.ts > adds > small\nAssertionError: expected 3 to be 4\n"
        "section_end:1732700009:step_script\r\x1b[0K\x1b[31;1mERROR: Job failed: exit code 1\x1b[0;m\n"
    )
    told = distil(CiLog(text, cut=True))
    assert (told.exit_code, told.command, told.again) == (
        1, "npx vitest run", "npx vitest run src/sum.test.ts"
    )  # fmt: skip
    assert told.tests == ("src/sum.test.ts > adds > small",)
    assert "AssertionError: expected 3 to be 4" in told.lines
    assert "done" in told.lines or "added" not in "".join(told.lines)
    assert "beginning" in told.note


def test_other_frameworks_and_no_test_at_all() -> None:
    for line, test, again in (
        ("--- FAIL: TestSum/small (0.00s)", "TestSum/small", "go test -run '^(TestSum)$' ./..."),
        ("test sum::adds ... FAILED", "sum::adds", "cargo test -- --exact sum::adds"),
        ("not ok 3 - adds", "adds", ""),
        ("  ● sum › adds", "sum › adds", ""),
        ("[ERROR] SumTest.adds:12 expected: <3>", "SumTest.adds:12", ""),
        ("SumTest > adds() FAILED", "SumTest > adds()", ""),
        ("FAIL: test_sum (tests.test_a.Sum)", "test_sum (tests.test_a.Sum)", ""),
    ):
        told = distil(CiLog(actions(*GROUP, line, ERROR)))
        assert (told.tests, told.again) == ((test,), again)
    told = distil(CiLog(actions(*GROUP, "src/a.ts(3,5): error TS2304: no name", *["x"] * 200, ERROR)))
    assert told.tests == ()
    assert any("TS2304" in line for line in told.lines)
    told = distil(CiLog(actions(*GROUP, *[f"line {number}" for number in range(200)], ERROR)))
    assert "line 199" in told.lines


def test_an_empty_log_is_said() -> None:
    assert distil(CiLog("\ufeff\r\n"), said="cancelled").note == "The job was cancelled and wrote no log."
    assert distil(CiLog(""), said="failure").note == "The log is empty."


def test_a_hostile_log_costs_little_and_stays_text() -> None:
    text = (
        actions("##[group]Run x", *["FAILED " + "a" * 50_000 + ".py::" + ":" * 50_000] * 200) + "\x00\u202e"
    )
    told = distil(CiLog(text))
    assert sum(map(len, (*told.lines, *told.tests, told.again))) < 100_000
