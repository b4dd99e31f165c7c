"""The message: one call on the wire. The only file that knows the wire fields.

Layer 1: standard library, msgspec and layer 0. Frozen data; knows no store and no app.

A message is a **header block** (who, what, when: all that decisions are made on) and a
**payload** (the serialised ``[args, kwargs]``, opaque to everybody but the executor). On the
wire, version 1 is the MessagePack array ``[1, block, payload]`` or, signed,
``[1, block, payload, key_id, signature]``, where *block* is the header as MessagePack bytes. The
signature covers exactly these bytes, so there is no second, "canonical" form to get wrong.
``docs/internals/protocol.md`` is the specification; ``tests/unit/golden`` holds files that must
decode for ever.

The garbage collector need not look at these (``gc=False``): plain data refers to nothing that
refers back, and it would otherwise walk all of a large batch again and again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Final, overload

import msgspec

from celeriac.compression import UNPACKED_MAX, unpack
from celeriac.exceptions import DecodeError, StoreError
from celeriac.malformed import MALFORMED

VERSION: Final = 1

#: From this member index on (and below 2**53) a member was not there when its join was sent: the
#: commit that stores it makes the join larger by one.
ADDED: Final = 2**40


#: What a header may say; read as anything else it is refused, NaN included. Moments are those that
#: calendars hold: nobody could show another one, nor sort what is due by NaN.
Moment = Annotated[float, msgspec.Meta(ge=-62135596800.0, le=253402300799.0)]
Limit = Annotated[float, msgspec.Meta(ge=0.0)]
Priority = Annotated[int, msgspec.Meta(ge=0, le=9)]


class Edges(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A record's place in its workflow, fixed before it is stored (protocol section 1).

    ``finish`` in the stores follows these and nothing else. A record without edges is a single
    task.
    """

    #: The record is stored ``waiting``; another one's end releases or cancels it.
    waits: bool = False
    #: Ids released when this one succeeds, cancelled when it ends in any other way.
    success: tuple[str, ...] = ()
    #: Ids of errbacks, owned by this record alone: released when it ends without success,
    #: ended as ``ignored`` when it succeeds.
    failure: tuple[str, ...] = ()
    #: (join id, member index): this record is the last part of that branch. See ``ADDED``.
    join: tuple[str, int] | None = None
    #: (join id, member index) of the nearest enclosing join: a failure decides it at once.
    within: tuple[str, int] | None = None
    #: Id whose result is passed to this record's task as first argument.
    takes: str | None = None
    #: Id of the join whose member results this record's task receives as a list. A join's body
    #: always names its join here: the store drops both together.
    gathers: str | None = None
    #: Ids of errbacks about this record's own run: released when it ends without success by itself
    #: or because a member of its join did; ended as ``ignored`` when it succeeds, and when it is
    #: cancelled because a record before it, or before all members of its join, ended without
    #: success.
    own: tuple[str, ...] = ()
    #: Id of the record that this one, an errback, is about.
    told: str | None = None
    #: Nothing is passed on: the task gets its own arguments alone. So a join's body that takes no
    #: result, and what was repeated with arguments of its own in place of all it had.
    immutable: bool = False
    #: Seconds from its release until it may run, and until it expires; 0 for neither. What the
    #: header says goes before: those are times, and known when it is sent.
    delay: Limit = 0.0
    lasts: Limit = 0.0
    #: Id of the record whose end releases this one, where neither ``takes`` nor ``told`` names it.
    after: str | None = None

    @property
    def behind(self) -> str | None:
        """The record whose end releases this one; None if that is a join, nothing or not known."""
        return self.takes or self.told or self.after

    @property
    def given(self) -> tuple[int, ...]:
        """How many arguments come before the call's own: a result, or a list of results. For an
        errback one of two numbers: id, or request, exception and traceback."""
        if self.immutable:
            return (0,)
        if self.told is not None:
            return (1, 3)
        return (0,) if self.takes is None and self.gathers is None else (1,)


