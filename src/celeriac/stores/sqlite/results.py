"""The results face of the SQLite store. Reads need no transaction of their own: one statement
sees one state."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

import apsw
import msgspec

from celeriac import states
from celeriac.records import StoredResult
from celeriac.stores.effects import gathered
from celeriac.stores.fates import comes_late, retention
from celeriac.stores.sqlite import codes
from celeriac.stores.sqlite.database import Database, Reading, Transaction
from celeriac.stores.sqlite.ending import shrink, tell_other
from celeriac.stores.sqlite.listener import Listener
from celeriac.stores.sqlite.rows import Row, find
from celeriac.stores.sqlite.whole import whole

_READ: Final = """
SELECT r.id, r.state, r.retries, b.body, r.reason, r.ended_at, p.state, p.meta, r.special
FROM @record r LEFT JOIN @result b ON b.seq = r.seq LEFT JOIN @progress p ON p.seq = r.seq
WHERE r.id = ?"""
_STATES: Final = "SELECT id, state FROM @record WHERE id IN carray(?)"
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(StoredResult).decode


def own_result(reading: Reading, id: str) -> StoredResult | None:
    """What *id*'s record says of its result."""
    row = reading.one(_READ, (id,))
    if row is None:
        return None
    found, state, retries, body, reason, ended_at, custom, meta, special = row
    forgotten = body is None and special & codes.FORGOTTEN != 0
    return StoredResult(
        found,
        codes.NAMES[state],
        retries,
        body,
        reason or "",
        ended_at,
        custom,
        meta,
        forgotten,
    )


def read_result(reading: Reading, id: str) -> StoredResult | None:
    """What the store knows of *id*'s result: its own record, or one mirrored here."""
    own = own_result(reading, id)
    if own is not None:
        return own
    mirrored = reading.one("SELECT result FROM @mirror WHERE id = ?", (id,))
    return _decode(mirrored[0]) if mirrored is not None else None


@whole
class SqliteResults:
    """``stores.base.Results`` in a SQLite file."""

    def __init__(self, database: Database, listener: Listener) -> None:
        self._database = database
        self._listener = listener

    def get_many(self, ids: Sequence[str]) -> list[StoredResult | None]:
        with self._database.reading() as reading:
            return [read_result(reading, id) for id in ids]

    def wait(
        self, ids: Collection[str], timeout: float | None, patient: bool = False
    ) -> dict[str, StoredResult | None]:
        wanted = tuple(dict.fromkeys(ids))
        if not wanted:
            return {}
        look = self._mirrored if patient else self._ended
        return self._listener.wait(wanted, timeout, look)

    def _mirrored(self, ids: Sequence[str]) -> dict[str, StoredResult | None]:
        """Those of *ids* that have ended."""
        return {id: each for id, each in self._ended(ids).items() if each is not None}

    def _ended(self, ids: Sequence[str]) -> dict[str, StoredResult | None]:
        """Those of *ids* that have ended or have no record; cheap where most have not ended."""
        ended: dict[str, StoredResult | None] = {}
        with self._database.reading() as reading:
            found: dict[str, int] = dict(reading.rows(_STATES, (apsw.carray(tuple(ids)),)))
            for id in ids:
                if found.get(id, codes.FIRST_TERMINAL) >= codes.FIRST_TERMINAL:
                    result = read_result(reading, id)
                    if result is None or result.state in states.TERMINAL:
                        ended[id] = result
        return ended

    def forget(self, ids: Sequence[str]) -> None:
        with self._database.write() as step:
            for id in ids:
                step.execute("DELETE FROM @mirror WHERE id = ?", (id,))
                row = find(step, id)
                if row is not None and row.terminal:
                    _forget(step, row)

    def put_many(self, results: Iterable[StoredResult]) -> None:
        with self._database.write() as step:
            kept = self._database.options.result_expires
            until = None if kept is None else step.now + kept
            for result in results:
                row = step.one("SELECT result FROM @mirror WHERE id = ?", (result.id,))
                if row is not None and comes_late(result, _decode(row[0])):
                    continue
                step.execute(
                    "INSERT OR REPLACE INTO @mirror VALUES (?, ?, ?)",
                    (result.id, _encode(result), until),
                )
                step.ended.append(result.id)

    def join_results(self, join: str) -> list[StoredResult | None]:
        with self._database.reading() as reading:
            found = reading.one("SELECT size FROM @chord WHERE id = ?", (join,))
            if found is None:
                return []
            members: dict[int, str] = dict(
                reading.rows(
                    "SELECT position, id FROM @member WHERE chord = ? AND done = 1", (join,)
                )
            )
            return [
                None if id is None else read_result(reading, id)
                for id in gathered(found[0], members)
            ]


def _forget(step: Transaction, row: Row) -> None:
    row.special |= codes.FORGET | codes.FORGOTTEN
    tell_other(step, row.id)
    unique = bool(row.special & codes.UNIQUE)
    kept = retention(codes.NAMES[row.state], False, unique, step.database.options)
    if kept is not None and row.ended_at is not None:
        row.drop_at = row.ended_at + kept
    step.execute(
        "UPDATE @record SET special = ?, drop_at = ? WHERE seq = ?",
        (row.special, row.drop_at, row.seq),
    )
    shrink(step, row)
