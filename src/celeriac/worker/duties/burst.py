"""Burst: end a worker once nothing is due and nothing runs.

Layer 5. For ``celeriac worker --burst``: drain the queues and go. What is due later stays in the
store; what another worker runs is that one's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

from celeriac import states
from celeriac.exceptions import OperationalError
from celeriac.stores.base import Store

logger = logging.getLogger("celeriac.worker")

#: How often the store is asked, in seconds, and how many answers in a row must say "nothing": what
#: falls due between two of them is leased meanwhile, and then the worker is not at rest.
_PAUSE: Final = 0.1
_ANSWERS: Final = 2


class Burst:
    """Calls *stop* when *resting* says that the worker holds nothing and its queues are empty."""

    def __init__(
        self,
        store: Store,
        queues: Sequence[str],
        resting: Callable[[], bool],
        stop: Callable[[], None],
    ) -> None:
        self._store = store
        self._queues = tuple(queues)
        self._resting = resting
        self._stop = stop
        self._due = 0.0
        self._answers = 0
        self.ended = False

    def turn(self, now: float) -> None:
        """Look whether it is time to end; *now* is monotonic."""
        if self.ended or now < self._due:
            return
        self._due = now + _PAUSE
        self._answers = self._answers + 1 if self._resting() and self._empty() else 0
        if self._answers >= _ANSWERS:
            self.ended = True
            logger.info("Nothing is left to do: the burst ends")
            self._stop()

    def stop(self) -> None:
        """Look no more."""
        self.ended = True

    def _empty(self) -> bool:
        """Nothing waits in the queues but what no worker knows."""
        try:
            counts = self._store.inspection.counts(self._queues)
        except OperationalError:
            return False  # told by the lanes; nobody knows what is left
        queued = sum(each.get(states.QUEUED, 0) for each in counts.states.values())
        parked = sum(number for each in counts.parked.values() for number in each.values())
        return queued <= parked


__all__ = ["Burst"]
