"""The wheel, installed: the command `offload` without a source tree."""

import json
import os
import re
import subprocess
import sys
import sysconfig
import urllib.request
import zipfile
from pathlib import Path

import pytest

from offload_web.demo import sample
from offload_web.package_files import PACKAGE_FILES

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", str(folder), str(ROOT)], check=True)
    (found,) = folder.glob("*.whl")
    return found


def system_python() -> str:
    """Return the Python of the operating system, which is as old as we promise on Debian 12; else this one.

    It has to fit the packages that were compiled for this one.
    """
    ask = "import sys; print(*sys.version_info[:2])"
    try:
        said = subprocess.run(["/usr/bin/python3", "-I", "-c", ask], capture_output=True, text=True)
    except OSError:
        return sys.executable
    return "/usr/bin/python3" if said.stdout.split() == [*map(str, sys.version_info[:2])] else sys.executable


@pytest.fixture(scope="module")
def offload(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into an environment of its own, which borrows the packages that it depends on."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([system_python(), "-m", "venv", "--without-pip", folder], check=True)
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    asked = subprocess.run([folder / "bin" / "python", "-c", ask], capture_output=True, text=True, check=True)
    site = Path(asked.stdout.strip())
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install = [sys.executable, "-m", "pip", "--python", str(folder), "install", "--quiet", "--no-deps"]
    subprocess.run([*install, str(wheel)], check=True)
    return folder / "bin" / "offload"


def environment(home: Path) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OFFLOAD_", "PYTHON", "DJANGO_"))
    }
    return {**kept, "OFFLOAD_HOME": str(home), "HOME": str(home.parent)}


def test_the_wheel_has_what_pages_and_machines_need(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {f"offload_web/static/{name}" for name in PACKAGE_FILES}
    wanted |= {"offload_web/templates/base.html", "jobs/data/gcp/Dockerfile.maintainer"}
    wanted |= {"terminals/static/terminals/main.js", "offload_web/demo/sample/start/pyproject.toml"}
    assert wanted - names == set()
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/"))]


def test_the_main_job_and_the_dashboard_without_a_source_tree(offload: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    env = environment(home)

    def run(*words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(offload), *words], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )

    version = run("--version")
    assert re.search(r"\d+\.\d+", version.stdout), version.stderr
    repository = sample.build(tmp_path / "tinycart")
    review = run(str(sample.NUMBER), "review", "--repo", str(repository), "--wait", "--json")
    assert review.returncode == 20, review.stderr
    assert json.loads(review.stdout)["job"]["verdict"] == "fail"
    removed = run("rm", str(sample.NUMBER), "--repo", str(repository), "--json")
    assert removed.returncode == 0, removed.stderr

    server = subprocess.Popen(
        [str(offload), "serve", "--port", "0"], cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        # The address of the dashboard ends in a path of its own, which the pages are below.
        url = next(
            found[1] for line in server.stdout if (found := re.search(r"(http://[^/\s]+/[^/\s]+)/", line))
        )
        for path in ("/login/", "/static/vendor/htmx.js", "/static/offload/app.css"):
            with urllib.request.urlopen(url + path, timeout=30) as answer:
                assert answer.status == 200, path
    finally:
        server.terminate()
        server.wait(30)
        assert server.stdout is not None
        server.stdout.close()
