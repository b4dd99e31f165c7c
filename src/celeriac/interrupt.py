"""The soft time limit of a run in a process that is not ours: of ``apply()`` and of tests.

Layer 4; for ``eager`` and ``testing``. An executor owns its process and its alarm. Here both are
the caller's: a test runner may have set the one timer that a process has, and the run may be in a
thread, where no signal arrives.
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

__all__ = ["soft_limit"]

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
    import ctypes

    raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
    here = ctypes.c_ulong(threading.get_ident())
    over = False
    lock = threading.Lock()

    def fire() -> None:
        with lock:
            if not over:
                raise_in(here, ctypes.py_object(SoftTimeLimitExceeded))

    timer = threading.Timer(seconds, fire)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        with lock:
            over = True
            raise_in(here, None)  # one that is under way has come too late
        timer.cancel()
