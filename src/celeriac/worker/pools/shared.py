"""The pools ``threads`` and ``asyncio``: one executor process that runs several tasks at once.

Layer 5. What prefork does with processes holds here too, with four differences. What runs is read
from a board instead of one slot. An executor that is to end runs on beside its successor until
what it runs has ended. A run that cannot be stopped alone (a thread; a coroutine that does not
heed its cancellation) costs the whole process, and then its neighbours get time to finish. And
who ran in a process that died is a suspect: each runs again alone, in a *cell*.
"""

from __future__ import annotations

import array
import fcntl
import logging
import selectors
import signal
import termios
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Final

from celeriac import states
from celeriac.outcome import Outcome
from celeriac.policies.time_limits import on_hard_limit
from celeriac.worker import frames
from celeriac.worker.deaths import Death
from celeriac.worker.dispatch import Dispatch, Hand, Held
from celeriac.worker.hands import Company
from celeriac.worker.overflow import take_overflow
from celeriac.worker.pools.autoscale import Autoscale
from celeriac.worker.pools.nursery import ASYNCIO, THREADS, Nursery
from celeriac.worker.pools.prefork import Executor, OnDeath, Prefork

logger = logging.getLogger("celeriac.worker.pool")

#: A coroutine past its hard limit has this long to end by its cancellation.
CANCEL_SECONDS: Final = 1.0
#: An executor that is to be ended is asked for a sign of life this often, and has that long for it.
PING_SECONDS: Final = 1.0
#: What runs something and does not answer for so long is told to people.
SILENT_SECONDS: Final = 5.0
_SILENT: Final = {
    ASYNCIO: "a coroutine blocks the event loop, and with it all others: have it await, or make "
    "the task a plain function, which runs in a thread",
    THREADS: "a task keeps the interpreter to itself, and with it all others: run it in the pool "
    "prefork",
}
#: Most names of tasks in one log line.
_NAMES_MOST: Final = 5
#: Most processes at a time for tasks that have to run alone: of those younger than CELL_SECONDS,
#: and of all. What has lived that long in one is hardly what killed the others.
CELLS_MOST: Final = 16
CELLS_ALL: Final = 64
CELL_SECONDS: Final = 5.0
#: How the reason begins for which an executor was ended while its neighbours were innocent.
DRAINED: Final = "drained"
#: What the reason says of a suspect that goes back to the store.
BESIDE: Final = "it ran beside others in a process that died"

#: A hold is relied on once it is this old (seconds): memory is in step between cores by then.
HOLD_SECONDS: Final = 0.04

_TERMINATED: Final = Outcome(states.CANCELLED, reason="TaskRevokedError: terminated")


@dataclass(frozen=True)
class Shape:
    """What a shared pool is to be: threads or asyncio, how many tasks at once (at most, if it
    scales), and how long neighbours of a run that cannot be stopped may take to end (seconds)."""

    role: str
    width: int
    drain_grace: float


@dataclass(slots=True)
class Told:
    """A coroutine that was told to end."""

    deadline: float
    why: str
    #: What to commit if it has not ended by then; None if that has been done.
    outcome: Outcome | None


@dataclass(slots=True)
class Crowd(Executor):
    """An executor of several tasks, or a cell."""

    told: dict[int, Told] = field(default_factory=dict)
    #: When its board is to be read next.
    look_due: float = 0.0
    #: Nothing begins there that has not begun, until a place is empty.
    relieved: bool = False
    #: When the hold in its slot was written that covers every key.
    held_at: float = 0.0
    #: Why it is ended once its neighbours are through, "" while it is not; and until when.
    draining: str = ""
    drained_until: float = 0.0
    #: The sign of life asked for last, when, and the last that came.
    asked: int = 0
    asked_at: float = 0.0
    answered: int = 0
    #: The sign of life of which people have been told that it does not come.
    missed: int = 0

    @property
    def is_cell(self) -> bool:
        return self.hand.company is Company.CELL


