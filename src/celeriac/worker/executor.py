"""The executor: runs tasks, one at a time, and reports what came of them.

Layer 5. It holds no lease and commits nothing. It reads deliveries off its socket, publishes in
its slot what it begins, gives the delivery to the :class:`~celeriac.runner.Runner` and sends the
outcome at once. Whatever user code does to this process, the supervisor knows what it ran.

This is the executor of the prefork pool, and what all executors have in common; those of the
shared pools are in ``threaded`` and ``looped``.
"""

from __future__ import annotations

import faulthandler
import os
import random
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from typing import Final, NoReturn, Protocol

from celeriac.crashpoints import crashpoint
from celeriac.exceptions import SoftTimeLimitExceeded
from celeriac.outcome import Outcome
from celeriac.records import Delivery, Fence
from celeriac.worker import frames
from celeriac.worker.kinship import die_with, leave_if_forked
from celeriac.worker.slots import Board, Slots
from celeriac.worker.spec import WorkerSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from celeriac.app import Celeriac


@dataclass(frozen=True)
class Station:
    """Where a process stands: what it was told, its line to the supervisor, its slot and board."""

    spec: WorkerSpec
    sock: socket.socket
    slots: Slots
    index: int
    board: Board | None = None


class Serves(Protocol):
    """An executor of any kind."""

    @property
    def station(self) -> Station: ...

    def serve(self) -> None:
        """Run what comes until told to stop or the socket closes."""


class Executor:
    """One process's loop: frames in, outcomes out."""

    def __init__(self, app: Celeriac, station: Station) -> None:
        from celeriac.runner import Runner

        spec = station.spec
        self.station = station
        self.sock = station.sock
        self._app = app
        self._slots = station.slots
        self._index = station.index
        self._pid = 0
        self._present: tuple[int, Fence] | None = None
        self._sending = threading.Lock()
        self._runner = Runner(app, spec.hostname, update=self._send_update, limiter=soft_limit)

    def serve(self) -> None:
        """Run what comes until told to stop or the socket closes."""
        self._pid = os.getpid()
        self._send(frames.Ready(self._pid))
        inbox = frames.Inbox()
        while data := self.sock.recv(frames.READ_SIZE):
            for frame in inbox.feed(data):
                if isinstance(frame, frames.Run):
                    for offset, delivery in enumerate(frame.deliveries):
                        self._run(frame.first + offset, delivery)
                elif isinstance(frame, frames.SoftLimit):
                    frame.set_on(self._app.tasks)
                elif isinstance(frame, frames.Stop):
                    return

    def _run(self, key: int, delivery: Delivery) -> None:
        crashpoint("executor.received")
        started = time.monotonic()
        if not self._slots.begin(self._index, key, started):
            self._send(frames.Skipped(key))
            return
        self._present = (key, delivery.fence)
        # What a task sets in its context must not be met by the next one.
        outcome: Outcome = copy_context().run(self._runner.run, delivery)
        leave_if_forked(self._pid)
        crashpoint("executor.ran")
        self._present = None
        self._send(frames.Done(key, outcome, time.monotonic() - started))
        crashpoint("executor.sent")

    def _send_update(self, fence: Fence, state: str, meta: bytes | None) -> None:
        """From any thread of the task. One that outlived its run has nothing to say any more; the
        store would refuse it by its fence."""
        present = self._present
        if present is not None and present[1] == fence:
            with _no_alarm():
                self._send(frames.Update(present[0], state, meta))

    def _send(self, frame: frames.Frame) -> None:
        """Send a whole frame: a part of one would put the stream out of step for good. So no
        soft limit may be due here, and threads of the task send one after the other."""
        with self._sending:
            self.sock.sendall(frames.encode(frame))


#: How many sections are under way in which a soft limit must not be raised.
_quiet = 0
_ALARM_AGAIN: Final = 0.005


@contextmanager
def _no_alarm() -> Iterator[None]:
    """Put off a soft limit that falls due in the main thread meanwhile."""
    global _quiet
    if threading.current_thread() is not threading.main_thread():
        yield  # alarms are raised in the main thread only
        return
    _quiet += 1
    try:
        yield
    finally:
        _quiet -= 1


