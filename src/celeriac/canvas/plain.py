"""Signatures as plain data and as text.

Layer 3, part of ``canvas``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["args_of", "call_text", "given_in", "listed", "mapping_of", "plain_of"]


def listed(value: Any) -> list[Any]:
    """Return *value*, an option that may be one thing, several in a list, or None, as a list."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def plain_of(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of a signature that *value*, its dictionary, has or leaves out."""
    if not isinstance(value.get("task"), str):
        raise TypeError("this dictionary was no signature: it has no task name under 'task'")
    kind = value.get("subtask_type")
    if not isinstance(kind, str | None):
        raise _no_signature("subtask_type", kind, "the name of a kind, or None")
    return {
        "task": value["task"],
        "args": args_of(value.get("args")),
        "kwargs": mapping_of("kwargs", value.get("kwargs")),
        "options": mapping_of("options", value.get("options")),
        "subtask_type": kind,
        "immutable": bool(value.get("immutable", False)),
    }


def args_of(value: Any) -> tuple[Any, ...]:
    """Return the positional arguments of a signature, given as a list or the like, or None."""
    if value is None:
        return ()
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise _no_signature("args", value, "a list of arguments")
    return tuple(value)


def mapping_of(name: str, value: Any) -> dict[str, Any]:
    """Return what a signature has under *name*, a dictionary or None, as a dictionary."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise _no_signature(name, value, "a dictionary")
    return dict(value)


def _no_signature(name: str, value: Any, wanted: str) -> TypeError:
    return TypeError(f"no signature can be made of this: {name} is {value!r}, and not {wanted}")


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
