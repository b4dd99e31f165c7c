"""Taking the next batch: promotion, parking, and the lease itself. Part of the SQLite store; runs
inside the transaction of an exchange."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
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
    "seq, id, task, attempt, retries, crashes, losses, expires, revoked, special, queue"
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
_PARK: Final = f"UPDATE @record SET state = {codes.PARKED} WHERE seq = ?"
_UNPARK: Final = f"UPDATE @record SET state = {codes.QUEUED}, place = ? WHERE seq = ?"
_LEASE: Final = """
UPDATE @record SET state = ?, owner = ?, nonce = ?, attempt = attempt + 1, stamp = ?,
    leased_at = ?, started_at = ? WHERE seq IN carray(?)"""
_WIRES: Final = "SELECT seq, wire FROM @message WHERE seq IN carray(?)"
_LEFT: Final = f"SELECT 1 FROM @record WHERE state = {codes.QUEUED} AND queue = ? LIMIT 1"
decode_manifest: Final = msgspec.msgpack.Decoder(Manifest).decode


class Owner:
    """A registered owner as an exchange needs it."""

    __slots__ = ("brief", "id", "last_queue", "manifest", "number", "stamps", "wanted")

    def __init__(self, number: int, id: str, manifest: Manifest) -> None:
        self.number = number
        self.id = id
        self.manifest = manifest
        #: Task number → stamp, of the tasks it knows and somebody has sent.
        self.stamps: dict[int, Stamp] = {}
        self.last_queue = ""
        self.wanted: frozenset[str] | None = None
        self.brief: frozenset[int] = frozenset()

    def stamp(self, database: Database, task: int) -> Stamp | None:
        """What is written at lease for a task, None if the owner does not know it."""
        stamp = self.stamps.get(task)
        if stamp is None:
            facts = self.manifest.tasks.get(database.text(task))
            if facts is None:
                return None
            stamp = self.stamps[task] = facts.stamp
        return stamp

    def may_go_ahead(self, database: Database, names: frozenset[str]) -> frozenset[int]:
        """``Want.brief`` as task numbers; the same set comes again and again."""
        if self.wanted != names:
            numbers = (database.known_number(name) for name in names)
            self.brief = frozenset(each for each in numbers if each is not None)
            # A name not sent so far may get a number later: do not remember the set then.
            self.wanted = names if len(self.brief) == len(names) else None
        return self.brief


class _Head:
    """A record at the head of its queue, as far as leasing needs it."""

    __slots__ = (
        "attempt",
        "crashes",
        "expires",
        "id",
        "losses",
        "queue",
        "retries",
        "revoked",
        "seq",
        "special",
        "stamp",
        "task",
    )

    def __init__(self, row: tuple[Any, ...]) -> None:
        (
            self.seq,
            self.id,
            self.task,
            self.attempt,
            self.retries,
            self.crashes,
            self.losses,
            self.expires,
            self.revoked,
            self.special,
            self.queue,
        ) = row[:11]
        self.stamp = Stamp.NONE


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
        #: Row numbers of what was leased, by id.
        self.seqs: dict[str, int] = {}
        self.brief = owner.may_go_ahead(step.database, want.brief) if want.ahead else frozenset()

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
        found.sort(key=lambda row: (-row[11], row[12]))
        return [head for head in map(_Head, found) if self.usable(head) and self._fits(head)]

    def _round_robin(self, queues: Sequence[int]) -> list[_Head]:
        order = list(queues)
        if len(order) == 1:
            return self._from_one(_Line(self, order[0]))
        last = self.database.numbers.get(self.owner.last_queue)
        if last in order:
            behind = order.index(last) + 1
            order = order[behind:] + order[:behind]
        taken: list[_Head] = []
        lines = [_Line(self, queue) for queue in order]
        while lines:
            line = lines.pop(0)
            head = line.next()
            if head is None or not self._fits(head):
                continue
            taken.append(head)
            self.owner.last_queue = self.database.text(line.queue)
            lines.append(line)
        if taken:
            self.step.execute(
                "UPDATE @owner SET last_queue = ? WHERE number = ?",
                (self.owner.last_queue, self.owner.number),
            )
        return taken

    def _from_one(self, line: _Line) -> list[_Head]:
        taken: list[_Head] = []
        while (head := line.next()) is not None and self._fits(head):
            taken.append(head)
        return taken

    def usable(self, head: _Head) -> bool:
        """End a record that is revoked or expired instead of leasing it; find its stamp."""
        if head.revoked:
            self._end(head, states.CANCELLED, finish.REVOKED_REASON)
            return False
        if head.expires is not None and head.expires <= self.step.now:
            self._end(head, states.EXPIRED, finish.EXPIRED_REASON)
            return False
        stamp = self.owner.stamp(self.database, head.task)
        if stamp is None:
            # Off the head, visible with its reason. Nobody knows here which waiter knows the name.
            self.step.execute(_PARK, (head.seq,))
            self.step.summoned.add(head.queue)
            return False
        head.stamp = stamp
        return True

    def _end(self, head: _Head, state: str, reason: str) -> None:
        row = find(self.step, head.id)
        if row is not None and not row.terminal:
            end(self.step, row, state, reason)

    def _fits(self, head: _Head) -> bool:
        if self.free > 0:
            self.free -= 1
            return True
        if (
            self.ahead > 0
            and head.task in self.brief
            and not head.crashes
            and not head.losses
            and not head.stamp & Stamp.AT_MOST_ONCE
        ):
            self.ahead -= 1
            return True
        return False

    # -- leasing

    def _lease(self, taken: list[_Head]) -> tuple[Delivery, ...]:
        if not taken:
            return ()
        groups: dict[tuple[bool, Stamp], list[int]] = {}
        for head in taken:
            # From the second loss on the lease counts as the start, so nothing is prefetched.
            begun = bool(head.stamp & Stamp.AT_MOST_ONCE) or head.losses > 1
            groups.setdefault((begun, head.stamp), []).append(head.seq)
        now = self.step.now
        for (begun, stamp), seqs in groups.items():
            state = codes.RUNNING if begun else codes.LEASED
            self.step.execute(
                _LEASE,
                (
                    state,
                    self.owner.number,
                    self.nonce,
                    int(stamp),
                    now,
                    now if begun else None,
                    apsw.carray(array("q", seqs)),
                ),
            )
        for head in taken:
            head.attempt += 1
            self.seqs[head.id] = head.seq
        return deliveries(self.step, taken, self.nonce)


class _Line:
    """One queue, read from its head in pages as long as something was in the way."""

    def __init__(self, taker: Taker, queue: int) -> None:
        self.taker = taker
        self.queue = queue
        self.page: list[tuple[Any, ...]] = []
        self.given: set[int] = set()
        self.budget = _IN_THE_WAY
        self.ended = False

    def next(self) -> _Head | None:
        """The next record this owner may have, the ended and the unknown out of the way."""
        while self.budget > 0:
            if not self.page and not self._read():
                return None
            head = _Head(self.page.pop())
            if head.seq in self.given:
                continue
            self.given.add(head.seq)
            if self.taker.usable(head):
                return head
            self.budget -= 1
        return None

    def _read(self) -> bool:
        """Read a page. What was given out is still at the head: leases are written at the end."""
        if self.ended:
            return False
        size = len(self.given) + self.taker.free + self.taker.ahead + 1
        self.page = self.taker.step.rows(_HEAD, (self.queue, size))
        self.page = [row for row in self.page if row[0] not in self.given]
        self.ended = not self.page
        self.page.reverse()
        return not self.ended


def deliveries(step: Transaction, heads: Sequence[_Head], nonce: str) -> tuple[Delivery, ...]:
    """What the worker gets for leased records."""
    seqs = array("q", (head.seq for head in heads))
    wires: dict[Any, Any] = dict(step.rows(_WIRES, (apsw.carray(seqs),)))
    text = step.database.text
    return tuple(
        Delivery(
            head.id,
            head.attempt,
            nonce,
            wires.get(head.seq, b""),
            text(head.queue),
            head.retries,
            head.crashes,
            head.losses,
            _inputs(step, head.seq) if head.special & codes.LINKED else None,
        )
        for head in heads
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


def leased_under(step: Transaction, owner: int, nonce: str) -> tuple[Delivery, ...]:
    """The deliveries of an earlier exchange that are still held under its nonce."""
    rows = step.rows(
        f"SELECT {_HEAD_COLUMNS} FROM @record WHERE owner = ? AND nonce = ? ORDER BY seq",
        (owner, nonce),
    )
    return deliveries(step, [_Head(row) for row in rows], nonce) if rows else ()


def unpark(step: Transaction, names: Sequence[str]) -> None:
    """Queue what is parked under *names* again, behind what is queued; ring."""
    known = {step.database.known_number(name) for name in names}
    for queue, task in parked_names(step):
        if task not in known:
            continue
        rows = step.rows(
            f"SELECT seq FROM @record WHERE state = {codes.PARKED} AND queue = ? AND task = ? "
            "ORDER BY priority DESC, place",
            (queue, task),
        )
        first = step.places(len(rows))
        step.executemany(_UNPARK, [(first + i, row[0]) for i, row in enumerate(rows)])
        step.rung.add(queue)
