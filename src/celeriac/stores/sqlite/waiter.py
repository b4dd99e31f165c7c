"""``Queue.wait``: an idle worker's thread, asleep until there may be work.

Part of the SQLite store. The order makes lost wake-ups impossible: be known as idle first, then
look at the database, then sleep. See ``bells.py``.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import threading
from collections.abc import Sequence
from typing import Final

from celeriac.clock import SYSTEM
from celeriac.stores.sqlite import codes
from celeriac.stores.sqlite.bells import Bell, Bells, quoted
from celeriac.stores.sqlite.database import Database

#: Seconds between two looks at ``data_version``, which catch a bell that was lost.
_NET: Final = 1.0
#: The same where there are no sockets.
_POLL: Final = 0.05

_WORK: Final = f"SELECT 1 FROM @record WHERE state = {codes.QUEUED} AND queue = ? LIMIT 1"
_NEXT: Final = f"SELECT due FROM @record WHERE state = {codes.SCHEDULED} ORDER BY due LIMIT 1"


#: Folder of bells → name → process id, of the threads asleep now: ``wake`` ends all waits of this
#: process, whichever store object they were begun on.
_asleep: dict[str, dict[str, int]] = {}


class _Seat:
    """One thread's socket: bound once, linked into the folders of its queues while idle."""

    def __init__(self, bells: Bells) -> None:
        self.bells = bells
        self.pid = os.getpid()
        self.name = bells.fresh_name("w.")
        self.bell: Bell | None = None
        self.bell = bells.bind(self.name)
        self.linked: set[str] = set()

    def sit(self, queues: Sequence[str]) -> None:
        """Be known as idle on *queues*. Repeatable: a ring takes a link away."""
        for queue in queues:
            folder = f"q.{quoted(queue)}"
            self.bells.subfolder(folder)
            link = f"{folder}/{self.name}"
            with contextlib.suppress(FileExistsError):
                os.link(self.bells.folder / self.name, self.bells.folder / link)
            self.linked.add(link)

    def rise(self) -> bytes:
        """Be idle no more; return what was rung (letters), b"" if nothing."""
        for link in self.linked:
            self.bells.unlink(link)
        self.linked.clear()
        rung = b""
        assert self.bell is not None
        while True:
            try:
                rung += self.bell.recv(16)
            except BlockingIOError:
                return rung

    def __del__(self) -> None:
        if self.bell is None:
            return
        self.bell.close()
        if self.pid == os.getpid():
            self.bells.unlink(self.name)


class _Mine(threading.local):
    seat: _Seat | None = None


class Waiters:
    """All the waits of this process."""

    def __init__(self, database: Database, bells: Bells) -> None:
        self.database = database
        self.bells = bells
        self._mine = _Mine()
        self._woken = threading.Event()
        self._asleep = _asleep.setdefault(str(bells.folder), {})

    def wait(self, queues: Sequence[str], timeout: float) -> bool:
        """See ``stores.base.Queue.wait``."""
        until = SYSTEM.monotonic() + timeout
        try:
            seat = self._seat()
        except OSError:  # no sockets on this system or file system
            return self._poll(queues, until)
        self._asleep[seat.name] = seat.pid
        heard = False
        try:
            heard = self._sleep(seat, queues, until)
        finally:
            del self._asleep[seat.name]
            rung = seat.rise()
            if b"w" in rung and b"r" in rung:
                # Woken to shut down, and rung for work: somebody else must hear of it.
                for queue in queues:
                    self.bells.ring(queue)
        return heard or bool(rung)

    def wake(self) -> None:
        """End the waits of this process soon."""
        self._woken.set()
        for name, pid in list(self._asleep.items()):
            if pid == os.getpid():
                self.bells.send(name, b"w")

    def _seat(self) -> _Seat:
        seat = self._mine.seat
        if seat is None or seat.pid != os.getpid():
            seat = self._mine.seat = _Seat(self.bells)
        return seat

    def _sleep(self, seat: _Seat, queues: Sequence[str], until: float) -> bool:
        ears = select.poll()
        assert seat.bell is not None
        ears.register(seat.bell, select.POLLIN)
        version, due = -1, None
        for quiet in itertools.count():
            seat.sit(queues)
            seen, now = self.database.version(), self.database.clock.wall()
            if seen != version or (due is not None and due <= now):
                version = seen
                work, due = self._look(queues)
                if work:
                    return True
            left = until - SYSTEM.monotonic()
            if left <= 0:
                return False
            nap = min(left, _NET)
            if due is not None:
                # Wall clock, which may step: never slept for longer than the net.
                nap = min(nap, max(0.0, due - now))
            # Rounded up: poll() cuts to milliseconds, and 0 would spin.
            if ears.poll(nap * 1000 + 1):
                return True
            if quiet == 1:
                self.database.checkpoint()
        raise AssertionError("count() has an end")

    def _look(self, queues: Sequence[str]) -> tuple[bool, float | None]:
        """Whether work is due now, and else when something falls due (whatever its queue)."""
        for queue in queues:
            number = self.database.known_number(queue)
            if number is not None and self.database.row(_WORK, (number,)) is not None:
                return True, None
        row = self.database.row(_NEXT)
        due = None if row is None else row[0]
        return due is not None and due <= self.database.clock.wall(), due

    def _poll(self, queues: Sequence[str], until: float) -> bool:
        """Without sockets: look whenever the file has changed, 20 times a second."""
        self._woken.clear()
        version = -1
        while True:
            seen = self.database.version()
            work, _ = self._look(queues) if seen != version else (False, None)
            left = until - SYSTEM.monotonic()
            if work or left <= 0:
                return work
            version = seen
            if self._woken.wait(min(left, _POLL)):
                return True
