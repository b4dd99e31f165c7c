"""A Lua script as the server knows it. Part of the Redis store."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

_FOLDER: Final = Path(__file__).with_name("lua")


class Script(msgspec.Struct, frozen=True):
    """A script: its name for errors, its text, and the SHA-1 by which EVALSHA finds it."""

    name: str
    text: str
    sha: str

    @classmethod
    def of(cls, name: str, text: str) -> Script:
        """The script of *text*."""
        return cls(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


@cache
def read(name: str) -> Script:
    """The script in ``lua/NAME.lua``, which needs no other."""
    return Script.of(name, (_FOLDER / f"{name}.lua").read_text(encoding="utf-8"))
