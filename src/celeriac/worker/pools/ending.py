"""Ending: how the processes of a pool end once nothing runs in them.

Layer 5; in the supervisor's main thread.
"""

from __future__ import annotations

import logging
import selectors
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from celeriac.worker.pools.prefork import Prefork

logger = logging.getLogger("celeriac.worker")

#: Executors, and after them the hooks process, have this long to end by themselves.
_END_SECONDS: Final = 5.0
_TICK: Final = 0.05


def end_all(pool: Prefork, selector: selectors.BaseSelector) -> None:
    """End the executors, tell receivers that the worker has ended, and end the hooks process."""
    for executor in list(pool.executors.values()):
        pool.retire(executor)
    if not _until(lambda: not pool.executors, pool, selector):
        pool.kill_all("the worker stopped")
        _until(lambda: not pool.executors, pool, selector)
    pool.notices.tell("worker_shutdown")
    pool.hooks.end()
    if not _until(lambda: not pool.hooks.alive, pool, selector):
        logger.error("The hooks process has not ended; handlers it still had are lost")
        pool.hooks.kill()
        _until(lambda: not pool.hooks.alive, pool, selector)


def _until(done: Callable[[], bool], pool: Prefork, selector: selectors.BaseSelector) -> bool:
    """Turn until *done*; False if that takes too long."""
    deadline = time.monotonic() + _END_SECONDS
    while not done():
        if time.monotonic() > deadline:
            return False
        for key, mask in selector.select(_TICK):
            key.data(mask)
        pool.flush()
    return True


__all__ = ["end_all"]
