"""A command line forked from the zygote does what one does that Python is started for."""

from __future__ import annotations

import pytest

from tests.support.cli import Cli
from tests.support.zygote import needs_a_start

GIVEN = {
    "OFFLOAD_PORT": "1234",
    "OFFLOAD_ALLOWED_HOSTS": "one.example,two.example",
    "OFFLOAD_DEBUG": "yes",
    "OFFLOAD_DATABASE_URL": "postgres://me@db.example/offload",
}


def both(cli: Cli, *words: str) -> tuple[int, str, str]:
    """Run a command line in both ways, check that they cannot be told apart, and return how it ended."""
    fresh = cli.run_anew(*words)
    forked = cli.run(*words, code=None)
    assert not needs_a_start(cli.env)
    assert (forked.returncode, forked.stdout, forked.stderr) == (fresh.returncode, fresh.stdout, fresh.stderr)
    return fresh.returncode, fresh.stdout, fresh.stderr


def test_each_setting_is_read_from_the_commands_own_environment_and_file(cli: Cli) -> None:
    for given in ({}, GIVEN):
        cli.env |= given
        settings = [cli.run_anew("diffsettings", "--all").stdout, cli.run("diffsettings", "--all").stdout]
        # Django completes these when the database is first used, which is not at the same time in both.
        fresh, forked = (
            [
                line.replace("}}", ",").split(", 'ATOMIC_REQUESTS'")[0].rstrip("}, ")
                for line in one.splitlines()
            ]
            for one in settings
        )
        assert forked == fresh
        assert all(word in settings[1] for word in ("two.example", "db.example")) is bool(given)
    for name in GIVEN:
        del cli.env[name]
    cli.home.mkdir(exist_ok=True)
    (cli.home / "config.toml").write_text("port = 4321\n")
    assert "4321" in both(cli, "doctor", "--json")[1]


@pytest.mark.parametrize("json", [(), ("--json",)])
def test_what_is_wrong_is_told_in_the_same_words(cli: Cli, json: tuple[str, ...]) -> None:
    assert both(cli, "offload", "ls", *json)[0] == 0
    assert both(cli, "offload", "ls", "--no-such-option", *json)[0] == 2
    assert both(cli, "offload", "status", "9", *json)[0] == 3
    cli.env["OFFLOAD_PORT"] = "many"
    code, out, err = both(cli, "offload", "ls", *json)
    assert (code, "OFFLOAD_PORT" in (out if json else err)) == (4, True)


def test_what_python_reads_at_its_start_needs_a_start(cli: Cli) -> None:
    assert not needs_a_start(cli.env)
    assert needs_a_start({**cli.env, "PYTHONPATH": "/elsewhere"})
    assert needs_a_start({**cli.env, "LC_ALL": "C"})
    assert needs_a_start({name: value for name, value in cli.env.items() if name != "TZ"})
