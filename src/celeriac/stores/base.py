"""The seam: what a store does. Six small protocols, and the bundle that holds them.

Layer 2: standard library and layers 0 and 1. Stores implement these, everybody above uses only
these. ``PROTOCOL`` rules bind every store; where a docstring says *one step* it means one
transaction or one script: after a crash at any moment either all of it is there or nothing.

Every call may be made from any thread and from a forked child (connections are kept per process
and thread; inherited ones are abandoned unclosed). Every call raises
:class:`~celeriac.exceptions.OperationalError` if the store cannot be reached or stays locked for
longer than ``Options.timeout``; after that error nothing is known about whether the call was
applied, which is why each docstring says what a repeat does.

These protocols are open to third parties and may change until 1.0;
``celeriac.testing.conformance`` is the suite every store must pass.
"""

from __future__ import annotations

import builtins
import math
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from random import SystemRandom
from typing import Any, Protocol

import msgspec

from celeriac.clock import SYSTEM, Clock
from celeriac.conf import Settings
from celeriac.message import Message, NewJoin
from celeriac.records import (
    Beat,
    Commit,
    Counts,
    Exchanged,
    Fence,
    JoinView,
    Manifest,
    Outgoing,
    Reaped,
    Record,
    RevokedStamp,
    RevokeEffect,
    StoredResult,
    Verdict,
    Want,
    WorkerView,
)


class Options(msgspec.Struct, frozen=True):
    """What a store is told when it is opened. Durations are seconds."""

    namespace: str = "celeriac"
    keyprefix: str = ""
    lease: float = 15.0
    #: A reap pass runs at most once per this interval per store, whoever beats.
    reap_interval: float = 2.0
    join_seal_timeout: float = 60.0
    max_losses: int = 10
    #: Delay before a task runs again after its second and later loss, with jitter.
    loss_delay: float = 5.0
    #: Results are kept this long; None keeps them for ever.
    result_expires: float | None = 86_400.0
    #: Tombstones of ignored results (for resends).
    tombstone_expires: float = 3_600.0
    #: Tombstones left by a revoke of an unknown id.
    revoke_expires: float = 7 * 86_400.0
    #: Failed and dead records: kept this long, and at most this many of each.
    dead_expires: float = 7 * 86_400.0
    dead_limit: int = 100_000
    result_max: int = 16 * 1024 * 1024
    #: Total budget of one call before it raises OperationalError.
    timeout: float = 5.0
    durability: str = "full"
    #: What a server's connection needs beyond its URL, as Celery names it: the mappings of
    #: ``broker_transport_options`` and ``broker_use_ssl`` (or True).
    transport: Mapping[str, Any] | None = None
    ssl: Mapping[str, Any] | bool | None = None
    #: Keep each result in an outbox, too, for a relay to another store (protocol section 7).
    mirror: bool = False
    clock: Clock = SYSTEM
    #: Where jitter comes from: numbers from 0 up to 1. Tests hand in a constant.
    random: Callable[[], float] = SystemRandom().random

    @classmethod
    def from_settings(cls, settings: Settings) -> Options:
        """The options that an application's settings ask for, for one store of everything."""
        return cls(
            namespace=settings.namespace,
            keyprefix=settings.global_keyprefix,
            lease=settings.lease,
            reap_interval=settings.reap_interval,
            join_seal_timeout=settings.join_seal_timeout,
            max_losses=settings.max_losses,
            loss_delay=settings.loss_delay,
            result_expires=settings.result_expires,
            tombstone_expires=settings.tombstone_expires,
            revoke_expires=settings.revoke_expires,
            dead_expires=settings.dead_expires,
            dead_limit=settings.dead_limit,
            result_max=settings.result_max,
            timeout=settings.publish_timeout,
            durability=settings.sqlite_durability,
            transport=settings.broker_transport_options,
            ssl=settings.broker_use_ssl or settings.redis_backend_use_ssl,
        )


class _Patience(threading.local):
    until = math.inf


_patience = _Patience()


