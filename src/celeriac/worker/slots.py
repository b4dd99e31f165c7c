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
import struct
import tempfile
from typing import Final

_SIZE: Final = 64
# Native formats: each field is stored whole. "<" would store it byte by byte, and the other
# process could read a key that never was.
_RUN: Final = struct.Struct("@Qd")  # key of the present or last run, its start (monotonic)
_HOLD: Final = struct.Struct("@QQ")  # keys in [low, high) must not begin
_HOLD_OFFSET: Final = 16
#: A hold up to here covers every key there will ever be.
ALL_KEYS: Final = (1 << 64) - 1


class Slots:
    """The region. Keys start at 1; key 0 means nothing has run yet."""

    def __init__(self, fd: int, count: int) -> None:
        self.fd = fd
        self.count = count
        self._map = mmap.mmap(fd, _SIZE * count)

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
        offset = index * _SIZE
        before = _RUN.unpack_from(self._map, offset)
        _RUN.pack_into(self._map, offset, key, now)
        low, high = _HOLD.unpack_from(self._map, offset + _HOLD_OFFSET)
        if low <= key < high:
            _RUN.pack_into(self._map, offset, *before)
            return False
        return True

    def running(self, index: int) -> tuple[int, float]:
        """Supervisor: the key begun last and when. Only its outcome tells whether it still runs."""
        key, since = _RUN.unpack_from(self._map, index * _SIZE)
        return key, since

    def hold(self, index: int, low: int, high: int = ALL_KEYS) -> None:
        """Supervisor: keys in [low, high) must not begin. Replaces the hold before it."""
        _HOLD.pack_into(self._map, index * _SIZE + _HOLD_OFFSET, low, high)

    def close(self) -> None:
        self._map.close()
        os.close(self.fd)


__all__ = ["ALL_KEYS", "Slots"]
