"""Live events: what happens to tasks and to this worker, published on the store's Bus.

Layer 5. Off unless somebody listens (listeners say so again and again) or the settings ask for
it; while it is off, the dispatch does not even know this object, so a task costs nothing more.
What happened is noted in a few words by whoever sees it, and put into events and sent by a thread
of its own: in batches, and the oldest are dropped if it cannot keep up.

An end is told once the store has taken it, so who hears of a success can read the result. A start
is told with the end, or after 50 ms; its time is that of the start.
"""

from __future__ import annotations

import itertools
import logging
import os
import platform
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final, Protocol

from celeriac import __version__
from celeriac.clock import SYSTEM
from celeriac.control import notes
from celeriac.control.wire import EVENTS, seal_events
from celeriac.exceptions import CeleryError, DecodeError, OperationalError, PayloadTooLarge
from celeriac.message import decode
from celeriac.records import Commit, Delivery, Fence, TaskFacts, Verdict
from celeriac.sensitive import Hider
from celeriac.signing import Signer
from celeriac.stores.base import Store

logger = logging.getLogger("celeriac.worker.events")

#: Seconds between two ``worker-heartbeat`` events.
FREQUENCY: Final = 2.0
#: Seconds over which events are gathered before they are sent.
_GATHER: Final = 0.05
#: Events kept for sending; older ones are dropped.
_BACKLOG: Final = 20_000
#: Tasks with hidden arguments whose end is awaited.
_HIDERS: Final = 20_000
#: Events in one publication.
_BATCH: Final = 40
#: A run is told to have begun this long after it has (``pools.prefork.LONG_SECONDS``).
_TOLD_AFTER: Final = 0.05

#: What was seen, to be made into events later.
_Note = Callable[[], list[dict[str, Any]]]


class Held(Protocol):
    """A delivery in this worker's hands, as far as events go."""

    delivery: Delivery
    facts: TaskFacts
    reported: bool