@contextmanager
def no_later_than(moment: float) -> Iterator[None]:
    """Calls that this thread makes within end by *moment* of the monotonic clock at the latest,
    where a store waits for a server: for a caller that repeats a call within one budget."""
    before = _patience.until
    _patience.until = min(before, moment)
    try:
        yield
    finally:
        _patience.until = before


def ends_by(timeout: float) -> float:
    """When a call with a budget of *timeout* seconds that begins now must have ended."""
    return min(_patience.until, SYSTEM.monotonic() + timeout)


class Capabilities(msgspec.Struct, frozen=True):
    """What a store promises, and what it cannot."""

    #: An enqueue that returned survives kill -9 of every process / loss of power.
    survives_kill: bool
    survives_power_loss: bool
    #: Other processes can open the same store.
    shared: bool
    #: Exchanges worth having in flight at once from one worker.
    lanes: int
    #: One line for banner and ``doctor``.
    durability: str
    #: The store's queue is an ``EagerQueue``.
    leases_as_it_waits: bool = False


class Queue(Protocol):
    """Records, leases, exchanges: protocol sections 1 to 5."""

    def enqueue(
        self,
        messages: Sequence[Message],
        join: str | None = None,
        joins: Sequence[NewJoin] = (),
    ) -> None:
        """Store *messages* as records, all or none, in one step; ring a waiter.

        A record starts ``waiting`` (``edges.waits``), ``scheduled`` (eta ahead) or ``queued``.
        Same id and nonce as a stored record: a resend, nothing happens. Another nonce on a
        living id raises ``DuplicateTask`` (nothing is stored); on an ended id it begins a new
        run of that id (generation + 1, the attempt counts on). An id with a revoke tombstone is
        stored ``revoked`` at once. With *join* the messages are members of that open join, which
        counts as touched; if it was decided because it was never sealed, ``HeaderIncomplete`` is
        raised. *joins* are stored in the same step, sealed; their bodies are among *messages*, or
        ``StoreError`` is raised, and where a body is a resend, so is its join. One of size 0
        releases its body at once. A full store raises ``StoreFull``; more than it can do in one
        step, which on Redis is 10,000 messages or 128 MiB of arguments, ``PayloadTooLarge``.
        *messages* may be a ``message.Alike``, which is a sequence like others, or written together.
        Dies before: nothing stored. Dies after: all stored. Repeatable.
        """

    def open_join(
        self,
        join: str,
        body: Message,
        behind: Sequence[Message] = (),
        joins: Sequence[NewJoin] = (),
    ) -> None:  # fmt: skip
        """Store a join and, ``waiting``, its body and what waits for the body, in one step:
        *behind* and *joins* are all of that, for what is stored after the body has ended waits for
        ever. The bodies of *joins* are among *behind*, or ``StoreError`` is raised.

        Members start as they arrive; the join completes once :meth:`seal` has told its size. One
        that is neither sealed nor added to for ``join_seal_timeout`` is given up: its body fails,
        and so does what was sent with it and waits for what was not sent with it. Repeatable.
        """

    def seal(self, join: str, size: int) -> None:
        """Tell an open join how many members it has; complete it if all are in.

        A size of 0 releases the body at once. Raises ``HeaderIncomplete`` if the join was given
        up meanwhile. Repeatable.
        """

    def register(self, owner: str, manifest: Manifest) -> None:
        """Make *owner*, one incarnation of one worker, known, with a fresh lease; unpark the
        names it knows and ring. An owner id is never reused. Repeatable."""

    def exchange(
        self,
        owner: str,
        lane: int,
        seq: int,
        commits: Sequence[Commit],
        started: Sequence[Fence],
        queues: Sequence[str],
        want: Want,
    ) -> Exchanged:
        """In one step: commit outcomes, note starts, promote what is due, lease the next batch.

        Leases are taken first from parked lists whose task the owner knows, then round-robin
        over *queues*, within one by priority, then sequence. A record that is revoked or expired
        is ended instead of leased; one whose name the owner does not know is parked. The lease's
        nonce is ``f"{owner}.{lane}.{seq}"`` (so an owner id holds no full stop). What this call
        itself releases, retries or promotes may be leased by it, and inputs may come from its own
        commits.

        Repeatable: the last *seq* of each lane is kept. The same seq again returns the same
        deliveries (those still leased under its nonce) and verdicts (ALREADY where it was OK); a
        lower one raises ``StoreError``. The repeat's *started*, *queues* and *want* change nothing,
        and its deliveries come in any order. Commits are judged by their fence alone, so they are
        applied even if the owner is unknown; an unknown owner leases nothing and reads
        ``lost``. A commit refused for its content (body over ``result_max``) is turned into
        FAILURE(ResultTooLarge) and never blocks the others. An outcome's parts and joins are
        stored in its own step, before the record ends, and joins grow by what is added to them
        (``message.ADDED``).
        """

    def wait(self, queues: Sequence[str], timeout: float) -> bool:
        """Block until there may be work in *queues* or something falls due, or *timeout*.

        True: look now. False: nothing was heard. A doorbell, never a busy poll: an enqueue,
        a release, an unpark, a retry, an earlier eta rings one waiter. Spurious wake-ups are
        allowed, lost ones are not.
        """

    def wake(self) -> None:
        """Make every :meth:`wait` of this process return soon (shutdown). Never fails."""

    def release(
        self, owner: str, fences: Sequence[Fence], started: bool = False, delay: float = 0.0
    ) -> tuple[Verdict, ...]:
        """Hand back, uncharged, what was not started (attempt given back, sequence kept) or, with
        *started*, what was interrupted (attempt kept, new sequence). An interrupted at-most-once
        record ends FAILURE(WorkerLostError). *delay* schedules instead of queueing. A pending
        revoke ends it. One step; repeatable (ALREADY)."""

    def update(self, fence: Fence, state: str, meta: bytes | None) -> Verdict:
        """Keep a state and metadata (progress) that a run has set. Last write wins. Repeatable."""

    def revoke(self, ids: Sequence[str], terminate: str | None = None) -> dict[str, RevokeEffect]:
        """Revoke durably. What is not held ends now; what is held is told to its owner and is
        checked at lease, retry, requeue, reap and release; without *terminate* a running task's
        outcome stands. An unknown id leaves a tombstone for its enqueue. Repeatable (REVOKED)."""

    def revoke_stamps(self, stamps: Sequence[str], terminate: str | None = None) -> None:
        """Keep *stamps*, each ``NAME=VALUE``, as revoked, for ``Options.revoke_expires`` from now.

        A store reads no headers, so nothing ends by this alone: workers learn of it
        (``Beat.stamps``) and :meth:`revoke` by id what they hold, or lease from then on, that
        carries one. Whoever calls this revokes what is in the store. One step; a repeat begins the
        time anew, under a new number. With *terminate* once, with it for good.
        """

    def revoked_stamps(self, after: int = 0) -> list[RevokedStamp]:
        """The stamps that are revoked now, those with a number above *after*, in that order."""

    def beat(self, owner: str, started: Sequence[Fence] = ()) -> Beat:
        """Extend the owner's lease, note starts; learn of revokes; reap at times. Repeatable."""

    def leases(self, owner: str) -> builtins.list[Fence]:
        """The owner's leases, in no order: it asks if the store may have gone back."""

    def reap(self, dead: Collection[str] = ()) -> Reaped:
        """End the leases of owners whose time has run out, and of *dead* ones whatever the
        time; sweep expiry, unsealed joins, oversized workflow steps and retention; promote and
        ring. Each batch is one step; repeatable at any point. Who has stood still or sees clocks
        apart (``stores.turns``) gives everybody a lease first, and removes nothing in that pass."""

    def purge(self, queues: Sequence[str]) -> int:
        """End what waits in *queues* as ``revoked`` ("purged"); return how many: of a repeat, those
        that came meanwhile."""

    def close_owner(self, owner: str) -> int:
        """Hand back everything leased to *owner*, uncharged, then unregister it. Returns how many
        were handed back: a repeat, none."""

    def outbox(self, limit: int) -> list[Outgoing]:
        """What another store of results has not been told yet (``Options.mirror``, protocol
        section 7), oldest first.

        The step that ends a record puts it there, unless its result is ignored; so does what makes
        a result that may be told untrue: ``forget``, an operator's retry, a new run of the id.
        An id has one row, under the number of its last change.
        """

    def mirrored(self, numbers: Sequence[int]) -> None:
        """Forget these rows: they are in the other store. What has changed since has another
        number and stays. Repeatable."""

    def outgoing(self, ids: Sequence[str]) -> set[str]:
        """Which of *ids* have a row in the outbox."""


