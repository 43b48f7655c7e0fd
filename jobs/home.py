"""Where Offload keeps its state and its configuration."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

APP = "offload"
DATABASE = "offload.sqlite3"


def locate_home(environ: Mapping[str, str] = os.environ) -> tuple[Path, Path]:
    """Return the state directory and the path of `config.toml`. OFFLOAD_HOME moves both."""
    given = environ.get("OFFLOAD_HOME", "")
    if given:
        home = Path(given).expanduser().absolute()
        return home, home / "config.toml"
    from platformdirs import PlatformDirs  # costs a tenth of what a completion may take

    dirs = PlatformDirs(APP, appauthor=False)
    return Path(dirs.user_state_dir), Path(dirs.user_config_dir) / "config.toml"
