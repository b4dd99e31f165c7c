"""Ends of records and what follows from them: executes the effects that ``stores.finish`` decides.

Part of the SQLite store. Runs inside a write transaction of somebody else. Plain records, which
are nearly all, are ended in ``commits.py`` by one statement and do not come here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from celeriac import states
from celeriac.message import ADDED
from celeriac.records import Fence
from celeriac.stores import finish
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
    Pending,
    Release,
    Reopen,
    Size,
)
from celeriac.stores.fates import Fate, mirrored, retention
from celeriac.stores.sqlite import codes
from celeriac.stores.sqlite.database import Transaction
from celeriac.stores.sqlite.rows import Row, edges_of, find, header_of, put_wire

_SETTLED: Final = (codes.SUCCEEDED, codes.IGNORED)

_END: Final = """
UPDATE @record SET state = ?, owner = NULL, nonce = NULL, due = NULL, ended_at = ?, drop_at = ?,
    reason = ?, cause = ? WHERE seq = ?"""
_ADDED: Final = "INSERT OR REPLACE INTO @member VALUES (?, ?, '', 2)"
_TELL: Final = "INSERT OR REPLACE INTO @outbox (id) VALUES (?)"
_APPLIED: Final = "UPDATE @record SET done_nonce = ?, done_attempt = ? WHERE seq = ?"
_GIVE: Final = """
UPDATE @record SET state = ?, owner = NULL, nonce = NULL, due = ?, place = ?, reason = ?,
    retries = ?, crashes = ?, losses = ?, attempt = ?, started_at = NULL WHERE seq = ?"""
_PLACE: Final = "UPDATE @record SET state = ?, due = ? WHERE seq = ?"
_REOPEN: Final = f"""
UPDATE @record SET state = ?, due = ?, place = ?, generation = generation + 1, retries = 0,
    crashes = 0, losses = 0, reason = NULL, cause = NULL, revoked = 0, terminate = NULL,
    started_at = NULL, leased_at = NULL, ended_at = NULL, drop_at = NULL, expires = ?,
    special = special & ~{codes.FORGET | codes.FORGOTTEN} WHERE seq = ?"""


class View:
    """What ``finish`` sees of the store."""

    def __init__(self, step: Transaction) -> None:
        self.step = step

    def record(self, id: str) -> Node | None:
        row = find(self.step, id)
        if row is None:
            return None
        header = header_of(self.step, row.seq)
        return Node(
            row.id,
            codes.NAMES[row.state],
            edges_of(self.step, row),
            header.eta if header is not None else None,
            row.expires,
            bool(row.revoked),
            row.cause or "",
        )

    def join(self, id: str) -> JoinNode | None:
        found = self.step.one(
            "SELECT id, body, size, count, failures, decided, cause, grown FROM @chord "
            "WHERE id = ?",
            (id,),
        )
        return JoinNode(*found) if found is not None else None

    def member(self, join: str, index: int) -> str:
        found = self.step.one(
            "SELECT done FROM @member WHERE chord = ? AND position = ?", (join, index)
        )
        if found is None:
            return ""
        return ("failed", "done", "added")[found[0]]

    def outsiders(self, join: str, after: int, most: int) -> Sequence[tuple[int, str]]:
        found = self.step.rows(
            "SELECT number, id FROM @outsider WHERE chord = ? AND number > ? "
            "ORDER BY number LIMIT ?",
            (join, after, most),
        )
        return [(number, id) for number, id in found]


# --- ending -----------------------------------------------------------------------------------


def end(step: Transaction, row: Row, state: str, reason: str) -> None:
    """End *row* in the terminal *state*, and whatever follows from that."""
    if not row.special & codes.LINKED:
        _end(step, row, End(row.id, state, reason))
        return
    apply(step, finish.finish(View(step), row.id, state, reason, now=step.now))


def resume(step: Transaction, pending: Iterable[Pending]) -> None:
    """Work off a part of what an earlier step left (``reap`` does this)."""
    apply(step, finish.resume(View(step), pending, now=step.now))


def apply(step: Transaction, effects: Effects) -> None:
    """Execute effects in their order; keep the remainder for ``reap``."""
    for effect in effects.effects:
        _apply(step, effect)
    for rest in effects.remainder:
        step.leftover = True
        step.execute(
            "INSERT INTO @pending VALUES (?, ?, ?, ?, ?) ON CONFLICT (id, how) DO UPDATE SET "
            "position = excluded.position",
            (rest.id, int(rest.how), rest.state, rest.cause, rest.offset),
        )


def _apply(step: Transaction, effect: Effect) -> None:
    match effect:
        case End():
            _end(step, _must(step, effect.id), effect)
        case Release():
            row = _must(step, effect.id)
            if effect.expires is not None:
                row.expires = effect.expires
                step.execute("UPDATE @record SET expires = ? WHERE seq = ?", (row.expires, row.seq))
            place(step, row, effect.due)
        case Reopen():
            _reopen(step, _must(step, effect.id), effect)
        case Member():
            _count(step, effect.join, effect.done, 1)
            step.execute(
                "INSERT OR REPLACE INTO @member VALUES (?, ?, ?, ?)",
                (effect.join, effect.index, effect.id, int(effect.done)),
            )
        case Forget():
            _count(step, effect.join, effect.done, -1)
            if effect.index >= ADDED:
                step.execute(_ADDED, (effect.join, effect.index))
            else:
                step.execute(
                    "DELETE FROM @member WHERE chord = ? AND position = ?",
                    (effect.join, effect.index),
                )
        case Decide():
            step.execute(
                "UPDATE @chord SET decided = ?, cause = ?, touched = ?, boot = ? WHERE id = ?",
                (effect.decided, effect.cause, step.mono, step.database.boot, effect.join),
            )
        case Size():
            step.execute("UPDATE @chord SET size = ? WHERE id = ?", (effect.size, effect.join))
            step.execute("DELETE FROM @outsider WHERE chord = ?", (effect.join,))
        case Grow():
            step.execute("UPDATE @chord SET grown = grown + 1 WHERE id = ?", (effect.join,))
            step.execute(_ADDED, (effect.join, effect.index))


def _must(step: Transaction, id: str) -> Row:
    row = find(step, id)
    assert row is not None, f"finish named the absent record {id}"
    return row


def _count(step: Transaction, join: str, done: bool, by: int) -> None:
    column = "count" if done else "failures"
    step.execute(f"UPDATE @chord SET {column} = {column} + ? WHERE id = ?", (by, join))


def _end(step: Transaction, row: Row, effect: End) -> None:
    unique = bool(row.special & codes.UNIQUE)
    kept = retention(effect.state, row.keep, unique, step.database.options)
    drop_at = step.now + kept if kept is not None else None
    state = codes.CODES[effect.state]
    step.execute(_END, (state, step.now, drop_at, effect.reason, effect.cause, row.seq))
    row.state = state
    step.ended.append(row.id)
    if mirrored(effect.state, row.keep):
        tell_other(step, row.id)
    shrink(step, row)
    if row.special & codes.LINKED:
        _shrink_sources(step, row)


def tell_other(step: Transaction, *ids: str) -> None:
    """Put *ids* into the outbox if there is another store of results, under new numbers."""
    if step.database.options.mirror:
        step.executemany(_TELL, [(id,) for id in ids])


def applied(step: Transaction, row: Row, fence: Fence) -> None:
    """Keep *fence* as the last one that wrote, so that its resend reads ALREADY."""
    step.execute(_APPLIED, (fence.nonce, fence.attempt, row.seq))


# --- living on --------------------------------------------------------------------------------


def give(step: Transaction, row: Row, fate: Fate, attempt: int | None = None) -> None:
    """Write what becomes of a record that leaves a worker's hands. *attempt* is set if the
    attempt is given back."""
    if fate.state in states.TERMINAL:
        step.execute(
            "UPDATE @record SET retries = ?, crashes = ?, losses = ? WHERE seq = ?",
            (fate.retries, fate.crashes, fate.losses, row.seq),
        )
        end(step, row, fate.state, fate.reason)
        return
    step.execute("DELETE FROM @progress WHERE seq = ?", (row.seq,))
    state = codes.CODES[fate.state]
    due = fate.due if fate.due is not None and fate.due > step.now else None
    if state == codes.SCHEDULED and due is None:
        state = codes.QUEUED
    row.place = step.places(1) if fate.renew else row.place
    row.state = state
    step.execute(
        _GIVE,
        (
            state,
            due,
            row.place,
            fate.reason,
            fate.retries,
            fate.crashes,
            fate.losses,
            row.attempt if attempt is None else attempt,
            row.seq,
        ),
    )
    if state != codes.WAITING:
        step.rung.add(row.queue)


def place(step: Transaction, row: Row, due: float | None) -> None:
    """Queue a waiting record, or schedule it if *due* is ahead; ring."""
    state = codes.SCHEDULED if due is not None and due > step.now else codes.QUEUED
    row.state = state
    step.execute(_PLACE, (state, due if state == codes.SCHEDULED else None, row.seq))
    step.rung.add(row.queue)


def _reopen(step: Transaction, row: Row, effect: Reopen) -> None:
    due = effect.due if effect.due is not None and effect.due > step.now else None
    state = codes.CODES[effect.state]
    if state == codes.SCHEDULED and due is None:
        state = codes.QUEUED
    expires = row.expires
    if expires is not None and (effect.lasts_anew or expires <= step.now):
        expires = None
    step.execute(_REOPEN, (state, due, step.places(1), expires, row.seq))
    tell_other(step, row.id)
    step.execute("DELETE FROM @result WHERE seq = ?", (row.seq,))
    step.execute("DELETE FROM @progress WHERE seq = ?", (row.seq,))
    if state != codes.WAITING:
        step.rung.add(row.queue)


# --- references: a result somebody still needs is not dropped ----------------------------------


def referred(step: Transaction, row: Row) -> bool:
    """Whether an unfinished or retryable part of a workflow needs this record."""
    if not row.special & codes.LINKED:
        return False
    needed = step.one(
        "SELECT 1 FROM @refers f JOIN @record r ON r.seq = f.seq "
        "WHERE f.target = ? AND r.state NOT IN (?, ?) LIMIT 1",
        (row.id, *_SETTLED),
    )
    if needed is not None:
        return True
    edges = edges_of(step, row)
    if edges is None or edges.join is None:
        return False
    body = step.one(
        "SELECT 1 FROM @chord c JOIN @record r ON r.id = c.body "
        "WHERE c.id = ? AND r.state NOT IN (?, ?)",
        (edges.join[0], *_SETTLED),
    )
    return body is not None


def shrink(step: Transaction, row: Row) -> None:
    """Drop message and result of an ended record that nobody keeps or needs."""
    aside = row.state in (codes.FAILED, codes.DEAD)
    if row.keep or aside or not row.terminal or referred(step, row):
        return
    put_wire(step, row.seq, None)
    step.execute("DELETE FROM @result WHERE seq = ?", (row.seq,))
    step.execute("UPDATE @progress SET meta = NULL WHERE seq = ?", (row.seq,))


def _shrink_sources(step: Transaction, row: Row) -> None:
    """After *row* has ended: what only it needed may go."""
    edges = edges_of(step, row)
    if edges is None:
        return
    sources = [*edges.failure, *edges.own]
    if edges.takes is not None:
        sources.append(edges.takes)
    if edges.gathers is not None:
        sources += [
            str(each[0])
            for each in step.rows(
                "SELECT id FROM @member WHERE chord = ? AND done = 1", (edges.gathers,)
            )
        ]
    for id in sources:
        source = find(step, id)
        if source is not None:
            shrink(step, source)


def drop(step: Transaction, row: Row) -> None:
    """Remove a record, and the join whose body it is, for good."""
    if row.special & codes.LINKED:
        drop_joins(step, row.id)
        step.execute("DELETE FROM @refers WHERE seq = ?", (row.seq,))
    step.used(row.seq)
    if step.database.options.mirror:
        step.execute("DELETE FROM @outbox WHERE id = ?", (row.id,))
    for table in ("record", "message", "result", "edges", "progress", "flow"):
        step.execute(f"DELETE FROM @{table} WHERE seq = ?", (row.seq,))


def drop_joins(step: Transaction, body: str, but: str | None = None) -> None:
    """Remove the joins whose body *body* is, *but* this one."""
    for (join,) in step.rows("SELECT id FROM @chord WHERE body = ?", (body,)):
        if join != but:
            for table, column in (("member", "chord"), ("outsider", "chord"), ("chord", "id")):
                step.execute(f"DELETE FROM @{table} WHERE {column} = ?", (join,))