class EagerQueue(Queue, Protocol):
    """What the queue of a store is that says so (``Capabilities.leases_as_it_waits``). Of others it
    is not asked; then whoever waited exchanges."""

    def wait_and_lease(
        self, owner: str, lane: int, seq: int, queues: Sequence[str], want: Want, timeout: float
    ) -> Exchanged | None:
        """:meth:`wait`, then :meth:`exchange` with nothing to commit, in one round trip.

        The lease is made by the store as soon as there is work, without a word from the caller, so
        *want* is what it has room for all the time until this returns. None: nothing was heard, or
        :meth:`wake` was called, which ends this, too; nothing is leased, and *seq* is not used.
        After an error :meth:`exchange` with the same *seq* returns what may have been leased.
        """


class Results(Protocol):
    """Reading results."""

    def get_many(self, ids: Sequence[str]) -> list[StoredResult | None]:
        """Read several at once, in order; None where there is no record."""

    def wait(
        self, ids: Collection[str], timeout: float | None, patient: bool = False
    ) -> dict[str, StoredResult | None]:
        """Block until at least one of *ids* has ended (or has no record), or *timeout*.

        Returns those that ended, and None for those without a record; empty after the timeout.
        *patient*: one without a record is waited for as well, since it may be mirrored here.
        Woken, not polled; one listener per process whatever the number of waiting threads and
        ids. It registers, then reads, so a result that arrives in between is not missed. A store
        that is away for longer than ``Options.timeout``, or at the end of the wait, raises
        ``OperationalError``, with ``outage`` if it was there before: the caller may wait again.
        """

    def forget(self, ids: Sequence[str]) -> None:
        """Drop the result; the record shrinks to a tombstone. A result that an unfinished record
        refers to is kept until that has ended. Unfinished ones are not touched. Repeatable."""

    def put_many(self, results: Iterable[StoredResult]) -> None:
        """Keep results of records that live in another store (mirroring), for
        ``Options.result_expires`` from now on. Repeatable; one that ended before the one that is
        there comes late and is left out."""

    def join_results(self, join: str) -> list[StoredResult | None]:
        """The member results of a join in the order of their index."""


