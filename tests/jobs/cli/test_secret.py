"""`offload secret`: values come in by a pipe or unseen, and stay out of everything else."""

import json
import subprocess
from pathlib import Path

from tests.support.cli import DEADLINE, ROOT, Cli

NO_KEYRING = {"PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring"}
VALUE = "a-value-nobody-else-has"


def with_keyring(cli: Cli, tmp: Path) -> Path:
    file = tmp / "keyring.json"
    cli.env |= {
        "PYTHON_KEYRING_BACKEND": "tests.support.keyring_backend.FileKeyring",
        "TEST_KEYRING_FILE": str(file),
        "PYTHONPATH": str(ROOT),
    }
    return file


def piped(cli: Cli, value: str, *words: str, code: int = 0) -> str:
    done = subprocess.run(
        cli.argv("offload", *words), input=value, cwd=cli.cwd, env=cli.env, capture_output=True, text=True,
        timeout=DEADLINE, check=False,
    )  # fmt: skip
    assert done.returncode == code, (done.stdout, done.stderr)
    assert value.strip() not in done.stdout + done.stderr
    return done.stdout + done.stderr


def test_without_a_keyring_a_private_file_keeps_it(cli: Cli) -> None:
    cli.env |= NO_KEYRING
    assert "a file that only you can read" in piped(cli, f"{VALUE}\n", "secret", "set", "MY_TOKEN")
    files = [
        path for path in cli.home.rglob("*") if path.is_file() and VALUE in path.read_text(errors="replace")
    ]
    assert [path.name for path in files] == ["secrets.private.json"]
    assert files[0].stat().st_mode & 0o777 == 0o600
    assert json.loads(files[0].read_text()) == {"MY_TOKEN": VALUE}
    listed = cli.json("offload", "secret", "ls")["secrets"]
    assert listed == [{"name": "MY_TOKEN", "source": "file"}]
    cli.run("offload", "secret", "rm", "MY_TOKEN")
    assert VALUE not in files[0].read_text()
    cli.run("offload", "secret", "rm", "MY_TOKEN", code=3)


def test_a_keyring_keeps_it_and_no_file_of_ours(cli: Cli, tmp_path: Path) -> None:
    cli.env |= NO_KEYRING
    piped(cli, VALUE, "secret", "set", "MY_TOKEN")
    keyring = with_keyring(cli, tmp_path)
    piped(cli, VALUE, "secret", "set", "MY_TOKEN")
    assert list(json.loads(keyring.read_text()).values()) == [VALUE]
    for path in cli.home.rglob("*"):
        assert not path.is_file() or VALUE not in path.read_text(errors="replace"), path
    assert cli.json("offload", "secret", "ls")["secrets"][0]["source"] == "keyring"
    cli.run("offload", "secret", "rm", "MY_TOKEN")
    assert json.loads(keyring.read_text()) == {}


def test_a_locked_keyring_is_a_clear_error(cli: Cli, tmp_path: Path) -> None:
    with_keyring(cli, tmp_path).mkdir()
    assert "the keyring is locked" in piped(cli, VALUE, "secret", "set", "MY_TOKEN", code=4)
    assert cli.json("offload", "secret", "ls")["secrets"] == []


def test_a_typed_value_is_not_shown(cli: Cli) -> None:
    cli.env |= NO_KEYRING
    with cli.terminal("offload", "secret", "set", "MY_TOKEN") as terminal:
        terminal.expect("is not shown")
        terminal.type(f"{VALUE}\r".encode())
        assert terminal.wait() == 0
        assert VALUE.encode() not in terminal.seen
        assert terminal.is_restored()
    assert VALUE in (cli.home / "secrets.private.json").read_text()


def test_what_cannot_be_a_secret_is_a_usage_error(cli: Cli) -> None:
    cli.env |= NO_KEYRING
    assert "too short" in piped(cli, "abc", "secret", "set", "MY_TOKEN", code=2)
    piped(cli, VALUE, "secret", "set", "PATH", code=2)
    piped(cli, VALUE, "secret", "set", "two words", code=2)
    cli.run("offload", "secret", "set", code=2)
    cli.run("offload", "secret", "eat", "X", code=2)
