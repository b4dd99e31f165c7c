"""What the demo shows: a progress bar, and tables. Plain text, no dependency."""

import sys
import time
from collections.abc import Sequence
from typing import TextIO

WIDTH = 28  # characters of the bar


class Progress:
    """One bar. On a terminal it moves; elsewhere (a file, a CI log) a line comes now and then."""

    def __init__(self, label: str, total: int, stream: TextIO = sys.stdout) -> None:
        self._label = label
        self._total = total
        self._stream = stream
        self._moves = stream.isatty()
        self._begun = time.monotonic()
        self._next_line = 0.0  # share of the total at which the next line is due
        self._shown = ""

    def show(self, done: int, note: str = "") -> None:
        """Show that *done* of the total are done."""
        share = done / self._total if self._total else 1.0
        filled = int(share * WIDTH)
        rate = done / max(time.monotonic() - self._begun, 0.001)
        self._shown = (
            f"{self._label:11} [{'#' * filled}{'.' * (WIDTH - filled)}] "
            f"{done:>7,} of {self._total:,}  {rate:,.0f}/s  {note}"
        )
        if self._moves:
            self._draw()
        elif share >= self._next_line:
            self._next_line = int(share * 5) / 5 + 0.2
            print(self._shown, file=self._stream, flush=True)

    def say(self, text: str) -> None:
        """Print a line of its own above the bar."""
        print(f"\r{text}\x1b[K" if self._moves else text, file=self._stream, flush=True)
        if self._moves:
            self._draw()

    def finish(self) -> None:
        """Leave the bar as it is and go on below it."""
        if self._moves:
            print(file=self._stream, flush=True)

    def _draw(self) -> None:
        print(f"\r{self._shown}\x1b[K", end="", file=self._stream, flush=True)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows in columns: the first one to the left, the others to the right, the last as it is."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = []
    for first, *middle, last in rows:
        cells = [f"{first:{widths[0]}}"]
        cells += [f"{cell:>{width}}" for cell, width in zip(middle, widths[1:-1], strict=True)]
        lines.append("  " + "  ".join([*cells, last]).rstrip())
    return "\n".join(lines)
