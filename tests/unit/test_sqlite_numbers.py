"""Numbers of records and places are never given twice, although inserts only read the counter."""

import contextlib

import apsw
import pytest

from celeriac.clock import ManualClock
from celeriac.message import Header, compose
from celeriac.outcome import Outcome
from celeriac.records import Commit, Manifest, TaskFacts, Want
from celeriac.stores import connect
from celeriac.stores.base import Options

MANIFEST = Manifest(tasks={"job": TaskFacts()})


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def store(tmp_path, clock):
    return connect(f"sqlite:///{tmp_path}/tasks.db", Options(clock=clock, result_expires=10.0))


@pytest.fixture
def numbers(tmp_path):
    """Ids with their numbers, oldest first, as another connection sees them."""

    def read():
        with contextlib.closing(apsw.Connection(f"{tmp_path}/tasks.db")) as connection:
            return dict(connection.execute('SELECT id, seq FROM "celeriac.record" ORDER BY seq'))

    return read


def send(store, *ids):
    store.queue.enqueue([compose(Header(id, "job", "n"), b"[[],{}]") for id in ids])


def lease(store, seq, count=1, commits=()):
    want = Want(free=count)
    return store.queue.exchange("w", 0, seq, commits, [], ["celery"], want).deliveries


def test_the_number_of_a_discarded_newest_record_is_not_given_again(store, numbers):
    send(store, "a", "b", "c")
    gone = numbers()
    assert store.inspection.discard(["c", "b"]) == ["c", "b"]
    send(store, "d")
    assert numbers() == {"a": gone["a"], "d": gone["c"] + 1}


def test_the_numbers_of_expired_records_are_not_given_again(store, numbers, clock):
    store.queue.register("w", MANIFEST)
    send(store, "a", "b")
    newest = max(numbers().values())
    held = lease(store, 1, 2)
    lease(store, 2, 1, [Commit(each.fence, Outcome("succeeded", keep=True)) for each in held])
    clock.advance(1000.0)
    # The first sees that its worker stood still, and removes nothing.
    assert [store.queue.reap().swept for _ in range(2)] == [0, 2]
    assert numbers() == {}
    send(store, "c")
    assert numbers() == {"c": newest + 1}


def test_a_renewed_place_is_ordered_with_what_is_sent(store):
    send(store, "a", "b")
    store.queue.register("w", MANIFEST)
    (held,) = lease(store, 1)
    assert held.fence.id == "a"
    store.queue.release("w", [held.fence], started=True)
    send(store, "c")
    assert [each.fence.id for each in lease(store, 2, 3)] == ["b", "a", "c"]


def test_purge_spares_what_was_sent_after_records_were_deleted(store):
    send(store, "a", "b")
    store.inspection.discard(["b"])
    send(store, "c")
    assert store.queue.purge(["celery"]) == 2