class Events:
    """Notes what happens and publishes it. Methods may be called from any thread.

    *changed* is called with this object when events are turned on, and with None when they are
    turned off. *load* returns how many tasks run now and how many were begun.
    """

    def __init__(
        self,
        store: Store,
        hostname: str,
        signer: Signer | None,
        changed: Callable[[Events | None], None],
        load: Callable[[], tuple[int, int]],
        *,
        enabled: bool = False,
    ) -> None:
        self._store = store
        self._hostname = hostname
        self._signer = signer
        self._changed = changed
        self._load = load
        self._enabled = enabled
        self._listened_until = 0.0
        self._on = False
        self._notes: deque[_Note] = deque()
        self._dropped = 0
        self._some = threading.Event()
        self._stopping = threading.Event()
        self._clock = itertools.count(1)
        self._beat_due = 0.0
        #: Seconds that runs took whose commit is under way, and signals that ended runs.
        self._runtimes: dict[Fence, float] = {}
        self._signums: dict[str, int] = {}
        #: What takes hidden arguments out of what is told of a task's end.
        self._hiders: dict[str, Hider] = {}
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)

    # --- life ---------------------------------------------------------------------------------
    def start(self) -> None:
        """Tell that the worker is there, and begin to send."""
        self._switch()
        self._worker("worker-online")
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Tell that the worker goes, and send what there is."""
        self._worker("worker-offline")
        self._stopping.set()
        self._some.set()
        self._thread.join(timeout)

    def enable(self) -> bool:
        """Send whether or not somebody listens; False if that was so already."""
        was, self._enabled = self._enabled, True
        self._switch()
        return not was

    def disable(self) -> bool:
        """Send only while somebody listens; False if that was so already."""
        was, self._enabled = self._enabled, False
        self._switch()
        return was

    def listened(self, seconds: float) -> None:
        """Somebody listens, and will for *seconds*, of which at most a minute counts."""
        self._listened_until = SYSTEM.monotonic() + min(60.0, max(0.0, seconds))
        self._switch()

    def _switch(self) -> None:
        on = self._enabled or SYSTEM.monotonic() < self._listened_until
        if on == self._on:
            return
        self._on = on
        self._runtimes.clear()
        self._signums.clear()
        self._hiders.clear()
        self._changed(self if on else None)
        self._some.set()

    # --- what the dispatch sees ---------------------------------------------------------------
    def received(self, arrived: Iterable[Held]) -> None:
        """Deliveries arrived."""
        at = SYSTEM.wall()
        for held in arrived:
            self._note(partial(self._received, held.delivery, held.facts.sensitive, at))

    def began(self, held: Held) -> None:
        """A run has lasted long enough to be told."""
        at = SYSTEM.wall() - _TOLD_AFTER
        self._note(partial(self._started, held.delivery.id, at))

    def ran(self, held: Held, runtime: float) -> None:
        """An executor has reported what came of a run; its commit follows."""
        if not held.reported:
            at = SYSTEM.wall() - runtime
            self._note(partial(self._started, held.delivery.id, at))
        self._runtimes[held.delivery.fence] = runtime

    def ended_by(self, id: str, signum: int) -> None:
        """The run of the task *id* is ended with a signal."""
        if self._on:
            self._signums[id] = signum

    def settled(self, commits: Sequence[Commit], verdicts: Sequence[Verdict]) -> None:
        """The store has judged commits; what it refused happened elsewhere, or not at all."""
        at = SYSTEM.wall()
        for commit, verdict in zip(commits, verdicts, strict=False):
            runtime = self._runtimes.pop(commit.fence, None)
            if verdict is not Verdict.FENCED:
                self._note(partial(self._ended, commit, runtime, at))

    # --- making -------------------------------------------------------------------------------
    def heartbeat(self) -> None:
        """Send ``worker-heartbeat`` now."""
        self._worker("worker-heartbeat")

    def _worker(self, kind: str) -> None:
        self._note(partial(self._of_worker, kind, SYSTEM.wall(), *self._load()))

    def _of_worker(self, kind: str, at: float, active: int, processed: int) -> list[dict[str, Any]]:
        event = self._event(
            kind,
            at,
            freq=FREQUENCY,
            active=active,
            processed=processed,
            loadavg=[round(each, 2) for each in os.getloadavg()],
            sw_ident="py-celeriac",
            sw_ver=__version__,
            sw_sys=platform.system(),
        )
        return [event]

    def _event(self, kind: str, at: float, **fields: Any) -> dict[str, Any]:
        return {**notes.base(kind, self._hostname, next(self._clock), at), **fields}

    def _started(self, id: str, at: float) -> list[dict[str, Any]]:
        return [self._event("task-started", at, uuid=id)]

    def _received(self, delivery: Delivery, sensitive: bool, at: float) -> list[dict[str, Any]]:
        try:
            message = decode(delivery.wire)
        except DecodeError:
            return []  # it was refused when it arrived
        hider = notes.hider_of(message, sensitive=sensitive)
        if hider is not None and len(self._hiders) < _HIDERS:
            self._hiders[delivery.id] = hider
        fields = notes.received(message, delivery.retries, hidden=sensitive)
        return [self._event("task-received", at, **fields)]

    def _ended(self, commit: Commit, runtime: float | None, at: float) -> list[dict[str, Any]]:
        id = commit.fence.id
        fields = notes.end_of(id, commit.outcome, runtime, self._signums.pop(id, None))
        hider = self._hiders.pop(id, None)
        if fields is None:
            return []
        if hider is not None:
            fields = {name: hider.inside(value) for name, value in fields.items()}
        return [self._event(fields.pop("type"), at, uuid=id, **fields)]

    def _note(self, note: _Note) -> None:
        if len(self._notes) >= _BACKLOG:
            self._dropped += 1
            return
        self._notes.append(note)
        if not self._some.is_set():
            self._some.set()

    # --- sending ------------------------------------------------------------------------------
    def _run(self) -> None:
        while True:
            self._some.wait(FREQUENCY if self._on else None)
            self._some.clear()
            self._switch()
            now = SYSTEM.monotonic()
            if self._on and now >= self._beat_due:
                self._beat_due = now + FREQUENCY
                self.heartbeat()
            stopping = self._stopping.wait(_GATHER if self._notes else 0)
            try:
                self._flush()
            except Exception:
                # Events are a hint: a fault here must not take tasks with it, nor stay unseen.
                logger.exception("Events were lost")
            if stopping and not self._notes:
                return

    def _flush(self) -> None:
        if self._dropped:
            logger.warning("%d events were dropped: they cannot be sent as fast", self._dropped)
            self._dropped = 0
        batch: list[dict[str, Any]] = []
        while self._notes:
            batch += self._notes.popleft()()
            if len(batch) >= _BATCH:
                self._publish(batch)
                batch = []
        if batch:
            self._publish(batch)

    def _publish(self, batch: list[dict[str, Any]]) -> None:
        try:
            self._store.bus.publish(EVENTS, seal_events(self._signer, batch))
        except PayloadTooLarge:
            if len(batch) == 1:
                logger.warning("An event %s is too large to be sent", batch[0].get("type"))
                return
            self._publish(batch[: len(batch) // 2])
            self._publish(batch[len(batch) // 2 :])
        except (OperationalError, CeleryError) as error:
            logger.debug("%d events were lost: %s", len(batch), error)


__all__ = ["FREQUENCY", "Events", "Held"]
