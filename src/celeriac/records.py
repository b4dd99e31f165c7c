"""Plain data that crosses the seam between the stores and everybody above them.

Layer 1: standard library, msgspec and layer 0. All times are seconds: points in time since the
epoch by the store's clock, durations as they are.
"""

from __future__ import annotations

from enum import IntFlag, StrEnum
from typing import Final

import msgspec

from celeriac.outcome import Outcome


class Fence(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Proof that a write comes from the delivery that holds the lease.

    The attempt grows at each lease; the nonce (``owner.lane.seq`` of the exchange that leased it)
    guards against a store that went back in time: two leases may carry one attempt number, never
    one nonce.
    """

    id: str
    attempt: int
    nonce: str


class Verdict(StrEnum):
    """What the store says to a fenced write."""

    OK = "ok"  # applied now
    ALREADY = "already"  # applied before: this is a resend
    FENCED = "fenced"  # the lease is not yours any more (or the record is gone): nothing written


class Stamp(IntFlag):
    """What is written on the record at lease, so that a reaper needs no user code."""

    NONE = 0
    AT_MOST_ONCE = 1  # acks_late=False: a lost lease is FAILURE(WorkerLostError), never a rerun
    FAIL_IF_LOST = 2  # reject_on_worker_lost=False: FAILURE at the first crash or loss


class TaskFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What supervisor, store and reaper know of a task without running user code."""

    late: bool = True  # acks_late
    requeue_lost: bool = True  # reject_on_worker_lost
    max_crashes: int = 3
    time_limit: float | None = None
    soft_time_limit: float | None = None
    ignore_result: bool = False
    #: Back-off in seconds per retry if ``autoretry_for`` names TimeLimitExceeded, else None.
    retry_on_time_limit: tuple[float, ...] | None = None
    #: True if some of its arguments are hidden where they are shown.
    sensitive: bool = False
    #: True if ``on_failure`` or ``on_retry`` is overridden: the hooks process runs it for a task
    #: whose executor died.
    hooks: bool = False
    #: How many of it one worker may begin, such as ``10/s``; "" for no limit.
    rate_limit: str = ""

    @property
    def stamp(self) -> Stamp:
        """What is written on a record at lease."""
        flags = Stamp.NONE if self.late else Stamp.AT_MOST_ONCE
        return flags if self.requeue_lost else flags | Stamp.FAIL_IF_LOST


class Manifest(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a worker says of itself when it registers."""

    tasks: dict[str, TaskFacts]
    hostname: str = ""
    pid: int = 0
    boot_id: str = ""
    pool: str = ""
    concurrency: int = 0
    queues: tuple[str, ...] = ()
    app: str = ""
    version: str = ""


class Want(msgspec.Struct, frozen=True):
    """How many deliveries an exchange may lease.

    *free*: slots idle now, exchanges in flight already subtracted. *ahead*: further deliveries
    the worker would hold behind running tasks. A record goes ahead only if its task's name is in
    *brief* (measured, short, at-least-once) and it has neither crashed nor been lost.
    """

    free: int = 0
    ahead: int = 0
    brief: frozenset[str] = frozenset()


class Delivery(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A message in a worker's hands, under a lease."""

    id: str
    attempt: int
    nonce: str
    wire: bytes
    queue: str
    retries: int = 0
    crashes: int = 0
    losses: int = 0
    #: Result bodies this message takes as input, when they are small enough to travel with it:
    #: one for ``takes``; for ``gathers`` always None (the executor reads them itself).
    inputs: bytes | None = None

    def __repr__(self) -> str:
        # Without the message: what a task is called with is not for logs.
        return f"<Delivery: {self.id} attempt={self.attempt} retries={self.retries}>"

    @property
    def fence(self) -> Fence:
        """The proof that goes with every write of this delivery."""
        return Fence(self.id, self.attempt, self.nonce)


class Commit(msgspec.Struct, frozen=True, gc=False):
    """One run's outcome, fenced."""

    fence: Fence
    outcome: Outcome


class Exchanged(msgspec.Struct, frozen=True):
    """The answer to an exchange: verdicts in the order of its commits, and new deliveries.

    *lost*: the owner is not registered (reaped, closed or never known): nothing was leased; drop
    what you hold and register a new incarnation. *more*: due work was left behind.
    """

    verdicts: tuple[Verdict, ...] = ()
    deliveries: tuple[Delivery, ...] = ()
    lost: bool = False
    more: bool = False


class RevokeOrder(msgspec.Struct, frozen=True):
    """A revoke that concerns a delivery in this owner's hands."""

    fence: Fence
    #: None: leave a running task alone (it ends as it ends, but is never repeated). Else the
    #: name of the signal to end it with, as in ``SIGTERM``.
    terminate: str | None


class RevokedStamp(msgspec.Struct, frozen=True):
    """A stamp that calls were revoked by: those that carry it, sent before or later, shall not run.

    *stamp* is ``NAME=VALUE`` (``stamps.keys_of``). *number* grows with each revoke, *until* is when
    it lapses (seconds since the epoch, by the store's clock), *terminate* as in
    :class:`RevokeOrder`.
    """

    number: int
    stamp: str
    until: float
    terminate: str | None = None


class Beat(msgspec.Struct, frozen=True):
    """The answer to a heartbeat."""

    lost: bool = False
    revoked: tuple[RevokeOrder, ...] = ()
    reaped: Reaped | None = None
    #: The highest number of a revoked stamp, 0 if there are none: if it is another than the owner
    #: knows, there is something to be read with ``Queue.revoked_stamps``.
    stamps: int = 0
    #: The run of the server, where there is one that tells it. If it is another than before, that
    #: was started anew or another has taken its place, and the store may be what it once was.
    run: str = ""


class Reaped(msgspec.Struct, frozen=True):
    """What one pass of the reaper did, in numbers of records."""

    owners: tuple[str, ...] = ()
    requeued: int = 0
    failed: int = 0
    dead: int = 0
    expired: int = 0
    swept: int = 0  # ended records removed by retention
    joins: int = 0  # joins failed because they were never sealed
    #: Who the owners were, in their order, for people: ``worker NAME (pid N)``.
    workers: tuple[str, ...] = ()


class StoredResult(msgspec.Struct, frozen=True, gc=False):
    """What ``get()`` reads: the record's state and, once ended, its result body."""

    id: str
    state: str
    retries: int = 0
    body: bytes | None = None
    reason: str = ""
    ended_at: float | None = None
    #: State and metadata set by ``update_state`` during the present run.
    custom_state: str | None = None
    meta: bytes | None = None
    #: Somebody called ``forget``: there was a result, or None, and it is no longer known.
    forgotten: bool = False


class Outgoing(msgspec.Struct, frozen=True):
    """One row of the outbox: a result on its way to another store."""

    #: Grows with each row, and is never used again: an id that changes anew has another one.
    number: int
    id: str
    #: What the record says now, perhaps that it has been reopened; None: there is no record.
    result: StoredResult | None


class Record(msgspec.Struct, frozen=True, gc=False):
    """Everything the store knows of one call, for inspection."""

    id: str
    state: str
    task: str
    queue: str
    priority: int = 0
    wire: bytes | None = None
    enqueued_at: float = 0.0
    due: float | None = None
    expires: float | None = None
    attempt: int = 0
    retries: int = 0
    crashes: int = 0
    losses: int = 0
    generation: int = 0
    #: The owner that holds it, and the name of the worker whose lease was the last one.
    owner: str | None = None
    worker: str | None = None
    nonce: str | None = None
    leased_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    parked: bool = False
    revoked: bool = False
    terminate: str | None = None
    stamp: int = 0
    reason: str = ""
    #: Id whose end decided this one's (an upstream failure), "" if it ended by itself.
    cause: str = ""
    body: bytes | None = None
    custom_state: str | None = None
    meta: bytes | None = None
    #: When retention removes the record; None while unfinished.
    drop_at: float | None = None

    def __repr__(self) -> str:
        return f"<Record: {self.task}[{self.id}] {self.state} attempt={self.attempt}>"


class JoinView(msgspec.Struct, frozen=True):
    """A join: the barrier under a chord. *size* is None until it is sealed."""

    id: str
    body: str
    size: int | None = None
    members: tuple[int, ...] = ()
    #: "" while undecided, else "done" or "failed".
    decided: str = ""
    cause: str = ""


class WorkerView(msgspec.Struct, frozen=True):
    """A registered owner. *alive* by the store's clock: its lease has not run out."""

    owner: str
    manifest: Manifest
    registered_at: float
    beat_at: float
    alive: bool
    held: int


class Counts(msgspec.Struct, frozen=True):
    """Numbers of records: per queue and state, parked ones per (queue, task); and how many
    results are on their way to another store, whatever their queue."""

    states: dict[str, dict[str, int]]
    parked: dict[str, dict[str, int]]
    outbox: int = 0


class RevokeEffect(StrEnum):
    """What a revoke met."""

    REVOKED = "revoked"  # it had not begun: ended now
    PENDING = "pending"  # in a worker's hands: told at its next exchange or beat
    ENDED = "ended"  # too late, it has a terminal state
    UNKNOWN = "unknown"  # no such record: a tombstone waits for it


#: Names of the tasks that every worker knows. They are no task of the application's, so they are
#: not shown among those.
BUILT_IN: Final = frozenset({"celeriac.collect", "celery.map", "celery.starmap"})

#: Largest result an exchange inlines into the delivery of its successor.
INLINE_RESULT_MAX: Final = 64 * 1024

__all__ = [
    "BUILT_IN",
    "INLINE_RESULT_MAX",
    "Beat",
    "Commit",
    "Counts",
    "Delivery",
    "Exchanged",
    "Fence",
    "JoinView",
    "Manifest",
    "Outgoing",
    "Reaped",
    "Record",
    "RevokeEffect",
    "RevokeOrder",
    "RevokedStamp",
    "Stamp",
    "StoredResult",
    "TaskFacts",
    "Verdict",
    "Want",
    "WorkerView",
]
