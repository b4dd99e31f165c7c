"""Checks of what a call is sent with: its id, its queue, its headers, durations, retry policy.

Layer 1: standard library and layer 0. No IO. For the client, for options of tasks and for settings,
so that what is wrong is the same, and is told in the same words, wherever it is written.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from celeriac.exceptions import EncodeError, NotInThisVersion
from celeriac.ids import valid_id

__all__ = [
    "FLOW_OPTIONS",
    "HIGHEST_PRIORITY",
    "LONGEST",
    "SEND_OPTIONS",
    "agreed_soft_limit",
    "check_callable",
    "check_plain",
    "checked_headers",
    "checked_id",
    "checked_priority",
    "checked_queue",
    "checked_retry_policy",
    "seconds",
]

#: What ``apply_async`` takes besides the arguments.
SEND_OPTIONS: Final = frozenset(
    [
        "task_id", "countdown", "eta", "expires", "retry", "retry_policy", "time_limit",
        "soft_time_limit", "queue", "exchange", "routing_key", "add_to_parent", "priority",
        "serializer", "compression", "headers", "ignore_result", "argsrepr", "kwargsrepr",
        "stamped_headers",
    ]
)  # fmt: skip

#: Options that make a call part of a workflow; ``apply_async`` takes them, too.
FLOW_OPTIONS: Final = frozenset(
    [
        "link", "link_error", "chain", "chord", "group_id", "group_index", "root_id", "parent_id",
    ]
)  # fmt: skip

HIGHEST_PRIORITY: Final = 9
#: Levels of lists and dictionaries in headers, as many as in arguments.
_DEEPEST: Final = 64
_YEAR: Final = 365.25 * 24 * 3600
#: The longest duration, seconds: what is due then must be a moment that calendars can show.
LONGEST: Final = 50e9
_POLICY: Final = ("max_retries", "interval_start", "interval_step", "interval_max")


def seconds(value: Any, name: str) -> float:
    """Return a duration in seconds, or raise ``TypeError``/``ValueError`` with its *name*."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(
            f"{name} is {value!r}, a {type(value).__name__}; it must be seconds or a timedelta"
        )
    try:
        number = float(value)
    except OverflowError:  # a whole number of hundreds of digits
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{name} is {number}; it must be a finite number of seconds")
    if abs(number) > LONGEST:
        raise ValueError(
            f"{name} is {number:g} seconds, which is over {LONGEST / _YEAR:,.0f} years; give at "
            f"most {LONGEST:,.0f}"
        )
    return number


def agreed_soft_limit(
    task: str, soft: tuple[float | None, str], hard: tuple[float | None, str], setting: float | None
) -> float | None:
    """Return the soft time limit that holds beside the *hard* one, in seconds, or None.

    Each comes with who says it. One that is not below the hard limit would never be reached: that
    of the *setting*, which is meant for tasks without limits of their own, gives way to the hard
    one. Raises ``ValueError`` for any other.
    """
    limit, bound = soft[0], hard[0]
    if limit is None or bound is None or limit < bound:
        return limit
    if limit == setting:
        return None
    raise ValueError(
        f"the task {task!r} has a soft_time_limit of {limit:g} s (from {soft[1]}), which is not "
        f"below its time_limit of {bound:g} s (from {hard[1]}), so the soft one would never be "
        f"reached. Give it a soft_time_limit below {bound:g} or a time_limit above {limit:g}"
    )


def checked_retry_policy(value: Any, name: str) -> dict[str, float | None]:
    """Return how often and with what waits to send again, or raise; keys may be left out.

    ``max_retries`` is a whole number or None, the intervals are durations. *name* is that of the
    option or setting.
    """
    if not isinstance(value, Mapping):
        raise TypeError(
            f"{name} is a {type(value).__name__}; it must be a dictionary with any of "
            f"{', '.join(_POLICY)}"
        )
    kept: dict[str, float | None] = {}
    for key, each in value.items():
        if key not in _POLICY:
            raise _no_key(name, key)
        what = f"{name}[{key!r}]"
        if key == "max_retries":
            if each is not None and (type(each) is not int or each < 0):
                raise ValueError(f"{what} is {each!r}; it is a whole number of 0 or more, or None")
            kept[key] = each
            continue
        kept[key] = number = seconds(each, what)
        if number < 0:
            raise ValueError(f"{what} is {each}; it must be 0 or more")
    return kept


