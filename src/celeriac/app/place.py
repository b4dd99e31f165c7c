"""Where an app's store is: if nobody says, in a database beside the code that makes the app.

Layer 4. So a web server and a worker that import the same module find the same file, whatever
their working directories.
"""

from __future__ import annotations

import os
import sys
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["calling_module", "default_broker", "module_name"]

FILE: Final = "celeriac.db"
_OURS: Final = __name__.partition(".")[0]


def default_broker(namespace: dict[str, Any]) -> str:
    """Return the URL for an app made by the module whose globals are *namespace*.

    The file is in the folder that holds the top-level module or package; for code that was typed
    in, in the working directory.
    """
    from pathlib import Path  # here, because a program that names its store needs neither
    from urllib.parse import quote

    folder = _folder(namespace) or Path.cwd()
    path = os.path.abspath(folder / FILE)  # noqa: PTH100 - resolve() would follow a symlink
    return f"sqlite:///{quote(path)}"


def calling_module() -> dict[str, Any]:
    """Return the globals of the innermost caller that is not this library."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - inspect is slow to import
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name.partition(".")[0] != _OURS:
            return frame.f_globals
        frame = frame.f_back
    return {}


def module_name(namespace: dict[str, Any]) -> str:
    """Return a module's name; for the main module the one under which it can be imported."""
    name = str(namespace.get("__name__", ""))
    if name != "__main__":
        return name
    spec = namespace.get("__spec__")
    if spec is not None:  # python -m package.module
        return str(spec.name).removesuffix(".__main__")
    file = namespace.get("__file__")
    return os.path.splitext(os.path.basename(file))[0] if file else ""  # noqa: PTH119, PTH122


def _folder(namespace: dict[str, Any]) -> Path | None:
    file = namespace.get("__file__")
    if not file or not os.path.exists(file):  # noqa: PTH110 - typed in: "<stdin>"
        return None
    from pathlib import Path

    name = module_name(namespace)
    folder = Path(os.path.abspath(file)).parent  # noqa: PTH100 - as above
    inside = name.count(".") + (Path(file).stem == "__init__")
    for _ in range(inside):
        folder = folder.parent
    return folder
