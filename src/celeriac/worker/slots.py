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
#: Words of a place on a board: the key that runs there (0 for none) and since when.
_PLACE: Final = 2
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
        return cls(_shared_memory("celeriac-slots", _SIZE * count), count)

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

    def held_back(self, index: int, key: int) -> bool:
        """Executor: must *key* not begin? To be asked once the key stands on a board."""
        base = index * _WORDS
        return self._words[base + _LOW] <= key < self._words[base + _HIGH]

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


class Board:
    """What each place of a shared executor runs and since when.

    A slot has room for one run; an executor of several has a board as well, and of its slot only
    the hold counts. It writes the key of a run into a place, and only then asks its slot whether
    that key is held back; it empties the place only once the outcome is in the pipe. So what
    does not stand on the board has not begun, or its outcome was in the pipe before the board was
    read: who wants to know which reads the board first and the pipe after it.
    """

    def __init__(self, fd: int, places: int) -> None:
        self.fd = fd
        self.places = places
        self._map = mmap.mmap(fd, _PLACE * 8 * places)
        self._words = memoryview(self._map).cast("Q")
        self._times = memoryview(self._map).cast("d")

    @classmethod
    def create(cls, places: int) -> Board:
        """Make an empty board, in memory where the system can."""
        return cls(_shared_memory("celeriac-board", _PLACE * 8 * places), places)

    def write(self, place: int, key: int, now: float) -> None:
        """Executor: publish that *key* begins in *place*."""
        base = place * _PLACE
        self._times[base + 1] = now
        self._words[base] = key

    def wipe(self, place: int) -> None:
        """Executor: nothing runs in *place* any more."""
        self._words[place * _PLACE] = 0

    def keys(self) -> list[int]:
        """Supervisor: the keys that stand on it."""
        return [key for key in self._words[::_PLACE].tolist() if key]

    def runs(self) -> list[tuple[int, float]]:
        """Supervisor: the keys that stand on it, and since when."""
        keys = self._words[::_PLACE].tolist()
        return [run for run in zip(keys, self._times[1::_PLACE].tolist(), strict=True) if run[0]]

    def close(self) -> None:
        self._words.release()
        self._times.release()
        self._map.close()
        os.close(self.fd)


def _shared_memory(name: str, size: int) -> int:
    """A file descriptor of *size* zero bytes that can be mapped and handed to other processes."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create(name, os.MFD_CLOEXEC)
    else:
        fd, path = tempfile.mkstemp(prefix=f"{name}-")
        os.unlink(path)
    os.ftruncate(fd, size)
    return fd


__all__ = ["ALL_KEYS", "Board", "Slots"]
