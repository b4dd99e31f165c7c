"""Crashes: what becomes of a task whose executor died under it. Pure; the supervisor asks.

No user code runs here, so what it needs to know of the task is in its facts.
"""

from __future__ import annotations

from random import Random, SystemRandom
from typing import Final

from celeriac import backoff, states
from celeriac.outcome import Outcome
from celeriac.records import Delivery, TaskFacts

#: How far the wait after the second crash may go from what was set, as a fraction of it.
_JITTER: Final = 0.5
_RANDOM: Final = SystemRandom()


def on_death(
    facts: TaskFacts,
    delivery: Delivery,
    reason: str,
    crash_delay: float = 5.0,
    rng: Random = _RANDOM,
) -> Outcome:
    """Return what becomes of *delivery*, convicted of the death that *reason* describes.

    The first crash puts it back at once, the second after *crash_delay* seconds, give or take
    half of it; the one that makes ``facts.max_crashes`` ends it as dead. A task that must not run
    twice (``acks_late=False``) or asked not to (``reject_on_worker_lost=False``) ends as failed.
    """
    crashes = delivery.crashes + 1
    if not (facts.late and facts.requeue_lost):
        return Outcome(states.FAILED, reason=f"WorkerLostError: {reason}", charge="crash")
    if crashes >= facts.max_crashes:
        return Outcome(
            states.DEAD,
            reason=f"DeadTaskError: put aside after crash {crashes}: {reason}",
            charge="crash",
        )
    text = f"crash {crashes} of {facts.max_crashes}: {reason}"
    if crashes == 1:
        return Outcome(states.QUEUED, reason=text, charge="crash")
    delay = backoff.jittered(crash_delay, _JITTER, rng)
    return Outcome(states.SCHEDULED, reason=text, delay=delay, charge="crash")
