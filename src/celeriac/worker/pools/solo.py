"""The solo pool: tasks run in this process, in the thread that calls :meth:`Solo.run`.

Layer 5. For debugging and for ``testing.start_worker``. Weaker than prefork, on purpose and in
writing: user code can take the whole worker down; there is no hard time limit and no memory
limit; the soft limit works in the main thread only; a C loop that holds the GIL stops the
heartbeat, and the lease with it.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextvars import copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from celeriac import states
from celeriac.backoff import reconnect
from celeriac.exceptions import CeleryError, OperationalError
from celeriac.outcome import Outcome
from celeriac.records import Beat, Commit, Delivery, Exchanged, Fence, Manifest, TaskFacts, Want
from celeriac.runner import Runner
from celeriac.signing import Signer
from celeriac.stores.base import Store
from celeriac.stores.finish import REVOKED_REASON
from celeriac.worker.admission import marks, read
from celeriac.worker.banner import tell_ready
from celeriac.worker.duties.heart import Heart, report
from celeriac.worker.duties.hostlock import HostLock
from celeriac.worker.duties.notices import Tells
from celeriac.worker.incarnation import Incarnation
from celeriac.worker.kinship import leave_if_forked
from celeriac.worker.opening import register, unregister
from celeriac.worker.ratelimits import Turns

if TYPE_CHECKING:
    from celeriac.worker.duties.events import Events

logger = logging.getLogger("celeriac.worker")
received_logger = logging.getLogger("celeriac.worker.strategy")

#: Short, because a stop between the look and the wait is noticed only after it.
_WAIT_SECONDS = 1.0
#: How often a store that is away is tried for the last outcome once the worker is to stop.
_LAST_TRIES = 5
_LANE = 1


@dataclass(frozen=True)
class Timing:
    """Seconds between beats, of a lease, and of its margin."""

    heartbeat: float = 3.0
    lease: float = 15.0
    margin: float = 3.0


@dataclass
class Present:
    """The delivery that runs."""

    delivery: Delivery
    name: str
    facts: TaskFacts
    reported: bool = False


class Attends(Protocol):
    """What hears commands for this worker."""

    def start(self) -> None:
        """Hear them from now on."""

    def stop(self) -> None:
        """Hear no more."""


class Solo:
    """One worker that runs one task at a time, here."""

    def __init__(
        self,
        store: Store,
        runner: Runner,
        manifest: Manifest,
        signer: Signer | None = None,
        *,
        timing: Timing = Timing(),
        lock: HostLock | None = None,
        burst: bool = False,
        ready_fd: int = -1,
    ) -> None:
        #: Where receivers of signals are told; None: nobody is.
        self.notices: Tells | None = None
        #: What hears commands while it runs; and where events go while somebody listens.
        self.remote: Attends | None = None
        self.events: Events | None = None
        #: How many of each task it has taken.
        self.totals: Counter[str] = Counter()
        self._burst = burst
        self._ready_fd = ready_fd
        self.ready = threading.Event()
        self._store = store
        self._runner = runner
        self.manifest = manifest
        self.rates = Turns(manifest.tasks)
        self._signer = signer
        self._lock = lock
        self._incarnation = Incarnation(timing.lease, timing.margin)
        #: What it runs, and since when (monotonic); empty, or one.
        self.running: list[tuple[Present, float]] = []
        self._failure: BaseException | None = None
        self._stopping = threading.Event()
        self._stopped_by = ""
        self._heart = Heart(
            store,
            self._incarnation,
            lock,
            timing.heartbeat,
            self._on_beat,
            self.failed,
            self._started,
        )
        self._heart.watch(
            self._heart.stamps, lambda: [present.delivery for present, _ in self.running]
        )

    def stop(self, by: str = "") -> None:
        """Finish the task at hand, then end; from any thread or signal handler.

        *by* names the signal, to be told in the log.
        """
        self._stopped_by = self._stopped_by or by
        self._stopping.set()
        self._store.queue.wake()

    def declare(self, manifest: Manifest) -> None:
        """Say anew what this worker knows, while it runs; from any thread."""
        self.manifest = manifest
        self._store.queue.wake()  # it may listen to queues that it reads no more
        self._heart.declare(manifest)

    def hurry(self) -> None:
        """Look for revokes now; from any thread."""
        self._heart.hurry()

    @property
    def incarnation(self) -> Incarnation:
        return self._incarnation

    def failed(self, error: BaseException) -> None:
        """A thread of the worker died: the worker must not go on looking alive."""
        self._failure = error
        self.stop()

    def run(self) -> None:
        """Work until stopped. Everything is handed back and unregistered afterwards."""
        if self.remote is not None:
            self.remote.start()  # first: who sees this worker registered expects an answer
        try:
            register(self._heart, self.manifest, self._stopping.is_set)
        except BaseException:
            if self.remote is not None:
                self.remote.stop()
            raise
        self._heart.start()
        teller = threading.Thread(target=self._tell_stop, name="stop line", daemon=True)
        teller.start()
        self.ready.set()
        logger.info("%s ready.", self.manifest.hostname)
        tell_ready(self._ready_fd)
        self._tell("worker_ready")
        try:
            self._work()
        finally:
            self._stopping.set()  # after an error, too, so that its thread ends
            teller.join(timeout=5.0)
            if self.remote is not None:
                self.remote.stop()
            self._heart.stop(timeout=5.0)
            unregister(self._store, self._incarnation.owner)
            if self._lock is not None:
                self._lock.drop()
            # Last, because it ends what coroutines have left running: code of the user's.
            self._runner.close()
        logger.info("Stopped.")

    def _work(self) -> None:
        commits: list[Commit] = []
        sequence = 0
        while True:
            queues = self.manifest.queues
            if self._failure is not None:
                raise self._failure
            stopping = self._stopping.is_set()
            if stopping and not commits:
                return
            if self._heart.doubt:
                self._reconcile(commits)
            sequence += 1
            free = 1 if self._incarnation.trusted and not stopping else 0
            reply = self._exchange(sequence, commits, queues, Want(free=free))
            events = self.events
            if events is not None:
                events.settled(commits, reply.verdicts)
            ran = map(self._run, reply.deliveries)
            commits = [commit for commit in ran if commit is not None]
            if reply.lost:
                self._begin_anew()
            elif not (commits or reply.more or self._stopping.is_set()):
                if self._burst and free:
                    return
                self._wait(queues)

    def _reconcile(self, commits: Sequence[Commit]) -> None:
        """The store may have gone back (see ``reconciling``): all that is here is *commits*."""
        self._heart.doubt = False
        owner, ours = self._incarnation.owner, {each.fence for each in commits}
        try:
            strays = [each for each in self._store.queue.leases(owner) if each not in ours]
            if strays:
                self._store.queue.release(owner, strays, started=True)
                logger.error("%d task(s) that this worker was through with were handed back: the "
                             "store has gone back to an earlier state", len(strays))  # fmt: skip
            # What it knows of us may be old, too.
            self._heart.declare_again()
        except OperationalError as error:
            logger.error("Leases could not be compared with the store's yet: %s", error)
            self._heart.doubt = True

    def _exchange(
        self, sequence: int, commits: Sequence[Commit], queues: Sequence[str], want: Want
    ) -> Exchanged:
        """Repeat one exchange until the store answers."""
        attempt = 0
        while True:
            try:
                return self._store.queue.exchange(
                    self._incarnation.owner, _LANE, sequence, commits, (), queues, want
                )
            except OperationalError as error:
                if attempt == 0:
                    logger.error("The store does not answer; outcomes are held: %s", error)
                attempt += 1
                if self._stopping.is_set() and attempt > _LAST_TRIES:
                    raise  # the lease runs out by itself, and the task runs again elsewhere
                time.sleep(reconnect(attempt))

    def _wait(self, queues: Sequence[str]) -> None:
        try:
            self._store.queue.wait(queues, _WAIT_SECONDS)
        except OperationalError as error:
            logger.error("The store does not answer: %s", error)
            time.sleep(reconnect(1))

    def _run(self, delivery: Delivery) -> Commit | None:
        """Run it and return what came of it; None if its rate limit does not let it begin."""
        try:
            message = read(delivery, self._signer)
        except CeleryError as error:
            reason = f"{type(error).__name__}: {error}"
            logger.error("Task %s refused, it will not run: %s", delivery.id, reason)
            self._tell("task_rejected", delivery, reason=reason)
            return Commit(delivery.fence, Outcome(states.FAILED, reason=reason))
        wait = self.rates.wait(message.header.task)
        if wait:
            self._put_back(delivery.fence, wait)
            return None
        extra = marks(delivery, message.header.task)
        received_logger.info("Task %s[%s] received", message.header.task, delivery.id, extra=extra)
        self._tell("task_received", delivery)
        self.totals[message.header.task] += 1
        name = message.header.task
        facts = self.manifest.tasks.get(name, TaskFacts())
        present, began = Present(delivery, name, facts), time.monotonic()
        events = self.events
        if events is not None:
            events.received([present])
        self.running, pid = [(present, began)], os.getpid()
        try:
            # Only now, for what is heard of from now on is looked for in what runs.
            met = self._heart.stamps.order(message.header.stamps)
            if met is not None:
                return self._call_off(delivery, met.terminate)
            # What a task sets in its context must not be met by the next one.
            outcome = copy_context().run(self._runner.run, delivery)
            leave_if_forked(pid)
        finally:
            self.running = []
        if events is not None:
            events.ran(present, time.monotonic() - began)
        if self.notices is not None:
            self.notices.ended(delivery, outcome)
        return Commit(delivery.fence, outcome)

    def _tell(self, name: str, delivery: Delivery | None = None, **details: object) -> None:
        if self.notices is not None:
            self.notices.tell(name, delivery, **details)

    def _put_back(self, fence: Fence, delay: float) -> None:
        """Return what a rate limit turned away to its queue, to be due again after *delay*."""
        self._insist(
            lambda: self._store.queue.release(self._incarnation.owner, (fence,), delay=delay)
        )

    def _call_off(self, delivery: Delivery, terminate: str | None) -> Commit | None:
        """Revoke what carries a revoked stamp, in the store first, and end it."""
        if not self._insist(lambda: self._store.queue.revoke([delivery.id], terminate)):
            return None  # handed back at the end
        logger.info("Task %s carries a revoked stamp, it will not run", delivery.id)
        outcome = Outcome(states.CANCELLED, reason=REVOKED_REASON)
        if self.notices is not None:
            self.notices.ended(delivery, outcome)
        return Commit(delivery.fence, outcome)

    def _insist(self, step: Callable[[], object]) -> bool:
        """Repeat *step* until the store has answered; False if the worker stops before that."""
        attempt = 0
        while not self._stopping.is_set():  # at the end everything is handed back
            try:
                step()
                return True
            except OperationalError as error:
                logger.error("The store does not answer: %s", error)
                attempt += 1
                time.sleep(reconnect(attempt))
        return False

    def _begin_anew(self) -> None:
        logger.error("This worker's lease was lost; its tasks run elsewhere. It starts afresh.")
        self._incarnation.lose(self._incarnation.owner)
        register(self._heart, self.manifest, self._stopping.is_set)

    # --- from a thread of its own ----------------------------------------------------------------
    def _tell_stop(self) -> None:
        """A signal handler must not log: it may have interrupted the writing of a log line."""
        self._stopping.wait()
        if self._stopped_by:
            self._tell("worker_shutting_down", sig=self._stopped_by, how="Warm", exitcode=0)
        if self._stopped_by and self.running:
            logger.warning(
                "%s: stopping; the running task ends first, the solo pool cannot cut it short",
                self._stopped_by,
            )
        elif self._stopped_by:
            logger.warning("%s: stopping", self._stopped_by)

    # --- from the heart's thread --------------------------------------------------------------
    def _started(self) -> list[Fence]:
        return [
            present.delivery.fence
            for present, since in self.running
            if time.monotonic() - since > 0.05
        ]

    def _on_beat(self, beat: Beat) -> None:
        report(beat.reaped)
        self._tell("heartbeat_sent")
        for order in beat.revoked:
            if order.terminate is not None:
                logger.warning(
                    "Task %s is revoked with %s, but the solo pool cannot end a running task; it "
                    "will not be repeated", order.fence.id, order.terminate,
                )  # fmt: skip


__all__ = ["Attends", "Present", "Solo", "Timing"]
