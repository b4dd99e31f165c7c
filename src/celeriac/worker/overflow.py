"""Overflow: what waits in a worker's line while all its executors are busy for long.

Layer 5. What was on its way when the last of them took something long may wait for hours, and
others could run it at once.
"""

from __future__ import annotations

from celeriac.worker.dispatch import Dispatch
from celeriac.worker.hands import Company, Hand, Held

__all__ = ["take_overflow"]


def take_overflow(desk: Dispatch) -> list[Held]:
    """Take out of line, and return, what others can run sooner: nothing if there is an executor
    that may soon be free, or room for one more: what stands in line is what makes the pool grow.
    What has to run alone stays, and waits for a process of its own."""
    with desk.changed:
        if desk.spare or not desk.backlog or not all(map(_busy_for_long, desk.hands.values())):
            return []
        line = list(desk.backlog)
        desk.backlog.clear()
        desk.backlog.extend(held for held in line if held.alone)
    return [held for held in line if not held.alone]


def _busy_for_long(hand: Hand) -> bool:
    # One that runs several is busy with what is long only, or it would not have been relieved.
    return hand.closed if hand.company is Company.ANY else not hand.idle
