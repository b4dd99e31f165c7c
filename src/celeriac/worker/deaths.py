"""Deaths: from a wait status to a sentence a person can act on. Pure.

Layer 5.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from typing import Final

from celeriac.worker.resources import megabytes

#: Linux counts ``ru_maxrss`` in KiB.
_MAXRSS_UNIT: Final = 1024


@dataclass(frozen=True)
class Death:
    """How an executor ended."""

    pid: int
    signal: int | None
    code: int | None
    peak: int  # bytes
    #: Why *we* killed it ("hard time limit", "memory", "revoked", "stopped for longer than the
    #: lease"); "" if it was not us.
    ordered: str = ""
    #: The kernel's OOM counter rose, or memory was near the limit when SIGKILL came from outside.
    oom: bool = False
    #: The last Python stack, as faulthandler wrote it.
    stack: str = ""

    @property
    def clean(self) -> bool:
        return self.code == 0 and not self.ordered

    def describe(self, what: str = "executor") -> str:
        """One line: cause, exit status, peak memory."""
        if self.ordered:
            how = f"was ended by its worker ({self.ordered})"
        elif self.signal is not None:
            how = f"died of signal {self.signal} ({_signal_name(self.signal)})"
        else:
            how = f"exited with status {self.code}"
        oom = ", probably out of memory" if self.oom else ""
        return f"{what} {self.pid} {how}{oom}; its peak memory was {megabytes(self.peak)}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"


def judge(
    pid: int, status: int, maxrss: int, *, ordered: str = "", oom: bool = False, stack: str = ""
) -> Death:
    """Make a :class:`Death` from what ``os.wait4`` returned."""
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
    by_kernel = oom and number == signal.SIGKILL and not ordered
    return Death(pid, number, code, maxrss * _MAXRSS_UNIT, ordered, by_kernel, stack.strip())


__all__ = ["Death", "judge"]
