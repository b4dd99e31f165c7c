"""Progress in words and as a bar, for people. Pure.

Layer 4; for the command line.
"""

from __future__ import annotations

from typing import Final
from unicodedata import east_asian_width

from celeriac.control.phrases import ago, clip, duration
from celeriac.progress import Number, Progress

__all__ = ["bar", "cut", "told", "width"]

#: Seconds without a word after which it is told, and no estimate any more.
_SILENT: Final = 10.0
_CELLS: Final = 24
_MESSAGE: Final = 200


def told(progress: Progress, now: float, *, ended: bool = False) -> str:
    """``40 of 100 (40 %), 3.2/s, 19 s left: page 40``; *now* is the reader's wall clock. Of a task
    that has *ended* nothing is left to estimate."""
    amount = _amount(progress.current)
    if progress.total is not None:
        amount += f" of {_amount(progress.total)}"
    parts = [amount if progress.fraction is None else f"{amount} ({_percent(progress)} %)"]
    if not ended:
        parts += _outlook(progress, now)
    text = ", ".join(parts)
    return f"{text}: {clip(progress.message, _MESSAGE)}" if progress.message else text


def bar(progress: Progress, now: float, *, ended: bool = False) -> str:
    """:func:`told` behind a bar of characters; without a total there is none."""
    fraction = progress.fraction
    text = told(progress, now, ended=ended)
    if fraction is None:
        return text
    done = int(fraction * _CELLS)
    return f"[{'#' * done}{'-' * (_CELLS - done)}] {text}"


def width(text: str) -> int:
    """How many columns of a terminal *text* takes: some characters take two."""
    return sum(2 if east_asian_width(each) in "WF" else 1 for each in text)


def cut(text: str, columns: int) -> str:
    """*text* for a line of so many columns."""
    if width(text) <= columns:
        return text
    room = columns - 1
    for at, each in enumerate(text):
        room -= width(each)
        if room < 0:
            return f"{text[:at]}…"
    return text


def _outlook(progress: Progress, now: float) -> list[str]:
    if now - progress.reported >= _SILENT:
        return [f"said {ago(progress.reported, now)}"]
    found = []
    if progress.rate is not None:
        found.append(f"{_amount(_rounded(progress.rate))}/s")
    if progress.remaining:
        found.append(f"{duration(progress.remaining)} left")
    return found


def _percent(progress: Progress) -> int:
    """Rounded down, so that 100 means that all is done."""
    return int((progress.fraction or 0.0) * 100)


def _amount(value: Number) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _rounded(rate: float) -> Number:
    return round(rate) if rate >= 100 else float(f"{rate:.2g}")
