"""Between the seam's data and what scripts take and give: pure functions.

Part of the Redis store. The server's MessagePack reader knows no ``bin`` type, so bytes travel as
arguments of their own, named by index. A message is kept as its *base* (what the store decides on)
followed by its wire; the layout is that of ``decode`` in ``lua/step.lua``.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final

import msgspec

from celeriac import states
from celeriac.message import Alike, Edges, Header, Message
from celeriac.records import Record, StoredResult, Verdict
from celeriac.stores.redis.scripts import FIELDS

pack: Final = msgspec.msgpack.Encoder().encode
unpack: Final = msgspec.msgpack.Decoder().decode

LETTERS: Final = {
    states.WAITING: "W",
    states.SCHEDULED: "S",
    states.QUEUED: "Q",
    states.LEASED: "L",
    states.RUNNING: "R",
    states.SUCCEEDED: "s",
    states.FAILED: "f",
    states.CANCELLED: "c",
    states.EXPIRED: "x",
    states.SKIPPED: "i",
    states.REFUSED: "r",
    states.DEAD: "d",
}
#: P: parked, a place within queued.
STATES: Final = {**{letter: state for state, letter in LETTERS.items()}, "P": states.QUEUED}
VERDICTS: Final = {"O": Verdict.OK, "A": Verdict.ALREADY, "F": Verdict.FENCED}

EXPIRES, ETA, EDGES, UNIQUE, WAITS, FLOW = 1, 2, 4, 8, 16, 32
_FORGOTTEN: Final = 2
_HEAD: Final = struct.Struct(">IddBB")
_SIZE: Final = struct.Struct(">I")
#: The size, and room for what the server knows: when it was enqueued, and its number.
_OPEN: Final = struct.Struct(">I16x")
_SHORT: Final = struct.Struct(">H")
_TWO: Final = struct.Struct(">BB")
_DOUBLE: Final = struct.Struct(">d")
_SAID: Final = struct.Struct(">BIdBH")
_AT: Final = {name: place for place, name in enumerate(FIELDS)}
#: Of a packed state what :func:`read_record` makes a record of.
_kept: Final = itemgetter(
    *(
        _AT[name]
        for name in (
            "state", "attempt", "nonce", "retries", "crashes", "losses", "generation", "stamp",
            "leased", "started", "ended", "expires", "revoked", "terminate", "cause", "reason",
            "drop", "worker", "due",
        )
    )
)  # fmt: skip


class Base(msgspec.Struct, frozen=True, gc=False):
    """What is known of a message without its wire."""

    size: int
    enqueued: float
    order: int
    flags: int
    priority: int
    task: str
    queue: str
    nonce: str
    expires: float | None


def read_base(data: bytes) -> Base:
    """Take the base off the front of *data*."""
    size, enqueued, order, flags, priority = _HEAD.unpack_from(data)
    task, at = _short(data, _HEAD.size)
    queue, at = _short(data, at)
    nonce, at = _short(data, at)
    expires = _DOUBLE.unpack_from(data, at)[0] if flags & EXPIRES else None
    return Base(size, enqueued, int(order), flags, priority, task, queue, nonce, expires)


def queue_in(data: bytes) -> str:
    """The queue a base names."""
    (length,) = _SHORT.unpack_from(data, _HEAD.size)
    return _short(data, _HEAD.size + 2 + length)[0]


def _short(data: bytes, at: int) -> tuple[str, int]:
    """A text behind its length, and where it ends."""
    (length,) = _SHORT.unpack_from(data, at)
    end = at + 2 + length
    return data[at + 2 : end].decode(), end


def wire_of(data: bytes) -> bytes:
    """The wire behind a base."""
    return data[_SIZE.unpack_from(data)[0] :]


def flags_of(header: Header) -> int:
    """What marks a message for the scripts."""
    flags = 0
    if header.expires is not None:
        flags = EXPIRES
    if header.eta is not None:
        flags |= ETA
    if header.edges is not None:
        flags |= EDGES | (WAITS if header.edges.waits else 0)
    if header.nonce == header.id:
        flags |= UNIQUE
    if header.flow:
        flags |= FLOW
    return flags


def plain_entry(message: Message) -> bytes:
    """The base of a message without eta, edges and workflow, with its wire, for ``enqueue_plain``,
    which fills in the time and the number."""
    header = message.header
    nonce = header.nonce.encode()
    flags = UNIQUE if header.nonce == header.id else 0
    common = _common(flags, header.priority, header.task, header.queue)
    length = len(nonce)
    opening = _OPEN.pack(_OPEN.size + len(common) + 2 + length)
    return b"".join((opening, common, _SHORT.pack(length), nonce, message.encode()))


def member_entry(message: Message) -> bytes:
    """The same of a part of a workflow, for ``enqueue_members``: workflow and edges go with it."""
    header = message.header
    nonce, flow = header.nonce.encode(), header.flow.encode()
    packed = b"" if header.edges is None else pack_edges(header.edges)
    flags = flags_of(header)
    common = _common(flags, header.priority, header.task, header.queue)
    length, long = len(nonce), len(flow)
    opening = _OPEN.pack(_OPEN.size + len(common) + 4 + length + long + len(packed))
    return b"".join(
        (opening, common, _SHORT.pack(length), nonce, _SHORT.pack(long), flow, packed,
         message.encode())
    )  # fmt: skip


@lru_cache(1000)
def _common(flags: int, priority: int, task: str, queue: str) -> bytes:
    """What the bases of a task's messages have in common."""
    name, place = task.encode(), queue.encode()
    lengths = (_SHORT.pack(len(name)), name, _SHORT.pack(len(place)), place)
    return b"".join((_TWO.pack(flags, priority), *lengths))


