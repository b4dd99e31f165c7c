"""The queue face of the SQLite store: each method is one transaction, or a few bounded ones.

Part of the SQLite store. What a step does stands in ``enqueue``, ``commits``, ``lease``,
``owners``, ``ending`` and ``reap``; here is only when it begins and ends.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Sequence
from typing import Final
from zlib import crc32

import apsw

from celeriac import states
from celeriac.crashpoints import crashpoint
from celeriac.exceptions import StoreError
from celeriac.message import Message, NewJoin, check_joins
from celeriac.records import (
    Beat,
    Commit,
    Exchanged,
    Fence,
    Manifest,
    Outgoing,
    Reaped,
    RevokedStamp,
    RevokeEffect,
    Verdict,
    Want,
)
from celeriac.stores import finish
from celeriac.stores.fates import PURGED_REASON
from celeriac.stores.sqlite import codes, enqueue, owners, reap
from celeriac.stores.sqlite.commits import commit_all, note_started
from celeriac.stores.sqlite.database import Database, Transaction
from celeriac.stores.sqlite.ending import end
from celeriac.stores.sqlite.lease import (
    Owner,
    Taker,
    leased_under,
    left_behind,
    promote,
    unpark,
)
from celeriac.stores.sqlite.results import own_result
from celeriac.stores.sqlite.rows import COLUMNS, Row, find, judge
from celeriac.stores.sqlite.waiter import Waiters
from celeriac.stores.sqlite.whole import whole
from celeriac.stores.turns import Turn

#: Records one transaction touches at most where a call may concern any number of them.
BATCH: Final = 500
#: Row numbers of leased records kept in memory; beyond, the cache begins anew.
_CACHE: Final = 100_000

#: What a repeat of the exchange reads where its first run had this verdict.
_AGAIN: Final = {"o": Verdict.ALREADY, "a": Verdict.ALREADY, "f": Verdict.FENCED}


@whole
class SqliteQueue:
    """``stores.base.Queue`` in a SQLite file."""

    def __init__(self, database: Database, waiters: Waiters) -> None:
        self._database = database
        self._waiters = waiters
        self._owners = owners.Owners()
        self._reaper = reap.Reaper(database)
        self._seqs: dict[str, int] = {}

    # -- enqueue

    def enqueue(
        self,
        messages: Sequence[Message],
        join: str | None = None,
        joins: Sequence[NewJoin] = (),
    ) -> None:
        if joins:
            check_joins(messages, joins)
        alone = messages[0] if join is None and len(messages) == 1 else None
        if alone is not None and enqueue.insert_plain(self._database, alone):
            self._waiters.bells.after_enqueue(alone.header.queue)
        else:
            with self._database.write() as step:
                if join is None:
                    enqueue.insert(step, messages, joins=joins)
                else:
                    enqueue.into_join(step, join, messages, joins)
        crashpoint("enqueue.applied")

    def open_join(
        self,
        join: str,
        body: Message,
        behind: Sequence[Message] = (),
        joins: Sequence[NewJoin] = (),
    ) -> None:  # fmt: skip
        if joins:
            check_joins(behind, joins)
        with self._database.write() as step:
            enqueue.open_join(step, join, [body, *behind], joins)
        crashpoint("enqueue.applied")

    def seal(self, join: str, size: int) -> None:
        with self._database.write() as step:
            enqueue.seal(step, join, size)
        crashpoint("enqueue.applied")

    # -- owners

    def register(self, owner: str, manifest: Manifest) -> None:
        self._database.serves_worker = True
        with self._database.write() as step:
            owners.register(step, owner, manifest)
            # Within the step: a lane that leases right after it must not go by the old names and
            # park again what is unparked here.
            self._owners.forget(owner)
            more = unpark(step, tuple(manifest.tasks), BATCH)
        self._reaper.turns.begin(Turn(step.mono, step.now))
        while more:
            with self._database.write() as step:
                more = unpark(step, tuple(manifest.tasks), BATCH)

    def beat(self, owner: str, started: Sequence[Fence] = ()) -> Beat:
        with self._database.write() as step:
            note_started(step, started, self._seqs)
            number = owners.extend(step, owner)
        reaped = self._reaper.ride_along() if number is not None else None
        if reaped is None and number is not None:
            # Not before: were there a pass due and it failed, the next must still see the gap. Nor
            # by a beat for an owner that is lost, with which no pass rides.
            self._reaper.turns.had(Turn(step.mono, step.now))
        if number is None:
            answer = Beat(lost=True)
        else:
            # Read after the reaper, which may have ended leases of this owner, too.
            with self._database.reading() as reading:
                revoked = owners.revoked_of(reading, number)
                stamps = owners.last_stamp(reading)
            answer = Beat(revoked=revoked, reaped=reaped, stamps=stamps)
        crashpoint("beat.applied")
        return answer

    def leases(self, owner: str) -> list[Fence]:
        with self._database.reading() as reading:
            return owners.leases_of(reading, owner)

    def reap(self, dead: Collection[str] = ()) -> Reaped:
        return self._reaper.run(dead)

    def close_owner(self, owner: str) -> int:
        count, gone = 0, False
        while not gone:
            with self._database.write() as step:
                some, gone = owners.close_some(step, owner, BATCH)
            count += some
        self._owners.forget(owner)
        crashpoint("close.applied")
        return count

    # -- exchange

    def exchange(
        self,
        owner: str,
        lane: int,
        seq: int,
        commits: Sequence[Commit],
        started: Sequence[Fence],
        queues: Sequence[str],
        want: Want,
    ) -> Exchanged:
        crashpoint("exchange.before")
        with self._database.write() as step:
            found = self._owners.find(step, owner)
            last = None
            if found is not None:
                last = step.one(
                    "SELECT seq, digest, verdicts, leased, more FROM @lane "
                    "WHERE owner = ? AND lane = ?",
                    (found.number, lane),
                )
            if last is not None and seq < last[0]:
                raise StoreError(
                    f"exchange {seq} of lane {lane} of owner {owner} comes after {last[0]}: "
                    "a reply that is no longer kept; register a new owner"
                )
            digest = crc32("\n".join([each.fence.id for each in commits]).encode())
            if last is not None and last[:2] == (seq, digest):
                verdicts = tuple(_AGAIN[letter] for letter in last[2])
            else:
                verdicts = commit_all(step, commits, self._seqs)
            note_started(step, started, self._seqs)
            numbers = list(dict.fromkeys([step.number(queue) for queue in queues]))
            promote(step, numbers)
            if found is None:
                answer = Exchanged(verdicts, lost=True)
            elif last is not None and last[0] == seq:
                nonce = f"{owner}.{lane}.{seq}"
                held = leased_under(step, found.number, nonce, last[3])
                answer = Exchanged(verdicts, held, more=bool(last[4]))
            else:
                answer = self._lease(step, found, (lane, seq, digest), verdicts, numbers, want)
        forget = self._seqs.pop
        for commit in commits:
            forget(commit.fence.id, None)
        crashpoint("exchange.applied")
        return answer

    def _lease(
        self,
        step: Transaction,
        owner: Owner,
        place: tuple[int, int, int],
        verdicts: tuple[Verdict, ...],
        queues: list[int],
        want: Want,
    ) -> Exchanged:
        lane, seq, digest = place
        taker = Taker(step, owner, f"{owner.id}.{lane}.{seq}", want)
        taken = taker.take(queues)
        # So that the commits need no search. A wrong row number does no harm: fences decide.
        if len(self._seqs) > _CACHE:
            self._seqs.clear()
        self._seqs.update(taker.seqs)
        left = left_behind(step, queues)
        step.rung.update(left)
        step.execute(
            "INSERT OR REPLACE INTO @lane VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                owner.number,
                lane,
                seq,
                digest,
                # The first letters: "o", "a", "f". The values are strings themselves.
                "".join([each[0] for each in verdicts]),
                array("q", taker.seqs.values()).tobytes(),
                bool(left),
            ),
        )
        return Exchanged(verdicts, taken, more=bool(left))

    def release(
        self, owner: str, fences: Sequence[Fence], started: bool = False, delay: float = 0.0
    ) -> tuple[Verdict, ...]:
        with self._database.write() as step:
            verdicts = owners.release(step, fences, started, delay)
        crashpoint("release.applied")
        return verdicts

    def update(self, fence: Fence, state: str, meta: bytes | None) -> Verdict:
        with self._database.write() as step:
            verdict, row = judge(step, fence)
            if verdict is Verdict.OK and row is not None:
                step.execute(
                    "INSERT OR REPLACE INTO @progress VALUES (?, ?, ?)", (row.seq, state, meta)
                )
        return verdict

    # -- waiting

    def wait(self, queues: Sequence[str], timeout: float) -> bool:
        return self._waiters.wait(queues, timeout)

    def wake(self) -> None:
        self._waiters.wake()

    # -- revoke, purge

    def revoke(self, ids: Sequence[str], terminate: str | None = None) -> dict[str, RevokeEffect]:
        effects: dict[str, RevokeEffect] = {}
        for start in range(0, len(ids), BATCH):
            with self._database.write() as step:
                for id in ids[start : start + BATCH]:
                    effects[id] = _revoke(step, id, terminate)
            crashpoint("revoke.applied")
        return effects

    def revoke_stamps(self, stamps: Sequence[str], terminate: str | None = None) -> None:
        with self._database.write() as step:
            until = step.now + step.database.options.revoke_expires
            for stamp in stamps:
                known = step.one(
                    "DELETE FROM @revoked_stamp WHERE stamp = ? RETURNING terminate", (stamp,)
                )
                step.execute(
                    "INSERT INTO @revoked_stamp (stamp, terminate, drop_at) VALUES (?, ?, ?)",
                    (stamp, terminate or (known and known[0]), until),
                )

    def revoked_stamps(self, after: int = 0) -> list[RevokedStamp]:
        with self._database.reading() as reading:
            rows = reading.rows(
                "SELECT number, stamp, drop_at, terminate FROM @revoked_stamp "
                "WHERE number > ? AND drop_at > ? ORDER BY number",
                (after, self._database.clock.wall()),
            )
            return [RevokedStamp(*row) for row in rows]

    def purge(self, queues: Sequence[str]) -> int:
        numbers = [self._database.known_number(queue) for queue in queues]
        wanted = [each for each in numbers if each is not None]
        newest = self._database.row("SELECT max(seq) FROM @record")
        count = 0
        for number in wanted:
            after = 0
            while True:
                with self._database.write() as step:
                    rows = _pending(step, number, after, (newest and newest[0]) or 0)
                    for row in rows:
                        now = find(step, row.id)
                        if now is not None and not now.terminal:
                            end(step, now, states.CANCELLED, PURGED_REASON)
                count += len(rows)
                crashpoint("purge.applied")
                if len(rows) < BATCH:
                    break
                after = rows[-1].seq
        return count

    # -- mirroring

    def outbox(self, limit: int) -> list[Outgoing]:
        with self._database.reading() as reading:
            # The number first: what changes after it was read has a higher one by then.
            rows = reading.rows("SELECT number, id FROM @outbox ORDER BY number LIMIT ?", (limit,))
            return [Outgoing(number, id, own_result(reading, id)) for number, id in rows]

    def mirrored(self, numbers: Sequence[int]) -> None:
        with self._database.write() as step:
            step.execute(
                "DELETE FROM @outbox WHERE number IN carray(?)", (apsw.carray(array("q", numbers)),)
            )

    def outgoing(self, ids: Sequence[str]) -> set[str]:
        with self._database.reading() as reading:
            rows = reading.rows(
                "SELECT id FROM @outbox WHERE id IN carray(?)", (apsw.carray(tuple(ids)),)
            )
        return {str(id) for (id,) in rows}


def _pending(step: Transaction, queue: int, after: int, newest: int) -> list[Row]:
    rows = step.rows(
        f"SELECT {COLUMNS} FROM @record WHERE state IN (?, ?, ?) AND queue = ? AND seq > ? "
        "AND seq <= ? ORDER BY seq LIMIT ?",
        (codes.SCHEDULED, codes.QUEUED, codes.PARKED, queue, after, newest, BATCH),
    )
    return [Row(*row) for row in rows]


def _revoke(step: Transaction, id: str, terminate: str | None) -> RevokeEffect:
    row = find(step, id)
    if row is None:
        step.execute(
            "INSERT OR REPLACE INTO @tombstone VALUES (?, ?, ?)",
            (id, terminate, step.now + step.database.options.revoke_expires),
        )
        return RevokeEffect.UNKNOWN
    if row.state == codes.REVOKED:
        return RevokeEffect.REVOKED
    if row.terminal:
        return RevokeEffect.ENDED
    step.execute(
        "UPDATE @record SET terminate = ?, revoked = ? WHERE seq = ?",
        (terminate or row.terminate, row.held, row.seq),
    )
    if row.held:
        return RevokeEffect.PENDING
    end(step, row, states.CANCELLED, finish.REVOKED_REASON)
    return RevokeEffect.REVOKED
