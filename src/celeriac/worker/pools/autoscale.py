"""Autoscaling: how many tasks a worker should be able to run at once. Pure.

Layer 5; the pools ask at every turn and act on the answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field

#: While everything is busy and the store has more, one is added each time this has passed.
PRESSED_SECONDS = 0.1


@dataclass
class Autoscale:
    """Grows as soon as work waits, shrinks to what was needed once less was for *keepalive*
    seconds. Never below *least* nor above *most*."""

    least: int
    most: int
    keepalive: float
    size: int = field(init=False)
    #: The most that was needed since it last was all there is, and when that was.
    _peak: int = 0
    _since: float | None = None
    _pressed_since: float | None = None

    def __post_init__(self) -> None:
        self.size = self.least

    @property
    def spare(self) -> int:
        """How much more work to ask for than there is room for now: what arrives tells that there
        is some, and makes room for itself. At most as much again, so that it grows by doubling."""
        return min(self.most - self.size, max(1, self.size))

    def decide(self, now: float, busy: int, waiting: int, pressed: bool) -> int:
        """Return the new size.

        *busy* of it are in use, *waiting* deliveries have found no place, *pressed*: all are in
        use and the store has more.
        """
        need = busy + waiting
        if pressed and need >= self.size and self._pressed_for(now) >= PRESSED_SECONDS:
            self._pressed_since = now
            need = max(need, self.size + 1)
        elif not pressed:
            self._pressed_since = None
        if need >= self.size:
            self.size = max(self.least, min(self.most, need))
            self._since, self._peak = now, 0
            return self.size
        self._peak = max(self._peak, need)
        if self._since is None:
            self._since = now
        if now - self._since >= self.keepalive:
            self.size = max(self.least, self._peak)
            self._since, self._peak = now, 0
        return self.size

    def _pressed_for(self, now: float) -> float:
        if self._pressed_since is None:
            self._pressed_since = now
        return now - self._pressed_since


__all__ = ["Autoscale"]
