"""A worker's first and last words to its store, which does not answer each of them."""

from types import SimpleNamespace

import pytest

from celeriac.exceptions import OperationalError
from celeriac.records import Manifest, TaskFacts
from celeriac.stores.base import Options
from celeriac.stores.memory import make_store
from celeriac.testing.faults import Faults, Rule, wrap
from celeriac.worker import opening

MANIFEST = Manifest({"job": TaskFacts()}, hostname="box")
KINDS = ["before", "after"]


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(opening, "reconnect", lambda attempt: 0.0)


def failing(*rules):
    """A store whose calls fail as the rules say, and the same without faults."""
    store = make_store("memory://", Options(timeout=0.2))
    return wrap(store, Faults(*rules)), store


def heart_of(store):
    return SimpleNamespace(register=lambda manifest: store.queue.register("w1", manifest))


@pytest.mark.parametrize("kind", KINDS)
def test_a_registration_that_fails_is_repeated(kind):
    broken, store = failing(Rule("queue.register", kind, hit=1))
    opening.register(heart_of(broken), MANIFEST, lambda: False)
    assert [each.owner for each in store.inspection.workers()] == ["w1"]


def test_a_worker_that_is_to_stop_waits_for_no_store():
    broken, _ = failing(Rule("queue.register", "before"))
    with pytest.raises(OperationalError):
        opening.register(heart_of(broken), MANIFEST, lambda: True)


def test_what_does_not_pass_by_itself_ends_a_worker():
    def refuse(manifest):
        raise OperationalError("wrong password")

    with pytest.raises(OperationalError, match="wrong password"):
        opening.register(SimpleNamespace(register=refuse), MANIFEST, lambda: False)


@pytest.mark.parametrize("kind", KINDS)
def test_an_owner_is_closed_though_the_first_call_fails(kind):
    broken, store = failing(Rule("queue.close_owner", kind, hit=1))
    store.queue.register("w1", MANIFEST)
    opening.unregister(broken, "w1")
    assert store.inspection.workers() == []


def test_a_store_that_stays_away_holds_nobody_up_for_longer_than_one_call():
    broken, _ = failing(Rule("queue.close_owner", "before"))
    with pytest.raises(OperationalError):
        opening.unregister(broken, "w1")


@pytest.mark.parametrize("tell", [opening.tell_traps, lambda s: opening.tell_namesakes(s, "box")])
def test_questions_that_are_not_answered_keep_no_worker_from_beginning(tell, caplog):
    broken, _ = failing(Rule("inspection.*", "before"))
    tell(broken)
    assert "did not answer" in caplog.text
