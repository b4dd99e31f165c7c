"""The reaper: lost owners, expiry, unsealed joins, what large steps left, and retention.

Part of the SQLite store. A pass is many small transactions, so that nobody who enqueues waits long
for the write lock; each can be repeated.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Collection
from typing import Final

import apsw

from celeriac import states
from celeriac.clock import SYSTEM
from celeriac.crashpoints import crashpoint
from celeriac.records import Reaped
from celeriac.stores import finish
from celeriac.stores.effects import How, Pending
from celeriac.stores.fates import lost
from celeriac.stores.sqlite import codes
from celeriac.stores.sqlite.database import Database, Transaction
from celeriac.stores.sqlite.ending import View, apply, drop, end, give, referred, resume
from celeriac.stores.sqlite.lease import decode_manifest, parked_names, promote
from celeriac.stores.sqlite.owners import GIVEN_UP, held_by, name_of, remove
from celeriac.stores.sqlite.rows import COLUMNS, Row, find
from celeriac.stores.turns import Turn, Turns

#: Records one transaction touches.
BATCH: Final = 500
#: Seconds a pass spends on retention at most; the next pass goes on. It rides in a heartbeat.
_SWEEP_TIME: Final = 0.5
#: Token buckets untouched for this many seconds are removed.
_BUCKET_KEPT: Final = 7 * 86_400.0

_EXPIRED: Final = f"""
SELECT {COLUMNS} FROM @record WHERE expires IS NOT NULL AND state < 6 AND expires <= ?
    AND state IN ({codes.WAITING}, {codes.SCHEDULED}, {codes.QUEUED}, {codes.PARKED})
