"""A moment as people write it, as seconds since the epoch.

Layer 1: standard library. For ``eta`` and ``expires``.
"""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from functools import cache
from typing import Any, Final

__all__ = ["moment"]

#: The moments that a datetime in UTC can show, in whole seconds.
_FIRST: Final = datetime.min.replace(tzinfo=UTC).timestamp()
_LAST: Final = datetime.max.replace(tzinfo=UTC, microsecond=0).timestamp()


def moment(value: Any, name: str, timezone: str) -> float:
    """Return a datetime, or ISO 8601 text, as seconds since the epoch.

    One without a zone is in *timezone*. Raises ``TypeError`` for another type, ``ValueError`` for
    text that is no time, for a moment that no calendar holds, and for local time that the change
    of the clocks leaves out or holds twice (``fold=1`` names the second one).
    """
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"{name} is {value[:64]!r}, which is no ISO 8601 time") from None
    if not isinstance(value, datetime):
        raise TypeError(
            f"{name} is {value!r}, a {type(value).__name__}; it must be a datetime"
            + ("" if name == "expires" else "; for seconds from now use countdown")
        )
    at = (value if value.tzinfo else _local(value, name, timezone)).timestamp()
    if not _FIRST <= at <= _LAST:  # nobody could show it
        raise ValueError(f"{name} is {value}; in UTC it must lie within the years 1 to 9999")
    return at


def _local(value: datetime, name: str, timezone: str) -> datetime:
    """Return *value*, which has no zone, in *timezone*."""
    zone = _zone(timezone)
    first, second = (value.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    if zone is UTC or first.utcoffset() == second.utcoffset():
        return first
    cure = "Give it a time zone: datetime(…, tzinfo=…)"
    if first.timestamp() > second.timestamp():  # the later offset is reached too early
        raise ValueError(
            f"{name} is {value} without a zone, which {timezone} does not have: the clocks are set "
            f"forward past it. {cure}"
        )
    if value.fold:
        return second
    raise ValueError(
        f"{name} is {value} without a zone, which {timezone} has twice, because the clocks are set "
        f"back: at {first:%z} and at {second:%z}. {cure}"
    )


@cache
def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    from zoneinfo import ZoneInfo

    return ZoneInfo(name)
