"""Hands: what one executor holds, and how much more it may be given. Plain data and decisions.

Layer 5. The dispatch fills and empties hands under its lock; the pools set how wide they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum

from celeriac.records import Delivery, TaskFacts


class Company(Enum):
    """In what company a task finds itself in an executor."""

    #: One task at a time, any task: an executor of the prefork pool.
    ANY = 1
    #: Several at once: an executor of a shared pool. Never a task that has to run alone.
    CROWD = 2
    #: A fresh process for one task that has to run alone, made beside a shared executor.
    CELL = 3


@dataclass(slots=True)
class Held:
    """A delivery in this worker's hands."""

    delivery: Delivery
    name: str
    facts: TaskFacts
    hard: float | None
    #: The store has been told that it began.
    reported: bool = False
    #: It ran in a shared executor that died: it may have been the one, and may not.
    suspect: bool = False
    #: It waits for a token of its rate limit.
    limited: bool = False
    #: It had begun when we ended it: if it goes back to the store, then as one that is interrupted.
    interrupted: bool = False

    @property
    def alone(self) -> bool:
        """It killed an executor before, or may have: it runs alone in a fresh process."""
        return self.suspect or self.delivery.crashes > 0

    @property
    def careful(self) -> bool:
        return self.alone or self.delivery.losses > 0 or not self.facts.late


@dataclass(slots=True)
class Hand:
    """What one executor holds. ``depth`` is how many deliveries it may hold just now."""

    index: int
    send: Callable[[int, list[Delivery]], None]
    held: dict[int, Held] = field(default_factory=dict)
    next_key: int = 1
    ran: int = 0
    ready: bool = False
    #: It runs something long (or is about to be ended): nothing is sent behind it.
    closed: bool = False
    #: It runs a task that killed an executor before.
    isolated: bool = False
    #: How many more runs before it is recycled; None for no limit.
    left: int | None = None
    #: How many it may run at once just now, and how many it could.
    width: int = 1
    places: int = 1
    company: Company = Company.ANY

    @property
    def free(self) -> int:
        """How many deliveries could begin at once."""
        if not self.ready or self.closed:
            return 0
        width = self.width if self.left is None else min(self.width, self.left)
        return max(0, width - len(self.held))

    @property
    def idle(self) -> bool:
        return self.free > 0

    @property
    def unoccupied(self) -> bool:
        """It runs one at a time, holds nothing and may be given anything."""
        return (
            self.ready
            and not (self.closed or self.isolated or self.held)
            and self.company is Company.ANY
            and self.left is None
        )

    def room(self, depth: int) -> int:
        """How many more brief deliveries it may hold, *depth* of them for one place."""
        if not self.ready or self.closed or self.isolated or self.company is Company.CELL:
            return 0
        # What stands behind begins as soon as a place is empty, whatever the width is by then.
        most = self.width + depth - 1 if self.width == self.places else self.width
        if self.left is not None:
            most = min(most, self.left)
        return max(0, most - len(self.held))

    def suits(self, held: Held) -> bool:
        """May *held* run in this company?"""
        if not held.alone:
            return self.company is not Company.CELL
        return self.company is not Company.CROWD and self.ran == 0 and not self.held


def at_once(hands: Iterable[Hand], held: Held) -> Hand | None:
    """The executor that *held* would go to if it is the only one that waits and some are idle; None
    where that takes more thought. A worker that waits for work does this most, and in a hurry."""
    if held.careful:
        return None
    return next((hand for hand in hands if hand.unoccupied), None)


class Seats:
    """Room for brief deliveries during one pass of placing: idle executors first, then in turn."""

    def __init__(self, hands: Iterable[Hand], depth: int) -> None:
        self._rooms = {hand.index: hand.room(depth) for hand in hands}
        self._line = sorted(
            (hand for hand in hands if self._rooms[hand.index]), key=lambda hand: len(hand.held)
        )
        self._turn = 0

    def next(self) -> Hand | None:
        """The executor that takes the next delivery, None if there is no room."""
        while self._line:
            place = self._turn % len(self._line)
            hand = self._line[place]
            if self._rooms[hand.index] > 0 and not hand.closed:
                self._rooms[hand.index] -= 1
                self._turn += 1
                return hand
            del self._line[place]
        return None

    def taken(self, hand: Hand | None) -> None:
        """One place of *hand* went to a delivery that does not go ahead; nothing follows it."""
        if hand is not None:
            room = min(self._rooms[hand.index], hand.width - len(hand.held))
            self._rooms[hand.index] = max(0, room - 1)


__all__ = ["Company", "Hand", "Held", "Seats", "at_once"]
