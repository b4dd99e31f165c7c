"""Store threads: the lanes that exchange, and the bell that waits.

Layer 5. Each lane is one thread with its own sequence of exchanges; it goes whenever there is
something to commit or room to fill. The bell is a lane that first blocks in the store's ``wait``
and then exchanges itself, which saves an idle worker one hand-over. Where the store leases as it
waits it is told beforehand how much (a *bid*), which saves a round trip, too.

What a lane says to the store, and what it does when no answer comes, is in ``courses``: an
exchange whose answer did not come is repeated under the same sequence number, and the store then
returns what it had done the first time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from celeriac.backoff import reconnect
from celeriac.stores.base import Store
from celeriac.worker.courses import Call, Course, Exchanges, Pause, follow
from celeriac.worker.dispatch import Batch, Dispatch

_WAKE_SECONDS: Final = 0.05

T = TypeVar("T")


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
        self._courses = Exchanges(dispatch, queues)
        self._failed = failed
        self._stopping = threading.Event()
        #: The queues that the bell listens to just now, or did last.
        self._listened = self._courses.queues
        self._threads = [
            threading.Thread(target=self._guard, args=(self._lane, number), name=f"lane-{number}")
            for number in range(1, count + 1)
        ]
        self._threads.append(
            threading.Thread(target=self._guard, args=(self._bell, count + 1), name="bell")
        )

    @property
    def abandoned(self) -> int:
        """Outcomes given up at shutdown because the store did not come back."""
        return self._courses.abandoned

    def start(self) -> None:
        for thread in self._threads:
            thread.daemon = True
            thread.start()

    def read(self, queues: Sequence[str]) -> None:
        """Lease from *queues* from now on; :meth:`settle` has the bell listen to them."""
        self._courses.queues = tuple(queues)
        self.settle()

    def settle(self) -> None:
        """Call the bell away from queues that are not read any more, or if it asks for more than
        there is room for by now. To be called again now and then: it may have been about to
        listen."""
        if self._listened is not self._courses.queues or self._dispatch.overbid():
            self._store.queue.wake()

    def stop(self, timeout: float) -> bool:
        """Let the threads finish what they have; False if one did not end in time."""
        deadline = self._courses.deadline = time.monotonic() + timeout
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
        queues = self._listened = self._courses.queues
        return self._follow(self._courses.listen(queues))

    def _lease(self, lane: int, sequence: int, bid: Batch) -> bool:
        queues = self._listened = self._courses.queues
        return self._follow(self._courses.lease(lane, sequence, bid, queues))

    def _exchange(self, lane: int, sequence: int, batch: Batch) -> None:
        self._follow(self._courses.exchange(lane, sequence, batch))

    def _follow(self, course: Course[T]) -> T:
        return follow(course, self._call, self._pause)

    def _call(self, call: Call) -> Any:
        return getattr(self._store.queue, call.method)(*call.args, **call.options)

    def _pause(self, pause: Pause) -> None:
        seconds = reconnect(pause.attempt)
        if pause.whole:
            time.sleep(seconds)
        else:
            self._stopping.wait(seconds)


__all__ = ["Lanes"]
