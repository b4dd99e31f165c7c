"""The inspection face of the SQLite store: what command line, dashboard and metrics read."""

from __future__ import annotations

import builtins
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import apsw

from celeriac import states as store_states
from celeriac.crashpoints import crashpoint
from celeriac.message import Message
from celeriac.records import Counts, JoinView, Record, WorkerView
from celeriac.stores import finish
from celeriac.stores.base import Trap
from celeriac.stores.effects import Reopen
from celeriac.stores.fates import DISCARDED_REASON
from celeriac.stores.sqlite import codes, schema
from celeriac.stores.sqlite.commits import take_message
from celeriac.stores.sqlite.database import Database, Reading, Transaction
from celeriac.stores.sqlite.ending import View, apply, drop, end
from celeriac.stores.sqlite.lease import decode_manifest
from celeriac.stores.sqlite.owners import GIVEN_UP
from celeriac.stores.sqlite.reap import COUNT_ASIDE
from celeriac.stores.sqlite.rows import Row, find, wire_of
from celeriac.stores.sqlite.whole import whole

_BARE: Final = ", ".join(f"r.{each}" for each in Row.__struct_fields__)
_SELECT: Final = f"""
SELECT {_BARE}, t.text, q.text, o.id, p.state, p.meta, w.text FROM @record r
JOIN @name t ON t.number = r.task JOIN @name q ON q.number = r.queue
LEFT JOIN @name w ON w.number = r.worker
LEFT JOIN @owner o ON o.number = r.owner LEFT JOIN @progress p ON p.seq = r.seq"""
_WHOLE: Final = f"""
SELECT s.*, coalesce(w.wire, m.wire), b.body FROM ({_SELECT} WHERE r.id = ?) s
JOIN @record w ON w.seq = s.seq
LEFT JOIN @message m ON m.seq = s.seq LEFT JOIN @result b ON b.seq = s.seq"""

_PARTS: Final = f"""
SELECT {_BARE}, t.text, q.text, o.id, p.state, p.meta, w.text, coalesce(r.wire, m.wire)
FROM @flow f JOIN @record r ON r.seq = f.seq
JOIN @name t ON t.number = r.task JOIN @name q ON q.number = r.queue
LEFT JOIN @name w ON w.number = r.worker
LEFT JOIN @owner o ON o.number = r.owner LEFT JOIN @progress p ON p.seq = r.seq
LEFT JOIN @message m ON m.seq = r.seq
WHERE f.flow = ? AND f.seq > ? ORDER BY f.seq LIMIT ?"""


def durability(options_durability: str) -> str:
    """One line for banner and ``doctor``."""
    if options_durability == "relaxed":
        return (
            "each commit survives kill -9; the last ones may be lost if the machine loses power "
            "(WAL, synchronous NORMAL)"
        )
    return "each commit survives kill -9 and loss of power (WAL, synchronous FULL)"


