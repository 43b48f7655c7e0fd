"""The real image of the worker's container, built by `manage.py fleet image build` on a small Debian.

The Debian is the one of `docker_engine`, with this machine's ways to the package registries (mirror, proxy,
certificates) added, so that nothing of them is in the repository. What was built is kept with its layers
under `tests/.cache`, by the content of the Dockerfile; continuous integration always builds it again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.cli import ROOT
from tests.support.cli import Cli as ManagePy
from tests.support.docker_engine import BASE, CACHE, RELEASE, DockerEngine, locked

DOCKERFILE = ROOT / ".gcp" / "Dockerfile.maintainer"
DEBIAN = "offload-test-debian:1"
MAINTAINER = "offload-test-maintainer:1"
TMUX = "offload-test-static-tmux:1"
BUILD_SECONDS = 600.0
CERTIFICATES = "/etc/ssl/host-certificates.crt"


def docker(engine: DockerEngine, *words: str, code: int | None = 0, **options: Any) -> str:
    """Run a command of the engine; return what it wrote, both streams. `code` None: whatever."""
    done = subprocess.run(
        [*engine.command, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, **options
    )
    text = bytes(done.stdout).decode(errors="replace")
    assert code is None or done.returncode == code, f"{words} ended with {done.returncode}:\n{text}"
    return text


def make_debian(engine: DockerEngine) -> None:
    """Make the image DEBIAN: the small Debian, and this machine's ways to the registries."""
    with tempfile.TemporaryDirectory(prefix="offload-debian-") as directory:
        context = Path(directory)
        etc = context / "etc"
        for part in ("apt/apt.conf.d", "apt/sources.list.d", "dpkg/dpkg.cfg.d", "ssl"):
            (etc / part).mkdir(parents=True)
        # As Debian's own images have it: no waiting for the disk, nothing downloaded twice.
        (etc / "dpkg/dpkg.cfg.d/speed").write_text("force-unsafe-io\n")
        (etc / "apt/apt.conf.d/zz-image").write_text('Acquire::Languages "none";\n')
        for file in Path("/etc/apt/apt.conf.d").glob("*"):
            lines = [line for line in file.read_text().splitlines() if line.strip()]
            if lines and all(line.startswith(("Acquire::", "//", "#")) for line in lines):
                shutil.copy(file, etc / "apt/apt.conf.d" / file.name)
        lines = [f"FROM {BASE}", "COPY etc /etc/"]
        release = Path("/etc/os-release").read_text()
        sources = [Path("/etc/apt/sources.list"), Path("/etc/apt/sources.list.d/debian.sources")]
        if f"VERSION_CODENAME={RELEASE}" in release and any(file.exists() for file in sources):
            lines.insert(1, "RUN rm -f /etc/apt/sources.list")
            for file in sources:
                if file.exists():
                    shutil.copy(file, etc / file.relative_to("/etc"))
        lines += [f"ENV {name}={shlex.quote(value)}" for name, value in _ways().items()]
        bundle = Path("/etc/ssl/certs/ca-certificates.crt")
        (context / f".{CERTIFICATES}").write_bytes(bundle.read_bytes() if bundle.exists() else b"")
        (context / "Dockerfile").write_text("\n".join([*lines, ""]))
        docker(engine, "build", "--network", "host", "--tag", DEBIAN, directory, env=_environment())


def _ways() -> dict[str, str]:
    """Return the variables by which npm and pip find and trust their registries, as this machine does."""
    registry = subprocess.run(
        ["npm", "config", "get", "registry"], capture_output=True, text=True, check=False
    ).stdout.strip()
    ways = dict.fromkeys(("NODE_EXTRA_CA_CERTS", "NPM_CONFIG_CAFILE", "PIP_CERT"), CERTIFICATES)
    if re.fullmatch(r"https?://[^@\s]+", registry):
        ways["NPM_CONFIG_REGISTRY"] = registry
    if re.fullmatch(r"https?://[^@\s]+", os.environ.get("PIP_INDEX_URL", "")):
        ways["PIP_INDEX_URL"] = os.environ["PIP_INDEX_URL"]
    return ways


def _environment() -> dict[str, str]:
    # Debian's docker.io has no BuildKit front end.
    return {**os.environ, "DOCKER_BUILDKIT": "0"}


