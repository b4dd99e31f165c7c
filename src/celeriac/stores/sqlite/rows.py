"""One record as read from its row, and the reads that several steps share. Part of the SQLite
store."""

from __future__ import annotations

from typing import Final

import msgspec

from celeriac.exceptions import DecodeError
from celeriac.message import Edges, Header, decode
from celeriac.records import Fence, Verdict
from celeriac.stores.fates import Held
from celeriac.stores.sqlite import codes
from celeriac.stores.sqlite.database import Transaction


class Row(msgspec.Struct):
    """A record's row, its columns in the order of :data:`COLUMNS`."""

    seq: int
    state: int
    owner: int | None
    nonce: str | None
    attempt: int
    done_nonce: str | None
    done_attempt: int | None
    special: int
    id: str
    task: int
    queue: int
    priority: int
    place: int
    send_nonce: str
    enqueued_at: float
    stamp: int
    leased_at: float | None
    started_at: float | None
    ended_at: float | None
    drop_at: float | None
    reason: str | None
    due: float | None
    expires: float | None
    retries: int
    crashes: int
    losses: int
    generation: int
    revoked: int
    terminate: str | None
    cause: str | None
    worker: int | None

    @property
    def held(self) -> bool:
        return self.state in (codes.LEASED, codes.RUNNING)

    @property
    def terminal(self) -> bool:
        return self.state >= codes.FIRST_TERMINAL

    @property
    def keep(self) -> bool:
        return not self.special & codes.FORGET

    def owned_by(self, fence: Fence) -> bool:
        """Whether *fence* is the lease the record is under now."""
        return self.held and self.nonce == fence.nonce and self.attempt == fence.attempt

    def has_applied(self, fence: Fence) -> bool:
        """Whether *fence* is the last one that wrote to the record."""
        return self.done_nonce == fence.nonce and self.done_attempt == fence.attempt

    def charges(self) -> Held:
        """What ``fates`` decides on."""
        return Held(
            bool(self.revoked), self.stamp, self.retries, self.crashes, self.losses, self.expires
        )


encode_edges: Final = msgspec.msgpack.Encoder().encode
decode_edges: Final = msgspec.msgpack.Decoder(Edges).decode

COLUMNS: Final = ", ".join(Row.__struct_fields__)
_BY_ID: Final = f"SELECT {COLUMNS} FROM @record WHERE id = ?"
_WIRE: Final = """
SELECT coalesce(r.wire, m.wire) FROM @record r LEFT JOIN @message m ON m.seq = r.seq
WHERE r.seq = ?"""
#: Longer messages have a table of their own: each change of a record rewrites its whole row.
WIRE_INLINE_MAX: Final = 1000


def find(step: Transaction, id: str) -> Row | None:
    """The record *id*, or None."""
    found = step.one(_BY_ID, (id,))
    return Row(*found) if found is not None else None


def header_of(step: Transaction, seq: int) -> Header | None:
    """The message's header; None once the message is dropped, and if it cannot be read: whoever
    it is handed to says so, and what is done here must not fail because of it."""
    wire = wire_of(step, seq)
    if wire is None:
        return None
    try:
        return decode(wire).header
    except DecodeError:
        return None


def wire_of(step: Transaction, seq: int) -> bytes | None:
    """The message as sent; None once it is dropped."""
    found = step.one(_WIRE, (seq,))
    return found[0] if found is not None else None


def put_wire(step: Transaction, seq: int, wire: bytes | None) -> None:
    """Let *wire* be the record's message from now on; None drops it."""
    short = wire is not None and len(wire) <= WIRE_INLINE_MAX
    step.execute("UPDATE @record SET wire = ? WHERE seq = ?", (wire if short else None, seq))
    if wire is None or short:
        step.execute("DELETE FROM @message WHERE seq = ?", (seq,))
    else:
        step.execute("INSERT OR REPLACE INTO @message VALUES (?, ?)", (seq, wire))


def edges_of(step: Transaction, row: Row) -> Edges | None:
    """The record's edges, if it has any."""
    if not row.special & codes.LINKED:
        return None
    found = step.one("SELECT edges FROM @edges WHERE seq = ?", (row.seq,))
    return decode_edges(found[0]) if found is not None else None


def judge(step: Transaction, fence: Fence) -> tuple[Verdict, Row | None]:
    """Whether *fence* may write now, and its record."""
    row = find(step, fence.id)
    if row is None:
        return Verdict.FENCED, None
    if row.owned_by(fence):
        return Verdict.OK, row
    return (Verdict.ALREADY if row.has_applied(fence) else Verdict.FENCED), row
