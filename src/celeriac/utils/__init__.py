"""Doors for names that Celery's users import from ``utils``; nothing else lives here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeVar

from celeriac.ids import new_task_id as uuid
from celeriac.later import absent

if TYPE_CHECKING:
    from celeriac.app.base import Celeriac

__all__ = ["cached_property", "chunks", "gen_task_name", "nodename", "nodesplit", "uuid"]

T = TypeVar("T")

_LATER: Final = {
    "memoize": "Use functools.lru_cache.",
    "worker_direct": "A worker has no queue of its own: let it read one, with `-Q`.",
}


def chunks(it: Iterable[T], n: int) -> Iterator[list[T]]:
    """Yield lists of *n* items of *it*, the last one of what is left."""
    items = iter(it)
    while part := list(islice(items, n)):
        yield part


def gen_task_name(app: Celeriac, name: str, module_name: str) -> str:
    """Return the name that *app* gives to a task: of its function's *name* and module."""
    return app.gen_task_name(name, module_name)


def nodename(name: str, hostname: str) -> str:
    """Return ``name@hostname``."""
    return f"{name}@{hostname}"


def nodesplit(name: str) -> tuple[str | None, str]:
    """Return both parts of ``name@hostname``; None and *name* if there is no ``@``."""
    head, at, tail = name.partition("@")
    return (head, tail) if at else (None, name)


def __getattr__(name: str) -> object:
    raise absent(__name__, name, _LATER)