def _no_key(name: str, key: object) -> Exception:
    if key == "retry_errors":
        return NotInThisVersion(
            f"The key retry_errors of {name}", "Only a store that is away is tried again."
        )
    from difflib import get_close_matches

    near = get_close_matches(str(key), _POLICY, n=1)
    hint = f"did you mean {near[0]}?" if near else f"it may have {', '.join(_POLICY)}"
    return TypeError(f"{name} has no key {key!r}; {hint}")


def checked_id(value: Any) -> str:
    """Return a task id, or raise ``ValueError``."""
    if not isinstance(value, str) or not valid_id(value):
        raise ValueError(
            f"task_id is {value!r}; it is text of 1 to 128 letters, digits and _ . : @ / -, "
            "beginning with a letter or digit"
        )
    return value


def checked_queue(value: Any) -> str:
    """Return the name of a queue, given as it is or as a ``Queue``, or raise ``ValueError``."""
    value = getattr(value, "name", value)
    if not isinstance(value, str) or not valid_id(value):
        raise ValueError(
            f"queue is {value!r}; it is a name of 1 to 128 letters, digits and _ . : @ / -, "
            "beginning with a letter or digit"
        )
    return value


def checked_priority(value: Any) -> int:
    """Return a priority, or raise ``ValueError``."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or not 0 <= value <= HIGHEST_PRIORITY:
        raise ValueError(
            f"priority is {value!r}; it is a whole number from 0 to {HIGHEST_PRIORITY}, 9 the most "
            "urgent"
        )
    return int(value)


def checked_headers(value: Any) -> dict[str, object]:
    """Return a caller's headers, or raise for what is no plain data."""
    if not isinstance(value, Mapping):
        raise TypeError(f"headers is a {type(value).__name__}; it must be a dictionary")
    check_plain(value, "headers")
    return dict(value)


def check_plain(value: Any, path: str, depth: int = 0) -> None:
    """Raise ``EncodeError`` with the path of what is no plain data, or could not be read back."""
    if value is None or isinstance(value, bool | int | str):
        if isinstance(value, int) and not -(2**63) <= value < 2**64:
            raise EncodeError(f"{path} is a whole number of more than 64 bits", path=path)
        if isinstance(value, str) and not _is_text(value):
            raise EncodeError(f"{path} holds a lone surrogate, which is no text", path=path)
        return
    if isinstance(value, float) and math.isfinite(value):
        return
    if depth >= _DEEPEST:
        raise EncodeError(f"{path} is nested deeper than the {_DEEPEST} levels allowed", path=path)
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not (isinstance(key, str) and _is_text(key)):
                raise EncodeError(f"{path} has the key {key!r}, which is no text", path=path)
            check_plain(item, f"{path}[{key!r}]", depth + 1)
        return
    if isinstance(value, list | tuple):
        for at, item in enumerate(value):
            check_plain(item, f"{path}[{at}]", depth + 1)
        return
    raise EncodeError(
        f"{path} is a {type(value).__name__}; there can be text, numbers, booleans, None, lists "
        "and dictionaries of these",
        path=path,
    )


def _is_text(value: str) -> bool:
    """Whether it can be written as UTF-8."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_callable(value: object, name: str, optional: bool = False) -> None:
    """Raise ``TypeError`` unless *value*, the argument *name*, can be called (or may be None)."""
    if not callable(value) and not (optional and value is None):
        raise TypeError(f"{name} is {value!r}; it is a function that takes the result")
