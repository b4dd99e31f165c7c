"""Rhythm: how long the supervisor's main thread waits, and when it looks at everything.

Layer 5. Times are seconds of the monotonic clock.
"""

from __future__ import annotations

import time
from typing import Final

#: How often runs are looked at while something runs, and otherwise.
TICK_BUSY: Final = 0.05
TICK_IDLE: Final = 0.5
#: How long everything else waits after an outcome has been read, if there is time.
_SOON: Final = 0.005


class Rhythm:
    """When everything was looked at last, and when it is to be again."""

    def __init__(self) -> None:
        self._looked = 0.0
        #: Set once outcomes have been read since; else the tick decides.
        self._due: float | None = None

    def pause(self, busy: bool, most: float | None) -> float:
        """How long to wait for something to happen; not longer than *most*."""
        tick = TICK_BUSY if busy else TICK_IDLE
        if self._due is not None:
            tick = min(tick, max(0.0, self._due - time.monotonic()))
        return tick if most is None else min(tick, most)

    def may_look_later(self) -> bool:
        """Outcomes have been read, and nothing else happened. They are on their way to the store:
        the lane that takes them shall not have to wait for the main thread. So the rest of its
        turn is put off, for one busy tick at most."""
        now = time.monotonic()
        if self._due is None:
            self._due = max(self._looked + TICK_BUSY, now + _SOON)
        return now < self._due

    def looked(self, now: float) -> None:
        """Everything has been looked at, at *now*."""
        self._looked, self._due = now, None


__all__ = ["TICK_BUSY", "TICK_IDLE", "Rhythm"]
