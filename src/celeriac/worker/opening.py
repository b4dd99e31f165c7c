"""A worker's first and last words to its store: wait for it if it is away, tell what is wrong with
it, become known; and hand back what is left.

Layer 5.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from celeriac.backoff import reconnect
from celeriac.clock import SYSTEM
from celeriac.exceptions import OperationalError
from celeriac.records import Manifest
from celeriac.stores.base import Store

if TYPE_CHECKING:
    from celeriac.worker.duties.heart import Heart

T = TypeVar("T")
logger = logging.getLogger("celeriac.worker")

#: Seconds between two lines that say what is waited for.
_TELL: Final = 30.0


def open_store(connect: Callable[[], Store]) -> Store:
    """The store that *connect* opens, once it answers.

    A store that is away is waited for, which the log says; what does not pass by itself, such as
    a wrong password, is raised as ``OperationalError``.
    """
    attempt, told = 0, 0.0
    while True:
        try:
            store = connect()
            store.inspection.workers()
        except OperationalError as error:
            if not error.passing:
                raise
            now = SYSTEM.monotonic()
            if not attempt or now >= told + _TELL:
                told = now
                logger.error("The store is not there; this worker begins when it is: %s", error)
            time.sleep(reconnect(attempt))
            attempt += 1
        else:
            if attempt:
                logger.warning("The store answers now")
            return store


def tell_namesakes(store: Store, hostname: str) -> None:
    """Warn if a living worker has this name: logs and ``status`` could not tell them apart."""
    for view in _asked(store.inspection.workers):
        if view.alive and view.manifest.hostname == hostname:
            logger.warning(
                "Another worker is called %s, too (pid %d). Both work; give one another name with "
                "-n to tell them apart.", hostname, view.manifest.pid,
            )  # fmt: skip


def tell_traps(store: Store) -> None:
    """Log what is set up badly on the store's side; ``celeriac doctor`` tells the same."""
    for each in _asked(store.inspection.traps):
        say = logger.info if each.note else logger.warning
        say("Store %s: %s. %s", store.url, each.what, each.advice)


def register(heart: Heart, manifest: Manifest, stopping: Callable[[], bool]) -> None:
    """Make a worker known, once its store takes it; the log says what is waited for.

    Raises ``OperationalError`` for what does not pass by itself, or once the worker is *stopping*.
    """
    attempt = 0
    while True:
        try:
            return heart.register(manifest)
        except OperationalError as error:
            if stopping() or not error.passing:
                raise
            logger.error("The store does not take this worker's registration: %s", error)
            time.sleep(reconnect(attempt))
            attempt += 1


def unregister(store: Store, owner: str) -> None:
    """Hand back all that *owner* holds, and have it forgotten.

    A store that does not answer is asked again for as long as one call of it may take, so that
    nothing stays leased because an answer was lost. Raises ``OperationalError`` after that.
    """
    until = SYSTEM.monotonic() + store.options.timeout
    attempt = 0
    while True:
        try:
            store.queue.close_owner(owner)
        except OperationalError:
            pause = reconnect(attempt)
            if SYSTEM.monotonic() + pause >= until:
                raise
            time.sleep(pause)
            attempt += 1
        else:
            return


def _asked(question: Callable[[], list[T]]) -> list[T]:
    """What the store answers; nothing if it does not: a worker begins without."""
    try:
        return question()
    except OperationalError as error:
        logger.warning("The store did not answer a question at this worker's start: %s", error)
        return []


__all__ = ["open_store", "register", "tell_namesakes", "tell_traps", "unregister"]
