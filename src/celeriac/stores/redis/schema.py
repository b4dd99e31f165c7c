"""Which version of what is stored a namespace holds, and how an old one becomes a new one.

Part of the Redis store. The key ``schema`` says it, one for each namespace. It is looked at with
each new connection (``link.py``), which migrates or refuses, and by every script before anything
else (``lua/guard.lua``), and where records are read by a plain command: so a process that runs on
while another version migrates the store reads and writes no record any more. Locks, the schedule's
plain commands and the bus are not asked: they keep no records.
"""

from __future__ import annotations

from importlib import resources
from typing import Final

from celeriac.exceptions import StoreVersionError

VERSION: Final = 2
#: What makes version n + 1 of version n, by n, as Lua that finds the prefix in ``P``. All steps
#: from what is there to VERSION are one script, with the new number at its end: whoever dies, all
#: of it was done or nothing. The server does nothing else meanwhile, so a step must not touch each
#: record: what differs there has to be read as it is, as what 1 wrote is (2 writes of workflows
#: what 1 cannot read).
MIGRATIONS: Final[dict[int, str]] = {1: ""}

#: See ``scripts._OPENING``: 6.2 refuses a full server's script its first write only.
_OPENING: Final = "redis.call('UNLINK', KEYS[1] .. 'no such key')"
_FLAGS: Final = "#!lua flags=allow-oom\n"
_LUA: Final = """\
local P = KEYS[1]
local stored = redis.call('GET', P .. 'schema')
if stored ~= ARGV[1] then return {0, stored} end
"""


def guard(*, writes: bool) -> str:
    """What stands before a script: it refuses ``SCHEMA n`` if the store has another version. One
    that *writes* notes the version where none is: whoever emptied a server took that along."""
    text = (resources.files(__package__) / "lua" / "guard.lua").read_text(encoding="utf-8")
    note = f"if not stored then redis.call('SET', KEYS[1] .. 'schema', '{VERSION}') end"
    return text.replace("$schema", str(VERSION)).replace("$note", note if writes else "")


def migration(found: int, flags: bool) -> str:
    """The script that makes VERSION of version *found*, or does nothing if that is not what is
    there any more. ARGV: both numbers. Returns [1 if it did, the version then]."""
    steps = "".join(f"do\n{MIGRATIONS[each]}\nend\n" for each in range(found, VERSION))
    opening = _FLAGS if flags else f"{_OPENING}\n"
    done = "redis.call('SET', P .. 'schema', ARGV[2])\nreturn {1, ARGV[2]}\n"
    return opening + _LUA + steps + done


def newer(shown: str, found: int) -> StoreVersionError:
    """The error for a store at *shown* of version *found*."""
    return StoreVersionError(
        f"{shown} was written by a later version of Celeriac (schema {found}; this one knows "
        f"{VERSION}). Install that version here, too, or use another namespace."
    )


__all__ = ["MIGRATIONS", "VERSION", "guard", "migration", "newer"]
