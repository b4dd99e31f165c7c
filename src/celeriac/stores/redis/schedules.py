"""The periodic schedule of the Redis store: one hash, two fields an entry.

``d:NAME`` holds the definition and whether it is enabled, ``t:NAME`` the last tick. A claim is the
script that enqueues, between a look at the tick and the moving of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from celeriac.crashpoints import crashpoint
from celeriac.message import Message
from celeriac.stores.base import Entry
from celeriac.stores.redis.connection import Connection
from celeriac.stores.redis.link import Argument
from celeriac.stores.redis.script import Script, read

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(tuple[bytes, bool]).decode

#: What stands for the script that enqueues in ``lua/claim.lua``.
_PLACE: Final = "-- ENQUEUE"


def claiming(enqueue: Script) -> Script:
    """The script of a claim around *enqueue*, which is one that refuses before it writes."""
    around = read("claim").text
    if _PLACE not in around:
        raise ValueError(f"claim.lua has no line {_PLACE!r}")
    return Script.of("claim", around.replace(_PLACE, enqueue.text))


class RedisSchedules:
    """``stores.base.Schedules``.

    Args:
        connection: where to.
        enqueue: the script that stores messages.
        request: makes its arguments of messages.
    """

    def __init__(
        self,
        connection: Connection,
        enqueue: Script,
        request: Callable[[Sequence[Message]], Sequence[Argument]],
    ) -> None:
        self._connection = connection
        self._key = connection.prefix + b"beat"
        self._claim = claiming(enqueue)
        self._request = request

    def load(self) -> list[Entry]:
        found = self._connection.call(b"HGETALL", self._key)
        fields: dict[bytes, bytes] = dict(zip(found[::2], found[1::2], strict=True))
        entries = []
        for field, packed in fields.items():
            if field.startswith(b"d:"):
                definition, enabled = _decode(packed)
                tick = fields.get(b"t:" + field[2:])
                last = None if tick is None else float(tick)
                entries.append(Entry(field[2:].decode(), definition, last, enabled))
        return sorted(entries, key=lambda each: each.name)

    def save(self, entry: Entry) -> None:
        name = entry.name.encode()
        fields: list[Argument] = [b"d:" + name, _encode((entry.definition, entry.enabled))]
        if entry.last_tick is not None:
            fields += [b"t:" + name, repr(float(entry.last_tick))]
        self._connection.call(b"HSET", self._key, *fields)

    def remove(self, name: str) -> bool:
        key = name.encode()
        # The reply counts both fields: an entry that never ticked has one.
        return bool(self._connection.call(b"HDEL", self._key, b"d:" + key, b"t:" + key))

    def claim(self, name: str, tick: float, messages: Sequence[Message] = ()) -> bool:
        request = self._request(messages) if messages else ()
        claimed = self._connection.run(self._claim, name, repr(float(tick)), *request)
        if claimed:
            crashpoint("enqueue.applied")
        return bool(claimed)
