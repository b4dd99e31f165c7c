"""Showing: what a run says of itself, on its way out of its process.

Layer 4; for ``update_state`` and ``progress``. Both go the same way, so that neither undoes the
other: what is written is always the run's last state and its last progress, in one body. A state
is written at once. Progress is coalesced: a run that has said something stands in line, and one
thread of the process writes for those who do, at a measured pace. It is started by the first word
and never where no task says any.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from queue import SimpleQueue
from typing import Final
from weakref import ref

from msgspec.structs import replace

from celeriac import states
from celeriac.bodies import seal
from celeriac.context import Context, last_word
from celeriac.exceptions import OperationalError
from celeriac.outcome import ResultBody

__all__ = ["INTERVAL", "show_progress", "show_state", "write"]

log: Final = logging.getLogger(__name__)

#: Seconds from one write of progress to the next, of all runs of this process.
INTERVAL: Final = 0.25
#: What each write adds to that: a thousand runs that say something all the time cost the store no
#: more than 100 writes a second. On SQLite each waits for the disk.
_EACH: Final = 0.01
_NOTHING: Final = ResultBody()


class _Line:
    """The runs of this process that have something to show, and the thread that writes for them."""

    def __init__(self) -> None:
        #: Held while a run is written, so that an older word cannot come last. Whoever holds it may
        #: be interrupted by a signal handler that shows something, too.
        self.writing = threading.RLock()
        #: Weakly: a run that has ended shall not keep its arguments for us.
        self._runs: SimpleQueue[ref[Context]] = SimpleQueue()
        self._starting = threading.Lock()
        self._started = False

    def join(self, run: Context) -> None:
        """Have *run* written soon."""
        run.in_line = True
        self._runs.put(ref(run))
        if not self._started:
            self._start()

    def _start(self) -> None:
        with self._starting:
            if self._started:
                return
            self._started = True
            threading.Thread(target=self._serve, name="progress", daemon=True).start()

    def _serve(self) -> None:
        while True:
            count = int(self._write(self._runs.get()))
            for _ in range(self._runs.qsize()):
                count += self._write(self._runs.get())
            time.sleep(max(INTERVAL, count * _EACH))

    def _write(self, waiting: ref[Context]) -> bool:
        """Write for who stands in line; False if it has ended meanwhile."""
        run = waiting()
        if run is None:
            return False
        # Before it is read: what is said from here on stands in line anew.
        run.in_line = False
        try:
            return write(run)
        except OperationalError:
            self.join(run)  # where this process writes to the store itself; that is away
        except OSError:
            log.debug("Progress of task %s was not shown: the worker is gone", run.id)
        except Exception:
            log.exception("Progress of task %s was not shown", run.id)  # others' still has to be
        return False


_line = _Line()


def _begin_anew() -> None:
    """A child has neither our thread nor whoever holds our lock."""
    global _line
    _line = _Line()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


def show_progress(run: Context) -> None:
    """Have the last progress of *run* shown within a moment."""
    _line.join(run)


def show_state(run: Context, state: str, body: ResultBody) -> None:
    """Show *state* with *body*, and the last progress, now."""
    with _line.writing:
        run.shown = state, body
        write(run)


def write(run: Context) -> bool:
    """Write what *run* shows now; False if no worker runs it, or not any more."""
    with _line.writing:
        send = run.write
        if send is None or run.fence is None:
            return False
        state, body = run.shown or (states.STARTED, _NOTHING)
        said = last_word(run)
        if said is not None:
            body = replace(body, progress=said)
        id = run.fence.id
        send(run.fence, state, seal(body, id, run.owner.app.signer))
        return True
