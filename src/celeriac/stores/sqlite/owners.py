"""Workers as the store knows them: registration, heartbeat, handing back. Part of the SQLite
store; functions with a ``step`` run inside a write transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from celeriac.records import Fence, Manifest, RevokeOrder, Verdict
from celeriac.stores.fates import handed_back
from celeriac.stores.sqlite import codes
from celeriac.stores.sqlite.database import Reading, Transaction
from celeriac.stores.sqlite.ending import applied, give
from celeriac.stores.sqlite.lease import Owner, decode_manifest
from celeriac.stores.sqlite.rows import COLUMNS, Row, judge

#: In the place of an owner's boot id: a reaper has begun to take back what it held. It is lost
#: even if it beats again before the reaper is through.
GIVEN_UP: Final = "!"

_encode: Final = msgspec.msgpack.Encoder().encode
_REGISTER: Final = """
INSERT INTO @owner (id, manifest, boot, deadline, registered_at, beat_at)
VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET manifest = excluded.manifest,
    boot = excluded.boot, deadline = excluded.deadline, beat_at = excluded.beat_at"""
_LEASES: Final = (
    "SELECT id, attempt, nonce FROM @record WHERE owner = (SELECT number FROM @owner WHERE id = ?)"
)
_REVOKED: Final = "SELECT id, attempt, nonce, terminate FROM @record WHERE owner = ? AND revoked"


class Owners:
    """The owners this process has to do with; their manifests are decoded once."""

    def __init__(self) -> None:
        self._known: dict[str, Owner] = {}

    def find(self, step: Transaction, id: str) -> Owner | None:
        """The registered owner, or None."""
        found = step.one(
            f"SELECT number, last_queue FROM @owner WHERE id = ? AND boot <> '{GIVEN_UP}'", (id,)
        )
        if found is None:
            self._known.pop(id, None)
            return None
        owner = self._known.get(id)
        if owner is None or owner.number != found[0]:
            manifest = step.one("SELECT manifest FROM @owner WHERE number = ?", (found[0],))
            assert manifest is not None
            owner = self._known[id] = Owner(found[0], id, decode_manifest(manifest[0]))
        owner.last_queue = found[1]
        return owner

    def forget(self, id: str) -> None:
        """The owner registers anew or is gone."""
        self._known.pop(id, None)


def register(step: Transaction, id: str, manifest: Manifest) -> None:
    """See ``stores.base.Queue.register``."""
    database = step.database
    deadline = step.mono + database.options.lease
    step.execute(_REGISTER, (id, _encode(manifest), database.boot, deadline, step.now, step.now))


def extend(step: Transaction, id: str) -> int | None:
    """Extend the lease of an owner; its number, or None if it is not registered."""
    found = step.one(
        "UPDATE @owner SET beat_at = ?, deadline = ?, boot = ? WHERE id = ? "
        f"AND boot <> '{GIVEN_UP}' RETURNING number",
        (step.now, step.mono + step.database.options.lease, step.database.boot, id),
    )
    return int(found[0]) if found is not None else None


def revoked_of(reading: Reading, number: int) -> tuple[RevokeOrder, ...]:
    """Revokes that concern what an owner holds."""
    return tuple(
        RevokeOrder(Fence(id, attempt, nonce), terminate)
        for id, attempt, nonce, terminate in reading.rows(_REVOKED, (number,))
    )


def last_stamp(reading: Reading) -> int:
    """The highest number of a revoked stamp, 0 if there are none."""
    found = reading.one("SELECT max(number) FROM @revoked_stamp")
    return int(found[0] or 0) if found is not None else 0


def leases_of(reading: Reading, id: str) -> list[Fence]:
    """See ``stores.base.Queue.leases``."""
    return [Fence(*row) for row in reading.rows(_LEASES, (id,))]


def name_of(step: Transaction, number: int | None) -> str:
    """``worker HOST (pid N)``, for reasons."""
    found = step.one("SELECT id, manifest FROM @owner WHERE number = ?", (number,))
    if found is None:
        return f"worker {number}"
    manifest = decode_manifest(found[1])
    return f"worker {manifest.hostname or found[0]} (pid {manifest.pid})"


def held_by(step: Transaction, number: int, limit: int) -> list[Row]:
    """Some of the records an owner holds, in the order they were sent."""
    rows = step.rows(
        f"SELECT {COLUMNS} FROM @record WHERE owner = ? ORDER BY seq LIMIT ?", (number, limit)
    )
    return [Row(*row) for row in rows]


def release(
    step: Transaction, fences: Sequence[Fence], started: bool, delay: float
) -> tuple[Verdict, ...]:
    """See ``stores.base.Queue.release``."""
    verdicts = []
    for fence in fences:
        verdict, row = judge(step, fence)
        if verdict is Verdict.OK and row is not None:
            applied(step, row, fence)
            hand_back(step, row, started, delay)
        verdicts.append(verdict)
    return tuple(verdicts)


def hand_back(step: Transaction, row: Row, started: bool, delay: float) -> None:
    """Give one record back, uncharged."""
    worker = name_of(step, row.owner)
    fate = handed_back(row.charges(), started, delay, worker, now=step.now)
    if not started:
        row.attempt -= 1
        step.execute("UPDATE @record SET attempt = ? WHERE seq = ?", (row.attempt, row.seq))
    give(step, row, fate)


def close_some(step: Transaction, id: str, limit: int) -> tuple[int, bool]:
    """Hand back up to *limit* records of an owner; unregister it once it holds none.

    Returns how many, and whether it is gone.
    """
    found = step.one("SELECT number FROM @owner WHERE id = ?", (id,))
    if found is None:
        return 0, True
    number = int(found[0])
    rows = held_by(step, number, limit)
    for row in rows:
        hand_back(step, row, row.state == codes.RUNNING, 0.0)
    if len(rows) < limit:
        remove(step, number)
        return len(rows), True
    return len(rows), False


def remove(step: Transaction, number: int) -> None:
    """Unregister an owner that holds nothing any more."""
    step.execute("DELETE FROM @lane WHERE owner = ?", (number,))
    step.execute("DELETE FROM @owner WHERE number = ?", (number,))
