"""A worker as a service: ``--detach``, ``--pidfile``, ``--uid``, ``--gid``, ``--umask``.

The command that detaches waits until the worker is ready, so that its exit status tells whether
that went well, and prints why not. Standard library only.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import click

from celeriac.cli import exits
from celeriac.cli.output import note

__all__ = [
    "READY",
    "Identity",
    "PidFile",
    "PidFileHeld",
    "detach",
    "find_identity",
    "read_umask",
    "to_log",
]

#: What the detached process writes when it works, and before the text that says why it does not.
READY = b"R"
_FAILED = b"E"
#: A process that began this much after a pidfile was written is not the one that wrote it.
_CLOCKS_APART = 2.0
_LOG_SHOWN = 4000


class PidFileHeld(click.ClickException):
    """A living process holds the pidfile."""

    exit_code = exits.PIDFILE

    def show(self, file: object = None) -> None:
        """Print the error."""
        click.echo(f"Error: {self.message}", err=True)


class PidFile:
    """A file that holds this process's id, and its lock, for as long as it lives.

    The lock is one of ``fcntl``: it ends with the process however that ends, and children do not
    have it.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path).absolute()
        self._fd = -1

    def take(self) -> None:
        """Write our id into it. Raises :class:`PidFileHeld` if a living process is in it; one of
        a process that is gone is replaced. ``click.UsageError`` if it is no pidfile."""
        while True:
            try:
                fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            except OSError as error:
                raise click.UsageError(f"--pidfile {self.path}: {error.strerror}.") from None
            try:
                fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                holder = os.read(fd, 32).decode("ascii", "replace").strip()
                os.close(fd)
                self._refuse(holder)
            if _is_at(fd, self.path):
                break
            os.close(fd)  # its holder removed it just now
        holder = os.read(fd, 32).decode("ascii", "replace").strip()
        if holder and not holder.isdigit():
            os.close(fd)
            raise click.UsageError(
                f"--pidfile {self.path} holds something else than a process id, so it is left as "
                "it is. Name another file, or remove this one."
            )
        if holder and _lives(int(holder), os.fstat(fd).st_mtime):
            os.close(fd)
            self._refuse(holder)
        if holder:
            note(f"Notice: {self.path} was left by process {holder}, which is gone; replaced.")
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._fd = fd

    def _refuse(self, holder: str) -> NoReturn:
        raise PidFileHeld(
            f"The pidfile {self.path} is held by process {holder or '(unknown)'}, which is alive. "
            "Stop that one first, or give this worker another --pidfile."
        )

    def drop(self) -> None:
        """Remove it, if it is still ours."""
        if self._fd < 0:
            return
        if _is_at(self._fd, self.path):
            self.path.unlink(missing_ok=True)
        os.close(self._fd)
        self._fd = -1


