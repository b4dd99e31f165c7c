"""Taking the next batch: promotion, parking, and the lease itself. Part of the SQLite store; runs
inside the transaction of an exchange."""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Iterator, Sequence
from typing import Any, Final

import apsw
import msgspec

from celeriac import states
from celeriac.records import INLINE_RESULT_MAX, Delivery, Manifest, Stamp, Want
from celeriac.stores import finish
from celeriac.stores.sqlite import codes
from celeriac.stores.sqlite.database import Database, Transaction
from celeriac.stores.sqlite.ending import end
from celeriac.stores.sqlite.rows import decode_edges, find

#: Due records promoted by one exchange or one batch of a reap pass.
PROMOTE_AT_ONCE: Final = 500
#: Records at the head of one queue that one exchange parks or ends; the next goes on.
_IN_THE_WAY: Final = 1000

_DUE: Final = f"""
UPDATE @record SET state = {codes.QUEUED}, due = NULL WHERE seq IN (
    SELECT seq FROM @record WHERE state = {codes.SCHEDULED} AND due <= ?
    ORDER BY due LIMIT {PROMOTE_AT_ONCE}) RETURNING queue"""
_HEAD_COLUMNS: Final = (
    "seq, id, task, attempt, retries, crashes, losses, expires, revoked, special, queue, wire"
)
_HEAD: Final = f"""
SELECT {_HEAD_COLUMNS} FROM @record WHERE state = {codes.QUEUED} AND queue = ?
ORDER BY priority DESC, place LIMIT ?"""
_PARKED_NEXT: Final = f"""
SELECT queue, task FROM @record WHERE state = {codes.PARKED} AND (queue, task) > (?, ?)
ORDER BY queue, task LIMIT 1"""
_PARKED: Final = f"""
SELECT {_HEAD_COLUMNS}, priority, place FROM @record
WHERE state = {codes.PARKED} AND queue = ? AND task = ? ORDER BY priority DESC, place LIMIT ?"""
_PARKED_OLDEST: Final = f"""
SELECT place, seq, queue FROM @record WHERE state = {codes.PARKED} AND queue = ? AND task = ?
ORDER BY place LIMIT ?"""
_PARK: Final = f"UPDATE @record SET state = {codes.PARKED} WHERE seq = ?"
_UNPARK: Final = f"UPDATE @record SET state = {codes.QUEUED}, place = ? WHERE seq = ?"
_LEASE: Final = """
UPDATE @record SET state = ?, owner = ?, worker = ?, nonce = ?, attempt = attempt + 1,
    stamp = ?, leased_at = ?, started_at = ? WHERE seq IN carray(?)"""
_WIRES: Final = "SELECT seq, wire FROM @message WHERE seq IN carray(?)"
_LEFT: Final = f"SELECT 1 FROM @record WHERE state = {codes.QUEUED} AND queue = ? LIMIT 1"
decode_manifest: Final = msgspec.msgpack.Decoder(Manifest).decode


#: A record at the head of its queue: the columns of ``_HEAD_COLUMNS``. A plain tuple, because an
#: exchange reads a hundred of them and each attribute would cost as much as the whole row.
_Head = tuple[Any, ...]
_AT_MOST_ONCE: Final = int(Stamp.AT_MOST_ONCE)


class Owner:
    """A registered owner as an exchange needs it."""

    __slots__ = ("brief", "id", "last_queue", "manifest", "name", "number", "stamps", "wanted")

    def __init__(self, number: int, id: str, manifest: Manifest) -> None:
        self.number = number
        self.id = id
        self.manifest = manifest
        #: What people call the worker.
        self.name = manifest.hostname or id
        #: Task number → stamp, of the tasks it knows and somebody has sent.
        self.stamps: dict[int, int] = {}
        self.last_queue = ""
        self.wanted: frozenset[str] | None = None
        self.brief: frozenset[int] = frozenset()

    def stamp(self, database: Database, task: int) -> int | None:
        """What is written at lease for a task, None if the owner does not know it."""
        stamp = self.stamps.get(task)
        if stamp is None:
            facts = self.manifest.tasks.get(database.text(task))
            if facts is None:
                return None
            stamp = self.stamps[task] = int(facts.stamp)
        return stamp

    def may_go_ahead(self, database: Database, names: frozenset[str]) -> frozenset[int]:
        """``Want.brief`` as task numbers; the same set comes again and again."""
        if self.wanted != names:
            numbers = (database.known_number(name) for name in names)
            self.brief = frozenset(each for each in numbers if each is not None)
            # A name not sent so far may get a number later: do not remember the set then.
            self.wanted = names if len(self.brief) == len(names) else None
        return self.brief


