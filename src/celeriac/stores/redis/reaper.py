"""The reaper: lost owners, what falls due, and retention, in many small scripts, each repeatable.

Part of the Redis store.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection
from typing import Final

from celeriac.crashpoints import crashpoint
from celeriac.records import Reaped
from celeriac.stores.redis.packing import pack
from celeriac.stores.redis.steps import Steps
from celeriac.stores.turns import Turn, Turns

#: Seconds a pass spends on retention at most; the next pass goes on. It rides in a heartbeat.
_SWEEP_TIME: Final = 0.5
#: Random numbers sent along for the jitter of lost tasks.
_DRAWS: Final = 16


class Reaper:
    """The passes of one process."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        #: By this process' monotonic clock and the server's wall clock.
        self.turns = Turns()

    def run(self, dead: Collection[str] = (), ride: bool = False) -> Reaped | None:
        """One pass; with *ride* only if none was made in this store for ``reap_interval``."""
        steps = self._steps
        self.work_off()
        mono = steps.clock.monotonic()
        known: tuple[object, object] = (False, False)
        if self.turns.last is not None:
            gap = mono - self.turns.last.mono
            known = (self.turns.last.wall + gap, self.turns.beats and gap)
        begun, *rest = steps.run("reap_begin", "1" if ride else "0", pack(known), pack(tuple(dead)))
        if not begun:
            return None
        grace, wall, lost = rest
        self.turns.had(Turn(mono, steps.wall(wall)))
        owners = [each.decode() for each in lost[::2]]
        workers = [each.decode() for each in lost[1::2]]
        fates: Counter[str] = Counter()
        for owner, worker in zip(owners, workers, strict=True):
            self._lose(owner, worker, fates)
        expired, joins = self._fall_due()
        swept = 0 if grace else self._sweep()
        steps.run("ring")
        crashpoint("reap.applied")
        return Reaped(
            owners=tuple(owners),
            requeued=fates["Q"] + fates["S"],
            failed=fates["f"],
            dead=fates["d"],
            expired=expired + fates["x"],
            swept=swept,
            joins=joins,
            workers=tuple(workers),
        )

    def work_off(self, left: bool = False) -> None:
        """Follow the edges that large steps left, a bounded number in each script.

        *left*: it is known that there are some.
        """
        while True:
            if left:
                crashpoint("sweep.before")
            left = bool(self._steps.run("work_off"))
            if not left:
                return

    def _lose(self, owner: str, worker: str, fates: Counter[str]) -> None:
        random = self._steps.options.random
        gone = 0
        while not gone:
            draws = pack([random() for _ in range(_DRAWS)])
            letters, gone, left = self._steps.run("lose", owner, worker, draws)
            fates.update(letters.decode())
            if left:
                self.work_off(left=True)
            crashpoint("reap.applied")

    def _fall_due(self) -> tuple[int, int]:
        expired, joins, more = 0, 0, 1
        while more:
            some, given_up, more, left = self._steps.run("pass")
            expired += some
            joins += given_up
            if left:
                crashpoint("reap.applied")
                self.work_off(left=True)
        return expired, joins

    def _sweep(self) -> int:
        until = time.monotonic() + _SWEEP_TIME
        swept, more = 0, 1
        while more and time.monotonic() < until:
            some, more = self._steps.run("sweep")
            swept += some
            if more:
                crashpoint("reap.applied")
        return swept
