"""Locks, limits and the schedule of the memory store. Private to ``stores/memory``."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from celeriac.crashpoints import crashpoint
from celeriac.message import Message
from celeriac.stores.base import Entry
from celeriac.stores.memory import storing
from celeriac.stores.memory.core import Core


class MemoryCoordinator:
    """``stores.base.Coordinator`` in this process; places lapse by the monotonic clock."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._places: dict[str, dict[str, float]] = {}
        self._buckets: dict[str, tuple[float, float]] = {}

    def acquire(self, key: str, holder: str, limit: int, seconds: float) -> bool:
        with self._core.step():
            now = self._core.clock.monotonic()
            taken = {
                each: until for each, until in self._places.get(key, {}).items() if until > now
            }
            granted = holder in taken or len(taken) < limit
            if granted:
                taken[holder] = now + seconds
            self._places[key] = taken
            return granted

    def release(self, key: str, holder: str) -> None:
        with self._core.step():
            taken = self._places.get(key, {})
            taken.pop(holder, None)
            if not taken:
                self._places.pop(key, None)

    def take(self, key: str, amount: float, rate: float, burst: float) -> float:
        with self._core.step():
            now = self._core.clock.monotonic()
            tokens, since = self._buckets.get(key, (burst, now))
            tokens = min(burst, tokens + (now - since) * rate)
            if tokens >= amount:
                self._buckets[key] = (tokens - amount, now)
                return 0.0
            self._buckets[key] = (tokens, now)
            return (amount - tokens) / rate if rate > 0 else float("inf")


class MemorySchedules:
    """``stores.base.Schedules`` in this process."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._entries: dict[str, Entry] = {}

    def load(self) -> list[Entry]:
        with self._core.step():
            return [self._entries[name] for name in sorted(self._entries)]

    def save(self, entry: Entry) -> None:
        with self._core.step():
            before = self._entries.get(entry.name)
            if entry.last_tick is None and before is not None:
                entry = replace(entry, last_tick=before.last_tick)
            self._entries[entry.name] = entry

    def remove(self, name: str) -> bool:
        with self._core.step():
            return self._entries.pop(name, None) is not None

    def claim(self, name: str, tick: float, messages: Sequence[Message] = ()) -> bool:
        with self._core.step():
            entry = self._entries.get(name)
            if entry is None or (entry.last_tick is not None and tick <= entry.last_tick):
                return False
            storing.store(self._core, self._core.check_new(messages))
            self._entries[name] = replace(entry, last_tick=tick)
        crashpoint("enqueue.applied")
        return True


__all__ = ["MemoryCoordinator", "MemorySchedules"]
