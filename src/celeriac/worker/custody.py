"""Custody: what becomes of deliveries in our hands that do not simply run to their end.

Layer 5; in the supervisor's main thread. The lease was lost, a revoke came, the executor died, the
worker stops, others can run it sooner. Decisions, and the calls that hand deliveries back; how an
executor is ended is the pool's business.
"""

from __future__ import annotations

import logging
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from random import Random, SystemRandom
from typing import TYPE_CHECKING, Final

from celeriac import states
from celeriac.exceptions import OperationalError
from celeriac.outcome import Outcome
from celeriac.policies import crashes
from celeriac.policies.time_limits import on_hard_limit
from celeriac.records import Fence, RevokeOrder, Verdict
from celeriac.stores.base import Queue
from celeriac.worker.calledoff import call_off
from celeriac.worker.deaths import Death
from celeriac.worker.dispatch import Dispatch, Held
from celeriac.worker.pools.shared import DRAINED
from celeriac.worker.reconciling import gone, held_at, stray

if TYPE_CHECKING:
    from celeriac.worker.pools.prefork import Executor, Prefork

logger = logging.getLogger("celeriac.worker")

#: Why executors were ended whose deliveries are not theirs to be charged with.
LEASE_LOST: Final = "lease lost"
STOPPED: Final = "the worker stopped"
#: Seconds between two attempts to hand back to a store that does not answer.
_AGAIN: Final = 1.0
_RANDOM: Final = SystemRandom()


