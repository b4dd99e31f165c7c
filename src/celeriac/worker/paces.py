"""Paces: how long tasks take, as measured, and how much work may therefore be sent ahead.

Layer 5. Numbers under the dispatch's lock.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from celeriac.records import TaskFacts

#: An executor is sent ahead at most this much measured work, and this many deliveries.
AHEAD_SECONDS: Final = 0.008
AHEAD_MAX: Final = 256
#: A task whose measured mean is above this never goes ahead.
BRIEF_SECONDS: Final = 0.002
#: Weight of the newest run in a task's measured mean.
_WEIGHT: Final = 0.1
_UNKNOWN: Final = TaskFacts()


class Paces:
    """What was measured so far."""

    def __init__(self, tasks: Mapping[str, TaskFacts]) -> None:
        self._tasks = tasks
        self._means: dict[str, float] = {}
        self._pace = BRIEF_SECONDS
        #: Tasks that may go ahead: measured, short, at least once.
        self.brief: frozenset[str] = frozenset()

    @property
    def depth(self) -> int:
        """How many brief deliveries stand in one place at a time, the running one included."""
        if not self.brief:
            return 1
        return max(1, min(AHEAD_MAX, int(AHEAD_SECONDS / max(self._pace, 1e-6))))

    def measure(self, name: str, runtime: float) -> None:
        """A run of the task *name* took *runtime* seconds."""
        mean = self._means.get(name)
        mean = runtime if mean is None else mean + _WEIGHT * (runtime - mean)
        self._means[name] = mean
        brief = mean <= BRIEF_SECONDS and self._tasks.get(name, _UNKNOWN).late
        if brief:
            self._pace += _WEIGHT * (runtime - self._pace)
        if brief != (name in self.brief):
            self.brief = self.brief | {name} if brief else self.brief - {name}


__all__ = ["AHEAD_MAX", "AHEAD_SECONDS", "BRIEF_SECONDS", "Paces"]
