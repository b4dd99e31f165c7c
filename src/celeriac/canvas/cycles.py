"""Canvases that contain themselves: what to say of them, wherever one is walked.

Layer 3, part of ``canvas``. A canvas is made a part of itself only by hand, and by mistake
(``c.tasks.append(c)``, ``s.link(s)``). Methods walk their parts by calling each other, so what they
meet of it is the end of the interpreter's stack; here that becomes an error that says what is
wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar

from celeriac.canvas.plain import listed

__all__ = ["DEEPEST", "ENDLESS", "finite", "is_endless"]

P = ParamSpec("P")
T = TypeVar("T")

#: Groups within groups, and callbacks of callbacks, that are believed.
DEEPEST: Final = 100
ENDLESS: Final = "this canvas contains itself, or is nested too deep"


def finite(method: Callable[P, T]) -> Callable[P, T]:
    """Let *method* of a canvas, which walks its parts, raise ``ValueError`` for one without end."""

    @wraps(method)
    def walked(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(*args, **kwargs)
        except RecursionError:
            if is_endless(args[0]):
                raise ValueError(ENDLESS) from None
            raise  # a visitor's own, for example

    return walked


def is_endless(canvas: object) -> bool:
    """Whether *canvas*, or the dictionary of one, contains itself or is deeper than ``DEEPEST``."""
    todo: list[tuple[object, bool]] = [(canvas, False)]
    open_: set[int] = set()
    done: set[int] = set()
    while todo:
        value, left = todo.pop()
        name = id(value)
        if left:
            open_.discard(name)
            done.add(name)
        elif name in open_ or len(open_) > DEEPEST:
            return True
        elif name not in done:
            open_.add(name)
            todo.append((value, True))
            todo.extend((each, False) for each in _parts(value))
    return False


def _parts(value: object) -> Iterator[Any]:
    """Yield the parts of *value* that are there, and what is linked to it."""
    if not isinstance(value, Mapping):
        return
    for key, names in (
        ("kwargs", ("tasks", "header", "body")),
        ("options", ("link", "link_error")),
    ):
        held = value.get(key)
        if isinstance(held, Mapping):
            for name in names:
                yield from listed(held.get(name))
