"""``self.replace()``: another workflow takes the place of a run."""

from __future__ import annotations

from celeriac.exceptions import Ignore
from celeriac.outcome import Outcome
from celeriac.policies.base import Policy, Rules, Run


class Replacing(Policy):
    """Turns the ``Ignore`` that ``replace()`` raises into what it has prepared."""

    def on_error(self, task: Rules, run: Run, error: BaseException) -> Outcome | None:
        """Return the prepared outcome; None if there is none, or the run has failed after all."""
        prepared: Outcome | None = run.replaced
        return prepared if isinstance(error, Ignore) else None
