"""The state behind all faces of a memory store, and the steps that change it.

Private to ``stores/memory``. One lock guards everything; whoever calls a method of ``Core`` holds
it. Each face takes it with :meth:`Core.step`, so a call of the seam is one step.
"""

from __future__ import annotations

import os
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from heapq import heappop, heappush

from celeriac import states
from celeriac.exceptions import DuplicateTask, OperationalError
from celeriac.message import Message
from celeriac.records import RevokedStamp, StoredResult
from celeriac.stores import finish
from celeriac.stores.base import Options
from celeriac.stores.effects import (
    Decide,
    Effect,
    Effects,
    End,
    Forget,
    Grow,
    JoinNode,
    Member,
    Node,
    Release,
    Reopen,
    Size,
)
from celeriac.stores.fates import Fate, mirrored, retention
from celeriac.stores.memory.rows import Join, Owner, Row


class Core:
    """Rows and their indexes: the view that ``finish`` reads, and what applies its effects."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.clock = options.clock
        self.pid = os.getpid()
        self.lock = threading.RLock()
        self.rows: dict[str, Row] = {}
        self.joins: dict[str, Join] = {}
        self.owners: dict[str, Owner] = {}
        #: Revokes of ids that were not known: id → (removed at, terminate).
        self.tombstones: dict[str, tuple[float, str | None]] = {}
        #: Revoked stamps by their text, in the order of their numbers.
        self.stamps: dict[str, RevokedStamp] = {}
        #: Results of records that live in another store: id → (removed at, result).
        self.foreign: dict[str, tuple[float | None, StoredResult]] = {}
        #: What another store is to be told: id → number of the row, oldest first.
        self.outbox: dict[str, int] = {}
        #: Source id → ids of records that take its result; errback id → record it belongs to.
        self.readers: dict[str, set[str]] = defaultdict(set)
        self.parents: dict[str, str] = {}
        #: Workflow → ids of its parts.
        self.flows: dict[str, set[str]] = defaultdict(set)
        # Indexes. Heap entries are stale if the row's token has moved on.
        self.queues: dict[str, list[tuple[int, int, int, str]]] = defaultdict(list)
        self.ready: Counter[str] = Counter()
        self.parked: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
        self.due: list[tuple[float, int, int, str]] = []
        self.expiring: list[tuple[float, str]] = []
        self.dropping: list[tuple[float, int, str]] = []
        self.counts: Counter[tuple[str, str]] = Counter()
        self.set_aside: dict[str, dict[str, None]] = {states.FAILED: {}, states.DEAD: {}}
        self._last_number = 0
        # Waiting. `rings` grows with every ring; a thread that saw a lower number looks again.
        self.work = threading.Condition(self.lock)
        self.rings = 0
        self.waiters: dict[str, set[threading.Event]] = defaultdict(set)
        # When the last pass of a reaper was made, monotonic.
        self.last_pass: float | None = None

    @contextmanager
    def step(self) -> Iterator[None]:
        """Hold the lock for one step. Raises OperationalError in a forked child."""
        if os.getpid() != self.pid:
            raise OperationalError(
                "a memory:// store cannot be used in a forked child: it lives in the process "
                f"that opened it (pid {self.pid}). Use sqlite:///path/to/file.db for workers "
                "with processes of their own."
            )
        with self.lock:
            yield

    def number(self) -> int:
        """The next number of the one sequence this store has."""
        self._last_number += 1
        return self._last_number

    # -- the view `finish` reads

    def record(self, id: str) -> Node | None:
        row = self.rows.get(id)
        return row.node() if row is not None else None

    def join(self, id: str) -> JoinNode | None:
        join = self.joins.get(id)
        return join.node() if join is not None else None

    def member(self, join: str, index: int) -> str:
        found = self.joins.get(join)
        if found is None:
            return ""
        if index in found.done:
            return "done"
        return "failed" if index in found.failed else "added" if index in found.added else ""

    def outsiders(self, join: str, after: int, most: int) -> Sequence[tuple[int, str]]:
        known = self.joins[join].outsiders if join in self.joins else []
        return list(enumerate(known[after : after + most], after + 1))

    # -- making and unmaking rows

    def check_new(self, messages: Iterable[Message]) -> list[Message]:
        """Return those of *messages* that are not resends. Raises DuplicateTask."""
        new: dict[str, Message] = {}
        for message in messages:
            header = message.header
            earlier = new.get(header.id)
            row = self.rows.get(header.id)
            if earlier is not None:
                if earlier.header.nonce != header.nonce:
                    raise DuplicateTask(header.id)
            elif row is None:
                new[header.id] = message
            elif row.nonce_sent != header.nonce:
                if row.state not in states.TERMINAL:
                    raise DuplicateTask(header.id)
                new[header.id] = message
        return list(new.values())

    def insert(self, message: Message, waits: bool = False) -> bool:
        """Store a message as a record; :meth:`check_new` has passed it. True: it was revoked
        before it came, and waits to be ended once all that belongs to it is stored."""
        header = message.header
        edges = header.edges
        before = self.rows.get(header.id)
        if before is not None:
            self.drop(before)
        number = self.number()
        row = Row(
            id=header.id,
            state=states.WAITING,
            task=header.task,
            queue=header.queue,
            priority=header.priority,
            nonce_sent=header.nonce,
            wire=message.encode(),
            edges=edges,
            eta=header.eta,
            expires=header.expires,
            order=number,
            sequence=number,
            enqueued_at=self.clock.wall(),
            flow=header.flow,
        )
        if before is not None:
            row.generation, row.attempt = before.generation + 1, before.attempt
            self.tell_other(row.id)
        self.rows[row.id] = row
        self.counts[row.queue, row.state] += 1
        self._index_edges(row)
        if row.expires is not None:
            heappush(self.expiring, (row.expires, row.id))
        tombstone = self.tombstones.pop(row.id, None)
        if tombstone is not None and tombstone[0] > self.clock.wall():
            row.terminate = tombstone[1]
            return True
        if not (waits or (edges is not None and edges.waits)):
            self.place(row, row.eta)
        return False

    def _index_edges(self, row: Row) -> None:
        if row.flow:
            self.flows[row.flow].add(row.id)
        edges = row.edges
        if edges is None:
            return
        if edges.takes is not None:
            self.readers[edges.takes].add(row.id)
        for errback in (*edges.failure, *edges.own):
            self.parents[errback] = row.id

    def _unindex_edges(self, row: Row) -> None:
        if row.flow:
            _discard(self.flows, row.flow, row.id)
        edges = row.edges
        if edges is None:
            return
        if edges.takes is not None:
            _discard(self.readers, edges.takes, row.id)
        for errback in (*edges.failure, *edges.own):
            if self.parents.get(errback) == row.id:
                del self.parents[errback]

    def take_message(self, row: Row, message: Message, wire: bytes) -> None:
        """Let a new message take the place of a row's present one, with its edges if it has any."""
        self.counts[row.queue, row.state] -= 1
        self._unindex_edges(row)
        gathered = row.edges.gathers if row.edges is not None else None
        row.take_message(message, wire)
        if gathered is not None and (row.edges is None or row.edges.gathers != gathered):
            self.joins.pop(gathered, None)
        self._index_edges(row)
        self.counts[row.queue, row.state] += 1

    def drop(self, row: Row) -> None:
        """Remove a row for good."""
        self.move(row, row.state)
        del self.rows[row.id]
        self.counts[row.queue, row.state] -= 1
        self.set_aside.get(row.state, {}).pop(row.id, None)
        self.outbox.pop(row.id, None)
        self.parents.pop(row.id, None)
        self._unindex_edges(row)
        if row.edges is not None and row.edges.gathers is not None:
            self.joins.pop(row.edges.gathers, None)

    # -- moving rows between states and places

    def move(self, row: Row, state: str) -> None:
        """Take a row out of whatever place it has, and write its state."""
        if row.state == states.QUEUED:
            if row.parked:
                self._leave_parked(row)
            else:
                self.ready[row.queue] -= 1
        row.token = self.number()
        self.counts[row.queue, row.state] -= 1
        self.counts[row.queue, state] += 1
        row.state = state
        row.due = None
        if row.owner is not None and state not in states.HELD:
            owner = self.owners.get(row.owner)
            if owner is not None:
                owner.held.pop(row.id, None)
            row.owner = row.nonce = None

    def _leave_parked(self, row: Row) -> None:
        key = (row.queue, row.task)
        self.parked[key].pop(row.id, None)
        if not self.parked[key]:
            del self.parked[key]
        row.parked = False

    def place(self, row: Row, due: float | None) -> None:
        """Queue a row, or schedule it if *due* is ahead; ring."""
        if due is not None and due > self.clock.wall():
            self.move(row, states.SCHEDULED)
            row.due = due
            heappush(self.due, (due, row.sequence, row.token, row.id))
        else:
            self.move(row, states.QUEUED)
            self.ready[row.queue] += 1
            heappush(self.queues[row.queue], (-row.priority, row.sequence, row.token, row.id))
        self.ring()

    def park(self, row: Row) -> None:
        """Put a queued row aside until a worker that knows its task comes; ring the others."""
        self.ready[row.queue] -= 1
        row.token = self.number()
        row.parked = True
        self.parked[row.queue, row.task][row.id] = None
        self.summon()

    def unpark(self, names: Iterable[str]) -> None:
        """Queue what is parked under *names* again, behind what is queued."""
        known = frozenset(names)
        rows = [self.rows[id] for key, ids in self.parked.items() if key[1] in known for id in ids]
        rows.sort(key=lambda row: (-row.priority, row.sequence))
        for row in rows:
            row.sequence = self.number()
            self.place(row, None)

    def held_by(self, owner: Owner) -> list[Row]:
        """What an owner holds, in the order it was sent."""
        return sorted((self.rows[id] for id in owner.held), key=lambda row: row.order)

    def head(self, queue: str) -> Row | None:
        """The next row of a queue, left in place; stale entries go."""
        heap = self.queues[queue]
        while heap:
            _, _, token, id = heap[0]
            row = self.rows.get(id)
            if row is not None and row.token == token:
                return row
            heappop(heap)
        return None

    def promote(self) -> None:
        """Queue every scheduled row that is due."""
        now = self.clock.wall()
        while self.due and self.due[0][0] <= now:
            _, _, token, id = heappop(self.due)
            row = self.rows.get(id)
            if row is not None and row.token == token:
                self.place(row, None)

    # -- ending and returning

    def finish(self, id: str, state: str, reason: str) -> None:
        self.apply(finish.finish(self, id, state, reason, now=self.clock.wall()))

    def apply(self, effects: Effects) -> None:
        """Apply effects; a remainder is worked off at once, memory needs no smaller steps."""
        while True:
            for effect in effects.effects:
                self._apply_one(effect)
            if not effects.remainder:
                return
            effects = finish.resume(self, effects.remainder, now=self.clock.wall())

    def _apply_one(self, effect: Effect) -> None:
        match effect:
            case End():
                self._end(effect)
            case Release():
                row = self.rows[effect.id]
                if effect.expires is not None:
                    row.expires = effect.expires
                    heappush(self.expiring, (row.expires, row.id))
                self.place(row, effect.due)
            case Reopen():
                self._reopen(effect)
            case Member():
                join = self.joins[effect.join]
                (join.done if effect.done else join.failed)[effect.index] = effect.id
            case Forget():
                join = self.joins[effect.join]
                del (join.done if effect.done else join.failed)[effect.index]
            case Decide():
                join = self.joins[effect.join]
                join.decided, join.cause = effect.decided, effect.cause
                join.touched = self.clock.monotonic()
            case Size():
                self.joins[effect.join].size = effect.size
                self.joins[effect.join].outsiders.clear()
            case Grow():
                self.joins[effect.join].added.add(effect.index)

    def _end(self, effect: End) -> None:
        row = self.rows[effect.id]
        now = self.clock.wall()
        self.move(row, effect.state)
        row.reason, row.cause, row.ended_at = effect.reason, effect.cause, now
        self.schedule_drop(row)
        if effect.state in self.set_aside:
            self.set_aside[effect.state][row.id] = None
        if mirrored(row.state, row.keep):
            self.tell_other(row.id)
        self.shrink(row)
        self._shrink_sources(row)
        for waiter in self.waiters.get(row.id, ()):
            waiter.set()

    def tell_other(self, id: str) -> None:
        """Put *id* into the outbox if there is another store of results; behind what is there."""
        if self.options.mirror:
            self.outbox.pop(id, None)
            self.outbox[id] = self.number()

    def schedule_drop(self, row: Row) -> None:
        """Note when retention may remove an ended row."""
        kept = retention(row.state, row.keep, row.nonce_sent == row.id, self.options)
        if kept is not None and row.ended_at is not None:
            row.drop_at = row.ended_at + kept
            heappush(self.dropping, (row.drop_at, row.order, row.id))

    def _reopen(self, effect: Reopen) -> None:
        row = self.rows[effect.id]
        now = self.clock.wall()
        self.set_aside.get(row.state, {}).pop(row.id, None)
        self.move(row, states.WAITING)
        self.tell_other(row.id)
        row.generation += 1
        row.retries = row.crashes = row.losses = 0
        row.sequence = self.number()
        row.reason = row.cause = ""
        row.body = row.meta = None
        row.custom_state = row.terminate = None
        row.revoked = False
        row.keep = True
        row.forgotten = False
        row.started_at = row.leased_at = row.ended_at = row.drop_at = None
        if row.expires is not None and (effect.lasts_anew or row.expires <= now):
            row.expires = None
        elif row.expires is not None:
            heappush(self.expiring, (row.expires, row.id))
        if effect.state != states.WAITING:
            self.place(row, effect.due)

    def give(self, row: Row, fate: Fate) -> None:
        """Write what becomes of a row that leaves a worker's hands."""
        row.retries, row.crashes, row.losses = fate.retries, fate.crashes, fate.losses
        if fate.state in states.TERMINAL:
            self.finish(row.id, fate.state, fate.reason)
            return
        row.reason = fate.reason
        row.custom_state = row.meta = None
        row.started_at = None
        if fate.renew:
            row.sequence = self.number()
        if row.expires is not None:
            heappush(self.expiring, (row.expires, row.id))
        if fate.state == states.WAITING:
            self.move(row, states.WAITING)
        else:
            self.place(row, fate.due)

    # -- references: a result somebody still needs is not dropped

    def referred(self, row: Row) -> bool:
        """Whether an unfinished or retryable part of a workflow needs this row."""
        needed = [self.rows.get(each) for each in self.readers.get(row.id, ())]
        if row.id in self.parents:
            needed.append(self.rows.get(self.parents[row.id]))
        if row.edges is not None and row.edges.join is not None:
            join = self.joins.get(row.edges.join[0])
            if join is not None:
                needed.append(self.rows.get(join.body))
        settled = (states.SUCCEEDED, states.SKIPPED)
        return any(each is not None and each.state not in settled for each in needed)

    def shrink(self, row: Row) -> None:
        """Drop message and result of an ended row that nobody keeps or needs."""
        kept = row.keep or row.state in (states.FAILED, states.DEAD)
        if not kept and row.state in states.TERMINAL and not self.referred(row):
            row.wire = row.body = row.meta = None

    def _shrink_sources(self, row: Row) -> None:
        """After *row* has ended: what only it needed may go."""
        edges = row.edges
        if edges is None:
            return
        sources = [*edges.failure, *edges.own]
        if edges.takes is not None:
            sources.append(edges.takes)
        if edges.gathers is not None and edges.gathers in self.joins:
            sources.extend(self.joins[edges.gathers].done.values())
        for id in sources:
            source = self.rows.get(id)
            if source is not None:
                self.shrink(source)

    # -- waiting

    def ring(self) -> None:
        self.rings += 1
        self.work.notify_all()

    def summon(self) -> None:
        """Ring all who wait for what is parked: nobody knows which of them knows the name."""
        self.ring()


def _discard(index: dict[str, set[str]], key: str, id: str) -> None:
    """Take *id* out of one set of an index, and the set out of it once that is empty."""
    index[key].discard(id)
    if not index[key]:
        del index[key]


__all__ = ["Core"]
