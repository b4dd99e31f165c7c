"""What is revoked while this worker holds it: found at the desk, and ended.

Layer 5. Thin, and without a state.
"""

from __future__ import annotations

from celeriac import states
from celeriac.outcome import Outcome
from celeriac.records import Delivery
from celeriac.stores.finish import REVOKED_REASON
from celeriac.worker.dispatch import Dispatch
from celeriac.worker.hands import Held

__all__ = ["call_off", "deliveries_of"]


def call_off(desk: Dispatch, held: Held) -> None:
    """End a delivery that is revoked and stands in no line."""
    outcome = Outcome(states.CANCELLED, reason=REVOKED_REASON)
    desk.commit(held.delivery.fence, outcome)
    if desk.notices is not None:
        desk.notices.ended(held.delivery, outcome)


def deliveries_of(desk: Dispatch) -> list[Delivery]:
    """All that is held at *desk*, in line or by executors."""
    with desk.changed:
        hands = (held for hand in desk.hands.values() for held in hand.held.values())
        lines = (desk.backlog, desk.apart, desk.rates.held(), hands)
        return [held.delivery for line in lines for held in line]
