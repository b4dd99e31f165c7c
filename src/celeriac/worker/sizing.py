"""How many tasks a worker runs at once, from the command line and the settings. Pure.

Layer 5, for ``main``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from celeriac.conf import Settings
from celeriac.exceptions import ImproperlyConfigured
from celeriac.worker.spec import WorkerOptions

#: Processes one worker may have had at a time: executors, their replacements, hooks.
SLOTS: Final = 1024
#: The most tasks at once. Of prefork the rest of the slots is for replacements that start while
#: their predecessors end; a thread has a stack, a coroutine next to nothing.
MOST: Final = {"prefork": SLOTS // 2, "threads": 1024, "asyncio": 65_536, "solo": 1}
#: What prevents it from being more, for messages.
_WHY: Final = {
    "prefork": "each is a process",
    "threads": "each is a thread of one process",
    "asyncio": "all share one event loop",
}
#: Coroutines at once where nobody says how many.
ASYNCIO_DEFAULT: Final = 100
_THREADS_MOST: Final = 32


@dataclass(frozen=True)
class Size:
    """*most* tasks at once; *least* is where autoscaling begins, None if the number is fixed."""

    most: int
    least: int | None = None


def resolve(options: WorkerOptions, settings: Settings, pool: str, cores: int) -> Size:
    """Return how many tasks run at once. ``--autoscale`` wins over ``worker_concurrency``.

    Raises :class:`~celeriac.exceptions.ImproperlyConfigured` for more than *pool* can hold and
    for what contradicts itself.
    """
    if options.autoscale is not None:
        most, least = options.autoscale
        if pool == "solo":
            raise ImproperlyConfigured(
                "--autoscale and the pool solo contradict each other: solo runs one task at a "
                "time. Leave --autoscale out, or use the pool prefork, threads or asyncio"
            )
        return Size(checked(most, pool), least)
    if pool == "solo":
        return Size(1)
    asked = options.concurrency or settings.worker_concurrency
    return Size(checked(asked or default(pool, cores), pool))


def default(pool: str, cores: int) -> int:
    """How many at once where nobody says: prefork one for each core, threads as many as Python's
    own thread pools have, asyncio 100."""
    if pool == "asyncio":
        return ASYNCIO_DEFAULT
    return min(_THREADS_MOST, cores + 4) if pool == "threads" else cores


def checked(most: int, pool: str) -> int:
    """Return *most*, which one worker of *pool* can hold.

    Raises :class:`~celeriac.exceptions.ImproperlyConfigured` if it cannot.
    """
    if most > MOST[pool]:
        raise ImproperlyConfigured(
            f"a concurrency of {most} is more than one worker of the pool {pool} can hold "
            f"({MOST[pool]}; {_WHY[pool]}): start several workers, each with a share of it"
        )
    return most


__all__ = ["ASYNCIO_DEFAULT", "MOST", "SLOTS", "Size", "checked", "default", "resolve"]
