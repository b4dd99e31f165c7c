"""Revoked stamps: what this worker has heard of them, and which deliveries carry one.

Layer 5. Pure knowledge, no IO. The heart learns of them (``duties/heart.py``), the dispatch asks.
As long as there are none, nothing is looked at.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from celeriac.exceptions import DecodeError
from celeriac.malformed import MALFORMED
from celeriac.message import decode
from celeriac.records import Delivery, RevokedStamp
from celeriac.stamps import keys_of
from celeriac.worker.hands import Held

#: The name of the field as a header that carries stamps holds it: the look is quicker than reading.
_FIELD: Final = b"\xa6stamps"


class RevokedStamps:
    """See the module's docstring. What is known is replaced, never changed, so any thread reads.

    *clock* is a wall clock: a revoke lasts until a time of day.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        #: The highest number that is known, as ``Beat.stamps``.
        self.number = 0
        #: By their text.
        self.known: Mapping[str, RevokedStamp] = {}
        #: Deliveries that are being called off and are not committed yet; guarded by the dispatch.
        self.pending = 0

    def learn(self, found: Iterable[RevokedStamp], *, anew: bool = False) -> None:
        """Know these as well; with *anew* these alone."""
        now = self._clock()
        kept = {} if anew else {each.stamp: each for each in self.known.values()}
        kept |= {each.stamp: each for each in found}
        self.known = {stamp: each for stamp, each in kept.items() if each.until > now}

    def order(self, stamps: Mapping[str, Iterable[object]] | None) -> RevokedStamp | None:
        """The revoke that a call with *stamps* meets; one with terminate before others."""
        if not stamps or not self.known:
            return None
        return _met(stamps, self.known, self._clock())

    def sift(self, arrived: list[Held]) -> list[tuple[Held, str | None]]:
        """Take out of *arrived* what is revoked; return it, with how what runs is to be ended.

        The caller holds the dispatch's lock, and puts the rest in line before it lets go: else what
        is learned meanwhile would neither be met here nor found in line.
        """
        now = self._clock()
        met = [
            (held, found.terminate)
            for held in arrived
            if (found := met_by(held.delivery, self.known, now)) is not None
        ]
        gone = {id(held) for held, _ in met}
        arrived[:] = [held for held in arrived if id(held) not in gone]
        self.pending += len(met)
        return met

    def by_signal(
        self, deliveries: Iterable[Delivery], found: Sequence[RevokedStamp]
    ) -> dict[str | None, list[str]]:
        """The ids of those *deliveries* that carry one of *found*, by how what runs is to be
        ended."""
        known, now = {each.stamp: each for each in found}, self._clock()
        ids: dict[str | None, list[str]] = defaultdict(list)
        for each in deliveries if known else ():
            met = met_by(each, known, now)
            if met is not None:
                ids[met.terminate].append(each.id)
        return ids


def met_by(
    delivery: Delivery, known: Mapping[str, RevokedStamp], now: float
) -> RevokedStamp | None:
    """The one of *known* that *delivery* carries, None for none; and for stamps that no client
    sends (nested without end, keys that are no text), which are nobody's and must end nothing."""
    if _FIELD not in delivery.wire:
        return None
    try:
        stamps = decode(delivery.wire).header.stamps
        return None if stamps is None else _met(stamps, known, now)
    except (DecodeError, TypeError, ValueError, *MALFORMED):
        return None


def _met(
    stamps: Mapping[str, Iterable[object]], known: Mapping[str, RevokedStamp], now: float
) -> RevokedStamp | None:
    found = [known[each] for each in keys_of(stamps) if each in known]
    found = [each for each in found if each.until > now]
    return max(found, key=lambda each: each.terminate is not None, default=None)


__all__ = ["RevokedStamps", "met_by"]
