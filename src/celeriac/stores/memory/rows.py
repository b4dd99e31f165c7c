"""What the memory store keeps: rows, joins and owners. Private to ``stores/memory``."""

from __future__ import annotations

from dataclasses import dataclass, field

from celeriac.message import Edges, Message
from celeriac.records import Fence, Manifest, Record, StoredResult, Verdict
from celeriac.stores.effects import JoinNode, Node
from celeriac.stores.fates import Held


@dataclass(slots=True)
class Row:
    """A record. What a user may inspect of it is in :meth:`record`."""

    id: str
    state: str
    task: str
    queue: str
    priority: int
    #: The send nonce of the enqueue that made this run; tells a resend from another call.
    nonce_sent: str
    wire: bytes | None
    edges: Edges | None
    eta: float | None
    expires: float | None
    #: Grows with every row made; newest first in listings.
    order: int
    #: Place within queue and priority.
    sequence: int
    enqueued_at: float
    #: A new number whenever the row is moved: heap entries with another one are stale.
    token: int = 0
    due: float | None = None
    attempt: int = 0
    retries: int = 0
    crashes: int = 0
    losses: int = 0
    generation: int = 0
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
    cause: str = ""
    body: bytes | None = None
    custom_state: str | None = None
    meta: bytes | None = None
    drop_at: float | None = None
    #: The workflow it is a part of, "" for none.
    flow: str = ""
    #: False: the result is to go as soon as nothing refers to it.
    keep: bool = True
    forgotten: bool = False
    #: The last fence applied by a commit or a release.
    applied: Fence | None = None

    def node(self) -> Node:
        return Node(
            self.id, self.state, self.edges, self.eta, self.expires, self.revoked, self.cause
        )

    def held(self) -> Held:
        return Held(self.revoked, self.stamp, self.retries, self.crashes, self.losses, self.expires)

    def result(self) -> StoredResult:
        return StoredResult(
            self.id,
            self.state,
            self.retries,
            self.body,
            self.reason,
            self.ended_at,
            self.custom_state,
            self.meta,
            self.forgotten and self.body is None,
        )

    def record(self, wire: bool = True, body: bool = True) -> Record:
        return Record(
            id=self.id,
            state=self.state,
            task=self.task,
            queue=self.queue,
            priority=self.priority,
            wire=self.wire if wire else None,
            enqueued_at=self.enqueued_at,
            due=self.due,
            expires=self.expires,
            attempt=self.attempt,
            retries=self.retries,
            crashes=self.crashes,
            losses=self.losses,
            generation=self.generation,
            owner=self.owner,
            worker=self.worker,
            nonce=self.nonce,
            leased_at=self.leased_at,
            started_at=self.started_at,
            ended_at=self.ended_at,
            parked=self.parked,
            revoked=self.revoked,
            terminate=self.terminate,
            stamp=self.stamp,
            reason=self.reason,
            cause=self.cause,
            body=self.body if body else None,
            custom_state=self.custom_state,
            meta=self.meta,
            drop_at=self.drop_at,
        )

    def take_message(self, message: Message, wire: bytes) -> None:
        """Let a newly signed message take the place of the present one.

        The send nonce stays: a late resend of the first enqueue must still be known as one. So do
        edges and workflow if the new message names none.
        """
        header = message.header
        self.task, self.queue, self.priority = header.task, header.queue, header.priority
        self.eta, self.expires, self.wire = header.eta, header.expires, wire
        if header.edges is not None:
            self.edges = header.edges
        self.flow = header.flow or self.flow


@dataclass(slots=True)
class Join:
    """A join: which members have succeeded and which have ended in another way."""

    id: str
    body: str
    touched: float  # monotonic
    size: int | None = None
    arrived: int = 0
    done: dict[int, str] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    decided: str = ""
    cause: str = ""
    #: Indexes of members added to those that *size* counts.
    added: set[int] = field(default_factory=set)
    #: While it is open: what waits for something that was not sent with it.
    outsiders: list[str] = field(default_factory=list)

    def node(self) -> JoinNode:
        return JoinNode(
            self.id,
            self.body,
            self.size,
            len(self.done),
            len(self.failed),
            self.decided,
            self.cause,
            len(self.added),
        )

    def total(self) -> int | None:
        """How many members it has; None until it is sealed."""
        return None if self.size is None else self.size + len(self.added)


@dataclass(slots=True)
class Lane:
    """The last exchange of a lane, to be repeated if its reply was lost."""

    seq: int
    verdicts: dict[Fence, Verdict]
    leased: tuple[str, ...]
    more: bool


@dataclass(slots=True)
class Owner:
    """One incarnation of one worker."""

    id: str
    manifest: Manifest
    registered_at: float
    beat_at: float
    #: Monotonic time at which the lease runs out.
    until: float
    held: dict[str, None] = field(default_factory=dict)
    lanes: dict[int, Lane] = field(default_factory=dict)
    #: Name of the queue the last lease came from: the next one begins behind it.
    last_queue: str = ""

    def __str__(self) -> str:
        return f"worker {self.manifest.hostname or self.id} (pid {self.manifest.pid})"
