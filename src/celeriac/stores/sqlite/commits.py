"""Outcomes of runs: judged by their fences, written, and followed. Part of the SQLite store.

Nearly all commits are of one kind: a record without edges ended, its result is small. Those of one
exchange are written by a few statements over arrays of row numbers. Everything else goes one by
one.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Final

import apsw

from celeriac import states
from celeriac.exceptions import DecodeError, DuplicateTask, StoreError
from celeriac.message import Message, check_joins, decode
from celeriac.outcome import Outcome
from celeriac.records import Commit, Fence, Verdict
from celeriac.stores.fates import repeated, retention
from celeriac.stores.sqlite import codes
from celeriac.stores.sqlite.database import Transaction
from celeriac.stores.sqlite.ending import applied, drop_joins, end, give, tell_other
from celeriac.stores.sqlite.enqueue import NOTE_FLOW, insert, refer
from celeriac.stores.sqlite.rows import Row, find, judge, put_wire

#: Where plain records end; the second one drops what nobody keeps.
_END_KEPT, _END_SHRUNK = (
    f"""
UPDATE @record SET state = ?, owner = NULL, nonce = NULL, done_nonce = nonce,
    done_attempt = attempt, ended_at = ?, drop_at = ?, reason = ?, cause = '', special = ?{more}
WHERE seq IN carray(?) AND nonce = ? AND attempt = ? AND special = 0
    AND state IN ({codes.LEASED}, {codes.RUNNING})
