"""Where the database file is, and whether it may be there.

Part of the SQLite store; imported by it alone. Everything that can be wrong with a place is found
before SQLite opens the file, because SQLite's own words for most of it are "unable to open
database file".
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from celeriac.exceptions import ImproperlyConfigured, OperationalError

_SCHEME: Final = "sqlite://"
_MOUNTS: Final = Path("/proc/self/mountinfo")

#: Types of file system on which several machines, or caches, may see one file differently. WAL
#: needs memory shared by all who have the file open, and locks that work.
NETWORK_FILE_SYSTEMS: Final = frozenset(
    {
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "davfs",
        "fuse.ceph",
        "fuse.cephfs",
        "fuse.gcsfuse",
        "fuse.glusterfs",
        "fuse.rclone",
        "fuse.s3fs",
        "fuse.sshfs",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "smb2",
        "smb3",
        "smbfs",
    }
)

_PLACE: Final = 'Celeriac(…, broker="sqlite:////path/to/celeriac.db").'
_CURE: Final = f"Name another place: {_PLACE}"


def locate(url: str) -> Path:
    """Return the absolute path that *url* names.

    ``sqlite:///jobs.db`` is relative to the working directory, ``sqlite:////var/lib/jobs.db``
    absolute. Raises :class:`ImproperlyConfigured` for any other form.
    """
    rest = url.removeprefix(_SCHEME)
    if rest == url or not rest.startswith("/") or rest == "/":
        raise ImproperlyConfigured(
            f"{url!r} names no file: write sqlite:///relative.db (three slashes, beside the "
            "working directory) or sqlite:////absolute/path.db (four)."
        )
    if "?" in rest or "#" in rest:
        raise ImproperlyConfigured(
            f"{url!r} carries options: the SQLite store takes them from the settings, "
            "the URL only names the file."
        )
    path = unquote(rest[1:])
    if "\0" in path or path == ":memory:" or path.endswith("/"):
        raise ImproperlyConfigured(
            f"{url!r} names no file. For a store in memory use memory://, else name a file."
        )
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow a symlink


def check_place(path: Path, filesystem: Callable[[Path], str] | None = None) -> None:
    """Raise if the database must not be at *path*: see the texts below. Creates nothing."""
    folder = path.parent
    try:
        place = folder.stat()
    except OSError as error:
        raise ImproperlyConfigured(
            f"The folder {folder} of the database {path.name} cannot be used: {error.strerror}. "
            f"Create it, or name another place: {_PLACE}"
        ) from None
    _check_file(path)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ImproperlyConfigured(
            f"The folder {folder} of the database {path.name} belongs to {_owner(place.st_uid)} "
            f"and is not writable for {_owner(os.geteuid())}. {_CURE}"
        )
    if not path.exists():
        _check_new(path, place)
    kind = (filesystem or filesystem_of)(folder)
    if kind in NETWORK_FILE_SYSTEMS:
        raise ImproperlyConfigured(
            f"{path} is on a network file system ({kind}), where SQLite's locks and shared "
            f"memory do not hold and tasks would be lost. {_CURE}"
        )


def _check_file(path: Path) -> None:
    try:
        entry = path.lstat()
    except FileNotFoundError:
        return
    if stat.S_ISLNK(entry.st_mode):
        try:
            target = path.stat()
        except OSError as error:
            raise ImproperlyConfigured(
                f"{path} is a symbolic link that leads nowhere: {error.strerror}. {_CURE}"
            ) from None
        if target.st_uid != os.geteuid():
            raise ImproperlyConfigured(
                f"{path} is a symbolic link to a file that belongs to {_owner(target.st_uid)}, "
                f"not to {_owner(os.geteuid())}: refused. {_CURE}"
            )
        entry = target
    if not stat.S_ISREG(entry.st_mode):
        raise ImproperlyConfigured(f"{path} is not a file. {_CURE}")
    if not os.access(path, os.R_OK | os.W_OK):
        raise ImproperlyConfigured(
            f"The database {path} belongs to {_owner(entry.st_uid)} and cannot be read and "
            f"written by {_owner(os.geteuid())}. Run as that user. {_CURE}"
        )


def _check_new(path: Path, folder: os.stat_result) -> None:
    """A new file is made only in a folder of our own: elsewhere others could not open it, or
    could put another file in its place."""
    if folder.st_mode & stat.S_IWOTH:
        raise ImproperlyConfigured(
            f"The folder {path.parent} is writable for everybody, so anybody could put another "
            f"file in the place of {path.name}. {_CURE}"
        )
    if folder.st_uid != os.geteuid():
        raise ImproperlyConfigured(
            f"The folder {path.parent} belongs to {_owner(folder.st_uid)} and this process runs "
            f"as {_owner(os.geteuid())}: a database made here would not open for them. {_CURE}"
        )


def create(path: Path, build: Callable[[str], None]) -> None:
    """Make the database, mode 0600, if there is none; *build* fills an empty file.

    It is built under another name and put in place whole: of two processes that start at once one
    wins, and neither ever sees a database that is still being switched to WAL (both would wait for
    the other's lock). An existing file is not opened: closing it again would drop this process'
    SQLite locks on it.
    """
    if path.exists():
        return
    hidden = path.with_name(f".{path.name}.{os.urandom(6).hex()}")
    try:
        os.close(os.open(hidden, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW, 0o600))
        try:
            build(str(hidden))
            with contextlib.suppress(FileExistsError):
                path.hardlink_to(hidden)
        finally:
            hidden.unlink()
    except OSError as error:
        raise OperationalError(
            f"The database {path} cannot be created: {error.strerror}. {_CURE}"
        ) from error


def filesystem_of(folder: Path) -> str:
    """The type of the file system *folder* is on, as the kernel names it; "" if it cannot tell."""
    try:
        mounts = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:  # not Linux: the check needs the kernel's list of mounts
        return ""
    place = os.path.realpath(folder)
    best, kind = -1, ""
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        point = left.split(" ")[4].encode("utf-8", "surrogateescape").decode("unicode_escape")
        inside = place == point or place.startswith(point.rstrip("/") + "/")
        # Later lines cover earlier ones mounted at the same point.
        if inside and len(point) >= best:
            best, kind = len(point), right.split(" ")[0]
    return kind


def _owner(uid: int) -> str:
    try:
        import pwd

        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except (ImportError, KeyError):  # no such database, or no entry: the number says it
        return f"uid {uid}"
