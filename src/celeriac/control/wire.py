"""Commands, answers and events on the Bus: their form, their channels, their signatures.

Layer 4. Plain data and pure functions; the callers (``mailbox``, ``events``) and the worker's ear
(``worker/duties/commands.py``) publish and listen.

A publication is the MessagePack array ``[version, body]`` or, signed, ``[version, body, key id,
signature]``. The body is the MessagePack of what is said, after one byte that tells whether it is
compressed. A signature covers the body together with what kind of publication it is and, for an
answer, to whom: so that none can be played back as another. With ``security_key`` set, unsigned
ones are refused; a command is refused, too, if it is older than :data:`LIFETIME` or was heard
before.
"""

from __future__ import annotations

import zlib
from typing import Any, Final, TypeVar

import msgspec

from celeriac.exceptions import DecodeError, PayloadTooLarge
from celeriac.malformed import MALFORMED
from celeriac.signing import Signer

__all__ = [
    "COMMANDS",
    "EVENTS",
    "KNOWN",
    "LIFETIME",
    "NOT_HERE",
    "QUEUE_RULE",
    "Command",
    "Reply",
    "matches",
    "open_command",
    "open_events",
    "open_reply",
    "reply_channel",
    "seal_command",
    "seal_events",
    "seal_reply",
]

#: Channel on which every worker of a namespace listens.
COMMANDS: Final = "commands"
#: What a worker carries out or answers.
KNOWN: Final = frozenset({
    "ping", "active", "reserved", "query_task", "stats", "conf", "report", "shutdown", "revoke",
    "pool_grow", "pool_shrink", "pool_restart", "autoscale", "add_consumer", "cancel_consumer",
    "time_limit", "rate_limit", "enable_events", "disable_events", "heartbeat", "listening",
})  # fmt: skip
#: Questions and commands of Celery's that are not answered here, and why.
NOT_HERE: Final = {
    "clock": "Workers keep no logical clock; events carry one of their own worker.",
    "hello": "Workers do not mingle; they meet in the store.",
    "election": "Workers elect nobody; the store decides who does what.",
    "memsample": "`celeriac inspect stats` shows the peak memory of the supervisor.",
    "memdump": "`celeriac inspect stats` shows the peak memory of the supervisor.",
    "objgraph": "What answers runs no code of yours; look into an executor with py-spy.",
    "revoke_by_stamped_headers": (
        "It stands in the store: app.control.revoke_by_stamped_headers({…})."
    ),
}
#: What the name of a queue takes; `ids.valid_id` judges it.
QUEUE_RULE: Final = "at most 128 letters, digits and _ . : @ / -, a letter or digit first"
#: Channel of events; see ``control/events.py``.
EVENTS: Final = "events"
#: Seconds after which a command is not obeyed any more: its sender has given up long ago.
LIFETIME: Final = 60.0

_VERSION: Final = 1
#: Larger bodies are compressed.
_PACK: Final = 8 * 1024
#: The largest body that is unpacked.
_LARGEST: Final = 16 * 1024 * 1024
#: What a publication may have: every store's bus carries this much.
_MOST: Final = 120 * 1024
_PLAIN: Final = b"\0"
_PACKED: Final = b"\1"


class Command(msgspec.Struct, frozen=True, omit_defaults=True):
    """What workers are told or asked. *sent* is seconds since the epoch."""

    ticket: str
    method: str
    sent: float
    arguments: dict[str, Any] = {}
    #: Names of the workers meant; None: all of them.
    destination: tuple[str, ...] | None = None
    #: As file names have it, for names of workers. Its sender resolves a regular expression: one
    #: that takes for ever would hold up whoever has it to match.
    pattern: str = ""
    #: Whether the sender waits for answers.
    reply: bool = False

    def concerns(self, hostname: str) -> bool:
        """Is the worker *hostname* meant?"""
        if self.destination is not None:
            return hostname in self.destination
        return not self.pattern or matches(self.pattern, "glob", hostname)


class Reply(msgspec.Struct, frozen=True):
    """One worker's answer."""

    owner: str
    hostname: str
    answer: Any