RETURNING seq"""
    for more in ("", ", wire = NULL")
)
_START: Final = f"""
UPDATE @record SET state = {codes.RUNNING}, started_at = ?
WHERE seq IN carray(?) AND nonce = ? AND attempt = ? AND state = {codes.LEASED}"""
_SEQS: Final = "SELECT id, seq FROM @record WHERE id IN carray(?)"
_CHARGE: Final = "UPDATE @record SET retries = ?, crashes = ? WHERE seq = ?"
_RESULT: Final = "INSERT OR REPLACE INTO @result VALUES (?, ?)"


#: What the commits of one statement have in common: nonce, attempt, state, reason, keep.
_Kind = tuple[str, int, str, str, bool]


def commit_all(
    step: Transaction, commits: Sequence[Commit], known: dict[str, int]
) -> tuple[Verdict, ...]:
    """Write *commits*; *known* may hold row numbers of ids this process leased."""
    verdicts = [Verdict.FENCED] * len(commits)
    groups: dict[_Kind, list[int]] = {}
    singles: list[int] = []
    limit = step.database.options.result_max
    for index, commit in enumerate(commits):
        fence, outcome = commit.fence, commit.outcome
        body = outcome.body
        if (
            outcome.state in states.TERMINAL
            and not outcome.parts
            and not outcome.joins
            and not outcome.charge
            and (body is None or len(body) <= limit)
        ):
            kind = (fence.nonce, fence.attempt, outcome.state, outcome.reason, outcome.keep)
            if kind in groups:
                groups[kind].append(index)
            else:
                groups[kind] = [index]
        else:
            singles.append(index)
    if groups:
        seqs = row_numbers(step, [each.fence.id for each in commits], known)
        for kind, indexes in groups.items():
            singles += _end_plain(step, kind, commits, indexes, seqs, verdicts)
    singles.sort()
    for index in singles:
        verdicts[index] = commit_one(step, commits[index])
    return tuple(verdicts)


def row_numbers(step: Transaction, ids: Sequence[str], known: dict[str, int]) -> dict[str, int]:
    """Row numbers of *ids*, as far as there are such records."""
    missing = tuple(id for id in ids if id not in known)
    if not missing:
        return known
    return {**known, **dict(step.rows(_SEQS, (apsw.carray(missing),)))}


def _end_plain(
    step: Transaction,
    kind: _Kind,
    commits: Sequence[Commit],
    indexes: list[int],
    seqs: dict[str, int],
    verdicts: list[Verdict],
) -> list[int]:
    """End plain records of one kind; return the indexes of those that need a closer look."""
    by_seq: dict[int, int] = {}
    for i in indexes:
        seq = seqs.get(commits[i].fence.id)
        if seq is not None:
            by_seq.setdefault(seq, i)
    if not by_seq:
        return indexes
    nonce, attempt, state, reason, keep = kind
    kept = retention(state, keep, False, step.database.options)
    drop_at = step.now + kept if kept is not None else None
    kept_whole = keep or state in (states.FAILED, states.DEAD)
    done = step.rows(
        _END_KEPT if kept_whole else _END_SHRUNK,
        (
            codes.CODES[state],
            step.now,
            drop_at,
            reason,
            0 if keep else codes.FORGET,
            apsw.carray(array("q", by_seq)),
            nonce,
            attempt,
        ),
    )
    ok = Verdict.OK
    stored: list[tuple[int, bytes]] = []
    ended = step.ended
    for (seq,) in done:
        index = by_seq[seq]
        verdicts[index] = ok
        commit = commits[index]
        ended.append(commit.fence.id)
        body = commit.outcome.body
        if body is not None:
            stored.append((seq, body))
    if kept_whole:
        if stored:
            step.executemany(_RESULT, stored)
    elif done:
        numbers = array("q", [seq for (seq,) in done])
        step.execute("DELETE FROM @message WHERE seq IN carray(?)", (apsw.carray(numbers),))
        step.execute(
            "UPDATE @progress SET meta = NULL WHERE seq IN carray(?)", (apsw.carray(numbers),)
        )
    if kept_whole and step.database.options.mirror:
        tell_other(step, *[commits[by_seq[seq]].fence.id for (seq,) in done])
    if len(done) == len(indexes):
        return []
    return [i for i in indexes if verdicts[i] is not ok]


# --- one by one -------------------------------------------------------------------------------


def commit_one(step: Transaction, commit: Commit) -> Verdict:
    """Write one outcome of whatever kind."""
    verdict, row = judge(step, commit.fence)
    if verdict is not Verdict.OK or row is None:
        return verdict
    outcome, message, parts = _accepted(step, commit.outcome)
    applied(step, row, commit.fence)
    if outcome.terminal:
        insert(step, parts, joins=outcome.joins, committed=row.id)
        # A part may refer to this record: look again at its bits.
        row = find(step, row.id) or row
        _finish(step, row, outcome)
        return verdict
    fate = repeated(row.charges(), outcome, now=step.now)
    if fate.state in states.TERMINAL:
        give(step, row, fate)
        return verdict
    if message is not None:
        row = take_message(step, row, message)
    # One that waits must do so before what it waits for is stored, which may end at once.
    give(step, row, fate)
    insert(step, parts, joins=outcome.joins, committed=row.id)
    return verdict


def _finish(step: Transaction, row: Row, outcome: Outcome) -> None:
    if not outcome.keep:
        row.special |= codes.FORGET
        step.execute("UPDATE @record SET special = ? WHERE seq = ?", (row.special, row.seq))
    if outcome.body is not None:
        step.execute(_RESULT, (row.seq, outcome.body))
    if outcome.charge:  # the crash that made it dead counts, too
        counted = (
            row.retries + (outcome.charge == "retry"),
            row.crashes + (outcome.charge == "crash"),
        )
        step.execute(_CHARGE, (*counted, row.seq))
    end(step, row, outcome.state, outcome.reason)


def take_message(step: Transaction, row: Row, message: Message) -> Row:
    """Let a newly signed message take the place of the present one.

    The send nonce stays: a late resend of the first enqueue must still be known as one. So do
    edges and workflow if the new message names none.
    """
    header = message.header
    row.task, row.queue = step.number(header.task), step.number(header.queue)
    row.priority, row.expires = header.priority, header.expires
    if header.edges is not None:
        if row.special & codes.LINKED:
            step.execute("DELETE FROM @refers WHERE seq = ?", (row.seq,))
            drop_joins(step, row.id, but=header.edges.gathers)
        row.special |= codes.LINKED
        refer(step, row.seq, header.edges)
    if header.flow:
        step.execute(NOTE_FLOW, (row.seq, header.flow))
    step.execute(
        "UPDATE @record SET task = ?, queue = ?, priority = ?, expires = ?, special = ? "
        "WHERE seq = ?",
        (row.task, row.queue, row.priority, row.expires, row.special, row.seq),
    )
    put_wire(step, row.seq, message.encode())
    return row


def _accepted(step: Transaction, outcome: Outcome) -> tuple[Outcome, Message | None, list[Message]]:
    """The outcome, or the failure it becomes if its content cannot be stored."""
    size = len(outcome.body or b"")
    limit = step.database.options.result_max
    if size > limit:
        reason = f"ResultTooLarge: the result takes {size} bytes and {limit} are allowed"
        return Outcome(states.FAILED, reason=reason), None, []
    try:
        message = decode(outcome.message) if outcome.message is not None else None
        parts = [decode(part) for part in outcome.parts]
        if outcome.joins:
            check_joins([*parts, *([message] if message is not None else [])], outcome.joins)
        _check_new(step, parts)
    except (DecodeError, DuplicateTask, StoreError) as error:
        return Outcome(states.FAILED, reason=f"{type(error).__name__}: {error}"), None, []
    return outcome, message, parts


def _check_new(step: Transaction, parts: Sequence[Message]) -> None:
    """Raise :class:`DuplicateTask` before anything is written: one bad commit must not undo the
    others of its exchange."""
    nonces: dict[str, str] = {}
    for part in parts:
        nonce = part.header.nonce
        row = find(step, part.id)
        living = row is not None and not row.terminal and row.send_nonce != nonce
        if living or nonces.setdefault(part.id, nonce) != nonce:
            raise DuplicateTask(part.id)


# --- starts -----------------------------------------------------------------------------------


def note_started(step: Transaction, fences: Sequence[Fence], known: dict[str, int]) -> None:
    """Note that these deliveries' bodies have begun."""
    if not fences:
        return
    seqs = row_numbers(step, [each.id for each in fences], known)
    groups: dict[tuple[str, int], list[int]] = {}
    for fence in fences:
        if fence.id in seqs:
            groups.setdefault((fence.nonce, fence.attempt), []).append(seqs[fence.id])
    for (nonce, attempt), numbers in groups.items():
        array_of = apsw.carray(array("q", numbers))
        step.execute(_START, (step.now, array_of, nonce, attempt))
