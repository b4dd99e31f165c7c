"""Storing messages as records, joins included. Part of the SQLite store; each function runs inside
a write transaction, but for ``insert_plain``, which is one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import apsw

from celeriac import states
from celeriac.exceptions import DuplicateTask, HeaderIncomplete, StoreError
from celeriac.message import Alike, Edges, Message, NewJoin, encode_all
from celeriac.stores import finish
from celeriac.stores.effects import JoinNode, outsiders
from celeriac.stores.sqlite import codes, schema
from celeriac.stores.sqlite.database import Database, Transaction
from celeriac.stores.sqlite.ending import View, apply, drop, end, tell_other
from celeriac.stores.sqlite.rows import WIRE_INLINE_MAX, encode_edges, find

_INSERT: Final = """
INSERT INTO @record (seq, state, special, id, task, queue, priority, place, send_nonce,
    enqueued_at, due, expires, wire) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO NOTHING"""
#: The same for a plain message that is due, one of many alike: what goes into every row is bound
#: again for each, so that less of it is half a microsecond less.
_INSERT_ALIKE: Final = f"""
INSERT INTO @record (seq, state, special, id, task, queue, priority, place, send_nonce,
    enqueued_at, wire)
VALUES (?1, {codes.QUEUED}, 0, ?2, ?3, ?4, ?5, ?1, ?6, ?7, ?8) ON CONFLICT (id) DO NOTHING"""
#: One plain message in one statement, which is a transaction by itself. Nothing is stored (there is
#: no place, which must not be NULL) where the general way has more to look at: the id was seen
#: before, was revoked before it came, a record refers to it, or another version has migrated the
#: file. The number is worked out twice, as INSERT … SELECT would put the row into a temporary table
#: first.
_INSERT_PLAIN: Final = f"""
INSERT OR IGNORE INTO @record (seq, state, special, id, task, queue, priority, place, send_nonce,
    enqueued_at, expires, wire)
VALUES ((SELECT max(last, (SELECT coalesce(max(seq), 0) FROM @record)) + 1 FROM @counter),
    {codes.QUEUED}, ?1, ?2, ?3, ?4, ?5,
    (SELECT max(last, (SELECT coalesce(max(seq), 0) FROM @record)) + 1 FROM @counter
        WHERE NOT EXISTS (SELECT 1 FROM @refers WHERE target = ?2)
            AND NOT EXISTS (SELECT 1 FROM @tombstone WHERE id = ?2)
            AND (SELECT user_version FROM pragma_user_version) = {schema.VERSION}),
    ?6, ?7, ?8, ?9)"""
#: Which workflow a record is a part of.
NOTE_FLOW: Final = "INSERT OR REPLACE INTO @flow VALUES (?, ?)"
#: Where the message stands in a row of ``_INSERT``; None there: it is long.
_WIRE: Final = 12
_MESSAGE: Final = "INSERT INTO @message VALUES (?, ?)"
#: The first free number (schema.sql says why it is only read); whether any record refers to
#: another; whether any id was revoked before it came.
_BEFORE: Final = """
SELECT max(last, (SELECT coalesce(max(seq), 0) FROM @record)) + 1,
    EXISTS (SELECT 1 FROM @refers), EXISTS (SELECT 1 FROM @tombstone)
