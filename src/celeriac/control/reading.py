"""What a record's parts say: its message's header, its result, its reason, its last stack.

Layer 4. Pure. For :mod:`celeriac.control.why` and what shows records; what cannot be read is told
as absent, because a record that is odd must still be shown.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from celeriac.bodies import unseal
from celeriac.control.phrases import clip, iso
from celeriac.exceptions import DecodeError
from celeriac.malformed import MALFORMED
from celeriac.message import Header, Message, decode
from celeriac.outcome import ResultBody
from celeriac.records import Record
from celeriac.sensitive import HideAll, Hider

__all__ = [
    "header_of",
    "hider_for",
    "hider_of",
    "last_stack",
    "message_of",
    "plain_record",
    "reason_of",
    "result_of",
]

_TIMES: Final = ("enqueued_at", "due", "expires", "leased_at", "started_at", "ended_at", "drop_at")
_KEPT: Final = (
    "state",
    "task",
    "queue",
    "priority",
    "attempt",
    "retries",
    "crashes",
    "losses",
    "generation",
    "owner",
    "parked",
    "revoked",
    "terminate",
    "reason",
    "cause",
)


def plain_record(record: Record) -> dict[str, object]:
    """A record as plain data for programs; its message and result are left out."""
    data: dict[str, object] = {"id": record.id}
    data.update((name, getattr(record, name)) for name in _KEPT)
    data.update((name, iso(getattr(record, name))) for name in _TIMES)
    return data


def message_of(record: Record) -> Message | None:
    """The record's message; None if it was left out or cannot be read."""
    if record.wire is None:
        return None
    try:
        return decode(record.wire)
    except DecodeError:
        return None


def header_of(record: Record) -> Header | None:
    """The header of the record's message; None if it was left out or cannot be read."""
    message = message_of(record)
    return None if message is None else message.header


def hider_of(record: Record) -> Hider | None:
    """What takes the arguments out of texts, if the message says that they are not shown as they
    are; None if it says nothing."""
    return hider_for(message_of(record))


def hider_for(message: Message | None) -> Hider | None:
    """The same, of a message."""
    if message is None:
        return None
    header = message.header
    if not (header.argsrepr or header.kwargsrepr):
        return None
    read = msgspec.json if header.serializer == "json" else msgspec.msgpack
    try:
        return Hider([read.decode(message.content())])
    except (DecodeError, *MALFORMED):
        return HideAll()  # compressed, maybe, with what this machine has not


def result_of(body: bytes | None) -> ResultBody | None:
    """The stored result, signed or not; None if there is none or it cannot be read. Only to be
    shown: its signature is not verified."""
    if body is None:
        return None
    try:
        return unseal(body, "", None)
    except DecodeError:
        return None


#: Where the lines of faulthandler begin in the reason that a dead process left.
_STACK: Final = re.compile(r"\n\s*(?=Fatal Python error|(?:Current thread|Thread|Stack) )")


def last_stack(record: Record) -> str:
    """The last stack of what the task ended with: a traceback, or what a process that died
    wrote; empty if nothing was kept."""
    body = result_of(record.body)
    if body is not None and body.failure is not None and body.failure.traceback:
        return body.failure.traceback
    return "".join(_STACK.split(record.reason, 1)[1:])


def reason_of(record: Record, limit: int = 200) -> str:
    """The record's reason on one line, without the stack."""
    return clip(_STACK.split(record.reason, 1)[0], limit)