@whole
class SqliteInspection:
    """``stores.base.Inspection`` in a SQLite file."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # -- reading

    def counts(self, queues: Sequence[str] | None = None) -> Counts:
        numbers: dict[str, dict[str, int]] = {}
        parked: dict[str, dict[str, int]] = {}
        with self._database.reading() as reading:
            by_state = reading.rows(
                "SELECT queue, state, count(*) FROM @record GROUP BY queue, state"
            )
            by_task = reading.rows(
                f"SELECT queue, task, count(*) FROM @record WHERE state = {codes.PARKED} "
                "GROUP BY queue, task"
            )
            outbox = _count(reading, "outbox") if self._database.options.mirror else 0
        text = self._database.text
        for queue, code, number in by_state:
            if queues is None or text(queue) in queues:
                state = codes.NAMES[code]
                of_queue = numbers.setdefault(text(queue), {})
                of_queue[state] = of_queue.get(state, 0) + number
        for queue, task, number in by_task:
            if queues is None or text(queue) in queues:
                parked.setdefault(text(queue), {})[text(task)] = number
        return Counts(numbers, parked, outbox)

    def list(
        self,
        states: Collection[str] = (),
        queue: str | None = None,
        task: str | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> builtins.list[Record]:
        conditions, values = [], builtins.list[Any]()
        if states:
            wanted = [code for code, name in enumerate(codes.NAMES) if name in states]
            conditions.append(f"r.state IN ({', '.join(map(str, wanted))})")
        for column, name in (("queue", queue), ("task", task)):
            if name is not None:
                number = self._database.known_number(name)
                if number is None:
                    return []
                # The + keeps SQLite from an index that would make it sort everything.
                conditions.append(f"+r.{column} = ?")
                values.append(number)
        if after is not None:
            conditions.append(
                "r.seq < coalesce((SELECT seq FROM @record WHERE id = ?), 9223372036854775807)"
            )
            values.append(after)
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        rows = self._database.rows(
            f"{_SELECT}{where} ORDER BY r.seq DESC LIMIT ?", [*values, limit]
        )
        return [_record(row, None, None) for row in rows]

    def get(self, ids: Sequence[str]) -> builtins.list[Record | None]:
        found: builtins.list[Record | None] = []
        with self._database.reading() as reading:
            for id in ids:
                row = reading.one(_WHOLE, (id,))
                found.append(_record(row, row[-2], row[-1]) if row is not None else None)
        return found

    def join(self, join: str) -> JoinView | None:
        with self._database.reading() as reading:
            row = reading.one(
                "SELECT id, body, size + grown, decided, cause FROM @chord WHERE id = ?", (join,)
            )
            if row is None:
                return None
            members = reading.rows(
                "SELECT position FROM @member WHERE chord = ? AND done = 1 ORDER BY position",
                (join,),
            )
        id, body, size, decided, cause = row
        return JoinView(id, body, size, tuple(each for (each,) in members), decided, cause)

    def flow(self, id: str, after: str | None = None, limit: int = 1000) -> builtins.list[Record]:
        last = 0
        if after is not None:
            found = self._database.row("SELECT seq FROM @record WHERE id = ?", (after,))
            last = int(found[0]) if found is not None else 0
        rows = self._database.rows(_PARTS, (id, last, limit))
        return [_record(row[:-1], row[-1], None) for row in rows]

    def workers(self) -> builtins.list[WorkerView]:
        now = self._database.clock.monotonic()
        rows = self._database.rows(
            "SELECT o.id, o.manifest, o.registered_at, o.beat_at, o.boot, o.deadline, "
            "(SELECT count(*) FROM @record r WHERE r.owner = o.number) "
            "FROM @owner o WHERE o.boot <> ? ORDER BY o.number",
            (GIVEN_UP,),
        )
        return [
            WorkerView(
                id,
                decode_manifest(manifest),
                registered_at,
                beat_at,
                boot == self._database.boot and deadline >= now,
                held,
            )
            for id, manifest, registered_at, beat_at, boot, deadline, held in rows
        ]

    def traps(self) -> builtins.list[Trap]:
        return []

    def facts(self) -> dict[str, object]:
        database = self._database
        limit = database.options.dead_limit
        with database.reading() as reading:
            pragma = reading.connection.pragma
            sizes = {name: pragma(name) for name in ("page_size", "page_count", "freelist_count")}
            mode, version = pragma("journal_mode"), schema.version_of(reading.connection)
            numbers = {table: _count(reading, table) for table in ("record", "chord", "owner")}
            aside = {
                codes.NAMES[code]: reading.rows(COUNT_ASIDE, (code,))[0][0]
                for code in (codes.FAILED, codes.DEAD)
            }
        return {
            "store": "sqlite",
            "place": str(database.path),
            "durability": durability(database.options.durability),
            "sqlite version": apsw.sqlite_lib_version(),
            "journal mode": mode,
            "schema version": version,
            "namespace": database.options.keyprefix + database.options.namespace,
            "file bytes": _size(database.path),
            "wal bytes": _size(Path(f"{database.path}-wal")),
            "page size": sizes["page_size"],
            "pages": sizes["page_count"],
            "free pages": sizes["freelist_count"],
            "records": numbers["record"],
            "joins": numbers["chord"],
            "workers": numbers["owner"],
            "limits reached": sorted(state for state, held in aside.items() if held >= limit),
        }

    # -- acting

    def retry(
        self, ids: Sequence[str], messages: Mapping[str, Message] | None = None
    ) -> builtins.list[str]:
        self._work_off()
        reopened: dict[str, None] = {}
        with self._database.write() as step:
            for id in ids:
                if id not in reopened:
                    reopened |= dict.fromkeys(_retry(step, id, messages or {}))
        crashpoint("retry.applied")
        return [*reopened]

    def discard(self, ids: Sequence[str]) -> builtins.list[str]:
        self._work_off()
        removed = []
        with self._database.write() as step:
            for id in ids:
                row = find(step, id)
                if row is None or row.held:
                    continue
                if not row.terminal:
                    end(step, row, store_states.CANCELLED, DISCARDED_REASON)
                drop(step, row)
                removed.append(id)
        crashpoint("discard.applied")
        return removed

    def _work_off(self) -> None:
        """What a large step left, if a crash came between: nothing of it may live again or go."""
        if self._database.work_off is not None:
            self._database.work_off()


def _retry(step: Transaction, id: str, messages: Mapping[str, Message]) -> list[str]:
    effects = finish.reopen(View(step), id, now=step.now)
    order = [each.id for each in effects.effects if isinstance(each, Reopen)]
    found = set(order)
    for each in found - messages.keys():
        # A record that was shrunk has no message left to run.
        row = find(step, each)
        if row is None or wire_of(step, row.seq) is None:
            return []
    for each in found & messages.keys():
        row = find(step, each)
        assert row is not None
        take_message(step, row, messages[each])
    apply(step, effects)
    return order


def _record(row: tuple[Any, ...], wire: bytes | None, body: bytes | None) -> Record:
    width = len(Row.__struct_fields__)
    kept = Row(*row[:width])
    task, queue, owner, custom, meta, worker = row[width : width + 6]
    return Record(
        id=kept.id,
        state=codes.NAMES[kept.state],
        task=task,
        queue=queue,
        priority=kept.priority,
        wire=wire,
        enqueued_at=kept.enqueued_at,
        due=kept.due,
        expires=kept.expires,
        attempt=kept.attempt,
        retries=kept.retries,
        crashes=kept.crashes,
        losses=kept.losses,
        generation=kept.generation,
        owner=owner,
        worker=worker,
        nonce=kept.nonce,
        leased_at=kept.leased_at,
        started_at=kept.started_at,
        ended_at=kept.ended_at,
        parked=kept.state == codes.PARKED,
        revoked=bool(kept.revoked),
        terminate=kept.terminate,
        stamp=kept.stamp,
        reason=kept.reason or "",
        cause=kept.cause or "",
        body=body,
        custom_state=custom,
        meta=meta,
        drop_at=kept.drop_at,
    )


def _count(reading: Reading, what: str) -> int:
    row = reading.one(f"SELECT count(*) FROM @{what}")
    return int(row[0]) if row is not None else 0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
