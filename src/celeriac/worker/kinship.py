"""Linux process kinship: sub-reaper, parent-death signal, pidfd. Thin and without policy.

Layer 5. ``prctl`` has no wrapper in the standard library, so ctypes calls it. On other systems
every function says so by returning False and the worker falls back to ``spawn`` and to pipes.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
LINUX: Final = sys.platform == "linux"


def _prctl(option: int, value: int) -> bool:
    if not LINUX:
        return False
    return bool(ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) == 0)


def become_subreaper() -> bool:
    """Orphaned grandchildren become children of this process."""
    return _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with(parent: int, timeout: float = 10.0) -> None:
    """Arrange for SIGKILL when *parent* dies, once this process is its child.

    A double-forked process is handed to its sub-reaper a moment after the process between has
    ended, and the signal belongs to whoever is parent when it is armed: hence the wait. If
    *parent* is gone already, this process ends at once.
    """
    if not LINUX or parent == 0:
        return
    import time

    deadline = time.monotonic() + timeout
    while os.getppid() != parent:
        if time.monotonic() > deadline or os.getppid() == 1:
            os._exit(1)
        time.sleep(0.0005)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def leave_if_forked(pid: int) -> None:
    """End this process if it is not *pid*, which runs tasks: one of them forked, and the child came
    back from it. What it would go on to say or take is the other's."""
    if os.getpid() != pid:
        os._exit(0)


__all__ = ["LINUX", "become_subreaper", "die_with", "leave_if_forked"]