FROM @counter WHERE one = 1"""


def insert_plain(database: Database, message: Message) -> bool:
    """Store one message that is due and part of no workflow, durably, as a step of its own.

    False, with nothing stored, if it must go the general way (:func:`insert`): most calls are of
    this kind, and a caller waits for each, so they are spared all that others need.
    """
    header = message.header
    task, queue = database.numbers.get(header.task), database.numbers.get(header.queue)
    if task is None or queue is None or header.eta is not None:
        return False
    if header.edges is not None or header.flow:
        return False
    wire = message.encode()
    if len(wire) > WIRE_INLINE_MAX:
        return False
    special = codes.UNIQUE if header.nonce == header.id else 0
    return database.write_one(
        _INSERT_PLAIN,
        (
            special,
            header.id,
            task,
            queue,
            header.priority,
            header.nonce,
            database.clock.wall(),
            header.expires,
            wire,
        ),
    )


def insert(
    step: Transaction,
    messages: Sequence[Message],
    waits: bool = False,
    joins: Sequence[NewJoin] = (),
    committed: str | None = None,
) -> Sequence[Message]:
    """Store *messages*; *waits* stores all of them ``waiting``. Returns those that are new. Of
    *joins*, whose bodies are among them, those are stored whose body is new.

    *committed*: the id of the record whose commit brings them; joins may grow by them, and it may
    be a body itself.

    The fast way takes it that all ids are new, which the unique index proves or disproves.
    """
    if not messages and not joins:
        return []
    before = step.one(_BEFORE)
    assert before is not None
    first, referring, tombstones = before
    if (
        isinstance(messages, Alike)
        and not (waits or referring or tombstones)
        and _insert_alike(step, messages, first)
    ):
        _note_flows(step, range(first, first + len(messages)), messages)
        return messages
    rows = _rows(step, messages, first, waits)
    changes = step.connection.total_changes()
    step.executemany(_INSERT, rows)
    new: Sequence[Message] = messages
    if step.connection.total_changes() - changes != len(rows):
        new, rows = _with_known_ids(step, messages, rows)
    if any(row[_WIRE] is None for row in rows):
        step.executemany(
            _MESSAGE,
            [
                (row[0], message.encode())
                for row, message in zip(rows, new, strict=True)
                if row[_WIRE] is None
            ],
        )
    step.rung.update({row[5] for row in rows if row[1] != codes.WAITING})
    if referring or any(row[2] & codes.LINKED for row in rows):
        _refer(step, new, rows, bool(referring))
    if any(message.header.flow for message in new):
        _note_flows(step, (row[0] for row in rows), new)
    made = _store_joins(step, {committed, *(each.id for each in new)}, joins) if joins else []
    if committed is not None:
        apply(step, finish.grow(View(step), (each.header.edges for each in new)))
    # What ends or completes as it is stored must find all that it leads to.
    if tombstones and new:
        _meet_tombstones(step, new)
    for each in made:
        if not each.size:
            apply(step, finish.seal(View(step), each.id, 0, now=step.now))
    return new


def _insert_alike(step: Transaction, messages: Alike, first: int) -> bool:
    """Store *messages* if they are all new and short, due, and part of no workflow.

    False, with nothing stored, if they must go the general way.
    """
    header = messages.header
    if header.eta is not None or header.expires is not None or header.edges is not None:
        return False
    wires = messages.encode()
    if max(map(len, wires)) > WIRE_INLINE_MAX:
        return False
    task, queue, priority, now = (
        step.number(header.task), step.number(header.queue), header.priority, step.now,
    )  # fmt: skip
    changes = step.connection.total_changes()
    step.executemany(
        _INSERT_ALIKE,
        [
            (seq, id, task, queue, priority, nonce, now, wire)
            for seq, ((id, nonce), wire) in enumerate(
                zip(messages.calls, wires, strict=True), first
            )
        ],
    )
    if step.connection.total_changes() - changes != len(wires):  # some id is known: a resend
        step.execute("DELETE FROM @record WHERE seq >= ?", (first,))
        return False
    step.rung.add(queue)
    return True


def _rows(
    step: Transaction, messages: Sequence[Message], first: int, waits: bool
) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    now = step.now
    names = {each.header.task for each in messages} | {each.header.queue for each in messages}
    numbers = {name: step.number(name) for name in names}
    for seq, (message, wire) in enumerate(zip(messages, encode_all(messages), strict=True), first):
        header = message.header
        eta, edges = header.eta, header.edges
        special = 0 if edges is None else codes.LINKED
        if header.nonce == header.id:
            special |= codes.UNIQUE
        state, due = codes.QUEUED, None
        if waits or (edges is not None and edges.waits):
            state = codes.WAITING
        elif eta is not None and eta > now:
            state, due = codes.SCHEDULED, eta
        rows.append(
            (
                seq,
                state,
                special,
                header.id,
                numbers[header.task],
                numbers[header.queue],
                header.priority,
                seq,
                header.nonce,
                now,
                due,
                header.expires,
                wire if len(wire) <= WIRE_INLINE_MAX else None,
            )
        )
    return rows


def _with_known_ids(
    step: Transaction, messages: Sequence[Message], rows: list[tuple[Any, ...]]
) -> tuple[list[Message], list[tuple[Any, ...]]]:
    """Some ids were stored before: leave resends out, begin a new run of what has ended."""
    new: list[tuple[Message, tuple[Any, ...]]] = []
    for message, row in zip(messages, rows, strict=True):
        known = find(step, message.id)
        assert known is not None
        if known.seq == row[0]:
            new.append((message, row))
        elif known.send_nonce != message.header.nonce:
            if not known.terminal or known.seq >= rows[0][0]:
                raise DuplicateTask(message.id)
            drop(step, known)
            step.executemany(_INSERT, [row])
            step.execute(
                "UPDATE @record SET generation = ?, attempt = ? WHERE seq = ?",
                (known.generation + 1, known.attempt, row[0]),
            )
            tell_other(step, message.id)
            new.append((message, row))
    return [message for message, _ in new], [row for _, row in new]


def refer(step: Transaction, seq: int, edges: Edges) -> bool:
    """Let *edges* be those of a record, in place of its former ones. Whether it refers to any."""
    step.execute("INSERT OR REPLACE INTO @edges VALUES (?, ?)", (seq, encode_edges(edges)))
    targets = [*edges.failure, *edges.own, *([edges.takes] if edges.takes is not None else [])]
    for target in targets:
        step.execute("INSERT INTO @refers VALUES (?, ?) ON CONFLICT DO NOTHING", (target, seq))
        step.execute(
            f"UPDATE @record SET special = special | {codes.LINKED} WHERE id = ?", (target,)
        )
    return bool(targets)


def _note_flows(step: Transaction, seqs: Iterable[int], messages: Sequence[Message]) -> None:
    """Note which workflows *messages* are parts of."""
    if isinstance(messages, Alike):
        rows = [(seq, messages.header.flow) for seq in seqs] if messages.header.flow else []
    else:
        rows = [
            (seq, message.header.flow)
            for seq, message in zip(seqs, messages, strict=True)
            if message.header.flow
        ]
    step.executemany(NOTE_FLOW, rows)


def _refer(
    step: Transaction, messages: Sequence[Message], rows: list[tuple[Any, ...]], referring: bool
) -> None:
    """Keep edges, and note which records others refer to, on both sides, whichever came first.

    *referring*: some stored record refers to another.
    """
    for message, row in zip(messages, rows, strict=True):
        edges = message.header.edges
        if edges is None:
            continue
        referring |= refer(step, row[0], edges)
    if rows and referring:
        step.execute(
            f"UPDATE @record SET special = special | {codes.LINKED} WHERE seq >= ? AND seq <= ? "
            "AND id IN (SELECT target FROM @refers)",
            (rows[0][0], rows[-1][0]),
        )


def _meet_tombstones(step: Transaction, messages: Sequence[Message]) -> None:
    """End at once what was revoked before it came."""
    ids = apsw.carray(tuple(message.id for message in messages))
    found = step.rows(
        "DELETE FROM @tombstone WHERE id IN carray(?) RETURNING id, terminate, drop_at", (ids,)
    )
    revoked = {id: terminate for id, terminate, drop_at in found if drop_at > step.now}
    for message in messages:
        row = find(step, message.id) if message.id in revoked else None
        if row is None:
            continue
        step.execute("UPDATE @record SET terminate = ? WHERE seq = ?", (revoked[row.id], row.seq))
        if not row.terminal:
            end(step, row, states.CANCELLED, finish.REVOKED_REASON)


# --- joins ------------------------------------------------------------------------------------


def _store_joins(
    step: Transaction, fresh: set[str | None], joins: Sequence[NewJoin]
) -> list[NewJoin]:
    """Store those of *joins* whose body is one of *fresh* ids; return them."""
    made = [each for each in joins if each.body in fresh]
    for table in ("member", "outsider"):
        step.executemany(f"DELETE FROM @{table} WHERE chord = ?", [(each.id,) for each in made])
    step.executemany(
        "INSERT OR REPLACE INTO @chord (id, body, size, touched, boot) VALUES (?, ?, ?, ?, ?)",
        [(each.id, each.body, each.size or None, step.mono, step.database.boot) for each in made],
    )
    return made


def into_join(
    step: Transaction, join: str, messages: Sequence[Message], joins: Sequence[NewJoin]
) -> None:
    """Store members of an open join; its time until it must be sealed begins anew.

    Raises :class:`HeaderIncomplete` if it was given up, ``StoreError`` if it is not known.
    """
    sealed = _check_open(step, join).size is not None
    new = insert(step, messages, joins=joins)
    fresh = {each.id for each in new}
    waiting = [(join, id) for id in outsiders(messages, joins) if id in fresh]
    if waiting and not sealed:
        step.executemany("INSERT INTO @outsider (chord, id) VALUES (?, ?)", waiting)
    step.execute(
        "UPDATE @chord SET touched = ?, boot = ?, sent = sent + ? WHERE id = ?",
        (step.mono, step.database.boot, len(new), join),
    )


def open_join(
    step: Transaction, join: str, messages: Sequence[Message], joins: Sequence[NewJoin]
) -> None:
    """Store a join, its body, which is the first of *messages*, and what waits for the body."""
    new, body = insert(step, messages, waits=True, joins=joins), messages[0]
    known = View(step).join(join)
    if known is not None and body not in new:
        return
    if known is not None:
        for table in ("member", "outsider"):
            step.execute(f"DELETE FROM @{table} WHERE chord = ?", (join,))
    step.execute(
        "INSERT OR REPLACE INTO @chord (id, body, touched, boot) VALUES (?, ?, ?, ?)",
        (join, body.id, step.mono, step.database.boot),
    )
    step.execute(f"UPDATE @record SET special = special | {codes.LINKED} WHERE id = ?", (body.id,))


def seal(step: Transaction, join: str, size: int) -> None:
    """Tell a join its size. See ``stores.base.Queue.seal``."""
    _check_open(step, join)
    apply(step, finish.seal(View(step), join, size, now=step.now))


def _check_open(step: Transaction, join: str) -> JoinNode:
    found = View(step).join(join)
    if found is None:
        raise StoreError(f"join {join} is not known: open it before its members are sent")
    if found.given_up:
        row = step.one("SELECT sent FROM @chord WHERE id = ?", (join,))
        raise HeaderIncomplete(join, int(row[0]) if row is not None else None)
    return found
