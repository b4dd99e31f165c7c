"""The relay: brings results from the store of tasks to the store of results, where they are two.

Layer 5. One thread of the supervisor, with connections of its own; it runs no user code. The step
that ends a task puts it into the outbox (``stores/pair.py``); the relay reads a batch there, keeps
it in the other store and then strikes the rows out. It may die between any two of these, and
several may do it at once: a result that is brought twice is the same, one that comes late is left
out, and what changed meanwhile has a row of another number.

It is rung by what this worker ends itself, and looks now and then for what others end.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from typing import Any, Final, NamedTuple, cast

import msgspec

from celeriac import states
from celeriac.backoff import jittered, reconnect
from celeriac.clock import SYSTEM
from celeriac.crashpoints import crashpoint
from celeriac.exceptions import BackendError, ImproperlyConfigured, OperationalError
from celeriac.records import Outgoing, StoredResult
from celeriac.stores.base import Queue, Store
from celeriac.stores.pair import BACKEND, named
from celeriac.worker.courses import Call

logger = logging.getLogger("celeriac.worker")

#: Rows of one pass, and bytes of their results: all of them are in memory at once.
BATCH: Final = 200
BATCH_BYTES: Final = 8 * 1024 * 1024
_FIRST_BATCH: Final = 16
#: Seconds between two looks at what others (revokes, purges, reapers) have ended. Whoever waits for
#: such a result asks the broker's store itself meanwhile.
LOOK_SECONDS: Final = 10.0
#: Seconds between two passes of retention over the store of results: no worker beats there.
SWEEP_SECONDS: Final = 60.0
#: Seconds that bringing the last results of a worker that stops may take.
_LAST_SECONDS: Final = 10.0
#: Seconds between two lines that say that results wait.
_TELL: Final = 30.0

#: What a store of results may raise when it is away, full, or not what it should be: it is tried
#: again, since somebody may mend it, and tasks go on meanwhile.
_REFUSALS: Final = (OperationalError, BackendError, ImproperlyConfigured)
#: What may end tasks, of all that a worker asks of its store.
_ENDING: Final = frozenset({"release", "revoke", "purge", "close_owner", "reap"})


class Aside(NamedTuple):
    """Ask the store of results: a *method* of one of its faces. No *face*: only open it."""

    face: str = ""
    method: str = ""
    args: tuple[Any, ...] = ()


class Turn(Enum):
    """What one turn came to."""

    DONE = "nothing is left"
    MORE = "there may be more"
    FAILED = "a store did not answer, or refused"


class Relay:
    """Relays until stopped.

    Args:
        store: where tasks are.
        connect: opens the store of results.
        url: of that one, for people: without a password.
    """

    def __init__(self, store: Store, connect: Callable[[], Store], url: str) -> None:
        self._source = store
        self._connect = connect
        self._url = url
        self._backend: Store | None = None
        self._failed: Callable[[BaseException], None] = _raise
        self._bell = threading.Event()
        self._stopping = threading.Event()
        self._deadline = float("inf")
        self._away = False
        self._told = 0.0
        self._sweep_due = 0.0
        self._attempt = 0
        self._limit = _FIRST_BATCH
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)
        #: The store of tasks as a worker is to use it: what ends a task there rings.
        self.store = msgspec.structs.replace(
            store, queue=cast(Queue, _Ringing(store.queue, self.ring))
        )

    def first_look(self) -> Store | None:
        """Open the store of results before the worker begins; None if it is away, which is told.

        A worker begins without it, since results can wait. What does not pass by itself, such as a
        wrong password, is raised as ``OperationalError``.
        """
        try:
            return self._open()
        except OperationalError as error:
            if not error.passing:
                with named(BACKEND):
                    raise
            self._outage_begins(error)
            return None

    def start(self, failed: Callable[[BaseException], None]) -> None:
        """Begin; *failed* is called with what ends the thread before its time."""
        self._failed = failed
        self._bell.set()  # what others left
        self._thread.start()

    def ring(self) -> None:
        """Something has ended. From any thread."""
        self._bell.set()

    @contextmanager
    def running(self, failed: Callable[[BaseException], None]) -> Iterator[None]:
        """Relay for the length of the block."""
        self.start(failed)
        try:
            yield
        finally:
            self.stop(_LAST_SECONDS)

    def stop(self, timeout: float) -> None:
        """Bring what is there, for *timeout* seconds at most, and end. What then still waits the
        next worker brings."""
        self._deadline = SYSTEM.monotonic() + timeout
        self._stopping.set()
        self._bell.set()
        self._thread.join(timeout + self._source.options.timeout)

    # -- the thread

    def _run(self) -> None:
        try:
            pause = 0.0
            while True:
                self._bell.wait(pause)
                self._bell.clear()
                stopping = self._stopping.is_set()
                found = self._turn()
                if stopping and (found is not Turn.MORE or SYSTEM.monotonic() >= self._deadline):
                    return
                if found is Turn.FAILED:
                    self._stopping.wait(reconnect(self._attempt))
                    self._attempt += 1
                else:
                    self._attempt = 0
                pause = jittered(LOOK_SECONDS, 0.1) if found is Turn.DONE else 0.0
        except BaseException as error:  # noqa: BLE001 - the main thread raises it
            self._failed(error)

    def _turn(self) -> Turn:
        """Follow :meth:`turn` where we are."""
        course = self.turn()
        step = next(course)
        try:
            while True:
                try:
                    answer = self._do(step)
                except _REFUSALS as error:
                    step = course.throw(error)
                else:
                    step = course.send(answer)
        except StopIteration as end:
            return cast("Turn", end.value)

    def _do(self, step: Call | Aside) -> Any:
        if isinstance(step, Call):
            return getattr(self._source.queue, step.method)(*step.args)
        backend = self._open()
        return getattr(getattr(backend, step.face), step.method)(*step.args) if step.face else None

    def turn(self) -> Generator[Call | Aside, Any, Turn]:
        """Bring one batch: a course, without IO (see ``worker/courses.py``)."""
        try:
            rows = yield Call("outbox", (self._limit,))
        except OperationalError:
            return Turn.FAILED  # told by the lanes
        if rows:
            crashpoint("relay.read")
        try:
            yield Aside()
            yield from bring(rows)
        except _REFUSALS as error:
            self._outage_begins(error)
            return Turn.FAILED
        self._outage_ends()
        if not rows:
            yield from self._sweep()
            return Turn.DONE
        crashpoint("relay.brought")
        try:
            yield Call("mirrored", ([each.number for each in rows],))
        except OperationalError:
            return Turn.FAILED
        crashpoint("relay.struck")
        full = len(rows) == self._limit
        self._limit = next_limit(self._limit, rows)
        return Turn.MORE if full else Turn.DONE

    def _open(self) -> Store:
        if self._backend is None:
            backend = self._connect()
            backend.inspection.traps()  # it answers
            self._backend = backend
        return self._backend

    def _sweep(self) -> Generator[Aside, Any, None]:
        """Remove there what has been kept long enough."""
        now = SYSTEM.monotonic()
        if now < self._sweep_due or self._stopping.is_set():
            return
        self._sweep_due = now + jittered(SWEEP_SECONDS, 0.1)
        try:
            yield Aside("queue", "reap")
        except _REFUSALS as error:
            self._outage_begins(error)

    # -- telling

    def _outage_begins(self, error: Exception) -> None:
        now = SYSTEM.monotonic()
        if self._away and now < self._told + _TELL:
            return
        self._away, self._told = True, now
        logger.error(
            "The store of results %s does not take them; tasks go on, and %s in the store of tasks "
            "until it does: %s", self._url, self._waiting(), error,
        )  # fmt: skip

    def _outage_ends(self) -> None:
        if self._away:
            self._away = False
            logger.warning("The store of results takes them again; %s still", self._waiting())

    def _waiting(self) -> str:
        """``3 results wait``."""
        try:
            count = self._source.inspection.counts(()).outbox
        except OperationalError:
            return "results wait"
        return "1 result waits" if count == 1 else f"{count:,} results wait"


def next_limit(limit: int, rows: Sequence[Outgoing]) -> int:
    """How many rows the next pass may read, after one of at most *limit* read *rows*: so many that
    as large ones take ``BATCH_BYTES``. It doubles at most, since the next ones may be larger."""
    size = sum(len(each.result.body or b"") for each in rows if each.result is not None)
    fitting = BATCH_BYTES * len(rows) // size if size else BATCH
    return max(1, min(BATCH, 2 * limit, fitting))


def bring(rows: Sequence[Outgoing]) -> Generator[Aside, Any, None]:
    """Have the store of results say what the records of *rows* say: a course."""
    ended: list[StoredResult] = []
    reopened: list[str] = []
    for each in rows:
        if each.result is None:
            continue  # removed since: whoever did it has seen to the other store, or it is too old
        if each.result.state in states.TERMINAL:
            ended.append(each.result)
        else:
            reopened.append(each.id)
    if reopened:
        yield Aside("results", "forget", (reopened,))
    if ended:
        yield Aside("results", "put_many", (ended,))


class _Ringing:
    """A store's queue that tells the relay when something may have ended."""

    def __init__(self, queue: Queue, ring: Callable[[], None]) -> None:
        self._queue = queue
        self._ring = ring

    def exchange(self, owner: str, lane: int, seq: int, commits: Sequence[Any], *rest: Any) -> Any:
        answer = self._queue.exchange(owner, lane, seq, commits, *rest)
        if commits:
            self._ring()
        return answer

    def beat(self, *given: Any) -> Any:
        answer = self._queue.beat(*given)
        if answer.reaped is not None:
            self._ring()
        return answer

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._queue, name)
        if name not in _ENDING:
            return method

        def ending(*given: Any, **named: Any) -> Any:
            answer = method(*given, **named)
            self._ring()
            return answer

        return ending


def _raise(error: BaseException) -> None:
    raise error


__all__ = [
    "BATCH",
    "BATCH_BYTES",
    "LOOK_SECONDS",
    "SWEEP_SECONDS",
    "Aside",
    "Relay",
    "Turn",
    "bring",
    "next_limit",
]
