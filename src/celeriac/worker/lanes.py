"""Store threads: the lanes that exchange, and the bell that waits.

Layer 5. Each lane is one thread with its own sequence of exchanges; it goes whenever there is
something to commit or room to fill. The bell is a lane that first blocks in the store's ``wait``
and then exchanges itself, which saves an idle worker one hand-over. Where the store leases as it
waits it is told beforehand how much (a *bid*), which saves a round trip, too.

An exchange whose answer did not come is repeated under the same sequence number until the store
answers: the store then returns what it had done the first time. Outcomes wait in memory
meanwhile.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, cast

from celeriac.backoff import reconnect
from celeriac.exceptions import OperationalError, StoreError
from celeriac.records import Exchanged, Fence
from celeriac.stores.base import EagerQueue, Store
from celeriac.worker.calledoff import call_off
from celeriac.worker.dispatch import Batch, Dispatch
from celeriac.worker.hands import Held

logger = logging.getLogger("celeriac.worker")

#: The longest a bell listens before it looks for itself.
WAIT_SECONDS: Final = 10.0
_WAKE_SECONDS: Final = 0.05


class Lanes:
    """Starts, runs and stops the store threads of one worker."""

    def __init__(
        self,
        store: Store,
        dispatch: Dispatch,
        queues: Sequence[str],
        count: int,
        failed: Callable[[BaseException], None],
    ) -> None:
        self._store = store
        self._dispatch = dispatch
        self._queues = tuple(queues)
        self._failed = failed
        #: Outcomes given up at shutdown because the store did not come back.
        self.abandoned = 0
        self._deadline = float("inf")
        self._stopping = threading.Event()
        self._outage = False
        #: The queues that the bell listens to just now, or did last.
        self._listened = self._queues
        self._threads = [
            threading.Thread(target=self._guard, args=(self._lane, number), name=f"lane-{number}")
            for number in range(1, count + 1)
        ]
        self._threads.append(
            threading.Thread(target=self._guard, args=(self._bell, count + 1), name="bell")
        )

    def start(self) -> None:
        for thread in self._threads:
            thread.daemon = True
            thread.start()

    def read(self, queues: Sequence[str]) -> None:
        """Lease from *queues* from now on; :meth:`settle` has the bell listen to them."""
        self._queues = tuple(queues)
        self.settle()

    def settle(self) -> None:
        """Call the bell away from queues that are not read any more, or if it asks for more than
        there is room for by now. To be called again now and then: it may have been about to
        listen."""
        if self._listened is not self._queues or self._dispatch.overbid():
            self._store.queue.wake()

    def stop(self, timeout: float) -> bool:
        """Let the threads finish what they have; False if one did not end in time."""
        deadline = self._deadline = time.monotonic() + timeout
        self._stopping.set()
        with self._dispatch.changed:
            self._dispatch.changed.notify_all()
            self._dispatch.quiet.notify_all()
        while any(thread.is_alive() for thread in self._threads):
            if time.monotonic() > deadline + 1.0:
                return False
            # Again and again: a bell may have been about to listen when it was called first.
            self._store.queue.wake()
            self._threads[-1].join(_WAKE_SECONDS)
            for thread in self._threads[:-1]:
                thread.join(_WAKE_SECONDS)
        return True

    def _guard(self, body: Callable[[int], None], number: int) -> None:
        """A store thread that dies of a bug must not leave a worker that looks alive."""
        try:
            body(number)
        except BaseException as error:  # noqa: BLE001 - the main thread raises it
            self._failed(error)

    def _lane(self, number: int) -> None:
        dispatch, sequence = self._dispatch, 0
        while True:
            with dispatch.changed:
                while not dispatch.has_work():
                    if self._stopping.is_set():
                        return
                    dispatch.changed.wait(1.0)
                batch = dispatch.take()
            sequence += 1
            self._exchange(number, sequence, batch)

    def _bell(self, number: int) -> None:
        dispatch, sequence = self._dispatch, 0
        bids = self._store.capabilities.leases_as_it_waits
        while not self._stopping.is_set():
            with dispatch.changed:
                if not dispatch.may_wait():
                    dispatch.quiet.wait(1.0)
                    continue
                bid = dispatch.bid() if bids else None
            if bid is not None:
                sequence += self._lease(number, sequence + 1, bid)
                continue
            if not self._listen():
                continue
            with dispatch.changed:
                # At the end the bell does not come back: what updates would then wait for it stays.
                batch = dispatch.take(updates=False)
            sequence += 1
            self._exchange(number, sequence, batch)

    def _listen(self) -> bool:
        queues = self._listened = self._queues
        try:
            return self._store.queue.wait(queues, WAIT_SECONDS)
        except OperationalError as error:
            self._outage_begins(error)
            self._stopping.wait(reconnect(1))
            return True  # look for ourselves: the exchange tells whether the store is back

    def _lease(self, lane: int, sequence: int, bid: Batch) -> bool:
        """Wait, and have the store lease what *bid* asks for; whether the number is used up."""
        queues = self._listened = self._queues
        try:
            reply = cast(EagerQueue, self._store.queue).wait_and_lease(
                bid.owner, lane, sequence, queues, bid.want, WAIT_SECONDS
            )
        except OperationalError as error:
            self._outage_begins(error)
            self._stopping.wait(reconnect(1))
        except StoreError:
            logger.exception("The store refused a wait for work; it is asked once more without")
        else:
            if reply is None:
                self._dispatch.drop_bid(bid)
                return False
            self._settle(bid, reply)
            return True
        # Whether anything was leased is not known: the same number tells.
        self._exchange(lane, sequence, bid)
        return True

    def _exchange(self, lane: int, sequence: int, batch: Batch) -> None:
        """Repeat one exchange until the store has answered, then settle it."""
        attempt, telling = 0, bool(batch.updates)
        while True:
            try:
                while batch.updates:
                    self._store.queue.update(*batch.updates[-1])
                    batch.updates.pop()
                reply = self._store.queue.exchange(
                    batch.owner, lane, sequence, batch.commits, batch.started, self._queues,
                    batch.want,
                )  # fmt: skip
                break
            except OperationalError as error:
                self._outage_begins(error)
                attempt += 1
                time.sleep(reconnect(attempt))
                if time.monotonic() > self._deadline:
                    # Shutting down without the store: the leases run out by themselves.
                    self.abandoned += len(batch.commits)
                    reply = Exchanged(verdicts=())
                    batch = batch.emptied()
                    break
            except StoreError:
                logger.exception("Exchange refused by the store; this worker starts afresh")
                self._dispatch.give_back(batch)
                self._stopping.wait(reconnect(3))
                reply = Exchanged(lost=True)
                batch = batch.emptied()
                break
        self._settle(batch, reply)
        if telling:
            self._dispatch.updated()

    def _settle(self, batch: Batch, reply: Exchanged) -> None:
        self._outage_ends()
        met: dict[str | None, list[Held]] = {}
        for held, terminate in self._dispatch.settle(batch, reply):
            met.setdefault(terminate, []).append(held)
        for terminate, items in met.items():
            self._call_off(items, terminate)
        for delay, fences in self._dispatch.rates.take_returns():
            self._hand_back(batch.owner, fences, delay)

    def _hand_back(self, owner: str, fences: Sequence[Fence], delay: float) -> None:
        """Return what a rate limit turned away to its queue, to be due again after *delay*."""
        self._insist(lambda: self._store.queue.release(owner, fences, delay=delay))

    def _call_off(self, items: Sequence[Held], terminate: str | None) -> None:
        """Revoke what carries a revoked stamp, in the store first: whoever gets it if this worker
        dies now need not know the stamp."""
        ids = [held.delivery.id for held in items]
        if not self._insist(lambda: self._store.queue.revoke(ids, terminate)):
            return
        for held in items:
            logger.info("Task %s carries a revoked stamp, it will not run", held.delivery.id)
            call_off(self._dispatch, held)
        with self._dispatch.changed:
            self._dispatch.stamps.pending -= len(items)

    def _insist(self, step: Callable[[], object]) -> bool:
        """Repeat *step* until the store has answered; False if it has not by the end."""
        attempt = 0
        while True:
            try:
                step()
            except OperationalError as error:
                self._outage_begins(error)
                attempt += 1
                time.sleep(reconnect(attempt))
                if time.monotonic() > self._deadline:
                    return False  # shutting down without the store: the lease runs out by itself
            else:
                return True

    def _outage_begins(self, error: OperationalError) -> None:
        if not self._outage:
            self._outage = True
            logger.error("The store does not answer; outcomes are held and retried: %s", error)

    def _outage_ends(self) -> None:
        if self._outage:
            self._outage = False
            logger.warning("The store answers again")


__all__ = ["Lanes"]
