"""Limits: time and memory, looked at from outside the executor.

Layer 5. Called from the supervisor's main thread at every tick while something runs.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

from celeriac.worker import resources
from celeriac.worker.dispatch import Dispatch, Held
from celeriac.worker.pools.prefork import LONG_SECONDS, Executor, Prefork
from celeriac.worker.slots import Slots

logger = logging.getLogger("celeriac.worker.limits")

MEMORY_SECONDS: Final = 0.5


@dataclass(frozen=True)
class MemoryLimits:
    """Bytes. *per_executor*: recycled above it once idle. *container*: the largest executor is
    killed above it, before the kernel kills the whole container; None where there is none."""

    per_executor: int
    container: int | None


def memory_limits(
    per_child_kib: int | None, slots: int, fraction: float, container_fraction: float
) -> MemoryLimits:
    """Work out the limits: ``worker_max_memory_per_child`` (KiB) if set, else *fraction* of the
    container's (else the machine's) memory shared by *slots* executors."""
    if per_child_kib is not None:
        per_executor = per_child_kib * 1024
    else:
        per_executor = int(resources.memory_limit() * fraction / max(1, slots))
    container = resources.container_limit()
    return MemoryLimits(
        per_executor, None if container is None else int(container * container_fraction)
    )


class Limits:
    """Reads slots and ``/proc``; acts through the pool."""

    def __init__(
        self, pool: Prefork, dispatch: Dispatch, slots: Slots, memory: MemoryLimits, lease: float
    ) -> None:
        self._pool = pool
        self._dispatch = dispatch
        self._slots = slots
        self._memory = memory
        self._lease = lease
        self._memory_due = 0.0

    def tick(self, now: float) -> None:
        """Look at every run once."""
        for executor in list(self._pool.executors.values()):
            if executor.hand.held:
                self._look_at(executor, now)
            if executor.silent_since is not None and now - executor.silent_since > 1.0:
                self._pool.kill(executor, "it closed its connection to the worker")
        if now >= self._memory_due:
            self._memory_due = now + MEMORY_SECONDS
            self._look_at_memory(now)

    def _look_at(self, executor: Executor, now: float) -> None:
        key, since = self._slots.running(executor.process.index)
        held = executor.hand.held.get(key)
        if held is None:
            return
        elapsed = now - since
        if elapsed < LONG_SECONDS:
            return
        self._dispatch.began(executor.hand, key)
        if executor.hold_above != key:
            # Collected at the next tick: until then the executor may be just past its look.
            self._pool.close_behind(executor, key)
            return
        if len(executor.hand.held) > 1:
            self._dispatch.requeue(self._pool.collect_held_back(executor))
        if held.hard is not None and elapsed >= held.hard:
            self._pool.kill(executor, f"hard time limit of {held.hard:g} s")

    def _look_at_memory(self, now: float) -> None:
        largest: tuple[int, Executor] | None = None
        for executor in list(self._pool.executors.values()):
            if not executor.process.pid:
                continue
            size = resources.resident(executor.process.pid)
            if largest is None or size > largest[0]:
                largest = (size, executor)
            if size > self._memory.per_executor and not executor.over_memory:
                self._grown(executor, size)
            self._look_for_stop(executor, now)
        used = resources.container_usage() if self._memory.container is not None else None
        if used is not None and largest is not None and used > (self._memory.container or used):
            size, executor = largest
            self._pool.kill(
                executor,
                f"memory: the container uses {resources.megabytes(used)}, this executor "
                f"{resources.megabytes(size)} of it",
            )

    def _grown(self, executor: Executor, size: int) -> None:
        executor.over_memory = True
        executor.hand.closed = True  # else it would never be idle while there is work
        logger.warning(
            "Executor %d has grown to %s (limit %s) while running %s; it is replaced when idle",
            executor.process.pid,
            resources.megabytes(size),
            resources.megabytes(self._memory.per_executor),
            self._present_task(executor) or "nothing",
        )
        if not executor.hand.held:
            self._pool.retire(executor)

    def _present_task(self, executor: Executor) -> str:
        key, _ = self._slots.running(executor.process.index)
        held: Held | None = executor.hand.held.get(key)
        return f"{held.name}[{held.delivery.id}]" if held else ""

    def _look_for_stop(self, executor: Executor, now: float) -> None:
        """An executor stopped by a signal holds its task for ever, while our heart beats on."""
        if not resources.stopped(executor.process.pid):
            executor.stopped_since = None
        elif executor.stopped_since is None:
            executor.stopped_since = now
        elif now - executor.stopped_since > self._lease:
            self._pool.kill(executor, "it was stopped by a signal for longer than the lease")


__all__ = ["Limits", "MemoryLimits", "memory_limits"]