def promote(step: Transaction, own: Sequence[int] = ()) -> bool:
    """Queue what is due; ring the queues that are not the caller's *own*. True if there may be
    more."""
    due = step.rows(_DUE, (step.now,))
    step.rung.update({int(queue) for (queue,) in due}.difference(own))
    return len(due) == PROMOTE_AT_ONCE


def parked_names(step: Transaction) -> list[tuple[int, int]]:
    """(queue, task) of what is parked; a step per pair however many records there are."""
    pairs: list[tuple[int, int]] = []
    found = step.one(_PARKED_NEXT, (-1, -1))
    while found is not None:
        pairs.append((int(found[0]), int(found[1])))
        found = step.one(_PARKED_NEXT, found)
    return pairs


def left_behind(step: Transaction, queues: Sequence[int]) -> list[int]:
    """Those of *queues* that hold due work."""
    return [queue for queue in queues if step.one(_LEFT, (queue,)) is not None]


class Taker:
    """Takes the next batch for one owner."""

    def __init__(self, step: Transaction, owner: Owner, nonce: str, want: Want) -> None:
        self.step = step
        self.database = step.database
        self.owner = owner
        self.nonce = nonce
        self.free, self.ahead = want.free, want.ahead
        self.brief = owner.may_go_ahead(step.database, want.brief) if want.ahead else frozenset()
        #: Row numbers of what was leased, by id.
        self.seqs: dict[str, int] = {}

    def take(self, queues: Sequence[int]) -> tuple[Delivery, ...]:
        """Lease what there is room for: parked first, then round-robin over the queues."""
        taken = self._from_parked(queues)
        taken += self._round_robin(queues)
        return self._lease(taken)

    # -- choosing

    def _from_parked(self, queues: Sequence[int]) -> list[_Head]:
        room = self.free + self.ahead
        found: list[tuple[Any, ...]] = []
        for queue, task in parked_names(self.step):
            if queue in queues and self.owner.stamp(self.database, task) is not None:
                found += self.step.rows(_PARKED, (queue, task, room))
        found.sort(key=lambda row: (-row[12], row[13]))
        return [head for row in found if self._usable(head := row[:12]) and self._fits(head)]

    def _round_robin(self, queues: Sequence[int]) -> list[_Head]:
        if len(queues) == 1:
            return list(itertools.takewhile(self._fits, self._heads(queues[0])))
        order = list(queues)
        last = self.database.numbers.get(self.owner.last_queue)
        if last in order:
            behind = order.index(last) + 1
            order = order[behind:] + order[:behind]
        taken: list[_Head] = []
        lines = [(queue, self._heads(queue)) for queue in order]
        while lines:
            queue, heads = lines.pop(0)
            head = next(heads, None)
            if head is None or not self._fits(head):
                continue
            taken.append(head)
            self.owner.last_queue = self.database.text(queue)
            lines.append((queue, heads))
        if taken:
            self.step.execute(
                "UPDATE @owner SET last_queue = ? WHERE number = ?",
                (self.owner.last_queue, self.owner.number),
            )
        return taken

    def _heads(self, queue: int) -> Iterator[_Head]:
        """The records of a queue from its head on, the ended and the unknown out of the way.

        Leases are written at the end, so what was given out is still at the head when the next
        page is read.
        """
        seen: set[int] = set()
        in_the_way = 0
        stamps = self.owner.stamps
        while in_the_way < _IN_THE_WAY:
            size = len(seen) - in_the_way + self.free + self.ahead + 1
            page = self.step.rows(_HEAD, (queue, size))
            if seen:
                page = [head for head in page if head[0] not in seen]
            if not page:
                return
            for head in page:
                seen.add(head[0])
                # Known task, no expiry, not revoked: nearly all.
                if (head[2] in stamps and head[7] is None and not head[8]) or self._usable(head):
                    yield head
                else:
                    in_the_way += 1

    def _usable(self, head: _Head) -> bool:
        """End a record that is revoked or expired instead of leasing it; park an unknown one."""
        seq, id, task, *_, expires, revoked, _special, queue, _wire = head
        if revoked:
            self._end(id, states.CANCELLED, finish.REVOKED_REASON)
            return False
        if expires is not None and expires <= self.step.now:
            self._end(id, states.EXPIRED, finish.EXPIRED_REASON)
            return False
        if self.owner.stamp(self.database, task) is None:
            # Off the head, visible with its reason. Nobody knows here which waiter knows the name.
            self.step.execute(_PARK, (seq,))
            self.step.summoned.add(queue)
            return False
        return True

    def _end(self, id: str, state: str, reason: str) -> None:
        row = find(self.step, id)
        if row is not None and not row.terminal:
            end(self.step, row, state, reason)

    def _fits(self, head: _Head) -> bool:
        if self.free > 0:
            self.free -= 1
            return True
        task, crashes, losses = head[2], head[5], head[6]
        if (
            self.ahead > 0
            and task in self.brief
            and not crashes
            and not losses
            and not self.owner.stamps[task] & _AT_MOST_ONCE
        ):
            self.ahead -= 1
            return True
        return False

    # -- leasing

    def _lease(self, taken: list[_Head]) -> tuple[Delivery, ...]:
        if not taken:
            return ()
        groups: dict[tuple[bool, int], list[int]] = {}
        stamps = self.owner.stamps
        for seq, id, task, _attempt, _retries, _crashes, losses, *_ in taken:
            stamp = stamps[task]
            # From the second loss on the lease counts as the start, so nothing is prefetched.
            begun = losses > 1 or stamp & _AT_MOST_ONCE != 0
            kind = (begun, stamp)
            if kind in groups:
                groups[kind].append(seq)
            else:
                groups[kind] = [seq]
            self.seqs[id] = seq
        now = self.step.now
        worker = self.step.number(self.owner.name)
        for (begun, stamp), seqs in groups.items():
            values = (
                codes.RUNNING if begun else codes.LEASED,
                self.owner.number,
                worker,
                self.nonce,
                stamp,
                now,
                now if begun else None,
                apsw.carray(array("q", seqs)),
            )
            self.step.execute(_LEASE, values)
        return deliveries(self.step, taken, self.nonce, 1)


