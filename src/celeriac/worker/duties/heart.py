"""The heart: keeps the lease alive, hears of revokes, buries dead neighbours.

Layer 5. One thread with a store connection of its own, so that nothing slow delays a beat.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from celeriac.backoff import jittered
from celeriac.exceptions import OperationalError
from celeriac.records import Beat, Delivery, Fence, Manifest, Reaped
from celeriac.stores.base import Store
from celeriac.worker.courses import Call, Pause, Pulse, follow
from celeriac.worker.duties.hostlock import HostLock
from celeriac.worker.incarnation import Incarnation
from celeriac.worker.stamps import RevokedStamps

logger = logging.getLogger("celeriac.worker")

#: How often host-mates' lock files are tried.
PROBE_SECONDS = 0.5


class Heart:
    """Beats every *interval* seconds (± 10 %) until stopped."""

    def __init__(
        self,
        store: Store,
        incarnation: Incarnation,
        lock: HostLock | None,
        interval: float,
        on_beat: Callable[[Beat], None],
        failed: Callable[[BaseException], None],
        started: Callable[[], Sequence[Fence]] = tuple,
    ) -> None:
        self._store = store
        self._incarnation = incarnation
        self._lock = lock
        self._interval = interval
        self._on_beat = on_beat
        self._failed = failed
        self._started = started
        self._stopping = threading.Event()
        #: Several threads may learn of stamps (see `declare`, `register`), one at a time.
        self._hearing = threading.Lock()
        #: What the store was told last that this worker is; told anew by one thread at a time.
        self._declared: Manifest | None = None
        self._declaring = threading.Lock()
        #: Set to have it look now.
        self._look = threading.Event()
        self._hurried = False
        self._pulse = Pulse(incarnation)
        self._thread = threading.Thread(target=self._run, name="heart", daemon=True)

    def watch(self, stamps: RevokedStamps, held: Callable[[], Iterable[Delivery]]) -> None:
        """Keep *stamps* up to date, and revoke what is *held* and carries one. Before the start."""
        self._pulse.stamps, self._pulse.held = stamps, held

    @property
    def stamps(self) -> RevokedStamps:
        """What is known of revoked stamps."""
        return self._pulse.stamps

    @property
    def doubt(self) -> bool:
        """Whether the store may have gone back (``Pulse.doubt``)."""
        return self._pulse.doubt

    @doubt.setter
    def doubt(self, value: bool) -> None:
        self._pulse.doubt = value

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float) -> None:
        self._stopping.set()
        self._look.set()
        self._thread.join(timeout)

    def hurry(self) -> None:
        """Beat now: there may be a revoke to hear of. From any thread."""
        self._hurried = True
        self._look.set()

    def declare(self, manifest: Manifest) -> None:
        """Tell the store what this incarnation says of itself from now on. From any thread.

        Right after a beat, so that the lease certainly lives: an owner that the store has given
        up must not be registered again under the same id. Raises ``OperationalError``.
        """
        with self._declaring:
            self._declared = manifest
            self._declare()

    def declare_again(self) -> None:
        """The same with what was said last."""
        with self._declaring:
            self._declare()

    def _declare(self) -> None:
        assert self._declared is not None, "it is registered first"
        if not (self._beat() and self._incarnation.trusted):
            raise OperationalError("the store does not answer, or has given this worker up")
        self._store.queue.register(self._incarnation.owner, self._declared)

    def register(self, manifest: Manifest) -> None:
        """Register this incarnation, or a new one if it was lost. Lock file first, so that nobody
        sees an owner without one."""
        self._declared = manifest
        owner = self._incarnation.candidate()
        if self._lock is not None:
            self._lock.hold(owner)
        with self._hearing:
            follow(self._pulse.register(owner, manifest), self._call, _no_pause)

    def _run(self) -> None:
        try:
            due = time.monotonic() + jittered(self._interval, 0.1)
            while not self._stopping.is_set():
                self._look.wait(min(PROBE_SECONDS, max(0.0, due - time.monotonic())))
                self._look.clear()
                if self._stopping.is_set():
                    return
                self._probe()
                hurried, self._hurried = self._hurried, False
                if hurried or time.monotonic() >= due:
                    alive = self._beat()
                    # While the store is out, try every second: the lease may still be saved.
                    pause = self._interval if alive else min(1.0, self._interval)
                    due = time.monotonic() + jittered(pause, 0.1)
        except BaseException as error:  # noqa: BLE001 - the main thread raises it
            self._failed(error)

    def _beat(self) -> bool:
        beat = follow(self._pulse.beat(self._started()), self._call, _no_pause)
        if beat is None:
            return False
        if not beat.lost:
            with self._hearing:
                if follow(self._pulse.hear(beat.stamps), self._call, _no_pause):
                    self.hurry()  # what is held is told to us like any other revoke
        self._on_beat(beat)
        return True

    def _call(self, call: Call) -> Any:
        return getattr(self._store.queue, call.method)(*call.args)

    def _probe(self) -> None:
        if self._lock is None:
            return
        dead = self._lock.dead_mates()
        if not dead:
            return
        try:
            reaped = self._store.queue.reap(dead)
        except OperationalError:
            return  # told by the beat; the files stay and are tried again
        for owner in dead:
            self._lock.bury(owner)
        report(reaped)


def _no_pause(pause: Pause) -> NoReturn:
    raise AssertionError(f"the heart does not wait within a beat: {pause}")


def report(reaped: Reaped | None) -> None:
    """Log what a reap pass changed, naming the workers that died."""
    if reaped is None:
        return
    if reaped.owners:
        who = ", ".join(reaped.workers or [f"worker {each}" for each in reaped.owners])
        logger.warning(
            "%s died: %d task(s) requeued, %d failed, %d put aside as dead",
            who[0].upper() + who[1:], reaped.requeued, reaped.failed, reaped.dead,
        )  # fmt: skip
    if reaped.joins:
        logger.warning("%d group(s) failed: their sender stopped half-way", reaped.joins)


__all__ = ["Heart", "report"]
