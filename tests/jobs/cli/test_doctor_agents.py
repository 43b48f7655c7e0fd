"""`doctor --agents`: which coding agents a worker has, by the real one and by stubs of others."""

import json
import os
import re
from pathlib import Path

from jobs.agents.gemini import Gemini
from tests.support.cli import ROOT, Cli
from tests.support.model_api import AGENT_BIN


def test_each_agent_is_there_too_old_or_missing(cli: Cli, tmp_path: Path) -> None:
    stub = tmp_path / "bin" / "gemini"
    stub.parent.mkdir()
    path = cli.env["PATH"]
    cli.env["PATH"] = f"{stub.parent}{os.pathsep}{path}"

    def checks(code: int = 0) -> dict[str, dict[str, str]]:
        rows = cli.json("doctor", "--agents", code=code)["doctor"]["checks"]
        return {row["subject"]: row for row in rows}

    found = checks()
    missing, unused = found["worker local: agent gemini"], found["agent generic"]
    install = "npm install --global @google/gemini-cli@0.61.0"
    assert (missing["severity"], missing["command"]) == ("warn", install)
    assert missing["detail"] == "There is no gemini on the PATH."
    assert (unused["severity"], "has no command" in unused["detail"]) == ("pass", True)
    for said, why in (
        (
            "echo '(node:1) warning' >&2; echo 0.60.9",
            "is version 0.60.9, which is too old: 0.61 or newer is needed.",
        ),
        ("echo 'Cannot find module' >&2; exit 1", "says 'Cannot find module', which names no version; 0.61"),
    ):
        stub.write_text(f"#!/bin/sh\n{said}\n")
        stub.chmod(0o755)
        old = checks(code=4)["worker local: agent gemini"]
        assert (old["severity"], old["command"]) == ("fail", install)
        assert why in old["detail"]
    cli.env["PATH"] = f"{AGENT_BIN}{os.pathsep}{path}"
    cli.env["OFFLOAD_AGENT_COMMAND"] = "cat -u"
    text = cli.run("doctor", "local", "--agents").stdout
    assert re.search(
        r"^PASS  worker local: agent gemini: Version 0\.61\.0 \(.*/gemini\)\.$", text, re.MULTILINE
    )
    assert re.search(r"^PASS  worker local: agent generic: \S*/cat; its version", text, re.MULTILINE)
    assert "--agents only checks" in cli.run("doctor", "--agents", "--apply", code=2).stderr
    text = cli.run("doctor", "local", "--security").stdout
    assert re.search(r"^WARN  worker local: isolation: Not isolated: ", text, re.MULTILINE)
    assert "--security only checks" in cli.run("doctor", "--security", "--apply", code=2).stderr


def test_the_version_that_is_installed_is_the_one_that_is_tested() -> None:
    install = Gemini().program().install
    dockerfile = (ROOT / ".gcp" / "Dockerfile.maintainer").read_text()
    package = json.loads((ROOT / "tests" / "support" / "gemini" / "package.json").read_text())
    version = package["dependencies"]["@google/gemini-cli"]
    assert install.endswith(f"@google/gemini-cli@{version}")
    assert f"ARG AGENT_VERSION={version}\n" in dockerfile
    assert "ARG MORE_AGENTS=" in dockerfile