@contextmanager
def soft_limit(seconds: float) -> Iterator[None]:
    """Raise :class:`SoftTimeLimitExceeded` in the main thread after *seconds*.

    The handler is disarmed before the timer is cleared, so that an alarm which lands between the
    end of the task and the clearing finds nothing to do.
    """
    armed = True

    def on_alarm(_signum: int, _frame: object) -> None:
        if armed and _quiet:
            signal.setitimer(signal.ITIMER_REAL, _ALARM_AGAIN)
        elif armed:
            raise SoftTimeLimitExceeded(seconds)

    previous = signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def make_executor(role: str, app: Celeriac, station: Station) -> Serves:
    """Make the executor (or hooks process) that *role* names."""
    if role == "hooks":
        from celeriac.worker.hooks import HooksProcess

        return HooksProcess(app, station)
    if role == "threads":
        from celeriac.worker.threaded import ThreadedExecutor

        return ThreadedExecutor(app, station)
    if role == "asyncio":
        from celeriac.worker.looped import LoopedExecutor

        return LoopedExecutor(app, station)
    return Executor(app, station)


def _settle(executor: Serves, title: str, crash_fd: int) -> None:
    """Make this process an executor: group, death signal, signals, crash file, title."""
    from celeriac.logs import name_process
    from celeriac.logs.worker import enter_executor
    from celeriac.worker.zygote import set_title

    os.setpgid(0, 0)
    die_with(executor.station.spec.supervisor)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    faulthandler.enable(file=crash_fd, all_threads=True)
    if hasattr(faulthandler, "register"):
        faulthandler.register(signal.SIGUSR1, all_threads=True)
    random.seed()
    set_title(title)
    name = title.partition(" ")[2].rpartition(" ")[0]
    name_process(name)
    number = name.rpartition(" ")[2]
    enter_executor(int(number) if number.isdigit() else 0)


def run_forked(executor: Serves, title: str, crash_fd: int) -> NoReturn:
    """Be an executor (or the hooks process) in a freshly forked process."""
    from celeriac.worker.announce import process_begins, process_ends
    from celeriac.worker.hooks import HooksProcess
    from celeriac.worker.zygote import end_process

    runs_tasks = not isinstance(executor, HooksProcess)

    status = 1
    try:
        _settle(executor, title, crash_fd)
        if runs_tasks:
            process_begins(executor.station.spec.hostname)
        executor.serve()
        status = 0
        if runs_tasks:
            process_ends(status)
    except (BrokenPipeError, ConnectionResetError):
        status = 0  # the supervisor is gone or has closed our socket
    except BaseException:  # noqa: BLE001 - whatever ends this process is told
        traceback.print_exc()
    finally:
        end_process(status)


def start_by_exec() -> NoReturn:
    """Entry of ``python -m celeriac.worker.executor SPEC ROLE TITLE SOCK CRASH SLOTS COUNT INDEX``,
    followed by BOARD PLACES for an executor of a shared pool.

    Used where forking is unsafe (the application started threads at import) or absent.
    """
    from celeriac.worker.spec import decode_spec, of_another_version
    from celeriac.worker.zygote import load

    spec = decode_spec(sys.argv[1])
    role, title = sys.argv[2:4]
    sock_fd, crash_fd, slots_fd, count, index = (int(text) for text in sys.argv[4:9])
    if problem := of_another_version(spec):
        frame = frames.encode(frames.Broken(problem, tried=False))
        socket.socket(fileno=sock_fd).sendall(frame)
        sys.exit(2)
    rest = [int(text) for text in sys.argv[9:]]
    for fd in (sock_fd, crash_fd, slots_fd, *rest[:1]):
        os.set_inheritable(fd, False)
    board = Board(rest[0], rest[1]) if rest else None
    slots = Slots(slots_fd, count)
    station = Station(spec, socket.socket(fileno=sock_fd), slots, index, board)
    run_forked(make_executor(role, load(spec), station), title, crash_fd)


if __name__ == "__main__":
    start_by_exec()