class Coordinator(Protocol):
    """Locks, limits, uniqueness. Holders are fences or ids: what a dead worker held lapses."""

    def acquire(self, key: str, holder: str, limit: int, seconds: float) -> bool:
        """Take one of *limit* places under *key* for *seconds*; again by the same holder extends
        it. False: all places are taken."""

    def release(self, key: str, holder: str) -> None:
        """Give the place back; nothing happens if it was not held. Repeatable."""

    def take(self, key: str, amount: float, rate: float, burst: float) -> float:
        """Take *amount* from a token bucket that refills *rate* a second up to *burst*.

        0.0 if taken, else (nothing is) the seconds until it could be. A repeat takes again."""


class Entry(msgspec.Struct, frozen=True):
    """One entry of the periodic schedule: *definition* is opaque to the store."""

    name: str
    definition: bytes
    last_tick: float | None = None
    enabled: bool = True


class Schedules(Protocol):
    """The periodic schedule."""

    def load(self) -> list[Entry]:
        """All entries by name."""

    def save(self, entry: Entry) -> None:
        """Insert or replace by name; keeps ``last_tick`` if the entry has none. Repeatable."""

    def remove(self, name: str) -> bool:
        """Remove; False if it was not there, as it is not for a repeat."""

    def claim(self, name: str, tick: float, messages: Sequence[Message] = ()) -> bool:
        """In one step: if *tick* is later than the entry's last, move that, enqueue *messages* and
        return True: two schedulers fire once. False: claimed before (to a repeat), or no entry."""


