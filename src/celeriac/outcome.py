"""Outcome: what came of one run, as a value; and failures as data.

Layer 1: standard library, msgspec and layers 0 and 1. A policy or the supervisor makes an outcome,
the store commits it in one step (``stores.base.Queue.exchange``). Nothing in here does IO.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from celeriac import states
from celeriac.compression import UNPACKED_MAX, unpack
from celeriac.message import NewJoin
from celeriac.progress import Progress

Charge = Literal["", "retry", "crash"]


class Outcome(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True, gc=False):
    """Where a record goes from a worker's hands, and what the store writes with it.

    *state* is the target: any terminal state; ``queued`` (again, now); ``scheduled`` (again,
    after *delay* seconds of the store's clock or at *eta*); ``waiting`` (replaced: the parts
    will release it).
    """

    state: str
    #: The stored result: an encoded :class:`ResultBody`. None where there is none to keep.
    body: bytes | None = None
    #: False shrinks the record to a tombstone at commit (``ignore_result``), unless another
    #: record refers to the result.
    keep: bool = True
    #: One line for ``why`` and logs: "ValueError: no such user".
    reason: str = ""
    delay: float = 0.0
    eta: float | None = None
    #: What the repeat is charged to: the record's ``retries``, its ``crashes`` or nothing.
    charge: Charge = ""
    #: A newly signed message that takes the record's place (retry with other arguments, replace).
    message: bytes | None = None
    #: Messages of records made by ``replace`` or ``add_to_chord``, stored in the same commit.
    parts: tuple[bytes, ...] = ()
    #: Joins stored with them. A body is among *parts*, or is *message*.
    joins: tuple[NewJoin, ...] = ()

    def __repr__(self) -> str:
        # Without result and messages: what a task is called with is not for logs.
        return f"<Outcome: {self.state} {self.reason!r}>"

    @property
    def terminal(self) -> bool:
        """Does it end the record?"""
        return self.state in states.TERMINAL


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """An exception as data: it can be shown and, if its class is allowed, rebuilt."""

    type: str  # qualified name, "ValueError" or "shop.errors.OutOfStock"
    message: str
    #: Arguments of the exception where they are plain data, else None.
    args: tuple[object, ...] | None = None
    traceback: str = ""
    notes: tuple[str, ...] = ()
    #: The chain of ``__cause__``/``__context__``, nearest first, at most eight.
    causes: tuple[str, ...] = ()


class ResultBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a finished run leaves for ``get()``: a serialised value, or a failure. What a run shows
    meanwhile has the same form.

    Encoded by the executor, opaque to supervisor and store, decoded by the client.
    """

    serializer: str = "json"
    value: bytes | None = None
    failure: Failure | None = None
    #: Ids of the tasks that the run sent, in that order.
    children: tuple[str, ...] = ()
    #: What the value was made smaller with; "" means nothing.
    compression: str = ""
    #: What it said last of how far it was.
    progress: Progress | None = None

    def content(self, most: int = UNPACKED_MAX) -> bytes | None:
        """Return what the serializer wrote: the value, unpacked if it is compressed.

        Raises ``DecodeError`` if it cannot be unpacked, or has more than *most* bytes then.
        """
        if not self.compression or self.value is None:
            return self.value
        return unpack(self.compression, self.value, most)


TRACEBACK_MAX: Final = 64 * 1024
MESSAGE_MAX: Final = 16 * 1024

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(ResultBody)
encode_body = _encoder.encode
decode_body = _decoder.decode

__all__ = [
    "MESSAGE_MAX",
    "TRACEBACK_MAX",
    "Charge",
    "Failure",
    "Outcome",
    "ResultBody",
    "decode_body",
    "encode_body",
]
