"""Where time comes from. Anybody may import this; nobody else calls :mod:`time` to decide.

A component that decides by time is given a :class:`Clock`, so that a test can drive it by hand.
"""

import time
from functools import cache
from typing import Final

__all__ = ["SYSTEM", "Clock", "ManualClock"]

_BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"


class Clock:
    """The clocks of this machine."""

    __slots__ = ()

    def wall(self) -> float:
        """Seconds since the Unix epoch. Steps when somebody sets the clock."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds since some moment of this boot. Never steps.

        Two processes of one boot may compare their readings: on Linux this is CLOCK_MONOTONIC.
        Between machines, or across a reboot, the difference means nothing (see :meth:`boot_id`).
        """
        return time.monotonic()

    def boot_id(self) -> str:
        """A name for this boot of this machine, or ``""`` where the kernel gives none."""
        return _read_boot_id()


class ManualClock(Clock):
    """A clock for tests, that stands still until it is moved.

    Args:
        wall: first reading of :meth:`wall`, epoch seconds.
        monotonic: first reading of :meth:`monotonic`, seconds.
    """

    __slots__ = ("_monotonic", "_wall")

    def __init__(self, wall: float = 1_700_000_000.0, monotonic: float = 1_000.0) -> None:
        self._wall = wall
        self._monotonic = monotonic

    def wall(self) -> float:
        """Return the reading the test has set."""
        return self._wall

    def monotonic(self) -> float:
        """Return the reading the test has set."""
        return self._monotonic

    def boot_id(self) -> str:
        """Return ``"manual"``: no machine has this boot id."""
        return "manual"

    def advance(self, seconds: float) -> None:
        """Let time pass on both clocks.

        Raises:
            ValueError: if `seconds` is negative; time passes in one direction.
        """
        if seconds < 0:
            raise ValueError(
                f"time cannot pass by {seconds} s; use jump_wall() to set the wall clock back"
            )
        self._wall += seconds
        self._monotonic += seconds

    def jump_wall(self, seconds: float) -> None:
        """Set the wall clock forward, or back if negative, as an operator or NTP would."""
        self._wall += seconds


@cache
def _read_boot_id() -> str:
    try:
        with open(_BOOT_ID, encoding="ascii") as file:  # noqa: PTH123 - pathlib is slow to import
            return file.read().strip()
    except OSError:  # not Linux, or /proc is hidden: callers treat "" as unknown
        return ""


SYSTEM: Final = Clock()
"""The machine's clocks: the default of everything that takes a clock."""
