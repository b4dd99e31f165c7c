"""What a bug report should say: versions, platform, store and settings, without secrets.

Layer 4. ``celeriac report``, ``app.bugreport()`` and ``app.control.inspect().report()``.
"""

from __future__ import annotations

import platform
from importlib import metadata
from typing import TYPE_CHECKING, Final

from celeriac import __version__
from celeriac.conf import Settings

if TYPE_CHECKING:
    from celeriac.app.base import Celeriac

__all__ = ["of_process", "report"]

_PACKAGES: Final = ("msgspec", "apsw", "click", "cronsim", "psutil")


def report(app: Celeriac) -> str:
    """The report of an app in this process."""
    return of_process(app.conf, app.broker_url, app.main or "")


def of_process(conf: Settings, url: str, app: str) -> str:
    """The report of a process with these settings; passwords and secrets are hidden."""
    from celeriac.conf import describe
    from celeriac.conf.values import shown

    versions = " ".join(f"{name}:{_version(name)}" for name in _PACKAGES)
    system = f"system:{platform.system()} machine:{platform.machine()}"
    kernel = f"kernel version:{platform.release()} imp:{platform.python_implementation()}"
    lines = [
        f"software -> celeriac:{__version__} py:{platform.python_version()} {versions}",
        f"platform -> {system} {kernel}",
        f"app      -> {app or '(unnamed)'}",
        f"store    -> {shown(describe('broker_url'), url)}",
        "settings ->",
    ]
    return "\n".join([*lines, *(f"    {line}" for line in conf.humanize().splitlines())]) + "\n"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"
