"""Slots: shared memory in which an executor says what it runs and since when.

Layer 5. One :class:`Slots` region belongs to a worker; executor *i* writes slot *i*, the
supervisor reads it at any time without asking, which works even while the executor is inside C
code that never lets go of the GIL.

A slot also carries a *hold*: a range of keys the supervisor has taken back (or does not want
begun yet). The executor publishes a key first and looks at the hold after, the supervisor writes
the hold first and looks at the key one tick later, so one of the two always sees the other.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from typing import Final

_SIZE: Final = 64
# Places of a slot's fields, in words of eight bytes.
_WORDS: Final = _SIZE // 8
_KEY: Final = 0  # of the present or last run
_SINCE: Final = 1  # its start (monotonic)
_LOW: Final = 2  # keys in [low, high) must not begin
_HIGH: Final = 3
#: A hold up to here covers every key there will ever be.
ALL_KEYS: Final = (1 << 64) - 1


class Slots:
    """The region. Keys start at 1; key 0 means nothing has run yet."""

    def __init__(self, fd: int, count: int) -> None:
        self.fd = fd
        self.count = count
        self._map = mmap.mmap(fd, _SIZE * count)
        # Each word is stored in one piece. struct.pack_into would write zeros first, and the other
        # process would now and then read a key that never was, or a hold that is none.
        self._words = memoryview(self._map).cast("Q")
        self._times = memoryview(self._map).cast("d")

    @classmethod
    def create(cls, count: int) -> Slots:
        """Make a region of *count* slots, in memory where the system can."""
        if hasattr(os, "memfd_create"):
            fd = os.memfd_create("celeriac-slots", os.MFD_CLOEXEC)
        else:
            fd, path = tempfile.mkstemp(prefix="celeriac-slots-")
            os.unlink(path)
        os.ftruncate(fd, _SIZE * count)
        return cls(fd, count)

    def clear(self, index: int) -> None:
        """Reset a slot before a new executor gets it."""
        offset = index * _SIZE
        self._map[offset : offset + _SIZE] = bytes(_SIZE)

    def begin(self, index: int, key: int, now: float) -> bool:
        """Executor: publish that *key* begins. False: it is held back, do not run it."""
        words, times, base = self._words, self._times, index * _WORDS
        before, since = words[base + _KEY], times[base + _SINCE]
        times[base + _SINCE] = now
        words[base + _KEY] = key
        if words[base + _LOW] <= key < words[base + _HIGH]:
            times[base + _SINCE] = since
            words[base + _KEY] = before
            return False
        return True

    def running(self, index: int) -> tuple[int, float]:
        """Supervisor: the key begun last and when. Only its outcome tells whether it still runs."""
        base = index * _WORDS
        return self._words[base + _KEY], self._times[base + _SINCE]

    def hold(self, index: int, low: int, high: int = ALL_KEYS) -> None:
        """Supervisor: keys in [low, high) must not begin. Replaces the hold before it."""
        base = index * _WORDS
        # The upper end first: between the two stores what was held before stays held.
        self._words[base + _HIGH] = high
        self._words[base + _LOW] = low

    def close(self) -> None:
        self._words.release()
        self._times.release()
        self._map.close()
        os.close(self.fd)


__all__ = ["ALL_KEYS", "Slots"]