ORDER BY expires LIMIT {BATCH}"""
_DROPPED: Final = f"""
SELECT {COLUMNS} FROM @record WHERE drop_at <= ? ORDER BY drop_at LIMIT {BATCH}"""
# Both conditions: SQLite takes the partial index only if it sees the index's own condition.
COUNT_ASIDE: Final = "SELECT count(*) FROM @record WHERE state = ? AND state IN (7, 12)"
_OLDEST_ASIDE: Final = f"""
SELECT {COLUMNS} FROM @record WHERE state = ? AND state IN (7, 12)
ORDER BY ended_at, seq LIMIT ?"""
_SENT_NO_MORE: Final = """
DELETE FROM @outbox WHERE id IN (SELECT id FROM @record WHERE seq IN carray(?))"""
_NEXT_QUEUE: Final = f"SELECT min(queue) FROM @record WHERE state = {codes.QUEUED} AND queue > ?"
_OPEN: Final = """
SELECT id, sent FROM @chord WHERE size IS NULL AND (decided = '' OR cause <> '') AND touched < ?
ORDER BY touched LIMIT 100"""


class Reaper:
    """The passes of one process."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.turns = Turns()
        database.work_off = self.work_off

    def ride_along(self) -> Reaped | None:
        """A pass if none has been made in this store for ``reap_interval``; else None."""
        found = self.database.row("SELECT boot, mono FROM @pass")
        if found is not None and found[0] == self.database.boot:
            since = self.database.clock.monotonic() - found[1]
            if 0 <= since < self.database.options.reap_interval:
                return None
        return self.run()

    def run(self, dead: Collection[str] = ()) -> Reaped:
        """One pass. See ``stores.base.Queue.reap``."""
        self.work_off()
        with self.database.write() as step:
            grace = self._begin(step)
            gone = _give_up(step, dead)
            workers = tuple(name_of(step, number) for number, _ in gone)
        self.turns.had(Turn(step.mono, step.now))
        ended: Counter[str] = Counter()
        for number, _ in gone:
            while self._lose_some(number, ended):
                crashpoint("reap.applied")
        expired = self._expire()
        self._promote()
        joins = self._give_up_joins()
        swept = 0 if grace else self._sweep()
        with self.database.write() as step:
            _ring(step)
        crashpoint("reap.applied")
        return Reaped(
            owners=tuple(id for _, id in gone),
            requeued=ended[states.QUEUED] + ended[states.SCHEDULED],
            failed=ended[states.FAILED],
            dead=ended[states.DEAD],
            expired=expired + ended[states.EXPIRED],
            swept=swept,
            joins=joins,
            workers=workers,
        )

    # -- owners

    def _begin(self, step: Transaction) -> bool:
        """Note the pass. True if time is not to be trusted: everybody's lease was extended."""
        options, boot = self.database.options, self.database.boot
        before = step.one("SELECT boot, mono FROM @pass")
        step.execute("INSERT OR REPLACE INTO @pass VALUES (1, ?, ?)", (boot, step.mono))
        passed = before[1] if before is not None and before[0] == boot else None
        grace = self.turns.stood_still(Turn(step.mono, step.now), passed, options.lease)
        # Grace: a new lease for all. Else only what a clock that stepped has put too far ahead.
        beyond = step.mono + options.lease
        step.execute(
            "UPDATE @owner SET deadline = ? WHERE boot = ? AND (? OR deadline > ?)",
            (beyond, boot, grace, beyond),
        )
        return grace

    def _lose_some(self, number: int, ended: Counter[str]) -> bool:
        """Take back a batch of what a lost owner held; False once it holds nothing."""
        with self.database.write() as step:
            rows = held_by(step, number, BATCH)
            worker = name_of(step, number)
            for row in rows:
                fate = lost(row.charges(), worker, now=step.now, options=self.database.options)
                ended[fate.state] += 1
                give(step, row, fate)
            if len(rows) < BATCH:
                remove(step, number)
        return len(rows) == BATCH

    # -- what falls due

    def _expire(self) -> int:
        count = 0
        while True:
            with self.database.write() as step:
                rows = step.rows(_EXPIRED, (step.now,))
                for each in rows:
                    # One of the rows before it may have ended this one.
                    row = find(step, Row(*each).id)
                    if row is not None and not row.terminal:
                        end(step, row, states.EXPIRED, finish.EXPIRED_REASON)
                        count += 1
            if len(rows) < BATCH:
                return count
            crashpoint("reap.applied")

    def _promote(self) -> None:
        more = True
        while more:
            with self.database.write() as step:
                more = promote(step)

    def _give_up_joins(self) -> int:
        """Fail joins that were neither sealed nor touched for too long."""
        count = 0
        limit = self.database.options.join_seal_timeout
        while True:
            with self.database.write() as step:
                # After a reboot the old readings mean nothing: the time begins anew.
                step.execute(
                    "UPDATE @chord SET touched = ?, boot = ? WHERE boot <> ? AND size IS NULL",
                    (step.mono, self.database.boot, self.database.boot),
                )
                stale = step.rows(_OPEN, (step.mono - limit,))
                for id, sent in stale:
                    apply(step, finish.abandon(View(step), id, sent, now=step.now))
            count += len(stale)
            if stale:
                crashpoint("reap.applied")
            if len(stale) < 100:
                return count

    def work_off(self) -> None:
        """Follow the edges that large steps left, a bounded number in each transaction."""
        if self.database.row("SELECT 1 FROM @pending LIMIT 1") is None:
            return
        left = True
        while left:
            crashpoint("sweep.before")
            with self.database.write() as step:
                found = step.one("SELECT id, how, state, cause, position FROM @pending LIMIT 1")
                if found is None:
                    return
                step.execute("DELETE FROM @pending WHERE id = ? AND how = ?", found[:2])
                id, how, state, cause, offset = found
                resume(step, [Pending(id, state, cause, How(how), offset)])
                # This loop goes on itself; the commit must not call it again.
                step.leftover = False

    # -- retention

    def _sweep(self) -> int:
        """Remove what has been kept long enough, and the oldest above the limits."""
        until = SYSTEM.monotonic() + _SWEEP_TIME
        swept, more = 0, True
        while more and SYSTEM.monotonic() < until:
            with self.database.write() as step:
                dropped, more = _sweep_due(step)
            swept += dropped
            if more:
                crashpoint("reap.applied")
        for state in (codes.FAILED, codes.DEAD):
            more = True
            while more and SYSTEM.monotonic() < until:
                with self.database.write() as step:
                    dropped, more = _sweep_above_limit(step, state)
                swept += dropped
        more = True
        while more and SYSTEM.monotonic() < until:
            with self.database.write() as step:
                more = _sweep_mirrored(step)
        with self.database.write() as step:
            _sweep_small(step)
        return swept


