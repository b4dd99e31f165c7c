"""Limits: time and memory, looked at from outside the executor.

Layer 5. Called from the supervisor's main thread at every tick while something runs.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Final

from celeriac.worker import resources
from celeriac.worker.dispatch import Dispatch, Held
from celeriac.worker.overflow import take_overflow
from celeriac.worker.pools.prefork import LONG_SECONDS, Executor, Prefork
from celeriac.worker.pools.shared import Crowd, Shared
from celeriac.worker.slots import Slots

logger = logging.getLogger("celeriac.worker.limits")

MEMORY_SECONDS: Final = 0.5
#: A board is read this often, and never for more than one part in so many of the time.
_LOOK_SECONDS: Final = 0.05
_LOOK_RATIO: Final = 20.0


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
        if len(self._dispatch.hands) >= self._pool.size:  # no other is on its way
            self._pool.returned += take_overflow(self._dispatch)
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
        logger.warning(
            "Executor %d has grown to %s (limit %s) while running %s; it is replaced when idle",
            executor.process.pid,
            resources.megabytes(size),
            resources.megabytes(self._memory.per_executor),
            self._present_task(executor) or "nothing",
        )
        self._pool.outgrown(executor)

    def _present_task(self, executor: Executor) -> str:
        found = [executor.hand.held.get(key) for key in self._pool.begun(executor)]
        runs: list[Held] = [held for held in found if held is not None]
        if len(runs) > 1:
            return f"{len(runs)} tasks"
        return "".join(f"{held.name}[{held.delivery.id}]" for held in runs)

    def _look_for_stop(self, executor: Executor, now: float) -> None:
        """An executor stopped by a signal holds its task for ever, while our heart beats on."""
        if not resources.stopped(executor.process.pid):
            executor.stopped_since = None
        elif executor.stopped_since is None:
            executor.stopped_since = now
        elif now - executor.stopped_since > self._lease:
            self._pool.kill(executor, "it was stopped by a signal for longer than the lease")


class SharedLimits(Limits):
    """Of executors that run several tasks: their boards are read instead of their slots."""

    def tick(self, now: float) -> None:
        super().tick(now)
        pool = self._pool
        assert isinstance(pool, Shared)
        pool.tick(now)

    def _look_at(self, executor: Executor, now: float) -> None:
        assert isinstance(executor, Crowd)
        if now < executor.look_due:
            return
        began = time.perf_counter()
        self._look_at_board(executor, now)
        cost = time.perf_counter() - began
        # Reading a board of thousands takes milliseconds: never more than a small part of a core.
        executor.look_due = now + max(_LOOK_SECONDS, cost * _LOOK_RATIO)

    def _look_at_board(self, executor: Crowd, now: float) -> None:
        pool, hand = self._pool, executor.hand
        assert isinstance(pool, Shared)
        assert executor.process.board is not None
        runs = executor.process.board.runs()
        began: list[int] = []
        for key, since in runs:
            held = hand.held.get(key)
            if held is None or now - since < LONG_SECONDS:
                continue
            if not held.reported:
                began.append(key)
            if held.hard is not None and now - since >= held.hard:
                pool.overrun(executor, key, held.hard)
        if began:
            self._dispatch.began(hand, *began)
        # What was answered may still stand on the board, however long: its process need not have
        # come to wipe it, or an outcome was read just now. Only what is yet to be answered counts,
        # because the answer is what lifts the hold.
        taken = [since for key, since in runs if key in hand.held]
        if len(taken) >= hand.places and now - max(taken) > LONG_SECONDS:
            pool.relieve(executor)


def make_limits(
    pool: Prefork, dispatch: Dispatch, slots: Slots, memory: MemoryLimits, lease: float
) -> Limits:
    """The limits that fit *pool*."""
    kind = SharedLimits if isinstance(pool, Shared) else Limits
    return kind(pool, dispatch, slots, memory, lease)


__all__ = ["Limits", "MemoryLimits", "SharedLimits", "make_limits", "memory_limits"]