def plain_entries(messages: Alike) -> list[bytes]:
    """:func:`plain_entry` of each; all but nonce and wire is written once."""
    header = messages.header
    task, queue = header.task.encode(), header.queue.encode()
    fixed = b"".join(
        (
            _TWO.pack(0, header.priority),
            _SHORT.pack(len(task)),
            task,
            _SHORT.pack(len(queue)),
            queue,
        )
    )
    # Nonces of such messages are of one length, and none is its id.
    length = len(messages.calls[0][1])
    front = _OPEN.pack(_OPEN.size + len(fixed) + 2 + length) + fixed + _SHORT.pack(length)
    return [
        front + nonce.encode() + wire
        for (_, nonce), wire in zip(messages.calls, messages.encode(), strict=True)
    ]


class Beside:
    """Arguments that go beside a packed request, named in it by their index in ARGV."""

    def __init__(self, first: int) -> None:
        self.first = first
        self.values: list[bytes] = []

    def put(self, value: bytes) -> int:
        """Add one; its index."""
        self.values.append(value)
        return self.first + len(self.values) - 1

    def message(self, message: Message, wire: bytes | None = None) -> tuple[object, ...]:
        """A message as scripts take it (``lua/insert.lua``)."""
        header = message.header
        flags, edges = flags_of(header), header.edges
        return (
            header.id,
            header.nonce,
            header.task,
            header.queue,
            header.priority,
            flags,
            False if header.expires is None else header.expires,
            False if header.eta is None else header.eta,
            False if edges is None else self.put(pack_edges(edges)),
            self.put(message.encode() if wire is None else wire),
            header.flow or False,
            edges is not None and bool(edges.takes or edges.failure or edges.own),
        )


def pack_edges(edges: Edges) -> bytes:
    """Edges as the scripts read them: success, failure, join, within, takes, gathers, own, delay,
    lasts, and whom this is behind if that is not whose result it takes: what was stored before
    records had that one runs at once if it is retried though its turn has not come."""
    return pack(
        (
            edges.success,
            edges.failure,
            edges.join or False,
            edges.within or False,
            edges.takes or False,
            edges.gathers or False,
            edges.own,
            edges.delay or False,
            edges.lasts or False,
            False if edges.takes else edges.behind or False,
        )
    )


def text(value: Any) -> str | None:
    """A field that is false where there is nothing."""
    return value if isinstance(value, str) and value else None


