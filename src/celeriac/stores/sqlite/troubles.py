"""SQLite's errors as ours, with the file and what to do. Part of the SQLite store."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Final

import apsw

from celeriac.exceptions import OperationalError, StoreError, StoreFull

_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def described_error(error: apsw.Error, path: Path | str, timeout: float, number: int) -> Exception:
    """SQLite's error as ours; *number* is the system's error number behind it."""
    if isinstance(error, apsw.FullError) or (
        isinstance(error, apsw.IOError) and number in _NO_ROOM
    ):
        return StoreFull(
            f"No room left for the database {path}: nothing was stored. "
            "Make room on its disk; workers keep what they have finished and store it then."
        )
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        locked = OperationalError(
            f"The database {path} stayed locked for {timeout:g} s: another process holds it in a "
            "long transaction. Find it (fuser shows who has the file open), or raise the timeout."
        )
        locked.passing = True
        return locked
    if isinstance(error, apsw.CorruptError | apsw.NotADBError):
        return StoreError(
            f"{path} is not a sound SQLite database: {error}. Stop all workers and restore a "
            "copy, or move the file away to begin a new one."
        )
    return OperationalError(f"The database {path} cannot be used: {error}")


__all__ = ["described_error"]
