"""What is typed: words, options, durations, addresses; and the exit codes of what makes no sense."""

import json
from datetime import UTC, datetime
from importlib import import_module

import pytest

from jobs.cli.durations import read_seconds
from jobs.cli.local_time import local_zone, remember_zone
from jobs.cli.main import make_command, module_of
from jobs.cli.parser import find_verb, parse
from jobs.cli.targets import read_targets
from jobs.cli.verbs import ACTIONS, OFFLOAD, VERBS
from jobs.errors import UsageError
from jobs.forges.target import VERBS as RESERVED
from jobs.operations.workers import read_address
from jobs.playbooks.registry import DEFAULT, PLAYBOOKS
from tests.support.cli import Cli


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("1.5h", 5400), ("2d", 172800), (" 2s ", 2)]
)
def test_durations(text: str, seconds: float) -> None:
    assert read_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0s", "-1", "10w", "1h30m", "m", "1e3", "9999999999", "٣"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        read_seconds(text)


def test_addresses() -> None:
    assert read_address("box") == {"host": "box"}
    assert read_address("me@box.example:2222") == {"host": "box.example", "user": "me", "port": 2222}
    assert read_address("[::1]:22") == {"host": "::1", "port": 22}


@pytest.mark.parametrize("text", ["", "-oProxyCommand=x", "a b", "box:0", "box:99999", "a@b@c", "box;id"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(UsageError):
        read_address(text)


def test_every_action_is_described_as_its_playbook_says() -> None:
    summaries = {playbook.action: playbook.summary for playbook in PLAYBOOKS}
    assert {action: text.removesuffix(" (the default)") for action, text in ACTIONS.items()} == summaries
    assert ACTIONS[DEFAULT].endswith("(the default)")


def test_every_verb_is_a_reserved_word_and_has_a_module() -> None:
    assert {*OFFLOAD, "fleet"} == set(RESERVED)
    missing = [
        name
        for name, verb in VERBS.items()
        if not verb.django and not hasattr(import_module(f"jobs.cli.{'.'.join(module_of(name))}"), "run")
    ]
    assert missing == []


@pytest.mark.parametrize(
    ("arguments", "verb"),
    [
        (["ls"], "ls"),
        (["--json", "ls"], "ls"),
        (["--repo", "ls", "12"], ""),
        (["-R", "ls", "12"], ""),
        (["--repo=x", "rm", "12"], "rm"),
        (["--", "ls"], ""),
        (["fleet", "--json", "ls"], "fleet ls"),
        (["fleet"], "fleet"),
        ([], ""),
    ],
)
def test_the_verb_is_the_first_word(arguments: list[str], verb: str) -> None:
    assert find_verb(arguments)[0] == verb


def test_options_may_stand_anywhere() -> None:
    options = parse("", ["--json", "12", "--repo", "x", "review", "--wait"])
    assert (options.words, options.repo, options.json, options.wait) == (["12", "review"], "x", True, True)
    assert (options.fresh, options.timeout, options.secret) == (False, None, None)
    assert parse("wait", ["12", "--timeout", "10m"]).timeout == 600.0


def test_several_targets_have_one_action_and_are_each_read_once() -> None:
    targets, action = read_targets(["1", "#2", "1:again", "#1", "o/r#1", "branch:review", "ready"])
    assert [target.shown for target in targets] == ["#1", "#2", "#1", "#1", "review"]
    assert [target.name for target in targets] == ["", "", "again", "", ""]
    assert (targets[3].repository, action) == ("o/r", "ready")
    assert read_targets(["main", "next", "review"]) == read_targets(["branch:main", "branch:next"])
    assert parse("", ["--all-open", "ready"]).words == ["ready"]


def test_the_number_of_an_issue_stands_on_either_side_of_implement() -> None:
    for words in (
        ["45", "implement"],
        ["implement", "45"],
        ["implement", "https://github.com/a/b/issues/45"],
    ):
        (target,), action = read_targets(words)
        assert (target.kind, target.number, action) == ("issue", 45, "implement")
    with pytest.raises(UsageError, match="main is no issue"):
        read_targets(["main", "implement"])
    with pytest.raises(UsageError, match="needs a pull request"):
        read_targets(["https://github.com/a/b/issues/45", "review"])


@pytest.mark.parametrize("word", ["list", "start", "lss", "revew", "FLEET", "canccel"])
def test_a_word_near_a_verb_or_an_action_is_no_target(word: str) -> None:
    with pytest.raises(UsageError, match="Did you mean") as caught:
        read_targets([word])
    assert f"branch:{word}" in caught.value.hint


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["1", "review", "more"],
        ["1", "2", "more"],
        ["more", "2"],
        ["review"],
        ["review", "1"],
        ["1", "--force"],
        ["1", "--limit", "2"],
        ["1", "--wait", "--detach"],
        ["1", "--all-open"],
        ["owner/shop#1", "--repo", "owner/other"],
        ["ls", "1"],
        ["ls", "--fresh"],
        ["ls", "--watch"],
        ["ls", "--web"],
        ["1", "--no-such-option"],
        ["1", "--timeout", "soon", "--wait"],
        ["1", "--timeout", "3s"],
        ["wait"],
        ["peek", "1", "--lines", "0"],
        ["1", "revew"],
        ["1:a;b"],
        ["-x"],
        ["setup"],
        ["setup", "--set", "nonsense=1"],
        ["setup", "--set", "port=many"],
        ["attach", "1"],
    ],
)
def test_what_makes_no_sense_is_exit_code_2(cli: Cli, words: list[str]) -> None:
    if "attach" not in words:
        words = [*words, "--json"]
    done = cli.run("offload", *words, code=2)
    assert "Traceback" not in done.stderr
    if "attach" in words:
        assert (done.stdout, done.stderr != "") == ("", True)
        return
    error = json.loads(done.stdout)["error"]
    assert (error["code"], set(error)) == ("usage", {"code", "message", "hint"})
    assert done.stderr == ""