def seconds(value: Any) -> float | None:
    """A time that is false where there is none."""
    return None if value is False or value is None else float(value)


def read_record(
    id: str, state: bytes | None, data: bytes | None, body: bytes | None, progress: bytes | None
) -> Record | None:
    """A record from what ``read`` gave: packed state, base and wire, body, progress."""
    if state is None and data is None:
        return None
    whole = data is not None and len(data) > _SIZE.unpack_from(data)[0]
    wire = wire_of(data) if data is not None and whole else None
    if state is None:
        assert data is not None
        base = read_base(data)
        return Record(
            id=id,
            state=states.QUEUED,
            task=base.task,
            queue=base.queue,
            priority=base.priority,
            wire=wire,
            enqueued_at=base.enqueued,
            expires=base.expires,
        )
    base = read_base(state)
    custom, meta = read_progress(progress)
    (
        letter, attempt, nonce, retries, crashes, losses, generation, stamp, leased, started, ended,
        expires, revoked, terminate, cause, reason, drop, worker, due,
    ) = _kept(read_state(state))  # fmt: skip
    return Record(
        id=id,
        state=STATES[letter],
        task=base.task,
        queue=base.queue,
        priority=base.priority,
        wire=wire,
        enqueued_at=base.enqueued,
        due=seconds(due),
        expires=seconds(expires),
        attempt=attempt,
        retries=retries,
        crashes=crashes,
        losses=losses,
        generation=generation,
        owner=nonce.rsplit(".", 2)[0] if nonce else None,
        worker=worker or None,
        nonce=nonce or None,
        leased_at=seconds(leased),
        started_at=seconds(started),
        ended_at=seconds(ended),
        parked=letter == "P",
        revoked=bool(revoked),
        terminate=text(terminate),
        stamp=stamp,
        reason=reason,
        cause=cause,
        body=body,
        custom_state=custom,
        meta=meta,
        drop_at=seconds(drop),
    )


def read_result(
    id: str, state: bytes | None, data: bytes | None, body: bytes | None, progress: bytes | None
) -> StoredResult | None:
    """A result from what ``read`` gave."""
    if state is None:
        return None if data is None else StoredResult(id, states.QUEUED)
    v = read_state(state)
    custom, meta = read_progress(progress)
    return StoredResult(
        id,
        STATES[v[0]],
        v[_AT["retries"]],
        body,
        v[_AT["reason"]],
        seconds(v[_AT["ended"]]),
        custom,
        meta,
        bool(v[_AT["special"]] & _FORGOTTEN) and body is None,
    )


_unpack_result: Final = msgspec.msgpack.Decoder(StoredResult).decode


def pack_other(result: StoredResult) -> tuple[bytes, bytes]:
    """The result of another store's record as ``put`` takes it: when it ended, and the whole."""
    return _DOUBLE.pack(result.ended_at or 0.0), pack(result)


def read_other(data: bytes) -> StoredResult:
    """What ``put`` has kept."""
    return _unpack_result(memoryview(data)[_DOUBLE.size :])


def read_progress(progress: bytes | None) -> tuple[str | None, bytes | None]:
    """State and metadata set by ``update``."""
    if progress is None:
        return None, None
    state, _, meta = progress.partition(b"\0")
    return state.decode(), meta[1:] if meta.startswith(b"+") else None


def read_state(kept: bytes) -> list[Any]:
    """The packed state behind a base."""
    values: list[Any] = unpack(kept[_SIZE.unpack_from(kept)[0] :])
    return values


def said(id: str, data: bytes) -> StoredResult | None:
    """What a message on an id's channel says; None: it must be read, as what anybody else may have
    published there."""
    if not data:
        return None
    try:
        letter, retries, ended, has_body, length = _SAID.unpack_from(data)
        at = _SAID.size + length
        reason = data[_SAID.size : at].decode()
        state = STATES[chr(letter)]
    except (struct.error, UnicodeDecodeError, KeyError):
        return None
    return StoredResult(id, state, retries, data[at:] if has_body else None, reason, ended)
