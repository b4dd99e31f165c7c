"""Notices: what the supervisor has seen and the hooks process is to tell receivers of.

Layer 5. Any thread may leave one; the main thread hands them over. They are kept in memory while
the process is being made or is busy, up to a size: receivers that cannot keep up lose notices, the
worker loses nothing.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

from celeriac import states
from celeriac.outcome import Outcome
from celeriac.records import Delivery
from celeriac.worker import frames

logger = logging.getLogger("celeriac.worker")

#: Bytes that wait for the hooks process at most.
_WAITING_MAX: Final = 8 << 20


class Tells(Protocol):
    """Where notices are left."""

    def tell(self, name: str, delivery: Delivery | None = None, **details: Any) -> None:
        """Have the signal *name* sent, if anybody hears of it. From any thread."""

    def ended(self, delivery: Delivery, outcome: Outcome) -> None:
        """A delivery ended as *outcome* says: a signal, if it was revoked or expired."""


class Notices:
    """See the module's docstring.

    Args:
        feed: hands a frame to the hooks process and makes that if need be; False: not now.
        wake: makes the main thread look up.
    """

    def __init__(self, feed: Callable[[bytes], bool], wake: Callable[[], None]) -> None:
        #: The signals that have receivers.
        self.wanted: frozenset[str] = frozenset()
        self._feed = feed
        self._wake = wake
        #: Signals that runs are being ended with, by task id.
        self._signums: dict[str, int] = {}
        self._lock = threading.Lock()
        self._frames: deque[bytes] = deque()
        self._size = 0
        self._dropped = 0

    def tell(self, name: str, delivery: Delivery | None = None, **details: Any) -> None:
        """Have the signal *name* sent, if anybody hears of it. From any thread."""
        if name in self.wanted:
            self._put(frames.Notice(name, delivery, details))

    def ended(self, delivery: Delivery, outcome: Outcome) -> None:
        """A delivery ended as *outcome* says: a signal, if it was revoked or expired."""
        tell_end(self, delivery, outcome, self._signums.pop(delivery.id, None))

    def ended_by(self, id: str, signum: int) -> None:
        """The run of the task *id* is being ended with the signal *signum*."""
        if "task_revoked" in self.wanted:
            self._signums[id] = signum

    def stop(self) -> None:
        """Have the hooks process end, once it is through with what it was given."""
        self._put(frames.Stop())

    def hook(self, delivery: Delivery, outcome: Outcome) -> None:
        """Have the handlers called of a task that ended outside its executor."""
        self._put(frames.Hook(delivery, outcome))

    def _put(self, frame: frames.Frame) -> None:
        data = frames.encode(frame)
        with self._lock:
            if self._size + len(data) > _WAITING_MAX:
                self._dropped += 1
                first = self._dropped == 1
            else:
                self._frames.append(data)
                self._size += len(data)
                first = False
        if first:
            logger.error(
                "The hooks process does not keep up: until it does, handlers of tasks whose "
                "executor died and receivers of this worker's signals are not called"
            )
        self._wake()

    def tick(self) -> None:
        """Hand over what can be handed over. In the main thread."""
        while self._frames and self._feed(self._frames[0]):
            with self._lock:
                self._size -= len(self._frames.popleft())
                dropped, self._dropped = self._dropped, 0
            if dropped:
                logger.error("The hooks process is given work again; %d calls were lost", dropped)

    @property
    def waiting(self) -> bool:
        """Is there anything left to hand over?"""
        return bool(self._frames)


def tell_end(
    notices: Tells, delivery: Delivery, outcome: Outcome, signum: int | None = None
) -> None:
    """Have ``task_revoked`` sent if *delivery* was revoked, ended by *signum* maybe, or expired."""
    if outcome.state == states.EXPIRED:
        told: dict[str, int | None] = {"terminated": False, "signum": None, "expired": True}
    elif outcome.state == states.CANCELLED:
        told = {"terminated": signum is not None, "signum": signum, "expired": False}
    else:
        return
    notices.tell("task_revoked", delivery, **told)


__all__ = ["Notices", "Tells", "tell_end"]
