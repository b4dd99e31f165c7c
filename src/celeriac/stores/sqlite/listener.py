"""Waiting for results: one socket for each process, whatever the number of threads and ids.

Part of the SQLite store. Of the threads that wait, one listens for all (the *ear*); when it has
what it waited for, it hands the ear to another. So no thread is needed that nobody asked for, and
there is nothing to stop at exit. See ``bells.py`` for the sockets.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Sequence
from typing import Final

from celeriac.clock import SYSTEM
from celeriac.records import StoredResult
from celeriac.stores.sqlite.bells import RESULTS, Bell, Bells
from celeriac.stores.sqlite.database import Database

#: Seconds between two looks at ``data_version``, which catch a message that was lost.
_NET: Final = 1.0
#: The same where there are no sockets.
_POLL: Final = 0.05
_LARGEST: Final = 1 << 17

Look = Callable[[Sequence[str]], dict[str, StoredResult | None]]


class _Waiting:
    """One thread: what it waits for, and how it is woken."""

    def __init__(self, ids: Sequence[str]) -> None:
        self.ids = frozenset(ids)
        self.bell = threading.Event()
        #: It must look at all of them, or at those that were heard to have ended.
        self.look = True
        self.heard: set[str] = set()

    def due(self) -> Sequence[str]:
        """What to look at now; asked again, nothing."""
        if self.look:
            self.look = False
            self.heard.clear()
            return tuple(self.ids)
        return tuple(self.heard.pop() for _ in range(len(self.heard)))


class _Process:
    """The waits of one process: a forked child begins with none."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.lock = threading.Lock()
        self.waiting: set[_Waiting] = set()
        self.ear: _Waiting | None = None
        self.name = ""
        self.bell: Bell | None = None


class Listener:
    """Hears which ids have ended."""

    def __init__(self, database: Database, bells: Bells) -> None:
        self.database = database
        self.bells = bells
        self._process = _Process()

    def wait(
        self, ids: Sequence[str], timeout: float | None, look: Look
    ) -> dict[str, StoredResult | None]:
        """See ``stores.base.Results.wait``; *look* reads which of *ids* have ended."""
        until = None if timeout is None else SYSTEM.monotonic() + timeout
        process = self._join_process()
        mine = _Waiting(ids)
        with process.lock:
            process.waiting.add(mine)
            self._open(process)
        net = _POLL if process.bell is None else _NET
        version, cast = -1, 0.0
        try:
            while True:
                now = SYSTEM.monotonic()
                if now >= cast:
                    cast = now + net
                    seen = self.database.version()
                    mine.look = mine.look or seen != version
                    version = seen
                due = mine.due()
                if due and (ended := look(due)):
                    return ended
                if until is not None and now >= until:
                    return {}
                self._sleep(process, mine, (cast if until is None else min(cast, until)) - now)
        finally:
            self._leave(process, mine)

    def _join_process(self) -> _Process:
        if self._process.pid != os.getpid():
            self._process = _Process()
        return self._process

    def _open(self, process: _Process) -> None:
        """Be known to who commits, before the first look."""
        if process.bell is not None:
            return
        try:
            self.bells.subfolder(RESULTS)
            name = f"{RESULTS}/{self.bells.fresh_name('')}"
            process.bell = self.bells.bind(name)
            process.name = name
        except OSError:  # no sockets on this system or file system: data_version is polled
            process.bell = None

    def _sleep(self, process: _Process, mine: _Waiting, seconds: float) -> None:
        with process.lock:
            if process.ear is None:
                process.ear = mine
            listens = process.ear is mine
        if process.bell is None:
            mine.bell.wait(seconds)
        elif listens:
            ears = select.poll()
            ears.register(process.bell, select.POLLIN)
            # Rounded up: poll() cuts to milliseconds, and 0 would spin.
            if ears.poll(seconds * 1000 + 1):
                self._hear(process)
        else:
            # Woken when an id of ours ended, or when the ear is handed on.
            mine.bell.wait(seconds)
        mine.bell.clear()

    def _hear(self, process: _Process) -> None:
        """Empty the socket, and wake who waits for what it said."""
        assert process.bell is not None
        ended: set[str] = set()
        while True:
            try:
                said = process.bell.recv(_LARGEST)
            except BlockingIOError:
                break
            # Whatever somebody else sent: what is no id is nobody's.
            ended.update(said.decode("utf-8", "replace").split("\n"))
        missed = self.bells.unlink(f"{process.name}.missed")
        with process.lock:
            for each in process.waiting:
                heard = each.ids & ended
                if missed or heard:
                    each.look = each.look or missed
                    each.heard |= heard
                    each.bell.set()

    def _leave(self, process: _Process, mine: _Waiting) -> None:
        with process.lock:
            process.waiting.discard(mine)
            if process.ear is mine:
                process.ear = None
            if process.waiting:
                # Whoever wakes first takes the ear.
                next(iter(process.waiting)).bell.set()
            elif process.bell is not None:
                process.bell.close()
                process.bell = None
                self.bells.unlink(process.name)
                self.bells.unlink(f"{process.name}.missed")
