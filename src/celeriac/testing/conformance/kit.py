"""What the conformance tests hold in their hands: a store, its clock, and workers to play.

Layer 6. A :class:`Worker` here is an owner driven by hand; it counts its own exchanges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from celeriac import states
from celeriac.clock import ManualClock
from celeriac.message import Edges, Header, Message, compose
from celeriac.outcome import Outcome
from celeriac.records import (
    Commit,
    Delivery,
    Exchanged,
    Manifest,
    Reaped,
    Record,
    TaskFacts,
    Verdict,
    Want,
)
from celeriac.stores.base import Options, Store

#: Opens a store that is empty, in a place of its own, with these options.
OpenStore = Callable[[Options], Store]

QUEUE = "celery"


def message(
    id: str,
    *,
    task: str = "job",
    nonce: str | None = None,
    edges: Edges | None = None,
    payload: bytes = b"[[],{}]",
    **header: Any,
) -> Message:
    """An unsigned message; the send nonce is made from the id unless given."""
    return compose(
        Header(id=id, task=task, nonce=nonce or f"sent-{id}", edges=edges, **header), payload
    )


@dataclass
class Worker:
    """An owner, registered, with one lane."""

    store: Store
    name: str
    seq: int = 0

    def exchange(
        self,
        commits: Sequence[Commit] = (),
        free: int = 0,
        *,
        ahead: int = 0,
        brief: Iterable[str] = (),
        queues: Sequence[str] = (QUEUE,),
        started: Sequence[Delivery] = (),
        seq: int | None = None,
        lane: int = 0,
    ) -> Exchanged:
        """One exchange; the next seq unless one is given."""
        if seq is None:
            self.seq += 1
            seq = self.seq
        return self.store.queue.exchange(
            self.name,
            lane,
            seq,
            commits,
            [each.fence for each in started],
            queues,
            Want(free, ahead, frozenset(brief)),
        )

    def lease(self, free: int = 1, **more: Any) -> list[Delivery]:
        """Lease up to *free* deliveries."""
        return list(self.exchange((), free, **more).deliveries)

    def take(self, **more: Any) -> Delivery:
        """Lease exactly one delivery."""
        (delivery,) = self.lease(1, **more)
        return delivery

    def commit(self, delivery: Delivery, outcome: Outcome) -> Verdict:
        """Commit one outcome."""
        (verdict,) = self.exchange([Commit(delivery.fence, outcome)]).verdicts
        return verdict

    def succeed(self, delivery: Delivery, body: bytes = b"result", keep: bool = True) -> Verdict:
        """Commit a success."""
        return self.commit(delivery, Outcome(states.SUCCEEDED, body, keep))

    def fail(self, delivery: Delivery, reason: str = "ValueError: no") -> Verdict:
        """Commit a failure."""
        return self.commit(delivery, Outcome(states.FAILED, b"failure", reason=reason))

    def again(self, delivery: Delivery, delay: float = 0.0, **more: Any) -> Verdict:
        """Commit a retry, after *delay* seconds if that is not 0."""
        state = states.SCHEDULED if delay else states.QUEUED
        return self.commit(delivery, Outcome(state, delay=delay, **{"charge": "retry", **more}))

    def start(self, delivery: Delivery) -> None:
        """Report a start."""
        self.exchange(started=[delivery])

    def beat(self) -> None:
        """Beat."""
        self.store.queue.beat(self.name)


@dataclass
class Kit:
    """A store under test and its clock."""

    open_store: OpenStore
    clock: ManualClock = field(default_factory=ManualClock)
    options: Options = field(default_factory=Options)
    _store: Store | None = None

    def __post_init__(self) -> None:
        # Jitter is 1.0 times the delay: (0.5 + random()).
        self.options = msgspec.structs.replace(self.options, clock=self.clock, random=lambda: 0.5)

    @property
    def store(self) -> Store:
        """The store, opened at the first use."""
        if self._store is None:
            self._store = self.open_store(self.options)
        return self._store

    def configure(self, **options: Any) -> None:
        """Change options; before the store is used."""
        assert self._store is None, "the store is open"
        self.options = msgspec.structs.replace(self.options, **options)

    def send(self, *ids: str, **header: Any) -> None:
        """Enqueue messages in one call."""
        self.store.queue.enqueue([message(id, **header) for id in ids])

    def enqueue(self, *messages: Message, join: str | None = None) -> None:
        """Enqueue messages in one call."""
        self.store.queue.enqueue(messages, join)

    def worker(
        self,
        name: str = "w1",
        tasks: Mapping[str, TaskFacts] | Iterable[str] = ("job",),
        **manifest: Any,
    ) -> Worker:
        """Register an owner."""
        facts = tasks if isinstance(tasks, Mapping) else {each: TaskFacts() for each in tasks}
        self.store.queue.register(name, Manifest(dict(facts), **manifest))
        return Worker(self.store, name)

    def get(self, id: str) -> Record:
        """The record, which must be there."""
        (record,) = self.store.inspection.get([id])
        assert record is not None, f"no record {id}"
        return record

    def find(self, id: str) -> Record | None:
        """The record or None."""
        return self.store.inspection.get([id])[0]

    def state(self, id: str) -> str:
        """The record's state."""
        return self.get(id).state

    def states(self, *ids: str) -> list[str]:
        """The records' states."""
        return [self.state(id) for id in ids]

    def now(self) -> float:
        """The wall clock."""
        return self.clock.wall()

    def reap(self, dead: Sequence[str] = ()) -> Reaped:
        """One pass of the reaper."""
        return self.store.queue.reap(dead)

    def tick(self, seconds: float, alive: Sequence[Worker] = ()) -> list[Reaped]:
        """Let time pass in steps a reaper is used to; *alive* beat, and the reaper passes."""
        passes = [self.reap()]
        while seconds > 0:
            step = min(2.0, seconds)
            self.clock.advance(step)
            seconds -= step
            for worker in alive:
                worker.beat()
            passes.append(self.reap())
        return passes

    def done(self, worker: Worker, id: str, body: bytes = b"result") -> None:
        """Let *worker* lease what is next, which must be *id*, and succeed with it."""
        delivery = worker.take()
        assert delivery.id == id
        assert worker.succeed(delivery, body) is Verdict.OK


class Suite:
    """Base of all suites.

    A subclass provides the fixture ``open_store``: a function that opens a store, empty and in a
    place of its own, with the options it is given, and cleans up after the test.
    """

    @pytest.fixture
    def kit(self, open_store: OpenStore) -> Kit:
        """The store under test with a clock that stands still."""
        return Kit(open_store)


__all__ = ["QUEUE", "Kit", "OpenStore", "Suite", "Worker", "message"]
