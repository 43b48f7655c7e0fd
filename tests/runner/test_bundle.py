"""The runner as one file: deterministic, and alive on the oldest Python it promises."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from jobs.remote import bundle

BUILD = (
    "import pathlib, sys; from jobs.remote import bundle; "
    "sys.stdout.buffer.write(bundle.build(pathlib.Path(sys.argv[1])).data)"
)


def oldest_python() -> str:
    """Return a Python 3.9 when the machine has one, else the one that runs the tests."""
    places = sorted(Path.home().glob(".pyenv/versions/3.9.*/bin/python3.9"))
    return shutil.which("python3.9", path="/usr/bin:/usr/local/bin") or str(
        next(iter(places), sys.executable)
    )


def test_the_same_sources_give_the_same_bytes(tmp_path: Path) -> None:
    built = []
    for name, umask, zone in (("one", 0o022, "UTC"), ("two", 0o077, "Pacific/Auckland")):
        before = os.umask(umask)
        try:
            copy = tmp_path / name / "offload_runner"
            shutil.copytree(bundle.PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
        finally:
            os.umask(before)
        done = subprocess.run(
            [sys.executable, "-c", BUILD, str(copy)],
            capture_output=True,
            check=True,
            env={**os.environ, "TZ": zone, "PYTHONHASHSEED": str(umask)},
        )
        built.append(done.stdout)
    assert built[0] == built[1] == bundle.build().data
    assert bundle.current() is bundle.current()


def test_other_sources_give_another_digest(tmp_path: Path) -> None:
    copy = tmp_path / "offload_runner"
    shutil.copytree(bundle.PACKAGE, copy)
    (copy / "steps/judge.py").write_text("# changed\n")
    assert bundle.build(copy).digest != bundle.current().digest


def test_every_module_imports_on_the_oldest_python(tmp_path: Path) -> None:
    runner = tmp_path / f"runner-{bundle.current().digest}.pyz"
    runner.write_bytes(bundle.current().data)
    names = [
        ".".join(path.relative_to(bundle.PACKAGE).with_suffix("").parts).replace(".__init__", "")
        for path in bundle.PACKAGE.rglob("*.py")
    ]
    code = f"import sys, importlib; sys.path.insert(0, {str(runner)!r})\n" + "\n".join(
        f"importlib.import_module('jobs.remote.offload_runner.{name}')"
        for name in names
        if name != "__init__"
    )
    subprocess.run([oldest_python(), "-I", "-W", "error", "-c", code], check=True)
    done = subprocess.run(
        [oldest_python(), str(runner), "--root", str(tmp_path), "hello"], capture_output=True, check=True
    )
    assert json.loads(done.stdout)["digest"] == bundle.current().digest


def test_compiled_modules_are_kept_next_to_the_runner(tmp_path: Path) -> None:
    runner = tmp_path / "runner-0123.pyz"
    runner.write_bytes(bundle.current().data)
    argv = [sys.executable, "-I", "-S", str(runner), "--root", str(tmp_path), "hello"]

    def hello() -> str:
        done = subprocess.run(argv, capture_output=True, check=True)
        return str(json.loads(done.stdout)["magic"])

    assert hello() == "offload-runner"
    (kept,) = (path for path in tmp_path.iterdir() if path != runner)
    files = {path.name: path for path in kept.iterdir()}
    assert {"jobs.remote.offload_runner.cli", "jobs.remote.offload_runner.wire"} <= set(files)
    # The next start reads them: another constant in one of them is in its answer.
    greeting = files["jobs.remote.offload_runner.protocol"]
    whole = greeting.read_bytes()
    greeting.write_bytes(whole.replace(b"offload-runner", b"OFFLOAD-RUNNER"))
    assert hello() == "OFFLOAD-RUNNER"
    # One that is cut short is compiled again, and kept again.
    greeting.write_bytes(whole[:100])
    assert hello() == "offload-runner"
    assert greeting.stat().st_size > 100
    # A runner that can keep nothing runs all the same.
    shutil.rmtree(kept)
    kept.touch()
    assert hello() == "offload-runner"
    assert kept.is_file()


def test_an_older_python_is_told_so(tmp_path: Path) -> None:
    old = sorted(Path.home().glob(".pyenv/versions/3.6.*/bin/python3.6"))
    runner = tmp_path / "runner-x.pyz"
    runner.write_bytes(bundle.current().data)
    fake = (
        "import sys, runpy; sys.version_info = (3, 6, 1); sys.argv = sys.argv[1:]; "
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    argv = [str(old[0])] if old else [sys.executable, "-c", fake]
    done = subprocess.run([*argv, str(runner), "--root", "/x", "hello"], capture_output=True, check=False)
    assert done.returncode == 69
    assert json.loads(done.stdout.splitlines()[-1])["code"] == "python_too_old"
