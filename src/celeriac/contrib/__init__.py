"""Additions for other programs: not in this version.

Layer 7. Refused by name, so that whoever imports one is told what to do instead.
"""

from __future__ import annotations

from typing import Final

from celeriac.later import absent

__all__: list[str] = []

_LATER: Final = dict.fromkeys(
    ["abortable", "batches", "django", "migrate", "pytest", "rdb", "sphinx", "testing"],
    "",
)


def __getattr__(name: str) -> object:
    raise absent(__name__, name, _LATER)
