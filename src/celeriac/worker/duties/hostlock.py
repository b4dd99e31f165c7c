"""Lock files: how host-mates know within a second that a worker has died.

Layer 5. Every incarnation holds a POSIX record lock on a file of its own. The kernel lets go of
it when the process ends, however it ends, and keeps it while the process is merely stopped. A
neighbour that can take the lock knows that its owner is dead.

POSIX locks are dropped when the process closes *any* descriptor of the file, and they are not
inherited by fork: so a worker never opens its own file twice, and a probe never opens with
O_CREAT (that would make a file nobody holds).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import tempfile
from pathlib import Path

from celeriac.exceptions import ImproperlyConfigured

_SUFFIX = ".lock"


def lock_folder(store_url: str, namespace: str) -> Path:
    """The folder where workers of this store and namespace on this host keep their files.

    It belongs to the user; a folder of that name that belongs to somebody else is refused, since
    its owner could declare our workers dead.
    """
    user = os.getuid()
    digest = hashlib.sha256(f"{namespace}\0{store_url}".encode()).hexdigest()[:16]
    base = Path(tempfile.gettempdir()) / f"celeriac-{user}"
    folder = base / digest
    base.mkdir(mode=0o700, exist_ok=True)
    info = base.lstat()
    if info.st_uid != user or not stat.S_ISDIR(info.st_mode) or info.st_mode & 0o022:
        raise ImproperlyConfigured(
            f"{base} belongs to user {info.st_uid} or is writable by others; workers keep their "
            "lock files there. Remove it, or set TMPDIR to a folder of your own."
        )
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


#: Paths of the files this process holds. A second worker in it must not probe them: a process can
#: always take a lock that it holds itself, and closing the file would drop it.
_held_here: set[str] = set()


class HostLock:
    """This incarnation's lock file, and the probe of everybody else's."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._fd = -1
        self._name = ""

    def hold(self, owner: str) -> None:
        """Take the lock of incarnation *owner*, giving up an earlier one."""
        self.drop()
        self._name = owner + _SUFFIX
        # Locked before it gets the name a probe looks for: a file seen unlocked is a dead owner's.
        nascent = self._folder / owner
        self._fd = os.open(nascent, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path = self._folder / self._name
        _held_here.add(str(path))
        nascent.rename(path)

    def drop(self) -> None:
        """Give up the lock and remove the file."""
        if self._fd >= 0:
            path = self._folder / self._name
            path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = -1
            _held_here.discard(str(path))

    def dead_mates(self) -> list[str]:
        """Owner ids on this host whose process has ended without giving up its lock."""
        try:
            names = os.listdir(self._folder)
        except FileNotFoundError:
            return []  # cleared away by something that cleans temporary folders: leases still end
        paths = {name: str(self._folder / name) for name in names if name.endswith(_SUFFIX)}
        return [
            name.removesuffix(_SUFFIX)
            for name, path in paths.items()
            if path not in _held_here and self._is_free(path)
        ]

    def bury(self, owner: str) -> None:
        """Remove a dead mate's file, once the store has taken its leases back."""
        (self._folder / (owner + _SUFFIX)).unlink(missing_ok=True)

    @staticmethod
    def _is_free(path: str) -> bool:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        else:
            return True
        finally:
            os.close(fd)


__all__ = ["HostLock", "lock_folder"]
