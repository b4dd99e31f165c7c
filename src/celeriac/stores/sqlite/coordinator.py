"""Locks, limits and the schedule of the SQLite store."""

from __future__ import annotations

from collections.abc import Sequence

from celeriac.crashpoints import crashpoint
from celeriac.message import Message
from celeriac.stores.base import Entry
from celeriac.stores.sqlite import enqueue
from celeriac.stores.sqlite.database import Database
from celeriac.stores.sqlite.whole import whole


@whole
class SqliteCoordinator:
    """``stores.base.Coordinator``: places lapse by the monotonic clock, and with the boot."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def acquire(self, key: str, holder: str, limit: int, seconds: float) -> bool:
        boot = self._database.boot
        with self._database.write() as step:
            step.execute(
                "DELETE FROM @lock_place WHERE key = ? AND (boot <> ? OR until <= ?)",
                (key, boot, step.mono),
            )
            mine = step.one("SELECT 1 FROM @lock_place WHERE key = ? AND holder = ?", (key, holder))
            taken = step.one("SELECT count(*) FROM @lock_place WHERE key = ?", (key,))
            granted = mine is not None or (taken is not None and taken[0] < limit)
            if granted:
                step.execute(
                    "INSERT OR REPLACE INTO @lock_place VALUES (?, ?, ?, ?)",
                    (key, holder, boot, step.mono + seconds),
                )
        return granted

    def release(self, key: str, holder: str) -> None:
        with self._database.write() as step:
            step.execute("DELETE FROM @lock_place WHERE key = ? AND holder = ?", (key, holder))

    def take(self, key: str, amount: float, rate: float, burst: float) -> float:
        boot = self._database.boot
        with self._database.write() as step:
            found = step.one(
                "SELECT tokens, stamp FROM @bucket WHERE key = ? AND boot = ?", (key, boot)
            )
            tokens, since = found if found is not None else (burst, step.mono)
            tokens = min(burst, tokens + (step.mono - since) * rate)
            enough = tokens >= amount
            step.execute(
                "INSERT OR REPLACE INTO @bucket VALUES (?, ?, ?, ?)",
                (key, boot, step.mono, tokens - amount if enough else tokens),
            )
        if enough:
            return 0.0
        return float(amount - tokens) / rate if rate > 0 else float("inf")


@whole
class SqliteSchedules:
    """``stores.base.Schedules`` in a SQLite file."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def load(self) -> list[Entry]:
        rows = self._database.rows(
            "SELECT name, definition, last_tick, enabled FROM @entry ORDER BY name"
        )
        return [Entry(name, definition, tick, bool(on)) for name, definition, tick, on in rows]

    def save(self, entry: Entry) -> None:
        with self._database.write() as step:
            step.execute(
                "INSERT INTO @entry VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET "
                "definition = excluded.definition, enabled = excluded.enabled, "
                "last_tick = coalesce(excluded.last_tick, last_tick)",
                (entry.name, entry.definition, entry.last_tick, entry.enabled),
            )

    def remove(self, name: str) -> bool:
        with self._database.write() as step:
            return step.one("DELETE FROM @entry WHERE name = ? RETURNING 1", (name,)) is not None

    def claim(self, name: str, tick: float, messages: Sequence[Message] = ()) -> bool:
        with self._database.write() as step:
            moved = step.one(
                "UPDATE @entry SET last_tick = ? WHERE name = ? "
                "AND (last_tick IS NULL OR last_tick < ?) RETURNING 1",
                (tick, name, tick),
            )
            if moved is None:
                return False
            enqueue.insert(step, messages)
        crashpoint("enqueue.applied")
        return True