def matches(pattern: str, matcher: str, hostname: str) -> bool:
    """Does *hostname* match? ``glob``: as file names do; ``pcre``: as regular expressions do.

    Raises ``ValueError`` for another matcher, and for a pattern that is no regular expression.
    """
    if matcher == "glob":
        from fnmatch import fnmatchcase

        return fnmatchcase(hostname, pattern)
    if matcher in {"pcre", "regex"}:
        import re

        try:
            return re.match(pattern, hostname) is not None
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(
                f"pattern is {pattern[:128]!r}, which is no regular expression: {error}"
            ) from None
    raise ValueError(f"matcher is {matcher!r}; it must be 'glob' or 'pcre'")


def reply_channel(ticket: str) -> str:
    """The channel of answers to the command *ticket*."""
    return f"reply.{ticket}"


_encode: Final = msgspec.msgpack.Encoder(enc_hook=str).encode
_envelope: Final = msgspec.msgpack.Decoder(list[Any])
_command: Final = msgspec.msgpack.Decoder(Command)
_reply: Final = msgspec.msgpack.Decoder(Reply)
_events: Final = msgspec.msgpack.Decoder(list[dict[str, Any]])
T = TypeVar("T")


def seal_command(signer: Signer | None, command: Command) -> bytes:
    """A command as it is published."""
    return _seal(signer, b"command", command)


def seal_reply(signer: Signer | None, ticket: str, reply: Reply) -> bytes:
    """An answer as it is published. Raises ``PayloadTooLarge`` if the bus cannot carry it."""
    return _seal(signer, b"reply " + ticket.encode(), reply)


def seal_events(signer: Signer | None, events: list[dict[str, Any]]) -> bytes:
    """Some events as they are published. Raises ``PayloadTooLarge``."""
    return _seal(signer, b"events", events)


def open_command(signer: Signer | None, data: bytes) -> Command:
    """Read and verify a command; raises ``DecodeError`` or ``SecurityError``."""
    return _typed(_command, _open(signer, b"command", data))


def open_reply(signer: Signer | None, ticket: str, data: bytes) -> Reply:
    """Read and verify an answer to *ticket*; raises ``DecodeError`` or ``SecurityError``."""
    return _typed(_reply, _open(signer, b"reply " + ticket.encode(), data))


def open_events(signer: Signer | None, data: bytes) -> list[dict[str, Any]]:
    """Read and verify some events; raises ``DecodeError`` or ``SecurityError``."""
    return _typed(_events, _open(signer, b"events", data))


def _seal(signer: Signer | None, kind: bytes, said: object) -> bytes:
    raw = _encode(said)
    body = _PACKED + zlib.compress(raw, 1) if len(raw) > _PACK else _PLAIN + raw
    if len(body) > _MOST:
        raise PayloadTooLarge(len(body), _MOST)
    if signer is None:
        return _encode((_VERSION, body))
    return _encode((_VERSION, body, *signer.sign("command", kind, body)))


def _open(signer: Signer | None, kind: bytes, data: bytes) -> bytes:
    parts = _typed(_envelope, data)
    if len(parts) not in (2, 4) or parts[0] != _VERSION or not isinstance(parts[1], bytes):
        raise DecodeError("not a publication of a version known here")
    body = parts[1]
    if signer is not None:
        key_id, signature = parts[2:] if len(parts) == 4 else ("", b"")
        if not (isinstance(key_id, str) and isinstance(signature, bytes)):
            raise DecodeError("the signature of a publication has the wrong form")
        signer.verify("command", kind, body, key_id, signature)
    return _unpacked(body)


def _unpacked(body: bytes) -> bytes:
    if body[:1] == _PLAIN:
        return body[1:]
    if body[:1] != _PACKED:
        raise DecodeError("a publication packed in a way not known here")
    unpack = zlib.decompressobj()
    try:
        raw = unpack.decompress(body[1:], _LARGEST)
    except zlib.error as error:
        raise DecodeError(f"a publication that cannot be unpacked: {error}") from None
    if not unpack.eof:
        raise DecodeError(f"a publication of more than {_LARGEST} bytes, or cut short")
    return raw


def _typed(decoder: msgspec.msgpack.Decoder[T], data: bytes) -> T:
    try:
        return decoder.decode(data)
    except MALFORMED as error:
        raise DecodeError(f"a publication that cannot be read: {error}") from None
