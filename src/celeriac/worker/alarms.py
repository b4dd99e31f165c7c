"""Alarms: the soft time limit of tasks that run in threads of an executor.

Layer 5, inside executors. A thread cannot be sent a signal. So one further thread keeps the time
and has the interpreter raise ``SoftTimeLimitExceeded`` in the thread that is due, which happens at
its next bytecode: a call that blocks in C ends first.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from functools import lru_cache

from celeriac.exceptions import SoftTimeLimitExceeded
from celeriac.interrupt import absorb, raise_in


@lru_cache(maxsize=64)
def _reached(seconds: float) -> type[SoftTimeLimitExceeded]:
    """The interpreter makes the exception from a class, without arguments: so here is one that
    knows its seconds and is called as its parent."""

    class Reached(SoftTimeLimitExceeded):
        def __init__(self, *args: object) -> None:
            super().__init__(*(args or (seconds,)))  # type: ignore[arg-type]

    Reached.__module__ = SoftTimeLimitExceeded.__module__
    Reached.__name__ = SoftTimeLimitExceeded.__name__
    Reached.__qualname__ = SoftTimeLimitExceeded.__qualname__
    Reached.__doc__ = SoftTimeLimitExceeded.__doc__  # its text begins with it
    return Reached


class Alarms:
    """All alarms of one process. The thread that keeps the time starts with the first of them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: list[tuple[float, int, Alarm]] = []
        self._numbers = itertools.count()
        self._keeper: threading.Thread | None = None

    def limit(self, seconds: float) -> Alarm:
        """Return a context manager that raises ``SoftTimeLimitExceeded`` in its thread if its
        block takes longer than *seconds*."""
        return Alarm(self, seconds)

    def add(self, alarm: Alarm) -> None:
        """Let *alarm* ring in its time, unless it is over by then."""
        with self._changed:
            heapq.heappush(
                self._due, (time.monotonic() + alarm.seconds, next(self._numbers), alarm)
            )
            if self._keeper is None:
                self._keeper = threading.Thread(target=self._keep, name="alarms", daemon=True)
                self._keeper.start()
            elif self._due[0][2] is alarm:
                self._changed.notify()

    def _keep(self) -> None:
        while True:
            with self._changed:
                while self._due and self._due[0][2].over:
                    heapq.heappop(self._due)
                wait = self._due[0][0] - time.monotonic() if self._due else None
                if wait is None or wait > 0:
                    self._changed.wait(wait)
                    continue
                alarm = heapq.heappop(self._due)[2]
            alarm.ring()


class Alarm:
    """One limit on one block. After the block nothing of it is left in the thread."""

    __slots__ = ("_alarms", "_lock", "_rang", "_thread", "over", "seconds")

    def __init__(self, alarms: Alarms, seconds: float) -> None:
        self.seconds = seconds
        self.over = False
        self._alarms = alarms
        self._lock = threading.Lock()
        self._rang = False
        self._thread = 0

    def ring(self) -> None:
        """Raise in the thread, unless its block has ended."""
        with self._lock:
            if not self.over:
                self.over = self._rang = True
                raise_in(self._thread, _reached(self.seconds))

    def __enter__(self) -> None:
        self._thread = threading.get_ident()
        self._alarms.add(self)

    def __exit__(self, *raised: object) -> None:
        try:
            self._disarm()
        except SoftTimeLimitExceeded:
            self._disarm()  # it landed here, outside the block: absorbed, and there is but one

    def _disarm(self) -> None:
        with self._lock:
            self.over = True
        if self._rang:
            absorb()  # still under way if it was raised in the last moment


__all__ = ["Alarm", "Alarms"]
