"""The examples of docs/api.md that need no forge and no cloud run as they stand."""

import re
import subprocess
import sys

from tests.jobs.api.conftest import Served
from tests.support.dashboard import ROOT


def test_the_examples_run(served: Served) -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    examples = "\n".join(re.findall(r"```sh\n(.*?)```", page, re.DOTALL))
    examples += "\nunused() {\n" + "\n".join(re.findall(r"```bash\n(.*?)```", page, re.DOTALL)) + "\n}\n"
    manage = f"{sys.executable} {ROOT / 'manage.py'}"
    script = f'set -eu -o pipefail\noffload() {{ {manage} offload "$@"; }}\n{examples}'
    done = subprocess.run(
        ["bash", "-c", script], env=served.cli.env, cwd=served.cli.cwd, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    for printed in re.findall(r"```json\n(.*?)\n```", page, re.DOTALL):
        assert printed.replace("`offload ", f"`{manage} offload ") in done.stdout
