"""Checks of what a call is sent with: its id, its queue, its headers.

Layer 1: standard library and layer 0. No IO. For the client.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from celeriac.exceptions import EncodeError
from celeriac.ids import valid_id

__all__ = ["HIGHEST_PRIORITY", "checked_headers", "checked_id", "checked_priority", "checked_queue"]

HIGHEST_PRIORITY: Final = 9


def checked_id(value: Any) -> str:
    """Return a task id, or raise ``ValueError``."""
    if not isinstance(value, str) or not valid_id(value):
        raise ValueError(
            f"task_id is {value!r}; it is text of 1 to 128 letters, digits and _ . : @ / -, "
            "beginning with a letter or digit"
        )
    return value


def checked_queue(value: Any) -> str:
    """Return a queue's name, or raise ``ValueError``."""
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
    _check_plain(value, "headers")
    return dict(value)


def _check_plain(value: Any, path: str) -> None:
    if value is None or isinstance(value, str | bool | int):
        return
    if isinstance(value, float) and math.isfinite(value):
        return
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise EncodeError(f"{path} has the key {key!r}, which is no text", path=path)
            _check_plain(item, f"{path}[{key!r}]")
        return
    if isinstance(value, list | tuple):
        for at, item in enumerate(value):
            _check_plain(item, f"{path}[{at}]")
        return
    raise EncodeError(
        f"{path} is a {type(value).__name__}; headers hold text, numbers, booleans, None, lists "
        "and dictionaries of these",
        path=path,
    )
