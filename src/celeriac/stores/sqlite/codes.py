"""States as small integers, and rows as objects. Part of the SQLite store.

The numbers are in the file format: never change one, only add.
"""

from __future__ import annotations

from typing import Final

from celeriac import states

WAITING: Final = 0
SCHEDULED: Final = 1
QUEUED: Final = 2
LEASED: Final = 3
RUNNING: Final = 4
#: Queued, but off the head of its queue: no registered worker knows its task.
PARKED: Final = 5
SUCCEEDED: Final = 6
FAILED: Final = 7
REVOKED: Final = 8
EXPIRED: Final = 9
IGNORED: Final = 10
REJECTED: Final = 11
DEAD: Final = 12

#: Codes from here on are terminal.
FIRST_TERMINAL: Final = SUCCEEDED

NAMES: Final = (
    states.WAITING,
    states.SCHEDULED,
    states.QUEUED,
    states.LEASED,
    states.RUNNING,
    states.QUEUED,
    states.SUCCEEDED,
    states.FAILED,
    states.CANCELLED,
    states.EXPIRED,
    states.SKIPPED,
    states.REFUSED,
    states.DEAD,
)
CODES: Final = {name: code for code, name in enumerate(NAMES) if code != PARKED}

# Bits of record.special: such a record is ended with care, any other by one short statement.
#: The record has edges, or another one refers to its result.
LINKED: Final = 1
#: Its send nonce is its id (cron, uniqueness): the tombstone is kept longer.
UNIQUE: Final = 2
#: The result goes as soon as nobody refers to it (``Outcome.keep`` was False, or ``forget``).
FORGET: Final = 4
#: ``forget`` asked for that, not the task: its result is not None, it is gone.
FORGOTTEN: Final = 8
