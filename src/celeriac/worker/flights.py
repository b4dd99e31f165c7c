"""Exchanges under way: what they carry, and the room that is spoken for until they are back.

Layer 5. Plain bookkeeping for the dispatch, under its lock.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from celeriac.records import Commit, Fence, Verdict, Want
from celeriac.worker.progress import Update

logger = logging.getLogger("celeriac.worker")

#: Least seconds between two times that the bell is called away for having bid too much.
_RECALL: Final = 1.0


@dataclass(slots=True)
class Batch:
    """One exchange's worth."""

    owner: str
    commits: list[Commit]
    started: list[Fence]
    want: Want
    updates: list[Update]
    #: The bell's: the store leases as much when there is work, whenever that is.
    bid: bool = False
    #: What it is handing back, of those that it has brought or others before it.
    returning: list[Fence] = field(default_factory=list)
    #: Which it is, by when it began.
    number: int = 0

    def tell_refused(self, verdicts: Sequence[Verdict]) -> None:
        """Log which of the commits the store refused."""
        for commit, verdict in zip(self.commits, verdicts, strict=True):
            if verdict is Verdict.FENCED:
                logger.warning(
                    "Task %s: another attempt owns it now; outcome %r of attempt %d was refused",
                    commit.fence.id, commit.outcome.state, commit.fence.attempt,
                    extra={"task_id": commit.fence.id},
                )  # fmt: skip

    def emptied(self) -> Batch:
        """The same without what it carries."""
        return Batch(self.owner, [], [], self.want, [], self.bid, self.returning, self.number)


class Flights:
    """How many exchanges there are, and how much they ask for. A bid is none until there is work,
    but what it asks for may be leased at any time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.number = 0
        self.free = 0
        self.ahead = 0
        #: What each lane has under way, and the nonce of what that may lease; set and taken away
        #: by that lane without the lock, before it is sent and after it has been settled.
        self.under_way: dict[int, tuple[str, Batch]] = {}
        #: All that have begun and not ended, by number.
        self._open: dict[int, Batch] = {}
        self._numbers = itertools.count(1)
        self._bid: Batch | None = None
        self._recall_due = 0.0

    def begin(self, batch: Batch) -> Batch:
        """Count *batch* in; returns it."""
        batch.number = next(self._numbers)
        self._open[batch.number] = batch
        self.free += batch.want.free
        self.ahead += batch.want.ahead
        if batch.bid:
            self._bid = batch
        else:
            self.number += 1
        return batch

    def end(self, batch: Batch) -> None:
        """Count it out again."""
        del self._open[batch.number]
        self.free -= batch.want.free
        self.ahead -= batch.want.ahead
        if batch.bid:
            self._bid = None
        else:
            self.number -= 1

    def spoken_for(self) -> tuple[set[str], set[Fence]]:
        """The nonces of what may just be leased, and the fences of what is committed or handed
        back."""
        under_way = list(self.under_way.values())
        fences = {each.fence for batch in self._open.values() for each in batch.commits}
        for _, batch in under_way:
            fences.update(batch.returning)
        return {nonce for nonce, _ in under_way}, fences

    def overbid(self, idle: int) -> bool:
        """Does the bell ask for more than *idle*? True once a second at most."""
        now = self._clock()
        if self._bid is None or self._bid.want.free <= idle or now < self._recall_due:
            return False
        self._recall_due = now + _RECALL
        return True


__all__ = ["Batch", "Flights"]