def deliveries(
    step: Transaction, heads: Sequence[_Head], nonce: str, later: int = 0
) -> tuple[Delivery, ...]:
    """What the worker gets for leased records; *later* is added to the attempts as read."""
    long = [head[0] for head in heads if head[11] is None]
    wires: dict[int, bytes] = (
        dict(step.rows(_WIRES, (apsw.carray(array("q", long)),))) if long else {}
    )
    text = step.database.text
    return tuple(
        [
            Delivery(
                id,
                attempt + later,
                nonce,
                wires.get(seq, b"") if wire is None else wire,
                text(queue),
                retries,
                crashes,
                losses,
                _inputs(step, seq) if special & codes.LINKED else None,
            )
            for seq, id, _, attempt, retries, crashes, losses, _, _, special, queue, wire in heads
        ]
    )


def _inputs(step: Transaction, seq: int) -> bytes | None:
    found = step.one("SELECT edges FROM @edges WHERE seq = ?", (seq,))
    takes = decode_edges(found[0]).takes if found is not None else None
    if takes is None:
        return None
    body = step.one(
        "SELECT b.body FROM @record s JOIN @result b ON b.seq = s.seq "
        "WHERE s.id = ? AND length(b.body) <= ?",
        (takes, INLINE_RESULT_MAX),
    )
    return body[0] if body is not None else None


def leased_under(step: Transaction, owner: int, nonce: str, leased: bytes) -> tuple[Delivery, ...]:
    """Those of an earlier exchange's deliveries that are still held under its nonce, in their
    order then; *leased* holds their row numbers."""
    if not leased:
        return ()
    found = step.rows(
        f"SELECT {_HEAD_COLUMNS} FROM @record WHERE seq IN carray(?) AND owner = ? AND nonce = ?",
        (apsw.carray(array("q", leased)), owner, nonce),
    )
    order = {seq: position for position, seq in enumerate(array("q", leased))}
    found.sort(key=lambda head: order[head[0]])
    return deliveries(step, found, nonce) if found else ()


def unpark(step: Transaction, names: Sequence[str], limit: int) -> bool:
    """Queue up to *limit* of what is parked under *names*, oldest first, behind what is queued;
    ring. True if there may be more."""
    known = {step.database.known_number(name) for name in names}
    rows: list[tuple[Any, ...]] = []
    for queue, task in parked_names(step):
        if task in known:
            rows += step.rows(_PARKED_OLDEST, (queue, task, limit))
    rows.sort()
    more = len(rows) >= limit
    del rows[limit:]
    first = step.places(len(rows))
    step.executemany(_UNPARK, [(first + i, seq) for i, (_, seq, _) in enumerate(rows)])
    step.rung.update(queue for _, _, queue in rows)
    return more
