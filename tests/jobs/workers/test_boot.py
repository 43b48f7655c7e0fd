"""The cloud-init that is generated: strict, valid YAML, valid shell, and nothing breaks out of its quotes."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from typing import Any

import jinja2
import pytest
import yaml

from jobs.errors import NotConfigured
from jobs.workers import boot

DIGEST = "europe-docker.pkg.dev/p/offload/maintainer@sha256:" + "a" * 64
CONFIG: dict[str, Any] = {"container": {"image": DIGEST, "engine": ["sudo", "-n", "docker"]}, "boot": {}}


def made(**changes: Any) -> boot.Boot:
    return replace(boot.of_worker("box", boot.MOUNT, CONFIG), **changes)


def files(text: str) -> dict[str, str]:
    return {one["path"]: one["content"] for one in yaml.safe_load(text)["write_files"]}


def test_it_is_cloud_config_with_scripts_that_bash_takes() -> None:
    text = boot.render(made())
    assert text.startswith("#cloud-config\n")
    written = files(text)
    assert written["/etc/offload/boot.sh"] == boot.render(made(), boot.SCRIPT)
    for path in ("/etc/offload/boot.sh", "/etc/offload/watchdog.sh"):
        assert written[path].startswith("#!/bin/bash\n")
        done = subprocess.run(["bash", "-n"], input=written[path], text=True, capture_output=True)
        assert done.returncode == 0, done.stderr
    assert "offload-watchdog.timer" in str(yaml.safe_load(text)["runcmd"])


def test_the_container_is_the_one_that_a_launch_expects() -> None:
    one = made()
    script = boot.render(one, boot.SCRIPT)
    assert f"offload.spec={one.spec.digest()}" in script
    assert "docker run --detach --name maintainer-worker" in script
    assert "--read-only" in script
    assert DIGEST in script
    assert "sudo" not in script  # it runs as root; the spec's digest still is that of a launch


def test_values_cannot_leave_their_quotes() -> None:
    evil = "x'; touch /tmp/evil; echo '$(id)\n- path: /etc/passwd"
    text = boot.render(made(disk=evil, user=evil))
    assert len(yaml.safe_load(text)["write_files"]) == 5
    script = files(text)["/etc/offload/boot.sh"]
    lines = script[: script.index("STEP=")] + 'printf "%s" "$DISK"\n'
    lines = lines.replace("set -Eeuo pipefail\n", "")
    done = subprocess.run(["bash"], input=lines, text=True, capture_output=True, check=True)
    assert done.stdout == evil


def test_an_unknown_name_in_a_template_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    values = boot.Boot.values
    monkeypatch.setattr(
        boot.Boot, "values", lambda self: {k: v for k, v in values(self).items() if k != "mount"}
    )
    with pytest.raises(jinja2.UndefinedError, match="mount"):
        boot.render(made())


@pytest.mark.parametrize("image", ["", "maintainer:latest", "europe-docker.pkg.dev/p/o/m:1"])
def test_an_image_without_a_digest_is_refused(image: str) -> None:
    with pytest.raises(NotConfigured, match="digest"):
        boot.of_worker("box", boot.MOUNT, {"container": {"image": image}})