def test_an_unknown_action_lists_the_actions(cli: Cli) -> None:
    done = cli.run("offload", "1", "fix-it", code=2)
    assert "Actions: review, fix, implement, ready, open." in done.stderr
    assert "branch:fix-it" in done.stderr


def test_help_speaks_of_ours_only(cli: Cli) -> None:
    for words in (["offload"], ["offload", "logs"], ["fleet"], ["doctor"]):
        text = cli.run(*words, "--help").stdout
        assert "--verbosity" not in text
        assert "--settings" not in text
    assert "exit codes" in cli.run("offload", "--help").stdout
    assert cli.run("offload", "help", "ready").stdout == cli.run("offload", "--help").stdout
    assert "Did you mean 'fleet start'" in cli.run("offload", "help", "fleet", "strt", code=3).stderr
    assert "Did you mean 'start'" in cli.run("offload", "fleet", "strt", code=2).stderr


@pytest.mark.parametrize(
    ("named", "hours"), [("Asia/Tokyo", 9), (":Asia/Tokyo", 9), ("", 0), ("No/Where", 0), ("../x", 0)]
)
def test_times_are_shown_in_the_zone_of_the_user(
    monkeypatch: pytest.MonkeyPatch, named: str, hours: int
) -> None:
    monkeypatch.setenv("TZ", named)
    remember_zone()
    monkeypatch.setenv("TZ", "UTC")  # as Django does
    assert datetime(2026, 1, 1, tzinfo=UTC).astimezone(local_zone()).hour == hours


def test_a_broken_configuration_names_its_key(cli: Cli) -> None:
    cli.home.mkdir(exist_ok=True)
    (cli.home / "config.toml").write_text("prot = 1\n")
    done = cli.run("offload", "ls", code=4)
    assert "prot" in done.stderr
    assert "Traceback" not in done.stderr
    assert cli.json("offload", "ls", code=4)["error"]["code"] == "not_configured"


def test_an_option_that_a_verb_lacks_counts_as_not_given() -> None:
    request = make_command("attach", ["12"])
    assert (request.json, request.read_only) == (None, False)
    with pytest.raises(AttributeError):
        _ = request.no_such_option
