"""An application under test: on a store of its own in memory, with a clock that the test drives.

Layer 6. ``using(app)`` is what the pytest plugin's fixtures are made of, and works without pytest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from celeriac import states
from celeriac.client import Client
from celeriac.clock import Clock
from celeriac.eager import value_of
from celeriac.exceptions import CeleryError, ImproperlyConfigured
from celeriac.here import Here
from celeriac.ids import new_owner_id
from celeriac.message import Message, decode
from celeriac.outcome import Outcome
from celeriac.records import Commit, Delivery, Manifest, Record, StoredResult, Want
from celeriac.stores.base import Options, Results, Store
from celeriac.stores.finish import REVOKED_REASON
from celeriac.stores.memory import make_store
from celeriac.testing.enqueued import Enqueued, Expected, listing, view
from celeriac.testing.virtual import VirtualClock
from celeriac.worker.admission import read
from celeriac.worker.stamps import met_by

if TYPE_CHECKING:
    from celeriac.app import Celeriac
    from celeriac.testing.worker import ThreadWorker

__all__ = ["Harness", "Ran", "own_store", "using"]

HOSTNAME: Final = "celeriac@test"
_EVERYTHING: Final = 10_000_000
_WAITING: Final = frozenset({states.QUEUED, states.SCHEDULED})
_LANE: Final = 1
#: A test that runs more than this has a task that never ends.
_MOST: Final = 1000


@contextmanager
def using(app: Celeriac) -> Iterator[Harness]:
    """Put *app* on a new store in memory, with a clock to drive, for the length of the block.

    Its settings are not touched, and its own store is not opened. Afterwards everything is as it
    was before, and what was enqueued is gone. Raises ``ImproperlyConfigured`` if
    ``task_always_eager`` is set: then nothing would be enqueued.
    """
    if app.conf.task_always_eager:
        raise ImproperlyConfigured(
            "task_always_eager is set, so nothing would be enqueued. Leave it out of the settings "
            "of these tests: run_pending() runs what was sent"
        )
    clock = VirtualClock(lambda: _look_again(store))
    store = own_store(app, clock)
    recorder = _Recorder(app, clock)
    before = app.lend(store, recorder)
    try:
        yield Harness(app, clock, store, recorder)
    finally:
        app.lend(*before)


def own_store(app: Celeriac, clock: Clock) -> Store:
    """Return a new store in memory for *app*: no other app has it, and it goes with its users."""
    options = msgspec.structs.replace(Options.from_settings(app.conf), clock=clock)
    store = make_store("memory://", options)
    return msgspec.structs.replace(store, results=cast(Results, _Patient(store)))


def _look_again(store: Store) -> None:
    """Have what the time says done at once: due, expired, no longer kept."""
    # A clock that jumps is suspect, so the pass that sees it removes nothing; the next one does.
    store.queue.reap()
    store.queue.reap()
    store.queue.wake()


class _Recorder(Client):
    """A client that keeps what it sent."""

    def __init__(self, app: Celeriac, clock: VirtualClock) -> None:
        super().__init__(app, clock)
        self.sent: list[Message] = []

    def step(
        self,
        messages: Sequence[Message],
        enqueue: Callable[[Sequence[Message]], None],
        retry: bool | None = None,
        policy: Mapping[str, Any] | None = None,
    ) -> None:
        super().step(messages, enqueue, retry, policy)
        self.sent.extend(messages)


class _Patient:
    """Results of a store in a test: a wait that nobody can end is refused."""

    def __init__(self, store: Store) -> None:
        self._results: Results = store.results
        self._store = store
        #: Owners that are the test's own thread, which cannot wait for itself.
        self.passes: set[str] = set()

    def wait(self, ids: Collection[str], timeout: float | None) -> dict[str, StoredResult | None]:
        ended = self._results.wait(ids, 0.0)
        if ended or timeout == 0:
            return ended
        owners = {each.owner for each in self._store.inspection.workers()}
        if timeout is None and owners <= self.passes:
            raise RuntimeError(
                "This would wait for ever: no worker runs in this test. Call run_pending() before "
                "get(), or ask for the fixture celeriac_worker"
            )
        return self._results.wait(ids, timeout)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._results, name)


@dataclass(frozen=True)
class Ran:
    """One run of a task in a test."""

    id: str
    #: The task's name.
    task: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    queue: str
    #: How it ended: SUCCESS, FAILURE, RETRY, IGNORED, REJECTED or REVOKED.
    state: str
    #: The value, as a caller would have read it, or the exception.
    result: Any
    #: How often it had been repeated before this run.
    retries: int


class _Runner(Here):
    """Runs as an executor does, and keeps what a test wants to know of the run."""

    def __init__(self, app: Celeriac, store: Store) -> None:
        super().__init__(app, HOSTNAME, update=store.queue.update)
        self.called: tuple[Sequence[Any], Mapping[str, Any]] = ((), {})

    def _begin(self, delivery: Delivery) -> Any:
        self.error, self.called = None, ((), {})
        begun = super()._begin(delivery)
        if not isinstance(begun, Outcome):
            self.called = begun[1].args, begun[1].kwargs
        return begun


class Harness:
    """What a test does with an application; made by :func:`using`."""

    def __init__(
        self, app: Celeriac, clock: VirtualClock, store: Store, recorder: _Recorder
    ) -> None:
        self.app = app
        #: The clock: ``clock.advance(60)``.
        self.clock = clock
        #: The store in memory that the app uses meanwhile.
        self.store = store
        #: Seconds that repeats were to wait, by id.
        self.waits: dict[str, float] = {}
        self._recorder = recorder
        self._imported = False

    # -- running -------------------------------------------------------------------------------

    def run_pending(
        self, queues: Sequence[str] | None = None, *, throw: bool = True, most: int = _MOST
    ) -> list[Ran]:
        """Run everything that is due now, in this thread; return what ran, in order.

        What these tasks send is run, too, if it is due. Hard time limits do not count: only
        another process could enforce them.

        Args:
            queues: take from these only; by default from all there are.
            throw: raise what a task raises, once it has failed for good; what was due after it
                stays enqueued. False leaves failures to the results.
            most: how much may run before ``RuntimeError`` is raised, because a task that sends
                itself, or repeats itself at once, never ends.
        """
        with self.clock.still():
            return _Pass(self, queues, throw, most).run()

    async def arun_pending(
        self, queues: Sequence[str] | None = None, *, throw: bool = True, most: int = _MOST
    ) -> list[Ran]:
        """Do what :meth:`run_pending` does, with ``async def`` tasks in the caller's loop."""
        with self.clock.still():
            return await _Pass(self, queues, throw, most).arun()

    def run_for(
        self, seconds: float | timedelta, *, throw: bool = True, most: int = _MOST
    ) -> list[Ran]:
        """Let *seconds* pass, and run whatever falls due on the way, each at its time.

        A task that fails and asks to be repeated in 10 s, then in 20 s, is repeated twice in a
        minute; ``clock.advance(60)`` and one ``run_pending()`` would repeat it once.
        """
        passed = seconds.total_seconds() if isinstance(seconds, timedelta) else seconds
        with self.clock.still():
            end = self.clock.wall() + passed
            ran = self._run_until(end, throw, most)
            self.clock.advance_to(end)
        return ran

    def run_all(self, *, throw: bool = True, most: int = _MOST) -> list[Ran]:
        """Run everything there is, letting as much time pass as it takes."""
        with self.clock.still():
            return self._run_until(math.inf, throw, most)

    def worker(self, **options: Any) -> AbstractContextManager[ThreadWorker]:
        """Return a worker in a thread, as a context manager; see ``start_worker``."""
        from celeriac.testing.worker import start_worker

        return start_worker(self.app, **options)

    def import_modules(self) -> None:
        """Import what a worker would at its start, once; done before the first run."""
        if not self._imported:
            self.app.import_modules()
            self._imported = True

    def _run_until(self, end: float, throw: bool, most: int) -> list[Ran]:
        ran = self.run_pending(throw=throw, most=most)
        while (due := self._next_due()) is not None and due <= end:
            self.clock.advance_to(due)
            ran += self.run_pending(throw=throw, most=most - len(ran))
        return ran

    def _next_due(self) -> float | None:
        waiting = self.store.inspection.list(states=(states.SCHEDULED,), limit=_EVERYTHING)
        return min((each.due for each in waiting if each.due is not None), default=None)

    # -- looking -------------------------------------------------------------------------------

    def enqueued(self, task: Any = None) -> list[Enqueued]:
        """Return what waits to be run, oldest first: of *task* (itself or its name), or all."""
        found = self.store.inspection.list(states=_WAITING, limit=_EVERYTHING)
        records = self.store.inspection.get([each.id for each in reversed(found)])
        views = [self._view(each) for each in records if each is not None]
        return [each for each in views if Expected(task).matches(each)]

    def sent(self, task: Any = None) -> list[Enqueued]:
        """Return what was sent in this test, run or not, in order. Repeats do not count."""
        accept = self.app.conf.accept_content
        views = [view(each, accept, each.header.eta) for each in self._recorder.sent]
        return [each for each in views if Expected(task).matches(each)]

    def _view(self, record: Record) -> Enqueued:
        assert record.wire is not None, "what has not ended has its message"
        message = decode(record.wire)
        due = record.due if record.retries else message.header.eta
        waits = self.waits.get(record.id) if record.retries else None
        return view(message, self.app.conf.accept_content, due, record.retries, waits)

    def assert_enqueued(
        self, task: Any = None, args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None, *, queue: str | None = None,
        countdown: float | timedelta | None = None, eta: datetime | None = None,
        expires: datetime | None = None, priority: int | None = None,
        headers: Mapping[str, Any] | None = None, id: str | None = None,
        count: int | None = None,
    ) -> list[Enqueued]:  # fmt: skip
        """Assert that such a call waits to be run; return those that do.

        What is left out may be anything. *count* says how many there must be; else one or more.
        """
        calls = self.enqueued()
        expected = Expected(
            task, args=args, kwargs=kwargs, queue=queue, countdown=countdown, eta=eta,
            expires=expires, priority=priority, headers=headers, id=id,
        )  # fmt: skip
        found = [each for each in calls if expected.matches(each)]
        if (not found and count is None) or (count is not None and len(found) != count):
            raise AssertionError(expected.miss(calls, len(found), count))
        return found

    def assert_not_enqueued(self, task: Any = None, **expected: Any) -> None:
        """Assert that no such call waits to be run; what may be given is as above."""
        if found := [each for each in self.enqueued() if Expected(task, **expected).matches(each)]:
            raise AssertionError(f"Expected that it is not enqueued. {listing(found)}")


