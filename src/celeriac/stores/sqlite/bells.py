"""Doorbells: how one process wakes another without anybody polling.

Part of the SQLite store. Beside the database lies a folder, ``<file>-bells/<namespace>/`` (mode
0700), of datagram sockets:

- ``w.…``: one socket for each waiting thread. While it idles it is also linked into ``q.<queue>/``
  for each queue it waits on. Who rings a queue takes *one* name out of that folder and sends to
  it; so each ring wakes one waiter, and two rings wake two.
- ``results/…``: one socket for each process in which somebody waits for results, see
  ``listener.py``.
- ``bus.<channel>/…``: one socket for each subscription, see ``bus.py``.

A bell is a hint. What it says is always read from the database afterwards, and who waits looks at
``PRAGMA data_version`` every second, so a lost bell costs a second and nothing else.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import logging
import os
import random
import socket
import tempfile
import threading
import time
from functools import lru_cache
from pathlib import Path
from typing import Final
from urllib.parse import quote

from celeriac.exceptions import CeleriacError, ImproperlyConfigured
from celeriac.stores.sqlite.database import Database, Transaction

_PROC: Final = Path("/proc/self/fd")
#: A datagram holds at most this much; the kernel's own limit is about 200 KB.
DATAGRAM_MAX: Final = 60_000
#: The longest path of a socket, if it cannot be reached through /proc.
_PATH_MAX: Final = 100
#: Nanoseconds after which a folder that changes gets another time of change: file systems take it
#: from a clock of the kernel that ticks every 10 ms at the longest. Some keep whole seconds only.
_TICK: Final = 50_000_000
_SECOND: Final = 1_000_000_000
RESULTS: Final = "results"
_GONE: Final = frozenset({errno.ECONNREFUSED, errno.ENOENT, errno.ENOTSOCK, errno.EPROTOTYPE})
_serial = itertools.count()
_log = logging.getLogger(__name__)


@lru_cache(maxsize=1024)
def quoted(text: str) -> str:
    """A name as part of a file name. A long one is cut and told apart by its digest: with codes
    for its characters it could exceed the 255 bytes a file name may have."""
    short = quote(text, safe="")
    if len(short) > 180:
        return f"{short[:140]}~{hashlib.sha256(text.encode()).hexdigest()[:24]}"
    return short


class Bells:
    """The folder of sockets, and sending to them. Usable from any thread and after a fork."""

    _sender: Bell | None = None

    def __init__(self, database: Database) -> None:
        self.database = database
        self.folder = self._place(database.path) / quoted(database.prefix.rstrip("."))
        self._base = f"{self.folder}/"
        self._pid = 0
        self._handle = -1
        self._made: set[str] = set()
        #: Queues of which nobody waits: their folder, and when what was found empty had changed.
        self._deserted: dict[str, tuple[str, int]] = {}
        self._locks: dict[int, threading.Lock] = {}

    @staticmethod
    def _place(path: Path) -> Path:
        if _PROC.is_dir():
            return Path(f"{path}-bells")
        # Without /proc a socket's whole path must fit into its 108 bytes.
        place = Path(f"{path}-bells")
        if len(str(place)) + 40 < _PATH_MAX:
            return place
        digest = hashlib.sha256(str(path).encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"celeriac-{os.getuid()}-{digest}"

    # -- places

    def prepare(self) -> None:
        """Make the folder and open it, once a process."""
        if self._pid == os.getpid():
            return
        # A lock of one's own for each process: an inherited one may be held for ever.
        with self._locks.setdefault(os.getpid(), threading.Lock()):
            if self._pid == os.getpid():
                return
            self._close()
            self._make(self.folder.parent)
            self._make(self.folder)
            self._handle = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._sender = Bell()
            self._made = set()
            self._pid = os.getpid()
        self._tidy()

    def _tidy(self) -> None:
        """Remove the sockets of processes that were killed. Once a process is enough."""
        top = self.names(".")
        names = [name for name in top if name.startswith("w.")]
        names += [f"{folder}/{name}" for folder in top for name in self.names(folder)]
        with Bell() as probe:
            for name in names:
                if name.endswith(".missed"):
                    continue
                try:
                    probe.connect(self.address(name))
                except OSError as error:
                    if error.errno in _GONE:
                        self.unlink(name)
                        self.unlink(f"{name}.missed")

    @staticmethod
    def _make(folder: Path) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        entry = folder.lstat()
        if entry.st_uid != os.geteuid() and os.geteuid() != 0:
            raise ImproperlyConfigured(
                f"{folder} belongs to uid {entry.st_uid}, not to this process' user: workers and "
                "clients of one SQLite store must run as one user."
            )

    def address(self, name: str) -> str:
        """The path under which the kernel reaches the socket *name*."""
        if _PROC.is_dir():
            return f"{_PROC}/{self._handle}/{name}"
        return str(self.folder / name)

    def subfolder(self, name: str) -> None:
        """Make the folder *name* for links or sockets."""
        self.prepare()
        if name not in self._made:
            self._make(self.folder / name)
            self._made.add(name)

    def bind(self, name: str) -> Bell:
        """A new socket, bound as *name*.

        Made under another name first: a socket's file is there a moment before it can be sent to,
        and who found it in that moment would take it for a dead one and remove it.
        """
        self.prepare()
        hidden = self.fresh_name("new.")
        bell = Bell()
        bell.bind(self.address(hidden))
        os.rename(f"{self._base}{hidden}", f"{self._base}{name}")  # noqa: PTH104
        return bell

    def fresh_name(self, kind: str) -> str:
        """A name nobody has: processes of two containers may share a number, hence the random."""
        return f"{kind}{os.getpid()}.{next(_serial)}.{os.urandom(4).hex()}"

    def names(self, folder: str) -> list[str]:
        """What is in a folder of sockets; nothing if there is no such folder."""
        try:
            return os.listdir(f"{self._base}{folder}")  # noqa: PTH208 - names, not paths
        except (FileNotFoundError, NotADirectoryError):
            return []

    def unlink(self, name: str) -> bool:
        """Remove a name; False if somebody else did."""
        try:
            os.unlink(f"{self._base}{name}")  # noqa: PTH108 - each ring calls this
        except FileNotFoundError:
            return False
        return True

    # -- sending

    def send(self, name: str, data: bytes) -> int:
        """Send to one socket without waiting. 0, or the error number if it did not arrive."""
        self.prepare()
        assert self._sender is not None
        try:
            self._sender.sendto(data, self.address(name))
        except OSError as error:
            if error.errno in _GONE:
                self.unlink(name)
            return error.errno or errno.EIO
        return 0

    def ring(self, queue: str, everybody: bool = False) -> None:
        """Wake one idle waiter of *queue* if there is one, or *everybody*."""
        known, then = self._deserted.get(queue, ("", 0))
        try:
            # This is all that most rings do.
            if known and os.stat(known).st_mtime_ns == then:  # noqa: PTH116 - Path costs double
                return
            folder = f"q.{quoted(queue)}"
            path = f"{self._base}{folder}"
            changed = os.stat(path).st_mtime_ns  # noqa: PTH116
            names = os.listdir(path)  # noqa: PTH208 - names, not paths
        except (FileNotFoundError, NotADirectoryError):
            # Nobody has waited here yet. Made now, since to look into an empty folder costs half
            # of what it costs to find none.
            self.subfolder(f"q.{quoted(queue)}")
            return
        if not names:
            # Who comes to wait changes the folder. That shows, unless it may still have the same
            # time as the change that was seen here.
            if changed % _SECOND and time.time_ns() - changed > _TICK:
                self._deserted[queue] = path, changed
            return
        self.prepare()
        if len(names) > 1:
            random.shuffle(names)
        for name in names:
            # Who takes the name out of the folder rings it; a second ring finds another waiter.
            rung = self.unlink(f"{folder}/{name}") and self.send(name, b"r") in (0, errno.EAGAIN)
            if rung and not everybody:
                return

    def announce(self, ended: list[str]) -> None:
        """Tell every process that waits for results which ids ended."""
        names = self.names(RESULTS)
        if not names:
            return
        parts = list(_parts(ended))
        for name in names:
            if name.endswith(".missed"):
                continue
            for part in parts:
                problem = self.send(f"{RESULTS}/{name}", part)
                if problem == errno.EAGAIN:
                    self._missed(f"{RESULTS}/{name}")
                elif problem in _GONE:
                    self.unlink(f"{RESULTS}/{name}.missed")
                if problem:
                    break

    def _missed(self, name: str) -> None:
        """The listener's socket is full: leave a mark, which it looks for after emptying it."""
        marker = f"{name}.missed"
        handle = os.open(f"{self._base}{marker}", os.O_CREAT | os.O_WRONLY, 0o600)
        os.close(handle)
        # It may have emptied the socket just before the mark was there.
        self.send(name, b"")

    def after_commit(self, step: Transaction) -> None:
        """Tell others what a transaction did; called by the database after each commit."""
        try:
            for queue in step.rung - step.summoned:
                self.ring(self.database.text(queue))
            for queue in step.summoned:
                self.ring(self.database.text(queue), everybody=True)
            if step.ended:
                self.announce(step.ended)
        except (OSError, CeleriacError):
            # The commit stands. Raising would say it does not; waiters look every second anyway.
            _log.warning("cannot ring the bells in %s", self.folder, exc_info=True)

    def after_enqueue(self, queue: str) -> None:
        """``after_commit`` of a step that did nothing but queue one record."""
        try:
            self.ring(queue)
        except (OSError, CeleriacError):
            _log.warning("cannot ring the bells in %s", self.folder, exc_info=True)

    def __del__(self) -> None:
        self._close()

    def _close(self) -> None:
        sender, self._sender = self._sender, None
        if sender is not None:
            sender.close()
            os.close(self._handle)


class Bell(socket.socket):
    """A datagram socket that never blocks. Stores are dropped, not closed, so it closes itself
    without the warning that a forgotten socket gives."""

    def __init__(self) -> None:
        super().__init__(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self.setblocking(False)

    # The one below that of Python: Ctrl-C may have left this half made, and raised in here it would
    # be printed and lost.
    __del__ = socket.SocketType.close


def _parts(ids: list[str]) -> list[bytes]:
    """Ids as datagrams of at most DATAGRAM_MAX bytes; an id has at most 128."""
    size = DATAGRAM_MAX // 129
    return ["\n".join(ids[start : start + size]).encode() for start in range(0, len(ids), size)]
