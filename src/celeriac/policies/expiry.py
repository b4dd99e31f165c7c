"""Expiry: a call that is too late to be useful does not run."""

from __future__ import annotations

from celeriac import states
from celeriac.outcome import Outcome
from celeriac.policies.base import Policy, Rules, Run


class Expiry(Policy):
    """Ends a run that has not begun when its call expires. The store does so before the lease;
    this is for what waited in an executor."""

    def on_start(self, task: Rules, run: Run, now: float) -> Outcome | None:
        """Return ``expired`` if the time is past."""
        if run.expiry is None or run.expiry > now:
            return None
        return Outcome(states.EXPIRED, reason="TaskRevokedError: expired")
