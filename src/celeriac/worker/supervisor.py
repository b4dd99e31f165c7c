"""The supervisor: holds leases, heartbeats and commits, and runs no user code.

Layer 5. The main thread owns executors, timers and signals; store threads (``lanes``, ``heart``)
each have their own connection. This file is the order of things: start, loop, stop. What is held
and wanted is in ``dispatch``, processes are in ``pools.prefork``, limits in ``duties.limits``; what
becomes of deliveries that do not simply run is decided in ``custody``.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import sys
import time
from collections import deque
from dataclasses import dataclass
from typing import Final

import msgspec

from celeriac.conf import Settings
from celeriac.exceptions import OperationalError, StoreVersionError
from celeriac.records import Beat, Manifest
from celeriac.signing import Signer
from celeriac.stores.base import Store
from celeriac.worker.banner import tell_ready
from celeriac.worker.calledoff import deliveries_of
from celeriac.worker.custody import Custody
from celeriac.worker.dispatch import Dispatch
from celeriac.worker.duties.burst import Burst
from celeriac.worker.duties.events import Events
from celeriac.worker.duties.heart import Heart, report
from celeriac.worker.duties.hostlock import HostLock
from celeriac.worker.duties.limits import MemoryLimits, make_limits
from celeriac.worker.duties.reload import Reload
from celeriac.worker.helm import Helm
from celeriac.worker.incarnation import Incarnation
from celeriac.worker.lanes import Lanes
from celeriac.worker.opening import register, unregister
from celeriac.worker.orders import exit_signals
from celeriac.worker.pools.choice import make_pool
from celeriac.worker.pools.ending import end_all
from celeriac.worker.pools.nursery import Nursery
from celeriac.worker.remote import Remote
from celeriac.worker.rhythm import TICK_BUSY, TICK_IDLE, Rhythm
from celeriac.worker.spec import AppFacts

logger = logging.getLogger("celeriac.worker")

#: Pause before reading while every executor has plenty to do: a read, a lock and a wake-up for
#: each outcome would cost more than the outcome itself.
_GATHER: Final = 0.001
#: The interpreter's default of 5 ms would let one thread keep the others waiting that long.
_SWITCH_INTERVAL: Final = 0.0005
#: Within so much of the first a second signal is the same: timeout(1) sends it to the group, too.
_ECHO: Final = 0.1


@dataclass(frozen=True)
class Plan:
    """What the supervisor was asked to be, settings resolved. Times are seconds."""

    queues: tuple[str, ...]
    concurrency: int
    lease: float
    margin: float
    heartbeat: float
    grace: float
    crash_delay: float
    max_tasks: int | None
    memory: MemoryLimits
    manifest: Manifest
    #: Autoscaling: the fewest; ``concurrency`` is the most. None: the number is fixed.
    least: int | None = None
    autoscale_keepalive: float = 30.0
    pool_drain_grace: float = 10.0
    #: End once nothing is due and nothing runs.
    burst: bool = False
    #: Load the application anew when its code changes.
    reload: bool = False
    #: Where a byte is written once the worker is ready; -1: nowhere.
    ready_fd: int = -1


class Supervisor:
    """One worker. :meth:`run` blocks in the main thread until the worker has stopped."""

    def __init__(
        self, plan: Plan, facts: AppFacts, store: Store, nursery: Nursery,
        signer: Signer | None, lock: HostLock | None,
    ) -> None:  # fmt: skip
        self._plan = plan
        self._facts = facts
        self._store = store
        self._nursery = nursery
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._incarnation = Incarnation(plan.lease, plan.margin)
        self._dispatch = Dispatch(self._incarnation, facts.tasks, signer, self._wake)
        self._dispatch.rates.disabled = bool(facts.settings.get("worker_disable_rate_limits"))
        self._custody = Custody(self._dispatch, store.queue, plan.crash_delay, self._ended_by)
        self._pool = self._custody.pool = make_pool(
            plan, nursery, self._dispatch, self._selector, self._custody.on_death
        )
        self._notices = self._pool.notices
        self._notices.wanted = frozenset(facts.signals)
        self._dispatch.notices = self._notices if facts.signals else None
        self._limits = make_limits(
            self._pool, self._dispatch, nursery.slots, plan.memory, plan.lease
        )
        lanes = store.capabilities.lanes
        self._lanes = Lanes(store, self._dispatch, plan.queues, lanes, self.fail)
        self._heart = Heart(
            store, self._incarnation, lock, plan.heartbeat, self._on_beat, self.fail
        )
        self._heart.watch(self._dispatch.stamps, lambda: deliveries_of(self._dispatch))
        self._helm = helm = Helm(
            plan.manifest, self._pool, self._dispatch, self._lanes, self._heart, nursery.slots,
            self.stop, plan.max_tasks,
        )  # fmt: skip
        self._remote = Remote(
            helm, store, self._incarnation, Settings.from_dict(facts.settings), signer,
            self._heed, self.fail, self._wake,
        )  # fmt: skip
        self._lock = lock
        self._signals: deque[int] = deque()
        self._bug: BaseException | None = None
        self._stopping_since: float | None = None
        self._status = 0
        self._grace = plan.grace
        self._zygote_due = 0.0
        self._strays_due = 0.0
        self._registered = True
        self._register_due = self._reconcile_due = 0.0
        self._rhythm = Rhythm()
        #: What is done at each turn besides, until the worker stops.
        self._duties: list[Burst | Reload] = []

    # --- life ---------------------------------------------------------------------------------
    def run(self) -> int:
        """Be a worker. Returns the exit status: 0 after a graceful stop, 1 after a failure."""
        sys.setswitchinterval(_SWITCH_INTERVAL)
        self._listen_to_signals()
        self._watch_zygote()
        self._remote.start()  # first: who sees this worker registered expects an answer
        register(self._heart, self._remote.manifest, lambda: bool(self._signals))
        self._pool.fill()
        self._heart.start()
        self._lanes.start()
        logger.info("%s ready.", self._plan.manifest.hostname)
        self._notices.tell("worker_ready")
        self._duties = self._take_up_duties()
        tell_ready(self._plan.ready_fd)
        try:
            while not self._finished():
                self._turn()
        except StoreVersionError as error:
            # Nothing more can be written there, not even that something has ended.
            logger.critical("%s This worker stops; its tasks run elsewhere once its lease has "
                            "ended.", error)  # fmt: skip
            self._pool.kill_all("the store is of another version")
            raise
        except BaseException:
            logger.exception("The worker failed; its tasks run elsewhere once its lease has ended")
            self._pool.kill_all("the worker failed")
            raise
        return self._leave()

    def _turn(self) -> None:
        busy = any(executor.hand.held for executor in self._pool.executors.values())
        stopping = self._stopping_since is not None
        if self._dispatch.deep:
            time.sleep(_GATHER)
        self._pool.heard = 0
        pause = self._rhythm.pause(busy or stopping, self._dispatch.rates.pause())
        events = self._selector.select(pause)
        for key, mask in events:
            key.data(mask)
        heard = 0 < len(events) == self._pool.heard
        if heard and not stopping and self._rhythm.may_look_later():
            return
        now = time.monotonic()
        while self._signals:
            self._on_signal(self._signals.popleft())
        if self._bug is not None:
            raise self._bug
        if self._incarnation.lost and self._registered and not stopping:
            self._begin_anew()
        if not (self._registered or stopping) and now >= self._register_due:
            self._register()
        if self._heart.doubt and self._registered and not self._incarnation.lost:
            self._reconcile(now)
        self._dispatch.place()
        self._remote.turn()
        self._lanes.settle()
        self._custody.obey()
        self._pool.flush()
        self._replace_outworn()
        if self._pool.returned:
            self._custody.give_back()
        self._rhythm.looked(now)
        self._limits.tick(now)
        if now >= self._strays_due:
            self._strays_due = now + TICK_IDLE
            self._pool.reap_strays()
        if self._stopping_since is None:
            self._pool.fill()
            for duty in self._duties:
                duty.turn(now)
            if self._nursery.outdated:
                self._give_way()
        self._mind_zygote()

    def _take_up_duties(self) -> list[Burst | Reload]:
        plan, duties = self._plan, list[Burst | Reload]()
        if plan.burst:
            duties.append(Burst(self._store, plan.queues, self._resting, self.stop))
        if plan.reload:
            new = Reload(self._nursery, self._selector, self._facts, self._renew, self._wake)
            duties.append(new)
        return duties

    def _resting(self) -> bool:
        """Whether the worker holds nothing and has asked the store in vain."""
        desk = self._dispatch
        held = any(executor.hand.held for executor in self._pool.executors.values())
        waiting = desk.backlog or desk.apart or desk.rates.pending or self._pool.returned
        return desk.flushed and not (held or waiting or desk.look)

    def _renew(self, facts: AppFacts, pid: int, sock: socket.socket, threads: int) -> None:
        """Work with the application as the zygote *pid* has imported it: executors are replaced,
        each after what it runs."""
        assert self._nursery.sock is not None
        self._selector.unregister(self._nursery.sock)
        self._nursery.replace_zygote(pid, sock, threads)
        self._watch_zygote()
        self._pool.zygote_died()  # what the old one had not forked by now, the new one does
        known = self._facts.tasks
        for name in known.keys() - facts.tasks.keys():
            del known[name]
        known.update(facts.tasks)
        manifest = msgspec.structs.replace(self._helm.manifest, tasks=dict(known))
        try:
            self._helm.declare(manifest)
        except OperationalError as error:
            logger.error("The store has not heard of the new tasks: %s. Save once more", error)
        self._notices.wanted = frozenset(facts.signals)
        self._dispatch.notices = self._notices if facts.signals else None
        self._pool.hooks.end()
        for executor in list(self._pool.executors.values()):
            self._pool.retire(executor)
        if facts.broker_url != self._facts.broker_url:
            logger.warning("broker_url is another one now: restart the worker to go there")

    def _wake(self, _mask: int = 0) -> None:
        """Make the main thread look up; from any thread."""
        try:
            os.write(self._wake_write, b"!")
        except BlockingIOError:
            return  # the pipe is full: it will look up anyway

    def _drain_wakes(self, _mask: int) -> None:
        try:
            while os.read(self._wake_read, 4096):
                pass
        except BlockingIOError:
            return

    # --- signals ------------------------------------------------------------------------------
    def _listen_to_signals(self) -> None:
        self._selector.register(self._wake_read, selectors.EVENT_READ, self._drain_wakes)
        meant = exit_signals()
        for number in meant:
            signal.signal(number, lambda got, _frame: self._signals.append(meant[got]))
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)

    def _on_signal(self, number: int) -> None:
        name, since = signal.Signals(number).name, self._stopping_since
        if number != signal.SIGQUIT and since and time.monotonic() - since < _ECHO:
            return
        if number == signal.SIGQUIT or since is not None:
            logger.warning("%s: stopping now; running tasks are requeued", name)
            self._grace = 0.0
        else:
            logger.warning(
                "%s: stopping; running tasks have %g s to finish (once more: stop now)",
                name, self._grace,
            )  # fmt: skip
        how = "Cold" if self._grace == 0.0 else "Warm"
        self._notices.tell("worker_shutting_down", sig=name, how=how, exitcode=0)
        self.stop()

    def _give_way(self) -> None:
        """No process can join this worker any more: stop as after SIGTERM, while what runs can
        still finish, rather than look alive with fewer executors, or none."""
        logger.critical(
            "%s It stops: running tasks have %g s to finish, others go back to their queues; then "
            "it ends with status 1, for a service manager to start it again.",
            self._nursery.outdated, self._grace,
        )  # fmt: skip
        self._status = 1
        self._notices.tell("worker_shutting_down", sig="SIGTERM", how="Warm", exitcode=1)
        self.stop()

    def stop(self) -> None:
        """Begin a graceful stop: lease nothing, hand back what has not begun, wait for the rest."""
        if self._stopping_since is not None:
            return
        self._stopping_since = time.monotonic()
        self._custody.stopping = self._pool.closing = True
        self._dispatch.close()
        self._store.queue.wake()
        for executor in self._pool.executors.values():
            self._pool.hold_back(executor)

    def _finished(self) -> bool:
        if self._stopping_since is None:
            return False
        elapsed = time.monotonic() - self._stopping_since
        if elapsed < TICK_BUSY:
            return False  # one tick, so that a hold written now has been seen
        return self._custody.empty(elapsed > self._grace)

    def _leave(self) -> int:
        """Everything is handed back or running nowhere: flush, unregister, end the processes."""
        for duty in self._duties:
            duty.stop()
        self._lanes.stop(timeout=self._plan.lease)
        self._remote.stop()
        self._heart.stop(timeout=self._plan.heartbeat)
        clean = self._dispatch.flushed and not self._lanes.abandoned
        if clean:
            try:
                unregister(self._store, self._incarnation.owner)
            except (OperationalError, StoreVersionError) as error:
                logger.error("Could not unregister: %s. The lease ends by itself.", error)
                clean = False
        if self._lock is not None:
            self._lock.drop()
        end_all(self._pool, self._selector)
        self._nursery.bury()
        logger.info("Stopped.")
        return self._status if clean else 1

    # --- leases -------------------------------------------------------------------------------
    def _begin_anew(self) -> None:
        """The store gave our tasks to others: end what runs and take a new incarnation."""
        logger.error(
            "This worker's lease was lost (it was stopped, or cut off from the store, for longer "
            "than %g s). Its tasks run elsewhere; what runs here is ended and it starts afresh.",
            self._plan.lease,
        )
        self._custody.lose_all()
        self._registered = False

    def _register(self) -> None:
        """Make a new incarnation known; until that worked it claims and begins nothing."""
        try:
            self._heart.register(self._remote.manifest)
            self._registered = True
        except OperationalError as error:
            logger.error("The store does not take this worker's registration: %s", error)
            self._register_due = time.monotonic() + 1.0

    def _reconcile(self, now: float) -> None:
        """The store may have gone back: what it says of this worker is put right."""
        if now < self._reconcile_due:
            return
        self._heart.doubt = False  # first: there may be another reason meanwhile
        try:
            self._custody.reconcile()
            self._heart.declare_again()
        except OperationalError as error:
            logger.error("Leases could not be compared with the store's yet: %s", error)
            self._heart.doubt, self._reconcile_due = True, now + 1.0

    def _on_beat(self, beat: Beat) -> None:
        """From the heart's thread."""
        report(beat.reaped)
        self._notices.tell("heartbeat_sent")
        self._custody.orders.extend(beat.revoked)
        if beat.revoked or beat.lost or self._heart.doubt:
            self._wake()

    def _ended_by(self, task_id: str, number: int) -> None:
        self._remote.events.ended_by(task_id, number)

    def _heed(self, events: Events | None) -> None:
        """Somebody listens to events, or (None) nobody does any more."""
        self._dispatch.events = events

    def fail(self, error: BaseException) -> None:
        """A store thread died (from any thread): the worker must not go on looking alive."""
        self._bug = error
        self._wake()

    def _replace_outworn(self) -> None:
        """Replace executors an isolated task cannot use."""
        while self._dispatch.outworn:
            hand = self._dispatch.outworn.pop()
            executor = self._pool.executors.get(hand.index)
            if executor is not None and executor.hand is hand:
                self._pool.retire(executor)

    # --- zygote -------------------------------------------------------------------------------
    def _watch_zygote(self) -> None:
        assert self._nursery.sock is not None
        self._selector.register(self._nursery.sock, selectors.EVENT_READ, self._on_zygote)

    def _on_zygote(self, _mask: int) -> None:
        if self._nursery.read_control(self._pool.forked):
            return
        assert self._nursery.sock is not None
        self._selector.unregister(self._nursery.sock)
        # Gone already, or alive with its socket closed and no use any more.
        os.kill(self._nursery.pid, signal.SIGKILL)
        _, status = os.waitpid(self._nursery.pid, 0)
        self._nursery.bury()
        self._pool.zygote_died()
        if self._stopping_since is None:
            logger.error(
                "The zygote ended with status %d; executors run on, a new one is started",
                os.waitstatus_to_exitcode(status),
            )

    def _mind_zygote(self) -> None:
        if self._nursery.sock is not None or self._stopping_since is not None:
            return
        now = time.monotonic()
        if now >= self._zygote_due:
            self._zygote_due = now + 5.0
            self._nursery.exec_zygote()
            self._watch_zygote()


__all__ = ["Plan", "Supervisor"]
