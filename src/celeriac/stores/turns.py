"""Whether who looks for lost owners stood still itself: protocol section 5. Decisions without IO.

Layer 2: standard library; for stores. That of Redis decides in its own step
(``redis/lua/reap_begin.lua``).
"""

from __future__ import annotations

from typing import NamedTuple


class Turn(NamedTuple):
    """When a process had to do with the store: it registered an owner, beat, or made a pass."""

    #: By a clock that does not step.
    mono: float
    #: By the store's clock on the wall.
    wall: float


class Turns:
    """The turns of one process that has a store open."""

    def __init__(self) -> None:
        self.last: Turn | None = None
        #: It has an owner, so it beats, and its turns are a third of a lease apart at most. Of who
        #: has none, and passes now and then, a gap says nothing.
        self.beats = False

    def begin(self, now: Turn) -> None:
        """An owner was registered: that is the first turn, if it is the first owner."""
        if not self.beats:
            self.last, self.beats = now, True

    def had(self, now: Turn) -> None:
        """The store has answered the beat of an owner that lives, or a pass has begun."""
        self.last = now

    def stood_still(self, now: Turn, passed: float | None, lease: float) -> bool:
        """Whether this process or the whole machine stood still since its last turn, or somebody
        set the clock.

        Then others may have missed their heartbeats for the same reason, and each gets a lease
        before anybody is taken for lost. *passed*: when the last pass was made in this store. One
        of another process in between shows that only this one had no turn.
        """
        if self.last is None:
            return False
        gap = now.mono - self.last.mono
        if abs(now.wall - self.last.wall - gap) > lease / 2:
            return True
        if passed is not None:
            gap = min(gap, now.mono - passed)
        return self.beats and gap > lease / 2


__all__ = ["Turn", "Turns"]