def _is_at(fd: int, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    here = os.fstat(fd)
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


def _lives(pid: int, written: float) -> bool:
    """Whether the process that wrote its id *pid* into a file at *written* is alive."""
    if pid == os.getpid():
        return False  # of an earlier process that had our number, as in a container
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it lives, and belongs to somebody else
    from celeriac.worker.resources import began

    if _is_zombie(pid):
        return False  # it has ended; only nobody has asked how
    since = began(pid)
    return since is None or since <= written + _CLOCKS_APART


def _is_zombie(pid: int) -> bool:
    import psutil

    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


# -- who it is ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Identity:
    """User, group and umask that a worker takes. None: as it was started."""

    uid: int | None = None
    gid: int | None = None
    user: str = ""
    umask: int | None = None

    def take(self) -> None:
        """Become it; the groups of the user come along."""
        if self.umask is not None:
            os.umask(self.umask)
        if self.gid is not None and self.gid != os.getegid():
            os.setgid(self.gid)
        if self.uid is not None and self.uid != os.geteuid():
            if self.user:
                os.initgroups(self.user, os.getegid() if self.gid is None else self.gid)
            os.setuid(self.uid)


def find_identity(uid: str | None, gid: str | None, umask: int | None) -> Identity:
    """Look up what ``--uid`` and ``--gid`` name, by name or number.

    Raises ``click.UsageError`` for a name that nobody has, and if another identity is asked for by
    somebody who is not root.
    """
    import grp
    import pwd

    number: int | None = None
    group: int | None = None
    user = ""
    if uid is not None:
        try:
            entry = pwd.getpwuid(int(uid)) if uid.isdigit() else pwd.getpwnam(uid)
            number, group, user = entry.pw_uid, entry.pw_gid, entry.pw_name
        except KeyError:
            if not uid.isdigit():
                raise click.UsageError(f"--uid: this machine has no user {uid!r}.") from None
            number = int(uid)
    if gid is not None:
        try:
            group = int(gid) if gid.isdigit() else grp.getgrnam(gid).gr_gid
        except KeyError:
            raise click.UsageError(f"--gid: this machine has no group {gid!r}.") from None
    others = (number not in (None, os.geteuid())) or (group not in (None, os.getegid()))
    if others and os.geteuid() != 0:
        raise click.UsageError("--uid and --gid: only root can become another user or group.")
    return Identity(number, group, user, umask)


def read_umask(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Read ``--umask``, which is octal."""
    if value is None:
        return None
    try:
        number = int(value, 8)
    except ValueError:
        number = -1
    if not 0 <= number <= 0o777:
        raise click.BadParameter("an octal number such as 022", ctx, param)
    return number


# -- leaving the terminal ----------------------------------------------------------------------


def detach(log: Path, work: Callable[[int], int]) -> int:
    """Run ``work(ready_fd)`` in a process of its own session that no terminal ends.

    What it prints goes to *log*. Returns, in the process that was called, once *work* has written
    a byte to *ready_fd* (0) or has ended before (its exit status, after saying why).
    """
    reader, writer = os.pipe()
    begun = log.stat().st_size if log.exists() else 0
    sys.stdout.flush()
    sys.stderr.flush()
    between = os.fork()
    if between == 0:
        os.close(reader)
        _leave(log, writer, work)
    os.close(writer)
    os.waitpid(between, 0)
    return _wait(reader, log, begun)


def _leave(log: Path, writer: int, work: Callable[[int], int]) -> NoReturn:
    """In the first child: fork once more and be the worker."""
    os.setsid()
    child = os.fork()
    if child:
        os._exit(0)
    status = exits.FAILURE
    text = ""
    try:
        status = work(writer)
    except click.ClickException as error:
        status, text = error.exit_code, f"Error: {error.format_message()}"
    except BaseException:  # noqa: BLE001 - whatever ends this process is told
        import traceback

        text = traceback.format_exc()
    try:
        os.write(writer, _FAILED + f"{status}\n{text}\0".encode())
    except OSError:
        status = status or 0  # it was ready long ago, and nobody waits any more
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def to_log(log: Path, who: Identity) -> None:
    """Let this process's standard streams be *log*, with nothing to read; the file belongs to
    *who* from the start."""
    if who.umask is not None:
        os.umask(who.umask)
    try:
        target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError as error:
        raise click.UsageError(f"--logfile {log}: {error.strerror}.") from None
    if os.geteuid() == 0 and (who.uid is not None or who.gid is not None):
        os.fchown(target, -1 if who.uid is None else who.uid, -1 if who.gid is None else who.gid)
    nothing = os.open(os.devnull, os.O_RDONLY)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(nothing, 0)
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(nothing)
    os.close(target)


def _wait(reader: int, log: Path, begun: int) -> int:
    """Wait until the worker is ready or has ended, and say which."""
    data = b""
    with os.fdopen(reader, "rb", buffering=0) as pipe:
        while True:
            part = pipe.read(65_536)
            data += part or b""
            if not part or data.startswith(READY) or data.endswith(b"\0"):
                break
    if data.startswith(READY):
        return exits.OK
    head, _, text = data[1:].decode("utf-8", "replace").rstrip("\0").partition("\n")
    status = int(head) if head.isdigit() else exits.FAILURE
    if not text:
        text = _end_of(log, begun)
    click.echo(text.rstrip() or "Error: the worker ended before it was ready.", err=True)
    return status or exits.FAILURE


def _end_of(log: Path, begun: int) -> str:
    """What was written to *log* since it had *begun* bytes, its end if that is long."""
    try:
        with log.open("rb") as file:
            file.seek(max(begun, log.stat().st_size - _LOG_SHOWN))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""
