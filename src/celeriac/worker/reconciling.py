"""What this worker holds and what the store has under its lease, held against each other.

Layer 5. They are the same, but for what is under way, as long as the store forgets nothing. One
that went back to an earlier state (a failover to a replica that lacked the last writes, a restart
from what was saved a while ago) has leases that this worker is through with, which would last as
long as it lives; and it knows nothing of others, which are somebody else's by now or nobody's.

A lease that the store has is *stray* if nobody here answers for it. What an exchange under way may
have leased is spoken for, and so is what has left its executor and is not committed yet. Who asks
does so in the supervisor's main thread, where nothing is on its way from one place to another, and
asks the store first: what is committed after that is stray by mistake, and to hand it back is then
refused. A delivery is *gone* if it was held before the store was asked, and is held still.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import chain

from celeriac.records import Fence
from celeriac.worker.dispatch import Dispatch
from celeriac.worker.hands import Held

__all__ = ["gone", "held_at", "stray"]


def held_at(desk: Dispatch) -> dict[Fence, Held]:
    """All that waits or runs at *desk*."""
    with desk.changed:
        return {held.delivery.fence: held for held in _held(desk)}


def stray(desk: Dispatch, theirs: Iterable[Fence], besides: Iterable[Held]) -> list[Fence]:
    """Those of *theirs*, which the store has, that nobody answers for at *desk*; *besides*: what
    somebody holds elsewhere."""
    with desk.changed:
        nonces, ours = desk.flights.spoken_for()
        ours.update(held.delivery.fence for held in chain(_held(desk), besides))
        ours.update(each.fence for each in desk.commits)
        ours.update(desk.rates.returning())
    return [each for each in theirs if each not in ours and each.nonce not in nonces]


def _held(desk: Dispatch) -> Iterable[Held]:
    hands = (held for hand in desk.hands.values() for held in hand.held.values())
    return chain(desk.backlog, desk.apart, desk.rates.held(), hands)


def gone(desk: Dispatch, before: dict[Fence, Held], theirs: Collection[Fence]) -> list[Held]:
    """Those that were held *before*, and still are, and that the store does not have."""
    now = held_at(desk)
    return [held for fence, held in before.items() if fence in now and fence not in theirs]
