"""How long a run still takes: each row's own estimate, corrected by what was seen."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Progress:
    """Seconds of what was measured beside the seconds that had been expected of it.

    *expected*: seconds for each row, in the order they are measured. What is left is what the rows
    that are left expect, times how much slower or faster than expected the machine was until now;
    a row that is half done counts with the half that is left.
    """

    expected: dict[str, float]
    _seen: float = 0.0
    _of: float = 0.0
    _left: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._left = dict(self.expected)

    def done(self, row: str, expected: float, seconds: float) -> None:
        """A part of *row* of which *expected* seconds were expected took *seconds*."""
        self._seen += seconds
        self._of += expected
        self._left[row] = max(0.0, self._left[row] - expected)

    def finished(self, row: str) -> None:
        """Nothing of *row* is left."""
        self._left[row] = 0.0

    def left(self) -> float:
        """Seconds that are left."""
        # The first minute says little: until then what was expected weighs as much as was seen.
        pace = (self._seen + 60.0) / (self._of + 60.0)
        return sum(self._left.values()) * pace

    def told(self, row: str) -> str:
        """``row 3 of 12, about 31 min left``."""
        place = list(self.expected).index(row) + 1
        minutes = self.left() / 60
        rest = "less than a minute" if minutes < 1 else f"about {minutes:.0f} min"
        return f"row {place} of {len(self.expected)}, {rest} left"
