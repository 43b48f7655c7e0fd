"""Which variables of the machine a session and its tasks get: those known to be harmless, by name.

A list of what is let through is the only kind that keeps an unknown secret out.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Dict, Mapping

from jobs.remote.offload_runner.engine.process import MARK
from jobs.remote.offload_runner.files.paths import JOB, JobPaths, Place, read_json
from jobs.remote.offload_runner.protocol import Task, expand

_KEPT_TEXT = """
    PATH HOME USER LOGNAME SHELL LANG LANGUAGE TZ TERM COLORTERM TERMINFO TERMINFO_DIRS NO_COLOR

    JAVA_HOME JDK_HOME ANDROID_HOME ANDROID_SDK_ROOT ANDROID_NDK_HOME GOROOT RUSTUP_HOME NVM_DIR VOLTA_HOME
    FNM_DIR PYENV_ROOT RBENV_ROOT RBENV_VERSION GEM_HOME ASDF_DIR ASDF_DATA_DIR MISE_DATA_DIR SDKMAN_DIR
    MAVEN_HOME M2_HOME GRADLE_HOME DOTNET_ROOT DENO_INSTALL BUN_INSTALL NIX_PATH NIX_PROFILES
    LD_LIBRARY_PATH DYLD_LIBRARY_PATH PKG_CONFIG_PATH MANPATH CC CXX

    http_proxy https_proxy no_proxy all_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY
    SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE NODE_EXTRA_CA_CERTS PIP_CERT
    PIP_INDEX_URL PIP_EXTRA_INDEX_URL UV_INDEX_URL UV_DEFAULT_INDEX npm_config_registry NPM_CONFIG_REGISTRY
    GOPROXY GOSUMDB GONOSUMDB GOFLAGS GOTOOLCHAIN PLAYWRIGHT_BROWSERS_PATH PUPPETEER_EXECUTABLE_PATH
"""
# The machine and the user; where toolchains live; how to reach package registries.
_KEPT = frozenset(_KEPT_TEXT.split())
_KEPT_PREFIXES = ("LC_",)
# Programs that look below HOME for themselves do not find it in a job's own HOME.
_BELOW_HOME = {"RUSTUP_HOME": ".rustup", "PYENV_ROOT": ".pyenv", "RBENV_ROOT": ".rbenv", "NVM_DIR": ".nvm"}
# Set for steps in a control container: the job's commands are run by way of the runner's socket.
STEP_SOCKET = "OFFLOAD_STEP_SOCKET"
_CACHES = {
    "npm_config_cache": "npm",
    "YARN_CACHE_FOLDER": "yarn",
    "PIP_CACHE_DIR": "pip",
    "UV_CACHE_DIR": "uv",
    "GOCACHE": "go/build",
    "GOMODCACHE": "go/mod",
    "COMPOSER_CACHE_DIR": "composer",
}


def harmless(environ: Mapping[str, str]) -> Dict[str, str]:
    """Return the variables that may enter a session. An address with a password in it may not."""
    return {
        name: value
        for name, value in environ.items()
        if (name in _KEPT or name.startswith(_KEPT_PREFIXES)) and not ("://" in value and "@" in value)
    }


def placeholders(paths: JobPaths, runner: str, python: str) -> Dict[str, str]:
    """Return what the placeholders of a plan stand for on this machine."""
    return {
        "root": str(paths.root),
        "job_dir": str(paths.job_dir),
        "worktree": str(paths.worktree),
        "base_worktree": str(paths.base_worktree),
        "cache": str(paths.caches),
        "runner": runner,
        "python": python,
    }


def mark_of(paths: JobPaths, task: str) -> str:
    """Return the mark that the processes of a task carry."""
    return str(paths.tasks / task)


def task_environment(
    paths: JobPaths, task: Task, values: Mapping[str, str], *, in_container: bool = False, place: str = JOB
) -> Dict[str, str]:
    """Return the variables of a task in a place, which its supervisor adds to those that it has."""
    env: Dict[str, str] = {}
    if not in_container:
        here = harmless(os.environ)
        real_home = Path(here.get("HOME", "/"))
        for name, folder in _BELOW_HOME.items():
            if name not in here and (real_home / folder).is_dir():
                env[name] = str(real_home / folder)
    env.update(_of_the_job(paths))
    env.update(place_environment(paths.place(place)))
    env["OFFLOAD_RESULTS"] = str(paths.place(place).tmp / "results" / task.id)
    env.update({name: expand(text, dict(values)) for name, text in task.env.items()})
    env.update({name: str(port) for name, port in (read_json(paths.ports) or {}).items()})
    env[MARK] = mark_of(paths, task.id)
    return env


def place_environment(place: Place) -> Dict[str, str]:
    """Return the variables that say where code of a place works and what it may write."""
    return {
        **{name: str(place.cache / folder) for name, folder in _CACHES.items()},
        "HOME": str(place.home),
        "TMPDIR": str(place.tmp),
        # Not shared: both obey configuration that a job can leave there. A hard link into uv's cache could
        # be written to from a job's environment.
        "CARGO_HOME": str(place.home / ".cargo"),
        "GRADLE_USER_HOME": str(place.home / ".gradle"),
        "UV_LINK_MODE": "copy",
        "OFFLOAD_WORKTREE": str(place.tree),
    }


def step_environment(
    paths: JobPaths, task: Task, values: Mapping[str, str], *, in_container: bool = False
) -> Dict[str, str]:
    """Return the variables of one of our own steps: as a task's, but with a HOME that no job can write."""
    env = task_environment(paths, task, values, in_container=in_container)
    env["HOME"] = "/tmp" if in_container else os.environ.get("HOME", "/")  # noqa: S108 - the container's own
    del env["TMPDIR"]
    if in_container:
        env[STEP_SOCKET] = "1"
    return env


def _of_the_job(paths: JobPaths) -> Dict[str, str]:
    return {
        "CI": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "TERM": os.environ.get("TERM", "xterm-256color"),
        "OFFLOAD_SESSION": paths.session,
        "OFFLOAD_ROOT": str(paths.root),
    }
