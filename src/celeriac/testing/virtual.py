"""The clock that a test drives.

Layer 6: layer 0 only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from celeriac.clock import SYSTEM, Clock

__all__ = ["VirtualClock"]


class VirtualClock(Clock):
    """The machine's clock, and what a test has let pass on top of it.

    It runs on as the machine's does, so a moment that the application worked out from its own
    ``datetime.now()`` is due when a test has let that time pass; and it follows libraries that
    change the machine's time within a test. While the test itself runs tasks it stands still, so
    that what they ask for is due at round times.

    Args:
        moved: called whenever time was let pass.
    """

    __slots__ = ("_ahead", "_held", "_moved")

    def __init__(self, moved: Callable[[], None] | None = None) -> None:
        self._ahead = 0.0
        self._held: float | None = None
        self._moved = moved

    def wall(self) -> float:
        """Seconds since the epoch, with what was let pass."""
        held = self._held
        return SYSTEM.wall() + self._ahead if held is None else held

    def now(self) -> datetime:
        """Return the time, in UTC."""
        return datetime.fromtimestamp(self.wall(), UTC)

    def advance(self, seconds: float | timedelta) -> None:
        """Let *seconds* pass: what falls due is queued, what expires ends, a worker looks again.

        Nothing runs in this thread; that is for ``run_pending()``. Raises ``ValueError`` for a
        negative time.
        """
        passed = seconds.total_seconds() if isinstance(seconds, timedelta) else seconds
        if passed < 0:
            raise ValueError(f"time cannot pass by {passed} s")
        self._pass(passed, self.wall() + passed)

    def advance_to(self, moment: datetime | float) -> None:
        """Let time pass until *moment* (epoch seconds or a datetime with a zone).

        Nothing happens if it is past.
        """
        if isinstance(moment, datetime):
            if moment.tzinfo is None:
                raise ValueError(f"{moment} has no time zone; say which moment is meant")
            moment = moment.timestamp()
        passed = moment - self.wall()
        if passed > 0:
            self._pass(passed, moment)

    @contextmanager
    def still(self) -> Iterator[None]:
        """Let it stand still, but for :meth:`advance`, for the length of the block."""
        outer, self._held = self._held, self.wall()
        try:
            yield
        finally:
            self._held = outer if outer is None else self._held

    def _pass(self, seconds: float, moment: float) -> None:
        self._ahead += seconds
        if self._held is not None:
            self._held = moment  # to the bit: what is due then must be
        if self._moved is not None:
            self._moved()
