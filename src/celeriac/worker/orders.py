"""Signals of the operating system: which of them a worker obeys, and what each means.

Layer 5. Thin, and without a state.
"""

from __future__ import annotations

import faulthandler
import os
import signal
from typing import Final

__all__ = ["HANGUP", "exit_signals", "show_stacks_on_request"]

#: The terminal is gone; None where there is no such signal.
HANGUP: Final[int | None] = getattr(signal, "SIGHUP", None)


def exit_signals() -> dict[int, int]:
    """Return the signals that end a worker, each with the one that it means.

    SIGQUIT is a stop at once, any other a stop with grace. ``REMAP_SIGTERM=SIGQUIT`` has SIGTERM
    mean SIGQUIT, as with Celery. A hang-up that whoever started us ignores (``nohup``) stays
    ignored.
    """
    found = {int(each): int(each) for each in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)}
    if os.environ.get("REMAP_SIGTERM") == "SIGQUIT":
        found[signal.SIGTERM] = int(signal.SIGQUIT)
    if HANGUP is not None and signal.getsignal(HANGUP) is not signal.SIG_IGN:
        found[HANGUP] = HANGUP
    return found


def show_stacks_on_request() -> None:
    """Have SIGUSR1 write the stacks of all threads to standard error, which ends nothing."""
    if hasattr(faulthandler, "register"):
        faulthandler.register(signal.SIGUSR1, all_threads=True)