class Shared(Prefork):
    """See the module's docstring. All methods run in the main thread."""

    def __init__(
        self,
        nursery: Nursery,
        dispatch: Dispatch,
        selector: selectors.BaseSelector,
        shape: Shape,
        on_death: OnDeath,
        max_tasks: int | None = None,
    ) -> None:
        super().__init__(nursery, dispatch, selector, 1, on_death, max_tasks)
        dispatch.crowded = True
        self.width = self.widest = shape.width
        self._shape = shape

    # --- making -------------------------------------------------------------------------------
    def _make_missing(self) -> None:
        crowds = [item for item in self._crowd() if not item.is_cell and not item.retiring]
        for _ in range(self.size - len(crowds)):
            self._make_crowd(self._shape.width, Company.CROWD, self._max_tasks)
        cells = [item for item in self._crowd() if item.is_cell]
        then = time.monotonic() - CELL_SECONDS
        young = sum(1 for item in cells if item.process.born > then)
        unused = [item for item in cells if not (item.hand.held or item.hand.ran or item.retiring)]
        waiting = len(self._dispatch.apart)
        room = min(CELLS_MOST - young, CELLS_ALL - len(cells))
        for _ in range(min(waiting - len(unused), room)):
            self._make_crowd(1, Company.CELL, 1)
        if waiting and len(cells) >= CELLS_ALL and not young:
            self._give_suspects_back()
        if not waiting:
            for cell in unused:
                self.retire(cell)  # what it was made for is not there any more

    def _give_suspects_back(self) -> None:
        """All cells run something long. What waits for one may be innocent, too: it goes back to
        the store, uncharged, and may run beside others again, here or elsewhere."""
        suspects = self._dispatch.take_suspects()
        for held in suspects:
            text = (
                f"{BESIDE}, and all {CELLS_ALL} processes for running such tasks alone have been "
                "busy"
            )
            again = Outcome(states.SCHEDULED, reason=text, delay=CELL_SECONDS)
            self._dispatch.commit(held.delivery.fence, again)
        if suspects:
            logger.warning(
                "%d task(s) that ran in a process that died go back to the store: the %d cells "
                "for running them alone all run something long", len(suspects), CELLS_ALL,
            )  # fmt: skip

    def _make_crowd(self, places: int, company: Company, left: int | None) -> None:
        process = self._nursery.make(self._shape.role, self._next_title(), places)
        hand = Hand(process.index, lambda first, items: self._send(process, first, items))
        hand.left, hand.company = left, company
        hand.places = hand.width = places
        self._admit(Crowd(process, hand))

    def fill(self) -> None:
        super().fill()
        self._share_out()

    def _share_out(self) -> None:
        """Executors that are ending and their successors together run no more than was asked."""
        crowds = [item for item in self._crowd() if not item.is_cell]
        ending = sum(len(item.hand.held) for item in crowds if item.retiring)
        for executor in crowds:
            width = min(executor.hand.places, max(0, self.width - ending))
            if not executor.retiring and executor.hand.width != width:
                self._dispatch.widen(executor.hand, width)

    def _rescale(self, scale: Autoscale) -> None:
        busy = sum(len(item.hand.held) for item in self._crowd() if not item.is_cell)
        self.width = self._scaled(scale, busy)

    def _crowd(self) -> list[Crowd]:
        return [item for item in self.executors.values() if isinstance(item, Crowd)]

    # --- talking ------------------------------------------------------------------------------
    def _hear(self, executor: Executor, frame: frames.Frame) -> None:
        assert isinstance(executor, Crowd)
        if isinstance(frame, frames.Pong):
            executor.answered = frame.number
        elif isinstance(frame, frames.Stays):
            told = executor.told.get(frame.key)
            if told is not None:
                told.deadline = 0.0  # at the next tick: its outcome may follow in the same piece
        else:
            super()._hear(executor, frame)

    def _finish(self, executor: Executor, results: list[tuple[int, Outcome, float]]) -> None:
        assert isinstance(executor, Crowd)
        hand = executor.hand
        if executor.told:
            for key, _, _ in results:
                executor.told.pop(key, None)
        if executor.relieved:
            executor.relieved = False
            # What was taken back stays held; keys given out from now on may begin.
            self._nursery.slots.hold(executor.process.index, 0, hand.next_key)
        hand.closed = executor.spent or self._overdue(executor)
        self._respawn_delay = 0.0
        self._dispatch.done(hand, results)

    @staticmethod
    def _overdue(executor: Crowd) -> bool:
        """Does it still run something of which nothing may come any more?"""
        return any(told.outcome is None for told in executor.told.values())

    def _end_if_spent(self, executor: Executor) -> None:
        assert isinstance(executor, Crowd)
        hand = executor.hand
        if executor.draining:
            if not hand.held:
                self.kill(executor, executor.draining)
        elif hand.left is not None and hand.left <= len(hand.held):
            self.retire(executor)  # it has been given all it may run

    # --- what runs ----------------------------------------------------------------------------
    def begun(self, executor: Executor) -> list[int]:
        """Keys of what runs, the newest first: of suspects those that began last are likeliest to
        be the one, and get the first cells."""
        assert executor.process.board is not None
        return sorted(executor.process.board.keys(), reverse=True)

    def hold_back(self, executor: Executor) -> None:
        assert isinstance(executor, Crowd)
        executor.hand.closed = True
        self._nursery.slots.hold(executor.process.index, 0)
        executor.held_at = time.monotonic()

    def collect_held_back(self, executor: Executor) -> list[Held]:
        """Deliveries that the hold keeps from beginning, none of which has begun.

        The executor, for each key: (1) writes it on the board, (2) looks at the hold; if it is
        held wipes it, else runs it, (3) puts its outcome into the pipe, (4) wipes it. We: (a)
        write the hold, and HOLD_SECONDS later (b) read the board, (c) read what is in the pipe,
        (d) take back what is not on the board and was not answered. A key of which (1) comes after
        (b) meets the hold at (2). One of which (4) comes before (b) has its outcome in the pipe
        before (c). One between them stands on the board. So what is left at (d) did not begin and
        will not. With (c) before (b) a run could end between them and be run again.

        Reading the pipe may lift the hold for keys given out from then on: those are left alone.
        """
        assert isinstance(executor, Crowd)
        if time.monotonic() - executor.held_at < HOLD_SECONDS:
            return []
        hand = executor.hand
        below = hand.next_key
        begun = self.begun(executor)
        if not self._hear_out(executor):
            return []  # its death tells
        return self._dispatch.take_all_but(hand, begun, below)

    def _hear_out(self, executor: Executor) -> bool:
        """Take in all that the executor has said by now; False: its connection is of no use."""
        size = array.array("i", [0])
        # Not until there is nothing: a task that shows its progress without a pause never ends.
        fcntl.ioctl(executor.process.sock, termios.FIONREAD, size)
        left = size[0]
        while left > 0:
            count = self._read(executor)
            if count <= 0:
                return False
            left -= count
        return self.executors.get(executor.process.index) is executor

    def relieve(self, executor: Crowd) -> None:
        """All its places are taken for long: what waits behind them goes back to the store, and
        what waits for them in the worker. To be called twice, a tick apart: the first keeps from
        beginning what the process has been sent."""
        if executor.relieved:
            self.returned += self.collect_held_back(executor)
        elif executor.spent or executor.draining:
            return
        elif executor.hand.held.keys() - set(self.begun(executor)):
            executor.relieved = True
            self.hold_back(executor)
            return
        self.returned += take_overflow(self._dispatch)

    def outgrown(self, executor: Executor) -> None:
        executor.over_memory = True
        self.retire(executor)

    def _account(self, executor: Executor, death: Death) -> None:
        """If a run that was given up took the process along before we ended it, those beside it
        are as innocent as if we had."""
        assert isinstance(executor, Crowd)
        if executor.draining and not death.ordered:
            death = replace(death, ordered=executor.draining)
        super()._account(executor, death)

    # --- ending runs --------------------------------------------------------------------------
    def terminate(self, executor: Executor, key: int, number: int, why: str = "") -> bool:
        assert isinstance(executor, Crowd)
        if not self._runs_still(executor, key):
            return False  # nothing will be found to be ended
        outcome = None if why else _TERMINATED
        why = why or f"revoked, {signal.Signals(number).name}"
        if executor.is_cell:
            self.kill(executor, why, number)
            return True
        if outcome is None:
            self._dispatch.pick(executor.hand, key)  # whatever comes of it is nobody's
            executor.hand.closed = True  # it still takes the place
        self._stop_run(executor, key, Told(self._shape.drain_grace, why, outcome))
        return True

    def overrun(self, executor: Crowd, key: int, limit: float) -> None:
        """A run has reached its hard limit."""
        why = f"hard time limit of {limit:g} s"
        if not self._runs_still(executor, key):
            return
        if executor.is_cell:
            self.kill(executor, why)
            return
        held = self._dispatch.pick(executor.hand, key)
        if held is None:
            return  # its outcome came first
        outcome = on_hard_limit(held.facts, held.delivery, limit)
        self.end_run(held, outcome, f"it reached its {why}")
        executor.hand.closed = True
        self._stop_run(executor, key, Told(CANCEL_SECONDS, why, None))

    def _runs_still(self, executor: Crowd, key: int) -> bool:
        """Whether no outcome of *key* has come, none that waits in the pipe either."""
        self._hear_out(executor)
        return key in executor.hand.held

    def _stop_run(self, executor: Crowd, key: int, told: Told) -> None:
        """Have a run end: a coroutine by its cancellation, a thread with its process."""
        if key in executor.told:
            return
        if self._shape.role != ASYNCIO:
            self._give_up(executor, key, told)
            return
        told.deadline += time.monotonic()
        executor.told[key] = told
        self._ask(executor)
        self.write(executor.process, frames.encode(frames.Cancel(key)))

    def _give_up(self, executor: Crowd, key: int, told: Told) -> None:
        """A run does not end by itself: settle it, and end its process."""
        if told.outcome is not None:
            if not self._runs_still(executor, key):
                return  # it ended in time after all
            held = self._dispatch.pick(executor.hand, key)
            assert held is not None, "only this thread takes an outcome"
            self.end_run(held, told.outcome, f"it was {told.why}")
        self._drain(executor, told.why)

    def _drain(self, executor: Crowd, why: str) -> None:
        """End an executor once its neighbours are through, or their time is up; make another."""
        if executor.draining:
            return
        running = len(executor.hand.held)
        logger.warning(
            "Executor %d is replaced (%s); %d task(s) beside have %g s to finish",
            executor.process.pid, why, running, self._shape.drain_grace,
        )  # fmt: skip
        executor.draining = f"{DRAINED}: {why}"
        executor.drained_until = time.monotonic() + self._shape.drain_grace
        executor.retiring = True
        self.hold_back(executor)
        if executor.asked == executor.answered:
            self._ask(executor)
        self.fill()

    def _ask(self, executor: Crowd) -> None:
        executor.asked += 1
        executor.asked_at = time.monotonic()
        self.write(executor.process, frames.encode(frames.Ping(executor.asked)))

    def tick(self, now: float) -> None:
        """End what has had its time."""
        for executor in self._crowd():
            for key, told in list(executor.told.items()):
                if now >= told.deadline:
                    del executor.told[key]
                    self._give_up(executor, key, told)
            if executor.draining and not executor.doomed:
                self._end_drained(executor, now)
            elif executor.hand.held and executor.hand.ready and not executor.doomed:
                self._look_for_silence(executor, now)
            self._end_if_spent(executor)

    def _look_for_silence(self, executor: Crowd, now: float) -> None:
        """Tell, once, of an executor that runs something and does not answer."""
        since = now - executor.asked_at
        if executor.asked == executor.answered:
            if since > PING_SECONDS:
                self._ask(executor)
        elif since > SILENT_SECONDS and executor.missed != executor.asked:
            executor.missed = executor.asked
            found = (executor.hand.held.get(key) for key in self.begun(executor))
            counts = Counter(held.name for held in found if held is not None)
            names = [f"{name} ({count})" for name, count in counts.most_common(_NAMES_MOST)]
            more = len(counts) - len(names)
            logger.warning(
                "Executor %d has not answered for %d s: %s. It runs %s",
                executor.process.pid, since, _SILENT[self._shape.role],
                ", ".join(names) + (f" and {more} more" if more > 0 else "") or "nothing",
            )  # fmt: skip

    def _end_drained(self, executor: Crowd, now: float) -> None:
        waiting = self.collect_held_back(executor)
        if waiting:
            self._dispatch.requeue(waiting)
        silent = executor.asked != executor.answered and now - executor.asked_at > PING_SECONDS
        if silent or not executor.hand.held or now >= executor.drained_until:
            self.kill(executor, executor.draining)
        elif executor.asked == executor.answered and now - executor.asked_at > PING_SECONDS:
            self._ask(executor)


__all__ = ["BESIDE", "DRAINED", "Crowd", "Shape", "Shared", "Told"]
