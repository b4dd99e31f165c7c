"""Every call of the seam, failed before it was applied, and applied and reported as failed.

Layer 6; see the package. :data:`CASES` has at least one case for each call
(``testing.faults.CALLS``): what is there before, the call, what it answers, and what its repeat
answers if it had been applied. "As if it had been made once" is read from all that the store
shows, and from a *proof* where it shows nothing.

A repeat is what the caller makes of an error: clients, workers and people make the same call
again. Who waited for work looks for it instead.
"""

# The name of a test states the rule; a docstring would only repeat it.
# ruff: noqa: D102

from __future__ import annotations

import pytest

from celeriac.exceptions import OperationalError
from celeriac.testing.conformance import acts_of_others, acts_of_queues  # noqa: F401 - their cases
from celeriac.testing.conformance.acts import CASES, Act, Case, picture
from celeriac.testing.conformance.kit import Kit, Suite
from celeriac.testing.faults import Faults, Kind, wrap


class LostAnswerSuite(Suite):
    """Calls that fail can be repeated."""

    @pytest.mark.parametrize("case", CASES, ids=[each.name for each in CASES])
    def test_a_call_that_was_not_applied_has_changed_nothing_and_can_be_repeated(
        self, kit: Kit, case: Case
    ) -> None:
        act = _struck(kit, case, "before")
        if act is None:
            return
        before = picture(kit)
        with pytest.raises(OperationalError, match="was not applied"):
            act.make()
        assert picture(kit) == before
        if act.repeat is None:
            assert act.make() == act.first
            assert (picture(kit) != before) is act.changes
        else:
            assert act.repeat() == act.repeated
        act.proof("before")

    @pytest.mark.parametrize("case", CASES, ids=[each.name for each in CASES])
    def test_a_call_that_was_applied_and_reported_as_failed_is_repeated_as_if_made_once(
        self, kit: Kit, case: Case
    ) -> None:
        act = _struck(kit, case, "after")
        if act is None:
            return
        before = picture(kit)
        with pytest.raises(OperationalError, match="was applied"):
            act.make()
        once = picture(kit)
        assert (once != before) is act.changes
        assert act.made_again() == act.repeated
        if act.repeat is None:
            assert picture(kit) == once
        act.proof("after")


def _struck(kit: Kit, case: Case, kind: Kind) -> Act | None:
    """The act of *case*, whose call will fail; None if this store is never asked it."""
    kit.configure(mirror=True)
    if case.call == "queue.wait_and_lease" and not kit.store.capabilities.leases_as_it_waits:
        assert not hasattr(kit.store.queue, "wait_and_lease"), "its capabilities do not say so"
        return None
    faults = Faults()
    act = case.prepare(kit, wrap(kit.store, faults))
    faults.arm(kind, case.call)
    return act


__all__ = ["LostAnswerSuite"]
