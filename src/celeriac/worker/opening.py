"""A worker's first look at its store: wait for it if it is away, tell what is wrong with it.

Layer 5.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from celeriac.backoff import reconnect
from celeriac.clock import SYSTEM
from celeriac.exceptions import OperationalError
from celeriac.stores.base import Store

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
    for view in store.inspection.workers():
        if view.alive and view.manifest.hostname == hostname:
            logger.warning(
                "Another worker is called %s, too (pid %d). Both work; give one another name with "
                "-n to tell them apart.", hostname, view.manifest.pid,
            )  # fmt: skip


def tell_traps(store: Store) -> None:
    """Log what is set up badly on the store's side; ``celeriac doctor`` tells the same."""
    for each in store.inspection.traps():
        say = logger.info if each.note else logger.warning
        say("Store %s: %s. %s", store.url, each.what, each.advice)


__all__ = ["open_store", "tell_namesakes", "tell_traps"]
