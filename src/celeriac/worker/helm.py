"""The helm: a supervisor and its pool, as remote control sees and steers them.

Layer 5. ``duties/steering.py`` calls it in the main thread, except where it says otherwise.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from celeriac.clock import SYSTEM
from celeriac.exceptions import NotInThisVersion
from celeriac.records import Manifest
from celeriac.worker.dispatch import Dispatch
from celeriac.worker.duties.heart import Heart
from celeriac.worker.duties.steering import Seen
from celeriac.worker.hands import Held
from celeriac.worker.lanes import Lanes
from celeriac.worker.pools.prefork import Executor, Prefork
from celeriac.worker.sizing import checked
from celeriac.worker.slots import Slots


class Helm:
    """Implements ``steering.Steered`` for a worker with executors."""

    def __init__(
        self,
        manifest: Manifest,
        pool: Prefork,
        dispatch: Dispatch,
        lanes: Lanes,
        heart: Heart,
        slots: Slots,
        stop: Callable[[], None],
        max_tasks: int | None = None,
    ) -> None:
        #: What the worker says of itself when it registers.
        self.manifest = manifest
        self._pool = pool
        self._dispatch = dispatch
        self._lanes = lanes
        self._heart = heart
        self._slots = slots
        self._max_tasks = max_tasks
        #: Begins a graceful stop.
        self.stop = stop

    # --- seeing -------------------------------------------------------------------------------
    def hands(self) -> list[Seen]:
        """What the executors and the line before them hold."""
        waiting = [*list(self._dispatch.backlog), *self._dispatch.rates.held()]
        seen = [_seen(held) for held in waiting]
        lag = SYSTEM.wall() - time.monotonic()
        for executor in self._pool.executors.values():
            running = dict(self._running(executor))
            for key, held in list(executor.hand.held.items()):
                since = running.get(key)
                pid = executor.process.pid or None
                seen.append(_seen(held) if since is None else _seen(held, since + lag, pid))
        return seen

    def _running(self, executor: Executor) -> Iterator[tuple[int, float]]:
        """Keys that an executor runs, and since when (monotonic)."""
        board = executor.process.board
        if board is None:
            yield self._slots.running(executor.process.index)
        else:
            yield from board.runs()

    def load(self) -> tuple[int, int]:
        """How many tasks run now and how many were taken so far. From any thread."""
        running = sum(1 for each in list(self._dispatch.hands.values()) if each.held)
        return running, self._dispatch.totals.total()

    def totals(self) -> Mapping[str, int]:
        """How many of each task were taken so far."""
        return self._dispatch.totals

    def pool(self) -> dict[str, Any]:
        """In Celery's words."""
        executors, scale = self._pool.executors.values(), self._pool.scale
        return {
            "implementation": f"celeriac.worker.pools.{self.manifest.pool}",
            "max-concurrency": self.manifest.concurrency,
            "processes": [each.process.pid for each in executors if each.process.pid],
            "max-tasks-per-child": self._max_tasks or "N/A",
            "put-guarded-by-semaphore": False,
            "writes": "N/A",
            **({} if scale is None else {"autoscale": [scale.most, scale.least]}),
        }

    # --- steering -----------------------------------------------------------------------------
    def resize(self, by: int) -> int:
        """Make more executors, or let some end once they are idle."""
        if self._pool.scale is not None:
            raise ValueError("this worker scales itself: change its bounds with autoscale")
        if self._pool.widest is not None:
            raise NotInThisVersion(
                f"Growing or shrinking a pool of {self.manifest.pool}",
                "Start the worker with another --concurrency.",
            )
        size = self._pool.size + by
        if size < 1:
            raise ValueError(
                f"the pool has {self._pool.size} executors and one must stay; to take no more "
                "tasks use cancel_consumer, to end the worker shutdown"
            )
        self._pool.size = checked(size, self.manifest.pool)
        alive = [each for each in self._pool.executors.values() if not each.retiring]
        # Those that run nothing first: the others end what they run before they go.
        for executor in sorted(alive, key=lambda each: len(each.hand.held))[: max(0, -by)]:
            self._pool.retire(executor)
        self._pool.fill()
        return size

    def renew(self) -> None:
        """Replace all executors, each once it has run what it holds."""
        for executor in list(self._pool.executors.values()):
            self._pool.retire(executor)

    def read(self, queues: tuple[str, ...]) -> None:
        """Lease from *queues* from now on."""
        self._lanes.read(queues)

    def limit(self, task: str, soft: float | None, hard: float | None) -> None:
        """Set a task's time limits for runs that begin from now on."""
        self._dispatch.limit(task, soft, hard)
        self._pool.limit(task, soft)

    def rate(self, task: str, limit: str | float | None) -> None:
        """Set a task's rate limit; see `RateLimits.set`."""
        self._dispatch.rates.set(task, limit)

    def autoscale(self, most: int, least: int) -> tuple[int, int]:
        """Set the bounds of scaling."""
        scale = self._pool.scale
        if scale is None:
            raise ValueError("this worker does not scale itself: start it with --autoscale=MAX,MIN")
        widest = self._pool.widest
        if not 1 <= least <= most:
            raise ValueError(f"{most},{least} are no bounds: first the most, then the fewest")
        if widest is not None and most > widest:
            raise ValueError(
                f"an executor of this pool runs at most {widest} tasks at once, as it was started"
            )
        scale.most, scale.least = checked(most, self.manifest.pool), least
        return most, least

    def hurry(self) -> None:
        """Beat now, which tells of revokes."""
        self._heart.hurry()

    def declare(self, manifest: Manifest) -> None:
        """Tell the store what the worker is from now on. In the ear's thread."""
        self.manifest = manifest
        self._heart.declare(manifest)


def _seen(held: Held, since: float | None = None, pid: int | None = None) -> Seen:
    delivery = held.delivery
    return Seen(delivery.id, held.name, delivery.queue, held.facts.late, since, pid)


__all__ = ["Helm"]