def tmux_archive() -> Path:
    """Return where /opt/offload of the real image is kept (a tar file), by the Dockerfile's content."""
    return CACHE / f"tmux-{hashlib.sha256(DOCKERFILE.read_bytes()).hexdigest()[:16]}.tar"


def keep_tmux(engine: DockerEngine, image: str) -> None:
    """Keep /opt/offload of an image for `static_tmux`, unless it is kept already."""
    archive = tmux_archive()
    if archive.exists():
        return
    for old in CACHE.glob("tmux-*.tar"):
        old.unlink()
    made = docker(engine, "create", image, "true").strip()
    part = archive.with_suffix(f".{made[:12]}")
    copy = [*engine.command, "cp", f"{made}:/opt/offload/.", "-"]
    with part.open("wb") as file:
        subprocess.run(copy, stdout=file, check=True)
    docker(engine, "rm", made)
    part.rename(archive)


def static_tmux(engine: Callable[[], DockerEngine]) -> Path:
    """Return /opt/offload of the real image as a tar file; at first use its stage is built on `engine()`."""
    archive = tmux_archive()
    if not archive.exists():
        with locked(CACHE / "maintainer.lock"):
            if not archive.exists():
                builder = engine()
                make_debian(builder)
                stage = ["--target", "static-tmux", "--tag", TMUX, "--build-arg", f"BASE_IMAGE={DEBIAN}"]
                build = ["build", "--network", "host", *stage, "--file", str(DOCKERFILE)]
                build.append(str(DOCKERFILE.parent))
                docker(builder, *build)
                keep_tmux(builder, TMUX)
    return archive


class MaintainerImage:
    """The image MAINTAINER on an engine. `built` is what the verb printed."""

    def __init__(self, engine: DockerEngine, home: Path) -> None:
        self.engine = engine
        self.cli = ManagePy(home, ROOT)
        self.cli.env = {**self.cli.env, "DOCKER_BUILDKIT": "0"}
        self.built: dict[str, Any] = {}

    def argv(self, *words: str) -> list[str]:
        """Return the words of `fleet image` on this engine."""
        return ["fleet", "image", *words, "--engine", shlex.join(self.engine.command)]

    def make(self) -> MaintainerImage:
        """Build it, on the layers of an earlier run when the Dockerfile is still the same."""
        key = hashlib.sha256(DOCKERFILE.read_bytes() + Path(__file__).read_bytes()).hexdigest()[:16]
        archive = CACHE / f"maintainer-{key}.tar"
        CACHE.mkdir(parents=True, exist_ok=True)
        with locked(CACHE / "maintainer.lock"):
            if archive.exists():
                docker(self.engine, "load", "--quiet", "--input", str(archive))
            else:
                make_debian(self.engine)
            self.built = self.build()
            keep_tmux(self.engine, MAINTAINER)
            if not archive.exists() and not os.environ.get("CI"):
                for old in CACHE.glob("maintainer-*.tar"):
                    old.unlink()
                self._keep(archive)
        return self

    def build(self, name: str = MAINTAINER) -> dict[str, Any]:
        """Build it with the real command; return what `--json` says."""
        words = self.argv("build", "--image", name, "--base", DEBIAN, "--network", "host", "--json")
        with self.cli.start(*words) as process:
            out, err = process.communicate(timeout=BUILD_SECONDS)
        assert process.returncode == 0, f"{out}\n{err}"
        found: dict[str, Any] = json.loads(out)["image"]
        return found

    def _keep(self, archive: Path) -> None:
        # With every image between, a later `load` brings the build cache back.
        steps = docker(self.engine, "images", "--all", "--quiet").split()
        part = archive.with_suffix(".part")
        names = [DEBIAN, MAINTAINER]
        docker(self.engine, "save", "--output", str(part), *names, *dict.fromkeys(steps))
        part.rename(archive)

    def run(self, script: str, *options: str, code: int | None = 0) -> str:
        """Run a shell script in a new container that is locked down as a worker's is."""
        locked = [
            "--rm", "--init", "--read-only", "--tmpfs", "/tmp:rw,exec,mode=1777", "--network", "none",
            "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--env", "HOME=/tmp",
        ]  # fmt: skip
        return docker(self.engine, "run", *locked, *options, MAINTAINER, "sh", "-c", script, code=code)
