"""``Ignore`` and ``Reject``: what a task raises to say what should become of its call."""

from __future__ import annotations

from celeriac import states
from celeriac.exceptions import Ignore, Reject
from celeriac.failures import describe
from celeriac.outcome import Outcome
from celeriac.policies.base import Policy, Rules, Run


class Predicates(Policy):
    """Turns ``Ignore`` and ``Reject`` into the ends they ask for."""

    def on_error(self, task: Rules, run: Run, error: BaseException) -> Outcome | None:
        """Return ``ignored``, ``rejected``, or ``queued`` for ``Reject(requeue=True)``."""
        if isinstance(error, Ignore):
            return Outcome(states.SKIPPED, reason=describe(error))
        if isinstance(error, Reject):
            state = states.QUEUED if error.requeue else states.REFUSED
            return Outcome(state, reason=_reason(error))
        return None


def _reason(error: Reject) -> str:
    return (
        "Reject"
        if error.reason is None
        else describe(Reject(error.reason)).replace("Reject: Rejected: ", "Reject: ")
    )
