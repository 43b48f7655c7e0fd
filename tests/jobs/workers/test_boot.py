"""The cloud-init that is generated: strict, valid YAML, valid shell, and nothing breaks out of its quotes."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.errors import NotConfigured
from jobs.workers import cloud_init

DIGEST = "europe-docker.pkg.dev/p/offload/maintainer@sha256:" + "a" * 64
CONFIG: dict[str, Any] = {"container": {"image": DIGEST, "engine": ["sudo", "-n", "docker"]}, "boot": {}}


def made(**changes: Any) -> cloud_init.Boot:
    return replace(cloud_init.of_worker("box", cloud_init.MOUNT, CONFIG), **changes)


def files(text: str) -> dict[str, str]:
    return {one["path"]: one["content"] for one in yaml.safe_load(text)["write_files"]}


def test_it_is_cloud_config_with_scripts_that_bash_takes() -> None:
    text = cloud_init.render(made())
    assert text.startswith("#cloud-config\n")
    written = files(text)
    assert written["/etc/offload/boot.sh"] == cloud_init.render(made(), cloud_init.SCRIPT)
    for path in ("/etc/offload/boot.sh", "/etc/offload/watchdog.sh"):
        assert written[path].startswith("#!/bin/bash\n")
        done = subprocess.run(["bash", "-n"], input=written[path], text=True, capture_output=True)
        assert done.returncode == 0, done.stderr
    assert "offload-watchdog.timer" in str(yaml.safe_load(text)["runcmd"])


def test_the_container_is_the_one_that_a_launch_expects() -> None:
    one = made()
    script = cloud_init.render(one, cloud_init.SCRIPT)
    assert f"offload.spec={one.spec.digest()}" in script
    assert "docker run --detach --restart always --name maintainer-worker" in script
    assert "--read-only" in script
    assert DIGEST in script
    assert "sudo" not in script  # it runs as root; the spec's digest still is that of a launch


def test_values_cannot_leave_their_quotes() -> None:
    evil = "/x'; touch /tmp/evil; echo '$(id) # - path: /etc/passwd"
    text = cloud_init.render(made(disk=evil, user=evil))
    assert len(yaml.safe_load(text)["write_files"]) == 5
    script = files(text)["/etc/offload/boot.sh"]
    lines = script[: script.index("STEP=")] + 'printf "%s" "$DISK"\n'
    lines = lines.replace("set -Eeuo pipefail\n", "")
    done = subprocess.run(["bash"], input=lines, text=True, capture_output=True, check=True)
    assert done.stdout == evil


def test_an_unknown_name_in_a_template_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    values = cloud_init.Boot.values
    monkeypatch.setattr(
        cloud_init.Boot, "values", lambda self: {k: v for k, v in values(self).items() if k != "mount"}
    )
    with pytest.raises(jinja2.UndefinedError, match="mount"):
        cloud_init.render(made())


@pytest.mark.parametrize("image", ["", "maintainer:latest", "europe-docker.pkg.dev/p/o/m:1"])
def test_an_image_without_a_digest_is_refused(image: str) -> None:
    with pytest.raises(NotConfigured, match="digest"):
        cloud_init.of_worker("box", cloud_init.MOUNT, {"container": {"image": image}})


SENSELESS: list[tuple[str, Any, str]] = [
    ("name", "box\nruncmd: [reboot]", "a line break or a control character"),
    ("disk", "/dev/x\n- path: /etc/passwd", "a line break or a control character"),
    ("user", "ann\x07", "a line break or a control character"),
    ("links", ("/var/lib/offload", "/a\u2028b"), "a line break or a control character"),
    ("links", ("var/lib/offload",), "not a whole path"),
    ("mount", "mnt", "not a whole path"),
    ("owner", "root", "not `uid:gid`"),
    ("console", None, "not a text"),
    ("idle_minutes", 0, "not a number above 0"),
    ("idle_minutes", float("nan"), "not a number above 0"),
    ("disk_seconds", "120", "not a whole number above 0"),
    ("pull_tries", True, "not a whole number above 0"),
]


@pytest.mark.parametrize(("name", "value", "said"), SENSELESS)
def test_a_setting_that_makes_no_sense_is_named(name: str, value: Any, said: str) -> None:
    with pytest.raises(NotConfigured, match=f"boot setting `{name}` of the worker") as caught:
        cloud_init.render(made(**{name: value}))
    assert said in caught.value.message


def test_a_text_that_google_would_not_take_is_refused() -> None:
    assert len(cloud_init.render(made()).encode()) < cloud_init.LARGEST / 10
    with pytest.raises(NotConfigured, match=r"has \d+ bytes; Google takes 262144"):
        cloud_init.render(made(links=tuple(f"/var/lib/{n:030d}" for n in range(9000))))


@settings(max_examples=30)
@given(text=st.text(max_size=40), idle=st.floats(0.1, 1e5))
def test_whatever_is_rendered_is_yaml_with_the_scripts_in_it(text: str, idle: float) -> None:
    one = made(name=text, user=text, disk=f"/dev/{text}", links=(f"/l{text}",), idle_minutes=idle)
    try:
        whole = cloud_init.render(one)
    except NotConfigured:
        return
    config = yaml.safe_load(whole)
    assert set(config) == {"write_files", "runcmd"}
    assert {"path", "permissions", "owner", "content"} == set().union(*config["write_files"])
    assert files(whole)["/etc/offload/boot.sh"] == cloud_init.render(one, cloud_init.SCRIPT)
    assert files(whole)["/etc/offload/watchdog.sh"] == cloud_init.render(one, cloud_init.WATCHDOG)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not here")
def test_systemd_understands_the_units(tmp_path: Path) -> None:
    written = files(cloud_init.render(made()))
    paths = []
    for path, content in written.items():
        if path.startswith("/etc/systemd/system/"):
            paths.append(tmp_path / Path(path).name)
            paths[-1].write_text(content)
    verify = ["systemd-analyze", "verify", "--man=no", *map(str, paths)]
    done = subprocess.run(verify, text=True, capture_output=True, check=False)
    about = [line for line in done.stderr.splitlines() if "offload-" in line]
    assert (len(paths), about) == (3, [])
    timer = written["/etc/systemd/system/offload-watchdog.timer"]
    broken = tmp_path / "offload-broken.timer"
    broken.write_text(timer.replace("1min", "one minute"))
    done = subprocess.run([*verify[:3], str(broken)], text=True, capture_output=True, check=False)
    assert "offload-broken.timer" in done.stderr  # so the silence above means something


def test_a_login_of_the_machine_gets_the_container_that_a_launch_expects() -> None:
    """The digest that the script makes of a user whom only the machine knows is ours."""
    one = made(user="ann")
    script = cloud_init.render(one, cloud_init.SCRIPT)
    block = script[script.index("    # Known here only") : script.index('mkdir -p "$ROOT"')].rpartition(
        "fi\n"
    )[0]
    for uid, gid in ((2000123, 2000124), (1000, 1000), (1000, 7)):
        lines = f'OWNER={uid}:{gid}\n{block}\nprintf "%s\\n" "$SPEC" "${{RUN[@]}}"'
        done = subprocess.run(["bash", "-euc", lines], text=True, capture_output=True, check=True)
        spec = one.spec.owned_by(f"{uid}:{gid}")
        assert done.stdout.splitlines() == [spec.digest(), "docker", *spec.run_argv(DIGEST)[3:]]


@pytest.mark.skipif(not shutil.which("cloud-init"), reason="cloud-init is not here")
def test_cloud_init_finds_it_valid(tmp_path: Path) -> None:
    file = tmp_path / "user-data"
    file.write_text(cloud_init.render(made(user="ann")))
    check = ["cloud-init", "schema", "--config-file", str(file)]
    done = subprocess.run(check, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Valid cloud-config" in done.stdout
