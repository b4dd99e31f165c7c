"""Calls that leave no transaction open, wherever they are interrupted.

Part of the SQLite store. A soft time limit, a signal's handler or another thread may raise an
exception between any two steps of the interpreter, thus also right after BEGIN or on the way into
``__exit__``, where no ``try`` of the transaction's own can see it. Its write lock would then stop
every other process until this thread's next call, which may never come. What has gone wrong in a
frame is seen by the one outside it, so the methods of the seam are wrapped once more.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import FunctionType
from typing import Any, TypeVar

Part = TypeVar("Part", bound=type)


def whole(part: Part) -> Part:
    """Wrap every public method of *part*, a part of the seam with its ``Database`` as
    ``_database``."""
    for name, method in list(vars(part).items()):
        if isinstance(method, FunctionType) and not name.startswith("_"):
            setattr(part, name, _rolled_back(method))
    return part


def _rolled_back(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: Any, *args: Any, **options: Any) -> Any:
        try:
            return method(self, *args, **options)
        except BaseException:
            self._database.abandon()
            raise

    return call


__all__ = ["whole"]