class Trap(msgspec.Struct, frozen=True):
    """What in a store's own set-up loses tasks or holds them up; a *note* is nothing wrong."""

    code: str
    what: str
    advice: str
    note: bool = False


class Inspection(Protocol):
    """The only thing command line, dashboard and metrics read."""

    def counts(self, queues: Sequence[str] | None = None) -> Counts:
        """Numbers per queue and state, and of parked records per name."""

    def list(
        self,
        states: Collection[str] = (),
        queue: str | None = None,
        task: str | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> builtins.list[Record]:
        """Records, newest first, filtered; *after* is the id of the last one of the page
        before. Bodies and wires are left out."""

    def get(self, ids: Sequence[str]) -> builtins.list[Record | None]:
        """Whole records in order; None where there is none."""

    def join(self, join: str) -> JoinView | None:
        """One join."""

    def flow(self, id: str, after: str | None = None, limit: int = 1000) -> builtins.list[Record]:
        """The parts of a workflow (``Header.flow``) in the order they were stored; *after* is the
        id of the last one of the page before. Results are left out, messages are not."""

    def retry(
        self, ids: Sequence[str], messages: Mapping[str, Message] | None = None
    ) -> builtins.list[str]:
        """Reopen ended records (not succeeded ones) and, in the same step, what ended only
        because of them: same ids, generation + 1, crashes, losses and retries back to 0.
        *messages* replaces messages. Returns all ids reopened: for each id asked for first the one
        that runs again, which is another if that one's end had ended it. One is left whose errbacks
        have not ended (``finish.reopen``). Each id is a step of its own where that is a script: on
        Redis one that would reopen more than 10,000 raises ``StoreError``, with nothing changed."""

    def discard(self, ids: Sequence[str]) -> builtins.list[str]:
        """Remove ended records for good; end queued ones as ``revoked`` ("discarded") first.
        Held ones are left. Returns the ids removed: a repeat, those that were left."""

    def workers(self) -> builtins.list[WorkerView]:
        """Registered owners."""

    def facts(self) -> dict[str, object]:
        """Plain facts for ``doctor``: place, version, durability, sizes, limits reached."""

    def traps(self) -> builtins.list[Trap]:
        """What is set up badly on the store's side; told by ``doctor`` and at a worker's start."""


class Bus(Protocol):
    """Commands and live events: at most once, a wake-up hint and nothing more."""

    def publish(self, channel: str, data: bytes) -> None:
        """Send *data* to whoever listens on *channel* now. A repeat is heard twice."""

    def listen(self, channel: str) -> Subscription:
        """Begin to listen; close the subscription when done."""


class Subscription(Protocol):
    """One listener on one channel."""

    def get(self, timeout: float | None) -> bytes | None:
        """The next message, or None after *timeout* seconds or once closed."""

    def close(self) -> None:
        """Stop listening. Repeatable, and never fails."""


class Store(msgspec.Struct, frozen=True):
    """A store as its users hold it: six faces of one place."""

    url: str
    capabilities: Capabilities
    options: Options
    queue: Queue
    results: Results
    coordinator: Coordinator
    schedules: Schedules
    inspection: Inspection
    bus: Bus

    def __repr__(self) -> str:
        return f"<Store {self.url}>"


__all__ = [
    "Bus", "Capabilities", "Coordinator", "EagerQueue", "Entry", "Inspection", "Options", "Queue",
    "Results", "Schedules", "Store", "Subscription", "Trap", "ends_by", "no_later_than",
]  # fmt: skip
