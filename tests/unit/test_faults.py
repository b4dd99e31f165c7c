"""Injected faults: what was applied, what was raised, what is told."""

import time

import pytest

from celeriac.exceptions import OperationalError
from celeriac.stores.base import Options
from celeriac.stores.memory import make_store
from celeriac.testing.conformance import message
from celeriac.testing.faults import FACES, Faults, Rule, wrap


@pytest.fixture
def store():
    return make_store("memory://", Options())


def there(store, id):
    return store.inspection.get([id])[0] is not None


def test_an_error_before_applies_nothing(store):
    faulty = wrap(store, Faults(Rule("queue.enqueue", "before", hit=1)))
    with pytest.raises(OperationalError, match="not applied"):
        faulty.queue.enqueue([message("a")])
    assert not there(store, "a")
    faulty.queue.enqueue([message("a")])
    assert there(store, "a")


def test_an_error_after_has_applied_it(store):
    faulty = wrap(store, Faults(Rule("queue.enqueue", "after", hit=1)))
    with pytest.raises(OperationalError, match="was applied"):
        faulty.queue.enqueue([message("a")])
    assert there(store, "a")


def test_a_delay_is_a_delay(store):
    faulty = wrap(store, Faults(Rule("queue.*", "delay", seconds=0.05)))
    before = time.monotonic()
    faulty.queue.enqueue([message("a")])
    assert time.monotonic() - before >= 0.05
    assert there(store, "a")


def test_a_rule_names_a_method_a_face_or_all(store):
    faults = Faults(Rule("results.get_many", "before"))
    faulty = wrap(store, faults)
    faulty.queue.enqueue([message("a")])
    faulty.results.forget(["a"])
    with pytest.raises(OperationalError):
        faulty.results.get_many(["a"])
    assert faults.injected == [("results.get_many", "before")]


def test_the_hit_counts_the_calls_that_match(store):
    faulty = wrap(store, Faults(Rule("queue.enqueue", "before", hit=2)))
    faulty.queue.enqueue([message("a")])
    faulty.inspection.counts()
    with pytest.raises(OperationalError):
        faulty.queue.enqueue([message("b")])
    faulty.queue.enqueue([message("b")])


def test_one_seed_is_one_course_of_events(store):
    def course(seed):
        faults = Faults(Rule("*", "before", probability=0.5), seed=seed)
        faulty = wrap(store, faults)
        told = []
        for _ in range(50):
            try:
                faulty.inspection.counts()
                told.append(True)
            except OperationalError:
                told.append(False)
        return told

    assert course(1) == course(1)
    assert course(1) != course(2)
    assert 5 < sum(course(1)) < 45


def test_arm_hits_the_next_call_only(store):
    faults = Faults()
    faulty = wrap(store, faults)
    faults.arm("after", "queue.enqueue")
    with pytest.raises(OperationalError):
        faulty.queue.enqueue([message("a")])
    faulty.queue.enqueue([message("a")])
    faults.arm("before")
    faults.disarm()
    faulty.queue.enqueue([message("a")])


def test_every_face_is_wrapped_and_the_rest_is_the_stores(store):
    faulty = wrap(store, Faults(Rule("*", "before")))
    for face in FACES:
        assert getattr(faulty, face) is not getattr(store, face)
    assert (faulty.url, faulty.options) == (store.url, store.options)
