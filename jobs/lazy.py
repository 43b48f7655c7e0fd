"""Packages whose public names are loaded on first use, so that a command imports only what it needs."""

from __future__ import annotations

import ast
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any


def load_on_first_use(package: str, file: str) -> Callable[[str], Any]:
    """Return the `__getattr__` of a package that imports its public names under `if TYPE_CHECKING:`.

    The imports stay the only list of names: they are read from the source. A public name must not be the name
    of a module of the package, because importing the module would replace it.
    """
    modules: dict[str, str] = {}
    for block in ast.parse(Path(file).read_text("utf-8")).body:
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING":
            for node in block.body:
                if isinstance(node, ast.ImportFrom) and node.module:
                    modules |= {alias.asname or alias.name: node.module for alias in node.names}

    def load(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(modules[name]), name)
        setattr(import_module(package), name, value)
        return value

    return load
