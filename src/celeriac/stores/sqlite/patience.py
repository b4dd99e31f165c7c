"""Short waits for the write lock. Part of the SQLite store."""

from __future__ import annotations

import random
import time
from typing import Final

from celeriac.clock import SYSTEM

# SQLite's own back-off sleeps up to 100 ms under contention.
_SHORTEST_WAIT: Final = 0.0001
_LONGEST_WAIT: Final = 0.003


class Patience:
    """The busy handler: short, jittered waits within a total budget of seconds."""

    def __init__(self, budget: float) -> None:
        self.budget = budget
        self.since = 0.0

    def __call__(self, tries: int) -> bool:
        now = SYSTEM.monotonic()
        if tries == 0:
            self.since = now
        if now - self.since >= self.budget:
            return False
        longest = min(_LONGEST_WAIT, _SHORTEST_WAIT * (tries + 2))
        time.sleep(random.uniform(_SHORTEST_WAIT, longest))
        return True


__all__ = ["Patience"]
