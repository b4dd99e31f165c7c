"""Signatures as plain data and as text.

Layer 3, part of ``canvas``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["call_text", "given_in", "listed", "plain_of"]


def listed(value: Any) -> list[Any]:
    """Return *value*, an option that may be one thing, several in a list, or None, as a list."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def plain_of(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of a signature that *value*, its dictionary, has or leaves out."""
    if not isinstance(value.get("task"), str):
        raise TypeError("this dictionary was no signature: it has no task name under 'task'")
    return {
        "task": value["task"],
        "args": tuple(value.get("args") or ()),
        "kwargs": dict(value.get("kwargs") or {}),
        "options": dict(value.get("options") or {}),
        "subtask_type": value.get("subtask_type"),
        "immutable": bool(value.get("immutable", False)),
    }


def given_in(plain: Mapping[str, Any], *names: str) -> list[Any]:
    """Return what a signature's dictionary has under ``kwargs`` by these names."""
    kwargs = plain["kwargs"]
    for name in names:
        if name not in kwargs:
            raise TypeError(
                f"this dictionary was no {plain['subtask_type']}: it has no {name!r} under 'kwargs'"
            )
    return [kwargs[name] for name in names]


def call_text(task: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """Return a call as text: ``add(2, 2)``."""
    words = [repr(each) for each in args]
    words += [f"{name}={value!r}" for name, value in kwargs.items()]
    return f"{task}({', '.join(words)})"