class Header(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The signed block. Times are seconds since the epoch (UTC); limits are seconds.

    The record's own counters (state, attempt, retries, crashes …) are not in here: they change,
    and the store alone keeps them.
    """

    id: str
    task: str
    #: Tells a resend of this call (same nonce: no-op) from another call under the same id.
    nonce: str
    queue: str = "celery"
    priority: Priority = 0
    eta: Moment | None = None
    expires: Moment | None = None
    time_limit: Limit | None = None
    soft_time_limit: Limit | None = None
    ignore_result: bool | None = None
    serializer: str = "json"
    sent: float = 0.0
    origin: str = ""
    #: Ids of the first task of the tree and of the task that made this one; "" means none.
    root: str = ""
    parent: str = ""
    #: The caller's own headers; plain data.
    headers: dict[str, object] | None = None
    edges: Edges | None = None
    #: What is shown in place of the arguments, as text; "" means the arguments themselves.
    argsrepr: str = ""
    kwargsrepr: str = ""
    #: What the payload was made smaller with; "" means nothing.
    compression: str = ""
    #: Id of the workflow that this is a part of; "" means none.
    flow: str = ""
    #: Id of the group that this is a member of, "" for none, and its place in it.
    group: str = ""
    index: int | None = None
    #: How many members earlier runs under this id, which were replaced, have added to its chord.
    added: int = 0
    #: Stamps by name, those of one name in a list; None if there are none. See ``stamps``.
    stamps: dict[str, list[object]] | None = None


class NewJoin(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A join to be stored together with its body and, all or some, its members: sealed from the
    first moment. The message *body* is stored in the same step; it waits and gathers *id*."""

    id: str
    body: str
    size: int


class Message(msgspec.Struct, frozen=True, gc=False):
    """A header with its encoded block, the payload and, if signed, key id and signature."""

    header: Header
    block: bytes
    payload: bytes
    key_id: str = ""
    signature: bytes = b""

    def __repr__(self) -> str:
        return f"<Message: {self.header.task}[{self.header.id}] {len(self.payload)} bytes>"

    @property
    def id(self) -> str:
        """The task id."""
        return self.header.id

    def content(self, most: int = UNPACKED_MAX) -> bytes:
        """Return what the serializer wrote: the payload, unpacked if it is compressed.

        Raises ``DecodeError`` if it cannot be unpacked, or has more than *most* bytes then.
        """
        name = self.header.compression
        return unpack(name, self.payload, most) if name else self.payload

    def encode(self) -> bytes:
        """Return the wire form."""
        if self.signature:
            return _encode((VERSION, self.block, self.payload, self.key_id, self.signature))
        return _encode((VERSION, self.block, self.payload))


def check_joins(messages: Iterable[Message], joins: Iterable[NewJoin]) -> None:
    """Raise ``StoreError`` for a join whose body is not among *messages*, or neither waits for the
    join nor names it: it would never end."""
    bodies = {
        each.id: each.header.edges.gathers
        for each in messages
        if each.header.edges is not None and each.header.edges.waits
    }
    for join in joins:
        if bodies.get(join.body) != join.id:
            raise StoreError(
                f"the body {join.body} of join {join.id} must be stored with it, wait, and name "
                "the join as what it gathers"
            )


_encode = msgspec.msgpack.Encoder().encode
_decode_wire = msgspec.msgpack.Decoder(list[object]).decode
_decode_header = msgspec.msgpack.Decoder(Header).decode


def compose(header: Header, payload: bytes) -> Message:
    """Make an unsigned message of *header* and *payload*."""
    return Message(header, _encode(header), payload)


class Alike(Sequence[Message]):
    """Unsigned messages whose headers differ in id and nonce alone, as calls of one task do.

    A message is made when it is asked for. A store may do without: *header* holds for all of them
    but for its id and nonce, those are *calls*, pairs as ``ids.new_calls`` makes them, and
    :meth:`encode` writes them all, with what they share encoded once.
    """

    __slots__ = ("calls", "header", "payloads")

    def __init__(
        self, header: Header, calls: Sequence[tuple[str, str]], payloads: Sequence[bytes]
    ) -> None:
        self.header = header
        self.calls = calls
        self.payloads = payloads

    def __len__(self) -> int:
        return len(self.calls)

    @overload
    def __getitem__(self, at: int) -> Message: ...
    @overload
    def __getitem__(self, at: slice) -> Alike: ...
    def __getitem__(self, at: int | slice) -> Message | Alike:
        if isinstance(at, slice):
            return Alike(self.header, self.calls[at], self.payloads[at])
        id, nonce = self.calls[at]
        return compose(msgspec.structs.replace(self.header, id=id, nonce=nonce), self.payloads[at])

    def __iter__(self) -> Iterator[Message]:
        return map(compose, self.headers(), self.payloads)

    def headers(self) -> list[Header]:
        """Return the header of each."""
        first = self.header
        task, queue, priority, eta = first.task, first.queue, first.priority, first.eta
        rest = tuple(getattr(first, name) for name in Header.__struct_fields__[6:])
        return [Header(id, task, nonce, queue, priority, eta, *rest) for id, nonce in self.calls]

    def encode(self) -> list[bytes]:
        """Return the wire form of each."""
        if not self.calls:
            return []
        id, nonce = self.calls[0]
        first = self[0]
        shell = _encode((VERSION, first.block, b""))[:-_NO_BYTES]
        # Fields are written in their order: id, task, nonce and the rest. So the nonce is where the
        # task ends, whatever bytes the name of the task holds.
        front, rest = shell.split(id.encode(), 1)
        between = sum(len(_encode(each)) for each in ("task", self.header.task, "nonce", nonce))
        middle, end = rest[: between - len(nonce)], rest[between:]
        join = b"".join
        # The same length of ids and nonces is the same encoding of how long they, and blocks, are.
        return [
            join((front, id.encode(), middle, nonce.encode(), end, _encode(payload)))
            for (id, nonce), payload in zip(self.calls, self.payloads, strict=True)
        ]


#: Bytes that write an empty payload.
_NO_BYTES: Final = 2


def encode_all(messages: Sequence[Message]) -> list[bytes]:
    """Return the wire form of each."""
    if isinstance(messages, Alike):
        return messages.encode()
    return [
        each.encode() if each.signature else _encode((VERSION, each.block, each.payload))
        for each in messages
    ]


def decode(wire: bytes) -> Message:
    """Read a message off the wire.

    Raises :class:`~celeriac.exceptions.DecodeError` for anything that is not a message of a
    version this one knows. The signature is *not* verified here; see ``signing``.
    """
    try:
        parts = _decode_wire(wire)
    except MALFORMED as error:
        raise DecodeError(f"not a Celeriac message: {error}") from None
    if not parts or parts[0] != VERSION or parts[0] is True:
        found = _shown(parts[0]) if parts else None
        raise DecodeError(
            f"message version {found} is not known to this version (it knows {VERSION}); "
            "a newer client may have written it: update the workers first"
        )
    if len(parts) not in (3, 5):
        raise DecodeError(f"a version 1 message has 3 or 5 parts, this one has {len(parts)}")
    block, payload = parts[1], parts[2]
    key_id, signature = (parts[3], parts[4]) if len(parts) == 5 else ("", b"")
    if not (
        isinstance(block, bytes)
        and isinstance(payload, bytes)
        and isinstance(key_id, str)
        and isinstance(signature, bytes)
    ):
        raise DecodeError("the parts of this message have the wrong types")
    try:
        header = _decode_header(block)
    except MALFORMED as error:
        raise DecodeError(f"the header block cannot be read: {error}") from None
    return Message(header, block, payload, key_id, signature)


def _shown(version: object) -> str:
    """A version for an error, which goes into logs: it may be anything, of any size and depth."""
    if isinstance(version, int | str):
        return repr(version if isinstance(version, int) else version[:64])
    return f"of type {type(version).__name__}"


__all__ = [
    "ADDED",
    "VERSION",
    "Alike",
    "Edges",
    "Header",
    "Limit",
    "Message",
    "Moment",
    "NewJoin",
    "Priority",
    "check_joins",
    "compose",
    "decode",
    "encode_all",
]
