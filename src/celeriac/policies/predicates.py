"""``Ignore`` and ``Reject``: what a task raises to say what should become of its call."""

from __future__ import annotations

from typing import Final

from celeriac import backoff, states
from celeriac.exceptions import Ignore, Reject
from celeriac.failures import describe
from celeriac.outcome import Outcome
from celeriac.policies.base import Policy, Rules, Run

#: Seconds before the second attempt of a call that was put back; doubled each time.
_FIRST_WAIT: Final = 0.1
_LONGEST_WAIT: Final = 30.0


class Predicates(Policy):
    """Turns ``Ignore`` and ``Reject`` into the ends they ask for."""

    def on_error(self, task: Rules, run: Run, error: BaseException) -> Outcome | None:
        """Return ``ignored``, ``rejected``, or ``scheduled`` for ``Reject(requeue=True)``.

        A call that is put back waits longer each time: one that nobody can take would otherwise
        keep a worker busy with nothing else.
        """
        if isinstance(error, Ignore):
            return Outcome(states.SKIPPED, reason=describe(error))
        if isinstance(error, Reject):
            if not error.requeue:
                return Outcome(states.REFUSED, reason=_reason(error))
            return put_back(run.attempt, _reason(error))
        return None


def put_back(attempt: int, reason: str) -> Outcome:
    """A call that goes back to its queue, uncharged, and is due again after a while: 0.1 s after
    its first *attempt*, twice as long after each further one, 30 s at most."""
    wait = backoff.exponential(max(0, attempt - 1), factor=_FIRST_WAIT, maximum=_LONGEST_WAIT)
    return Outcome(states.SCHEDULED, reason=reason, delay=wait)


def _reason(error: Reject) -> str:
    return (
        "Reject"
        if error.reason is None
        else describe(Reject(error.reason)).replace("Reject: Rejected: ", "Reject: ")
    )


__all__ = ["Predicates", "put_back"]
