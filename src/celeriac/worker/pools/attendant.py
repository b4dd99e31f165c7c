"""The attendant of the hooks process: makes it when there is something to call, feeds it, tells its
death.

Layer 5; in the supervisor's main thread. Handlers and receivers change no state, so nothing here
does either.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import time
from collections.abc import Callable
from typing import Final, Protocol

from celeriac.worker import frames
from celeriac.worker.deaths import judge
from celeriac.worker.duties.notices import Notices
from celeriac.worker.pools.nursery import HOOKS, Nursery, Process

logger = logging.getLogger("celeriac.worker.pool")

#: Not yet sent bytes at which it is given nothing more for the moment.
_BACKLOG: Final = 1 << 20
#: One that dies younger than this slows its own replacement.
_YOUNG_SECONDS: Final = 2.0
_RESPAWN_MAX: Final = 10.0
_STOP: Final = frames.encode(frames.Stop())


class Ward(Protocol):
    """What a pool can do for any process of the nursery."""

    closing: bool

    def know(self, process: Process, pid: int, died: Callable[[], None]) -> None:
        """Watch *pid*, which is *process*; 0: it could not be forked."""

    def reap(self, pid: int) -> tuple[int, int]:
        """Wait status and peak memory in KiB of an ended child."""

    def write(self, process: Process, data: bytes) -> None:
        """Send what can be sent now; the rest waits."""


class Attendant:
    """See the module's docstring."""

    def __init__(
        self,
        nursery: Nursery,
        selector: selectors.BaseSelector,
        ward: Ward,
        wake: Callable[[], None],
    ) -> None:
        self._nursery = nursery
        self._selector = selector
        self._ward = ward
        self._process: Process | None = None
        self._ending = False
        #: When the next one may be made, and the pause after one that died young.
        self._due = 0.0
        self._delay = 0.0
        #: What it is to be told.
        self.notices = Notices(self._feed, wake)

    @property
    def alive(self) -> bool:
        """Is there a process, or one about to be?"""
        return self._process is not None

    @property
    def pid(self) -> int:
        """Its number, 0 if there is none or none is known yet."""
        return 0 if self._process is None else self._process.pid

    def _feed(self, data: bytes) -> bool:
        """Give it a frame, and make it if there is none; False: not now."""
        if self._process is None and time.monotonic() >= self._due:
            self._make()
        process = self._process
        if process is None or self._ending or len(process.out) > _BACKLOG:
            return False
        self._ending = data == _STOP
        self._ward.write(process, data)
        return True

    def _make(self) -> None:
        if self._nursery.sock is None:
            return  # between two zygotes
        try:
            process = self._nursery.make(HOOKS, f"celeriac: hooks {self._nursery.spec.hostname}")
        except (BlockingIOError, ConnectionError) as error:
            logger.debug("The zygote does not take requests: %s", error)
            return
        self._process, self._ending = process, False
        if process.pid:
            pid, process.pid = process.pid, 0
            self._ward.know(process, pid, self._died)

    def forked(self, index: int, pid: int) -> bool:
        """The process in slot *index* has *pid*; False if that slot is not its."""
        if self._process is None or self._process.index != index:
            return False
        self._ward.know(self._process, pid, self._died)
        return True

    def zygote_died(self) -> None:
        """What the zygote had not forked by then, it will not."""
        if self._process is not None and not self._process.pid:
            self._died()

    def _died(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.pidfd >= 0:
            self._selector.unregister(process.pidfd)
        lost = "handlers and receivers it was to call are not called"
        if not process.pid:
            logger.error("The hooks process could not be made; %s", lost)
        else:
            status, peak = self._ward.reap(process.pid)
            death = judge(process.pid, status, peak, stack=process.stack())
            if not (self._ward.closing or death.clean):
                logger.error("%s; %s", death.describe("hooks process"), lost)
                self._nursery.hear_out(process)
        self._nursery.give_back(process)
        now = time.monotonic()
        if self._ending or now - process.born > _YOUNG_SECONDS:
            self._delay = 0.0
        else:
            self._delay = min(_RESPAWN_MAX, max(0.1, self._delay * 2))
        self._due = now + self._delay

    def flush(self) -> None:
        """Hand over what waits. At each turn."""
        self.notices.tick()
        if self._process is not None and self._process.out:
            self._ward.write(self._process, b"")

    def end(self) -> None:
        """Let it call what it has been given, and end."""
        if self._process is not None or self.notices.waiting:
            self.notices.stop()
            self.notices.tick()

    def kill(self) -> None:
        """End it now."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)


__all__ = ["Attendant", "Ward"]
