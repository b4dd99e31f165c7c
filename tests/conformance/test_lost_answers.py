"""Every call of the seam has cases in which it fails; one that is added has none until it is given
some."""

from typing import Protocol

import pytest

from celeriac.stores import base
from celeriac.testing import faults
from celeriac.testing.conformance import LostAnswerSuite, StoreSuite
from celeriac.testing.conformance.acts import CASES


def test_every_call_of_the_seam_has_a_case():
    assert {each.call for each in CASES} == faults.CALLS


def test_every_store_is_asked_all_of_them():
    assert issubclass(StoreSuite, LostAnswerSuite)


def test_a_call_that_is_added_to_a_protocol_is_one_of_the_seam(monkeypatch):
    def peek(self):
        """A new call."""

    monkeypatch.setattr(base.Queue, "peek", peek, raising=False)
    assert set(faults._calls()) - faults.CALLS - faults.NEVER_FAIL == {"queue.peek"}


def test_a_protocol_that_is_added_is_not_passed_over(monkeypatch):
    class Registry(Protocol):
        def look_up(self): ...

    monkeypatch.setattr(base, "Registry", Registry, raising=False)
    with pytest.raises(LookupError, match="Registry"):
        set(faults._calls())