def _give_up(step: Transaction, dead: Collection[str]) -> list[tuple[int, str]]:
    """Mark the owners that are lost; (number, id) of each."""
    boot = step.database.boot
    gone = [
        (number, id)
        for number, id, its_boot, deadline in step.rows(
            "SELECT number, id, boot, deadline FROM @owner ORDER BY number"
        )
        if its_boot != boot or deadline < step.mono or id in dead
    ]
    step.executemany(
        "UPDATE @owner SET boot = ? WHERE number = ?", [(GIVEN_UP, number) for number, _ in gone]
    )
    return gone


def _ring(step: Transaction) -> None:
    """Ring queues with due work, and workers that know the name of what is parked."""
    found = step.one(_NEXT_QUEUE, (-1,))
    while found is not None and found[0] is not None:
        step.rung.add(int(found[0]))
        found = step.one(_NEXT_QUEUE, found)
    parked = parked_names(step)
    if not parked:
        return
    manifests = [decode_manifest(each[0]) for each in step.rows("SELECT manifest FROM @owner")]
    for queue, task in parked:
        name = step.database.text(task)
        if any(name in manifest.tasks for manifest in manifests):
            step.summoned.add(queue)


def _sweep_due(step: Transaction) -> tuple[int, bool]:
    found = step.rows(_DROPPED, (step.now,))
    rows = [Row(*each) for each in found]
    plain = [row.seq for row in rows if not row.special & codes.LINKED]
    _drop_plain(step, plain)
    dropped = len(plain)
    for row in rows:
        if not row.special & codes.LINKED:
            continue
        if referred(step, row):
            later = step.now + step.database.options.lease
            step.execute("UPDATE @record SET drop_at = ? WHERE seq = ?", (later, row.seq))
        else:
            drop(step, row)
            dropped += 1
    return dropped, len(rows) == BATCH


def _drop_plain(step: Transaction, seqs: list[int]) -> None:
    if seqs:
        step.used(max(seqs))
        numbers = array("q", seqs)
        if step.database.options.mirror:
            step.execute(_SENT_NO_MORE, (apsw.carray(numbers),))
        for table in ("record", "message", "result", "progress", "flow"):
            step.execute(f"DELETE FROM @{table} WHERE seq IN carray(?)", (apsw.carray(numbers),))


def _sweep_above_limit(step: Transaction, state: int) -> tuple[int, bool]:
    counted = step.one(COUNT_ASIDE, (state,))
    excess = (int(counted[0]) if counted is not None else 0) - step.database.options.dead_limit
    if excess <= 0:
        return 0, False
    rows = step.rows(_OLDEST_ASIDE, (state, min(excess, BATCH)))
    for each in rows:
        drop(step, Row(*each))
    return len(rows), excess > BATCH


def _sweep_mirrored(step: Transaction) -> bool:
    """Results of another store's records; whether there may be more."""
    step.execute(
        "DELETE FROM @mirror WHERE id IN (SELECT id FROM @mirror WHERE drop_at <= ? "
        f"ORDER BY drop_at LIMIT {BATCH})",
        (step.now,),
    )
    return step.connection.changes() == BATCH


def _sweep_small(step: Transaction) -> None:
    """Tombstones, revoked stamps, lapsed places and old buckets: a bounded number of each."""
    boot = step.database.boot
    for table, key, condition, value in (
        ("tombstone", "id", "drop_at <= ?", (step.now,)),
        ("revoked_stamp", "number", "drop_at <= ?", (step.now,)),
        ("lock_place", "key, holder", "(boot <> ? OR until <= ?)", (boot, step.mono)),
        ("bucket", "key", "(boot <> ? OR stamp <= ?)", (boot, step.mono - _BUCKET_KEPT)),
    ):
        step.execute(
            f"DELETE FROM @{table} WHERE ({key}) IN "
            f"(SELECT {key} FROM @{table} WHERE {condition} LIMIT {BATCH})",
            value,
        )