class Custody:
    """See the module's docstring.

    *queue* is the store's; *crash_delay* the seconds before a third run; *ended_by* is told of a
    run (its id) that is about to be ended by a signal (its number); jitter comes from *rng*,
    and time, monotonic, from *clock*.
    """

    def __init__(
        self,
        dispatch: Dispatch,
        queue: Queue,
        crash_delay: float,
        ended_by: Callable[[str, int], None],
        rng: Random = _RANDOM,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        #: Set once there is one: it is made with :meth:`on_death`.
        self.pool: Prefork
        #: Revokes of what is in our hands; appended to from any thread.
        self.orders: deque[RevokeOrder] = deque()
        self.stopping = False
        #: What runs here and the store does not know as ours.
        self._gone: list[Fence] = []
        self._dispatch = dispatch
        self._queue = queue
        self._crash_delay = crash_delay
        self._ended_by = ended_by
        self._rng = rng
        self._clock = clock
        self._give_back_due = 0.0

    # --- the lease ----------------------------------------------------------------------------
    def lose_all(self) -> None:
        """The store gave our tasks to others: end what runs, drop what waits."""
        self.pool.kill_all(LEASE_LOST)
        self._dispatch.drop_all()

    def empty(self, grace_over: bool) -> bool:
        """A worker that stops hands back all that has not begun (what was held back a tick ago
        certainly has not), and ends the rest once its grace is over. True: nothing runs."""
        executors = list(self.pool.executors.values())
        for executor in executors:
            self.hand_back(self.pool.collect_held_back(executor), started=False)
        waiting = self._dispatch.drain_backlog()
        self.hand_back([held for held in waiting if not held.suspect], started=False)
        self.hand_back([held for held in waiting if held.suspect], started=True)
        running = any(executor.hand.held for executor in self.pool.executors.values())
        if running and grace_over:
            self.pool.kill_all(STOPPED)
        return not running

    def hand_back(self, items: Sequence[Held], *, started: bool) -> None:
        """Hand back what was not begun or, *started*, what was interrupted.

        Nobody has the latter any more, so the store is asked again until it answers: else it
        would be leased to us, and run by nobody, as long as we live.
        """
        fences = [held.delivery.fence for held in items if self._dispatch.owns(held)]
        if not fences:
            return
        try:
            self._queue.release(self._dispatch.incarnation.owner, fences, started=started)
        except OperationalError as error:
            logger.error("%d task(s) could not be handed back: %s", len(fences), error)
            if started:
                for held in items:
                    held.interrupted = True
                self.pool.returned += items

    def give_back(self) -> None:
        """Hand back what others can run sooner, and what was interrupted. While the store does
        not answer it is neither ours to run nor theirs: it may have been handed back, and would
        run twice. So it is asked again, which is harmless, until it answers or the lease is
        lost."""
        now = self._clock()
        if now < self._give_back_due:
            return
        items, self.pool.returned = self.pool.returned, []
        for started in (False, True):
            some = [held for held in items if held.interrupted is started]
            fences = [held.delivery.fence for held in some if self._dispatch.owns(held)]
            if not fences:
                continue
            try:
                self._queue.release(self._dispatch.incarnation.owner, fences, started=started)
            except OperationalError as error:
                logger.warning("%d task(s) could not be handed back yet: %s", len(fences), error)
                self.pool.returned += some
                self._give_back_due = now + _AGAIN

    def reconcile(self) -> None:
        """The store may be what it once was (see ``reconciling``): hand back what it thinks is
        here, and end what it does not know as ours. Raises ``OperationalError``; repeatable."""
        desk = self._dispatch
        owner, before = desk.incarnation.owner, held_at(desk)
        theirs = set(self._queue.leases(owner))
        strays = stray(desk, theirs, self.pool.returned)
        verdicts = self._queue.release(owner, strays, started=True) if strays else ()
        back = verdicts.count(Verdict.OK)
        lost = [held for held in gone(desk, before, theirs) if desk.owns(held)]
        for held in lost:
            if desk.withdraw(held.delivery.fence) is None:
                self._gone.append(held.delivery.fence)
        if back or lost:
            logger.error(
                "The store has gone back to an earlier state: %d task(s) that this worker was "
                "through with were handed back, %d that it holds are not its own any more",
                back, len(lost),
            )  # fmt: skip

    def _end_gone(self) -> None:
        """End runs that are not ours; nothing comes of them."""
        waiting, self._gone = self._gone, []
        for fence in waiting:
            found = self._find(fence)
            # Back in the line, if the executor that had it has died; or given out since we looked.
            if not found and self._dispatch.withdraw(fence) is None:
                found = self._find(fence)
            for executor, key in found:
                begun = key in self.pool.begun(executor)
                if not begun or not self.pool.terminate(executor, key, signal.SIGKILL, LEASE_LOST):
                    self._gone.append(fence)

    def _find(self, fence: Fence) -> list[tuple[Executor, int]]:
        """Which executor holds it, under which key: one, or none. Other threads give out work."""
        return [
            (executor, key)
            for executor in self.pool.executors.values()
            for key, held in list(executor.hand.held.items())
            if held.delivery.fence == fence
        ]

    # --- revokes ------------------------------------------------------------------------------
    def obey(self) -> None:
        """Do what was ordered since."""
        for _ in range(len(self.orders)):
            self._obey(self.orders.popleft())
        if self._gone:
            self._end_gone()

    def _obey(self, order: RevokeOrder) -> None:
        """A revoke for something in our hands."""
        for executor, key in self._find(order.fence):
            # If it has not begun, it is checked again at its next requeue; it ends as it ends.
            if key in self.pool.begun(executor) and order.terminate is not None:
                self._terminate(executor, key, order.terminate)
            return
        withdrawn = self._dispatch.withdraw(order.fence)
        if withdrawn is not None:
            call_off(self._dispatch, withdrawn)

    def _terminate(self, executor: Executor, key: int, name: str) -> None:
        number = signal.Signals.__members__.get(name, signal.SIGTERM)
        fence = executor.hand.held[key].delivery.fence
        if self.pool.terminate(executor, key, number):
            self._ended_by(fence.id, number)
            self.pool.notices.ended_by(fence.id, number)
        else:
            self.orders.append(RevokeOrder(fence, name))

    # --- deaths -------------------------------------------------------------------------------
    def on_death(self, death: Death, ran: list[Held]) -> None:
        """An executor is dead; *ran* is what it ran. If that was one task it is convicted; of
        several each is a suspect."""
        if not ran:
            expected = death.clean or death.ordered.startswith(DRAINED)
            if not expected and not self.stopping:
                logger.error("%s; it was running nothing", death.describe())
            return
        if death.ordered == LEASE_LOST:
            return
        if death.ordered == STOPPED or death.ordered.startswith(DRAINED):
            self.hand_back(ran, started=True)
        elif len(ran) == 1:
            outcome = self._judge(death, ran[0])
            self.pool.end_run(ran[0], outcome, death.describe(), death.stack)
        else:
            self._suspect(death, ran)

    def _suspect(self, death: Death, ran: list[Held]) -> None:
        """Several tasks ran in a process that died: each runs again, alone; only what dies there
        is charged. What must not run twice has failed."""
        logger.error("%s; it ran %d tasks, which run again one by one", death.describe(), len(ran))
        if death.stack:
            logger.error("The last Python stacks were:\n%s", death.stack)
        for held in ran:
            if held.facts.late and held.facts.requeue_lost:
                held.suspect = True
            else:
                self.pool.end_run(held, self._judge(death, held), death.describe())
        self._dispatch.requeue([held for held in ran if held.suspect])

    def _judge(self, death: Death, convict: Held) -> Outcome:
        if death.ordered.startswith("revoked"):
            return Outcome(states.CANCELLED, reason="TaskRevokedError: terminated")
        if death.ordered.startswith("hard time limit") and convict.hard is not None:
            return on_hard_limit(convict.facts, convict.delivery, convict.hard)
        reason = death.describe() + (f"\n{death.stack}" if death.stack else "")
        return crashes.on_death(
            convict.facts, convict.delivery, reason, self._crash_delay, self._rng
        )


__all__ = ["LEASE_LOST", "STOPPED", "Custody"]
