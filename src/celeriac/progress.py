"""Progress: how far a task says it is, as a value.

Layer 1: standard library and msgspec. ``self.progress(…)`` makes one, it is stored beside what
``update_state`` shows, and ``result.progress`` reads it. Nothing in here does IO.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

__all__ = ["MESSAGE_MAX", "Number", "Progress", "of_members", "reported", "total"]

Number = int | float

#: Characters of a message that are kept.
MESSAGE_MAX: Final = 500
#: The largest whole number that the wire has; a larger one becomes a float.
_MOST: Final = (1 << 63) - 1


class Progress(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a task said last of how far it is; read as ``result.progress``."""

    #: How much is done, in whatever the task counts.
    current: Number
    #: Of how much; None: it did not say.
    total: Number | None = None
    #: What it said besides; "" for nothing.
    message: str = ""
    #: When it said so, by its worker's clock: seconds since the epoch.
    reported: float = 0.0
    #: What it said first, and when: what the rate is measured from.
    first: Number = 0
    since: float = 0.0

    @property
    def fraction(self) -> float | None:
        """How much is done as a number from 0 to 1; None where it did not say of how much.

        1 where it has done more than it said there was, and of nothing at all.
        """
        if self.total is None:
            return None
        return min(self.current / self.total, 1.0) if self.total else 1.0

    @property
    def updated_at(self) -> datetime:
        """When it said so, in UTC."""
        return datetime.fromtimestamp(self.reported, UTC)

    @property
    def rate(self) -> float | None:
        """How much it has done a second since it first said something; None before the second
        time, and where nothing has been done between the two."""
        seconds, done = self.reported - self.since, self.current - self.first
        return done / seconds if seconds > 0 and done > 0 else None

    @property
    def remaining(self) -> float | None:
        """Seconds that the rest takes at that rate, counted from ``updated_at``; None where rate
        or total are not known."""
        if self.total is None:
            return None
        if self.current >= self.total:
            return 0.0
        rate = self.rate
        return None if rate is None else (self.total - self.current) / rate

    def as_dict(self) -> dict[str, Any]:
        """Plain data with stable keys; ``updated_at`` as ISO 8601 in UTC."""
        return {
            "current": self.current,
            "total": self.total,
            "fraction": self.fraction,
            "message": self.message,
            "updated_at": self.updated_at.isoformat(timespec="milliseconds"),
            "rate": self.rate,
            "remaining": self.remaining,
        }


def reported(current: Any, of: Any, message: Any, before: Progress | None, now: float) -> Progress:
    """Return what a task says at *now*, after it said *before*: *current* of *of*.

    The rate is measured from the first that it said, or from where it went back to.

    Raises:
        TypeError: *current* or *of* is no number, *message* no text.
        ValueError: a number is negative or not finite.
    """
    if not (type(current) is int and 0 <= current <= _MOST):
        current = _number("current", current)
    if of is not None and not (type(of) is int and 0 <= of <= _MOST):
        of = _number("total", of)
    if not (type(message) is str and len(message) <= MESSAGE_MAX and message.isascii()):
        message = _text(message)
    if before is None or current < before.current:
        return Progress(current, of, message, now, current, now)
    return Progress(current, of, message, now, before.first, before.since)


def total(parts: Iterable[Progress | None]) -> Progress | None:
    """Return the progress of several tasks as one sum; None as long as none has said anything.

    A part that has not said its total, or nothing at all (None: it has not begun, maybe), is taken
    to be as large as the others are on average. Where none has said a total, the sum has none. The
    message is that of the part that was heard last.
    """
    every = list(parts)
    known = [each for each in every if each is not None]
    if not known:
        return None
    totals = [each.total for each in known if each.total is not None]
    whole: Number | None = None
    if totals:
        guess = sum(totals) / len(totals)
        silent = [each for each in every if each is None or each.total is None]
        # What has been done of a part is not more than there is of it.
        whole = sum(totals) + sum(
            guess if each is None else max(guess, each.current) for each in silent
        )
    newest = max(known, key=lambda each: each.reported)
    return Progress(
        sum(each.current for each in known),
        whole,
        newest.message,
        newest.reported,
        sum(each.first for each in known),
        min(each.since for each in known),
    )


def of_members(members: Iterable[tuple[float | None, Progress | None]], now: float) -> Progress:
    """Return how far a group is at *now*, of as many as it has members.

    A member, as (when it ended, what it said last), counts as one once it has ended, however that
    was; before, as the fraction that it says.
    """
    every = list(members)
    first = min((ended for ended, _ in every if ended is not None), default=None)
    parts: list[Progress | None] = []
    counted = False
    for ended, said in every:
        if ended is not None:
            # When it began is not known, so the rate is measured from the first that ended.
            before = int(ended == first and not counted)
            counted = counted or bool(before)
            parts.append(Progress(1, 1, "", ended, before, ended if first is None else first))
        elif said is None or said.fraction is None:
            parts.append(None)
        else:
            began = min(said.first / said.total, 1.0) if said.total else 0.0
            parts.append(Progress(said.fraction, 1, said.message, said.reported, began, said.since))
    found = total(parts)
    if found is None:
        return Progress(0, len(every), "", now, 0, now)
    current = found.current
    if isinstance(current, float) and current.is_integer():
        current = int(current)
    return Progress(current, len(every), found.message, found.reported, found.first, found.since)


def _number(name: str, value: Any) -> Number:
    """Return *value* as a number that the wire has."""
    number: Number
    if isinstance(value, bool | str | bytes | complex) or value is None:
        raise TypeError(_no_number(name, value))
    try:
        number = operator.index(value)
    except TypeError:
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise TypeError(_no_number(name, value)) from None
    if not math.isfinite(number) or number < 0:
        raise ValueError(f"progress(): {name} is {value!r}; it must be finite and not below 0")
    return number if isinstance(number, float) or number <= _MOST else float(number)


def _no_number(name: str, value: object) -> str:
    return f"progress(): {name} is {value!r}, of type {type(value).__name__}; it must be a number"


def _text(message: object) -> str:
    if not isinstance(message, str):
        kind = type(message).__name__
        raise TypeError(f"progress(): message is {message!r}, of type {kind}; it must be text")
    if len(message) > MESSAGE_MAX:
        message = message[: MESSAGE_MAX - 1] + "…"
    # A half of a surrogate pair, as in a file name of another encoding, cannot be written.
    return message.encode("utf-8", "replace").decode()