class _Pass:
    """One time through what is due: a worker that stops when nothing is."""

    def __init__(
        self, harness: Harness, queues: Sequence[str] | None, throw: bool, most: int
    ) -> None:
        self._harness = harness
        self._app = harness.app
        self._store = harness.store
        self._queues = queues
        self._throw = throw
        self._most = most
        self._owner = new_owner_id()
        self._sequence = 0
        self._ran: list[Ran] = []
        self._runner = _Runner(self._app, self._store)

    def run(self) -> list[Ran]:
        """Run until nothing is due."""
        self._begin()
        try:
            while (delivery := self._lease()) is not None:
                self._end(delivery, self._refusal(delivery) or self._runner.run(delivery))
        finally:
            self._leave()
        return self._ran

    async def arun(self) -> list[Ran]:
        """Run until nothing is due, coroutines in this loop."""
        self._begin()
        try:
            while (delivery := self._lease()) is not None:
                refusal = self._refusal(delivery)
                self._end(delivery, refusal or await self._runner.arun(delivery))
        finally:
            self._leave()
        return self._ran

    def _begin(self) -> None:
        self._harness.import_modules()
        manifest = Manifest(
            tasks=self._app.facts(), hostname=HOSTNAME, pool="solo", concurrency=1,
            queues=tuple(self._queues or ()), app=self._app.main or "",
        )  # fmt: skip
        cast(_Patient, self._store.results).passes.add(self._owner)
        self._store.queue.register(self._owner, manifest)

    def _leave(self) -> None:
        self._store.queue.close_owner(self._owner)
        self._runner.close()

    def _exchange(self, commits: Sequence[Commit], queues: Sequence[str], free: int) -> Any:
        self._sequence += 1
        return self._store.queue.exchange(
            self._owner, _LANE, self._sequence, commits, (), queues, Want(free=free)
        ).deliveries

    def _lease(self) -> Delivery | None:
        queues = self._queues
        if queues is None:  # anew each time: a task may have sent to a new one
            queues = tuple(self._store.inspection.counts().states)
        leased: tuple[Delivery, ...] = self._exchange((), queues, 1)
        return leased[0] if leased else None

    def _refusal(self, delivery: Delivery) -> Outcome | None:
        """The outcome of what a worker would not even hand to an executor."""
        try:
            read(delivery, self._app.signer)
        except CeleryError as error:
            self._runner.error = error
            return Outcome(states.FAILED, reason=f"{type(error).__name__}: {error}")
        queue, now = self._store.queue, self._harness.clock.wall()
        met = met_by(delivery, {each.stamp: each for each in queue.revoked_stamps()}, now)
        if met is None:
            return None
        queue.revoke([delivery.id], met.terminate)
        return Outcome(states.CANCELLED, reason=REVOKED_REASON)

    def _end(self, delivery: Delivery, outcome: Outcome) -> None:
        """Commit *outcome*, and keep what a test wants to know."""
        self._exchange([Commit(delivery.fence, outcome)], (), 0)
        header = decode(delivery.wire).header
        again = outcome.charge == "retry"
        if again:
            due, now = outcome.eta, self._harness.clock.wall()
            self._harness.waits[header.id] = outcome.delay if due is None else due - now
        state = states.visible(outcome.state, int(again))
        error = self._runner.error
        args, kwargs = self._runner.called
        value = value_of(self._app, header.id, outcome, error)
        self._ran.append(
            Ran(header.id, header.task, args, kwargs, delivery.queue, state, value,
                delivery.retries)
        )  # fmt: skip
        if self._throw and outcome.state == states.FAILED and error is not None:
            error.add_note(
                f"Raised by task {header.task}[{header.id}]; with throw=False it is left to its "
                "result."
            )
            raise error
        if len(self._ran) >= self._most:
            raise RuntimeError(
                f"{len(self._ran)} tasks have run, the last one {header.task}[{header.id}], and "
                "more may be due. A task that sends itself, or repeats itself at once, never ends; "
                "if this one does, raise the limit: most=…"
            )
