"""Exit codes, and which error ends in which. Documented in the reference; standard library only."""

from __future__ import annotations

from typing import Final

TYPE_CHECKING = False
if TYPE_CHECKING:
    from celeriac.exceptions import CeleriacError

OK: Final = 0
FAILURE: Final = 1
USAGE: Final = 2
STORE: Final = 3
NOT_FOUND: Final = 4
TASK_FAILED: Final = 5
TIMED_OUT: Final = 6
NO_WORKER: Final = 69
PIDFILE: Final = 73
INTERRUPTED: Final = 130

#: Code → meaning, as `celeriac --help` and the reference print it.
MEANINGS: Final[dict[int, str]] = {
    OK: "done",
    FAILURE: "failure; for `doctor`: something was found; for `replay`: the run did not succeed; "
    "also when the reader of a pipe went away",
    USAGE: "wrong usage, wrong settings, or the application cannot be imported",
    STORE: "the store cannot be reached, or cannot be used by this version",
    NOT_FOUND: "no such task, or no such task name; for `replay`: what the run needs is gone",
    TASK_FAILED: "the task ended without success (`result`, `call --wait`); `tree`: one of them",
    TIMED_OUT: "the task had not ended when the wait was over; `tree`: not all have, none failed",
    NO_WORKER: "`inspect`, `control`: no answer from a worker, or none lives",
    PIDFILE: "`worker --pidfile`: a living process holds that file",
    INTERRUPTED: "interrupted with Ctrl-C",
}


def code_of(error: CeleriacError) -> int:
    """The exit code that *error* ends in."""
    # Late, because `celeriac --help` needs no errors.
    from celeriac import exceptions as known

    codes: tuple[tuple[type[CeleriacError], int], ...] = (
        (known.ImproperlyConfigured, USAGE),
        (known.OperationalError, STORE),
        (known.BackendError, STORE),
        (known.ResultNotFound, NOT_FOUND),
        (known.NotRegistered, NOT_FOUND),
        (known.NotReplayable, NOT_FOUND),
        (known.TimeoutError, TIMED_OUT),
    )
    return next((code for kind, code in codes if isinstance(error, kind)), FAILURE)
