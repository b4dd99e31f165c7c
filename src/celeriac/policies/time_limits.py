"""Hard time limits: what becomes of a task that ran into one. Pure; the supervisor asks."""

from __future__ import annotations

from celeriac import states
from celeriac.outcome import Outcome
from celeriac.records import Delivery, TaskFacts


def on_hard_limit(facts: TaskFacts, delivery: Delivery, limit: float) -> Outcome:
    """Return what becomes of *delivery*, which ran for *limit* seconds and was stopped.

    FAILURE(TimeLimitExceeded) at once, and never a crash: the executor died because we ended it.
    It runs again only if ``autoretry_for`` names ``TimeLimitExceeded`` and repeats are left.
    """
    reason = f"TimeLimitExceeded: it ran longer than its time limit of {limit:g} s"
    waits = facts.retry_on_time_limit or ()
    if delivery.retries < len(waits):
        return Outcome(
            states.SCHEDULED,
            reason=f"Retry in {waits[delivery.retries]:g}s: {reason}",
            delay=waits[delivery.retries],
            charge="retry",
        )
    return Outcome(states.FAILED, reason=reason)
