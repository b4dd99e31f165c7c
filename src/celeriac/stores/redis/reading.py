"""Reading records and results: what scripts keep, as the seam's data. Part of the Redis store.

Everything here is read in steps of at most :data:`BATCH` records, each of which sees one state.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

from celeriac.exceptions import StoreError
from celeriac.malformed import MALFORMED
from celeriac.records import Record, StoredResult
from celeriac.stores.redis import schema
from celeriac.stores.redis.packing import read_base, read_other, read_record, read_result
from celeriac.stores.redis.steps import Steps

BATCH: Final = 500
#: Numbers of records in one list of ids (``lua/step.lua``, o:K).
CHUNK: Final = 4096


T = TypeVar("T")
#: What reading a packed value raises if somebody else has changed it.
_DAMAGED: Final = (struct.error, AttributeError, LookupError, TypeError, ValueError, *MALFORMED)


def sound(id: str, read: Callable[..., T], *kept: Any) -> T:
    """Return what *read* makes of what is *kept* of the task *id*.

    Raises ``StoreError`` with its id if that is not what a script has written.
    """
    try:
        return read(*kept)
    except _DAMAGED as error:
        raise StoreError(
            f"what Redis keeps of task {id} is damaged: {type(error).__name__}: {error}"
        ) from error


class Reader:
    """What is kept, read."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    def results(self, ids: Sequence[str], own: bool = False) -> list[StoredResult | None]:
        """Results in order: of own records, else, unless *own*, of another store's."""
        found: list[StoredResult | None] = []
        for id, (state, data, body, progress, other) in self._read("rpf", ids):
            result = sound(id, read_result, id, state, data, body, progress)
            if result is None and other is not None and not own:
                result = sound(id, read_other, other)
            found.append(result)
        return found

    def records(self, ids: Sequence[str]) -> list[Record | None]:
        """Records in order, with message and result."""
        return [sound(kept[0], read_record, *kept) for kept in self._read_whole("tmrp", ids)]

    def parts(self, ids: Sequence[str]) -> list[Record | None]:
        """Records in order, with message and without result."""
        return [
            sound(id, read_record, id, state, data, None, progress)
            for id, state, data, progress in self._read_whole("tmp", ids)
        ]

    def ordered(self, ids: Sequence[str]) -> list[tuple[int, Record]]:
        """Records that are there, without message and result, and their numbers, newest first."""
        found = []
        for id, (state, data, _, progress, _) in self._read("p", ids):
            record = sound(id, read_record, id, state, data, None, progress)
            if record is not None:
                found.append((read_base(state or data).order, record))
        found.sort(key=lambda each: -each[0])
        return found

    def order(self, id: str) -> int | None:
        """The number of a record, None where there is none."""
        found = self.ordered([id])
        return found[0][0] if found else None

    def _read(self, what: str, ids: Sequence[str]) -> Iterator[tuple[str, list[Any]]]:
        for start in range(0, len(ids), BATCH):
            some = ids[start : start + BATCH]
            flat = self._steps.read("read", what, *some)
            for number, id in enumerate(some):
                yield id, flat[5 * number : 5 * number + 5]

    def _read_whole(self, kinds: str, ids: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """Ids, each with what is under its keys of these *kinds*, with the message among them.

        By plain commands: a script would carry every byte through Lua, and add nothing.
        """
        prefix = self._steps.prefix
        for start in range(0, len(ids), BATCH):
            some = ids[start : start + BATCH]
            keys = [f"{prefix}{kind}:{id}" for kind in kinds for id in some]
            *flat, version = self._steps.connection.call("MGET", *keys, f"{prefix}schema")
            # What guard.lua asks in scripts.
            if version is not None and version.isdigit() and int(version) > schema.VERSION:
                raise schema.newer(self._steps.connection.location.shown, int(version))
            columns = (flat[at : at + len(some)] for at in range(0, len(flat), len(some)))
            yield from zip(some, *columns, strict=True)

    def created(self, after: int | None = None) -> Iterator[tuple[int, list[str]]]:
        """Ids in the order they were sent, newest first: the number of a chunk and its ids.

        *after*: begin with the chunk that holds this number. An id may be listed where it was sent
        in an earlier run.
        """
        last = self.last_number()
        top = (last if after is None else min(after, last)) // CHUNK
        for chunk in self._chunks(top):
            ids = self._steps.call("LRANGE", f"o:{chunk}", 0, -1)
            yield chunk, [each.decode() for each in reversed(ids)]

    def _chunks(self, top: int) -> Iterator[int]:
        """Those chunks that are there, from *top* down."""
        for end in range(top, -1, -BATCH):
            numbers = range(end, max(-1, end - BATCH), -1)
            asked = [("EXISTS", self._steps.prefix + f"o:{each}") for each in numbers]
            there = self._steps.connection.pipeline(asked)
            yield from (number for number, found in zip(numbers, there, strict=True) if found)

    def come_back(self, queue: str) -> list[str]:
        """Ids of what is scheduled, parked or has come back to *queue*, and of others perhaps."""
        call = self._steps.call
        keys = ["due", *(f"b:{queue}:{priority}" for priority in range(10))]
        for field in call("HKEYS", "kn"):
            name = field.decode()
            if name.startswith(f"{queue}\0"):
                keys.append(f"k:{name}")
        return [id for key in keys for id in self._members(key)]

    def _members(self, key: str) -> Iterator[str]:
        start = 0
        while some := self._steps.call("ZRANGE", key, start, start + BATCH - 1):
            yield from (each.decode() for each in some)
            start += BATCH

    def last_number(self) -> int:
        """The newest sequence."""
        return int(self._steps.call("GET", "seq") or 0)
