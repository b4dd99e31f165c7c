"""Times, durations and sizes in words for people. Pure; standard library only.

Layer 4, for ``control`` and everything that shows what it reads.
"""

from __future__ import annotations

import math
import re
import shlex
from datetime import UTC, datetime
from typing import Final

__all__ = [
    "UNKNOWN",
    "absolute",
    "ago",
    "clip",
    "commands",
    "duration",
    "iso",
    "moment",
    "plural",
    "printable",
    "size",
]

#: Said of an id that is no task's.
UNKNOWN: Final = "not known to this store: it was never sent here, or its record has expired"
#: Said of a moment that no calendar holds; a record with one must still be shown.
_BEYOND: Final = "beyond the year 9999"
_MINUTE = 60.0
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR


def duration(seconds: float) -> str:
    """A length of time in at most two units: ``0.25 s``, ``42 s``, ``3 min 5 s``, ``2 d 4 h``."""
    if not math.isfinite(seconds):
        return "for ever"
    if seconds < 0:
        return f"-{duration(-seconds)}"
    if seconds < 9.95:
        return f"{seconds:.2g} s" if seconds >= 0.001 else "0 s"
    whole = round(seconds)
    for unit, name, below, small in ((_DAY, "d", _HOUR, "h"), (_HOUR, "h", _MINUTE, "min")):
        if whole >= unit:
            return _two(int(whole // unit), name, int(whole % unit // below), small)
    if whole >= _MINUTE:
        return _two(int(whole // _MINUTE), "min", int(whole % _MINUTE), "s")
    return f"{whole} s"


def _two(large: int, name: str, small: int, below: str) -> str:
    return f"{large} {name} {small} {below}" if small else f"{large} {name}"


def ago(then: float, now: float) -> str:
    """``3 min 5 s ago``; a moment that lies ahead (clocks differ) reads ``in …``."""
    return f"{duration(now - then)} ago" if then <= now else f"in {duration(then - now)}"


def moment(then: float, now: float) -> str:
    """A moment, relative and absolute: ``3 min ago (2026-05-01 12:00:00 +0200)``."""
    return f"{ago(then, now)} ({absolute(then)})"


def absolute(then: float) -> str:
    """A moment in this machine's time zone, with its offset from UTC."""
    try:
        return datetime.fromtimestamp(then, tz=UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S %z")
    except (OverflowError, ValueError, OSError):
        return _BEYOND


def iso(then: float | None) -> str | None:
    """A moment for programs: ISO 8601 in UTC with milliseconds; None stays None.

    A moment that no calendar holds is None, too: a program that reads it expects a date.
    """
    if then is None:
        return None
    try:
        text = datetime.fromtimestamp(then, tz=UTC).isoformat(timespec="milliseconds")
    except (OverflowError, ValueError, OSError):
        return None
    return text.replace("+00:00", "Z")


def size(count: float) -> str:
    """A number of bytes: ``812 bytes``, ``4.0 KiB``, ``1.3 GiB``."""
    if count < 1024:
        return plural(int(count), "byte")
    for unit in ("KiB", "MiB"):
        count /= 1024
        if count < 1024:
            return f"{count:.1f} {unit}"
    return f"{count / 1024:.1f} GiB"


def plural(count: int, noun: str, many: str = "") -> str:
    """``1 task``, ``1,200 tasks``."""
    return f"{count:,} {noun if count == 1 else many or noun + 's'}"


def printable(text: str) -> str:
    """*text* with control characters as escapes, so that data cannot drive a terminal.

    Line ends and tabs stay.
    """
    if text.isprintable():  # as nearly all is
        return text
    return "".join(
        each if each.isprintable() or each in "\n\t" else repr(each)[1:-1] for each in text
    )


def clip(text: str, limit: int = 200) -> str:
    """*text* on one line, printable, and no longer than *limit* characters."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= limit else line[: limit - 1] + "…"


#: A command of the command line in a sentence, with or without the application's place.
_COMMAND: Final = re.compile(
    r"\bceleriac (?:-A APP )?"
    r"(?=(?:call|dead|doctor|purge|replay|result|retry|revoke|shell|status|tree|why|worker)\b)"
)


def commands(advice: str, app: str) -> str:
    """*advice* with its commands as they can be typed: each names the application *app*.

    Nothing changes if *app* is not known.
    """
    if not app:
        return advice
    named = f"celeriac -A {shlex.quote(printable(app))} "
    return _COMMAND.sub(lambda _: named, advice)
