"""What a bug report should say: versions, platform, store and settings, without secrets.

Layer 4. ``celeriac report``, ``app.bugreport()`` and ``app.control.inspect().report()``.
"""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Final

from celeriac import __version__
from celeriac.conf import Settings

if TYPE_CHECKING:
    from celeriac.app.base import Celeriac

__all__ = ["facts", "of_process", "report"]

_PACKAGES: Final = ("msgspec", "apsw", "click", "cronsim", "psutil")


def report(app: Celeriac) -> str:
    """The report of an app in this process."""
    return of_process(app.conf, app.broker_url, app.main or "")


def of_process(conf: Settings, url: str, app: str) -> str:
    """The report of a process with these settings; passwords and secrets are hidden."""
    found = facts(conf, url, app)
    lines = [
        f"{part.ljust(8)} -> {' '.join(f'{name}:{text}' for name, text in values.items())}"
        for part, values in found.items()
        if part != "settings"
    ]
    settings = (f"    {name}: {text}" for name, text in found["settings"].items())
    return "\n".join([*lines, "settings ->", *settings]) + "\n"


def facts(conf: Settings, url: str, app: str) -> dict[str, dict[str, str]]:
    """The report as data: part → name → text."""
    from celeriac.conf import describe
    from celeriac.conf.words import shown

    default = Settings()
    return {
        "software": {
            "celeriac": __version__,
            "py": platform.python_version(),
            **{name: _version(name) for name in _PACKAGES},
        },
        "platform": {
            "system": platform.system(),
            "machine": platform.machine(),
            "kernel": platform.release(),
            "imp": platform.python_implementation(),
        },
        "app": {"name": app or "(unnamed)", "store": shown(describe("broker_url"), url)},
        "settings": {
            name: shown(describe(name), value)
            for name, value in conf.items()
            if value != default[name]
        },
    }


def _version(package: str) -> str:
    from importlib import metadata  # late: it brings a good deal along, and workers import this

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"
