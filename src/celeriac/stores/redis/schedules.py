"""The periodic schedule of the Redis store: one hash, two fields an entry.

``d:NAME`` holds the definition and whether it is enabled, ``t:NAME`` the last tick.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from celeriac.crashpoints import crashpoint
from celeriac.message import Message
from celeriac.stores.base import Entry
from celeriac.stores.redis.packing import Beside, pack
from celeriac.stores.redis.steps import Steps
from celeriac.stores.redis.troubles import ScriptError, refusal

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(tuple[bytes, bool]).decode


class RedisSchedules:
    """``stores.base.Schedules`` on a Redis server."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._connection = steps.connection
        self._key = steps.connection.prefix + b"beat"

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
        fields: list[bytes | str] = [b"d:" + name, _encode((entry.definition, entry.enabled))]
        if entry.last_tick is not None:
            fields += [b"t:" + name, repr(float(entry.last_tick))]
        self._steps.read("save_entry", *fields)

    def remove(self, name: str) -> bool:
        key = name.encode()
        # The reply counts both fields: an entry that never ticked has one.
        return bool(self._connection.call(b"HDEL", self._key, b"d:" + key, b"t:" + key))

    def claim(self, name: str, tick: float, messages: Sequence[Message] = ()) -> bool:
        beside = Beside(6)
        packed = pack([beside.message(each) for each in messages])
        try:
            claimed = self._steps.run_once("claim", name, repr(float(tick)), packed, *beside.values)
        except ScriptError as error:
            raise refusal(error, None) from None
        if claimed:
            crashpoint("enqueue.applied")
        return bool(claimed)
