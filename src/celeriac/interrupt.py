"""The soft time limit of a run in a process that is not ours: of ``apply()`` and of tests.

Layer 4; for ``eager`` and ``testing``. An executor owns its process and its alarm. Here both are
the caller's: a test runner may have set the one timer that a process has, and the run may be in a
thread, where no signal arrives. How an exception is raised in a thread, and taken back, is here
for executors as well.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from time import monotonic
from types import FrameType
from typing import Final

from celeriac.exceptions import SoftTimeLimitExceeded

__all__ = ["absorb", "raise_in", "soft_limit"]

_SOON: Final = 0.001


def soft_limit(seconds: float) -> AbstractContextManager[None]:
    """Raise ``SoftTimeLimitExceeded`` in this thread if the block takes longer than *seconds*.

    In the main thread whatever the task is doing ends there and then. In another thread it is
    raised between two steps of Python, so a call that blocks in C ends first.
    """
    if threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer"):
        return _by_alarm(seconds)
    return _by_timer(seconds)


@contextmanager
def _by_alarm(seconds: float) -> Iterator[None]:
    """By the process's timer. One that was set before goes on: it rings in its time, and is set
    again afterwards for what is left of it."""
    armed = True
    started = monotonic()
    theirs = signal.getitimer(signal.ITIMER_REAL)[0]
    waiting = bool(theirs)

    def on_alarm(number: int, frame: FrameType | None) -> None:
        nonlocal waiting
        passed = monotonic() - started
        if waiting and passed >= theirs - _SOON:
            waiting = False
            signal.setitimer(signal.ITIMER_REAL, max(_SOON, seconds - passed))
            if callable(previous):
                previous(number, frame)
        elif armed and passed >= seconds - _SOON:
            raise SoftTimeLimitExceeded(seconds)

    previous = signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, min(seconds, theirs) if waiting else seconds)
    try:
        yield
    finally:
        armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        if waiting:
            signal.setitimer(signal.ITIMER_REAL, max(_SOON, theirs - (monotonic() - started)))


@contextmanager
def _by_timer(seconds: float) -> Iterator[None]:
    """By another thread, which has the interpreter raise the exception in this one."""
    here = threading.get_ident()
    over = fired = False
    lock = threading.Lock()

    def fire() -> None:
        nonlocal fired
        with lock:
            if not over:
                fired = True
                raise_in(here, SoftTimeLimitExceeded)

    timer = threading.Timer(seconds, fire)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        with lock:
            over = True
        if fired:
            absorb()  # one that is under way has come too late
        timer.cancel()


class _Over(BaseException):
    """Raised and caught where a block ends."""


def raise_in(thread: int, kind: type[BaseException]) -> None:
    """Have the interpreter raise *kind* in *thread* at its next bytecode. Whoever asks for this
    sees to it that it has been raised, or calls :func:`absorb`, before that thread goes on to
    other things."""
    import ctypes

    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(kind))


def absorb() -> None:
    """Take out of this thread what :func:`raise_in` has under way, if there is anything.

    Another one takes its place and is caught here. Taking it back with NULL would leave the
    interpreter's mark that something is under way: from then on each of its checks looks in
    vain, and in Python 3.11 a function that is traced (coverage, debuggers) never begins.
    """
    try:
        raise_in(threading.get_ident(), _Over)
        while True:
            pass  # it is raised at the next bytecode
    except _Over:
        return
