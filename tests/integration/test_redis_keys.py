"""What the Redis store leaves under its prefix: bounded steps, and nothing that stays for ever."""

import itertools

import pytest
from msgspec.structs import replace
from servers import server

from celeriac import states
from celeriac.message import Edges
from celeriac.outcome import Outcome
from celeriac.records import Commit
from celeriac.stores import connect
from celeriac.testing.conformance import Kit, message

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def place():
    with server("redis") as made:
        yield made


@pytest.fixture
def kit(place):
    name = f"keys{next(_numbers)}"
    made = Kit(lambda options: connect(place.url, replace(options, namespace=name)))
    made.names = lambda: sorted(
        key.decode().partition("}:")[2] for key in place.do("KEYS", f"{{{name}}}:*")
    )
    made.do = lambda command, key, *more: place.do(command, f"{{{name}}}:{key}", *more)
    return made


def work(worker, commits=(), free=0):
    """Lease and succeed until nothing is left, results ignored."""
    while True:
        answer = worker.exchange(commits, free or 300)
        commits = [
            Commit(each.fence, Outcome(states.SUCCEEDED, b"r", keep=False))
            for each in answer.deliveries
        ]
        if not commits:
            return


def test_the_members_of_a_wide_join_are_let_go_of_in_bounded_steps(kit):
    size = 1200
    kit.store.queue.open_join("J", message("body", edges=Edges(waits=True, gathers="J")))
    for start in range(0, size, 400):
        members = [
            message(f"m{index}", edges=Edges(join=("J", index), within=("J", index)))
            for index in range(start, start + 400)
        ]
        kit.enqueue(*members, join="J")
    kit.store.queue.seal("J", size)
    worker = kit.worker()
    held = []
    while len(held) < size:
        held += worker.lease(300)
    for start in range(0, size, 300):
        worker.exchange(
            [
                Commit(each.fence, Outcome(states.SUCCEEDED, b"r", keep=False))
                for each in held[start : start + 300]
            ]
        )
    assert all(each and each.body == b"r" for each in kit.store.results.join_results("J"))
    body = worker.take()
    assert body.id == "body"
    worker.succeed(body)
    assert [each and each.body for each in kit.store.results.join_results("J")] == [None] * size
    assert "pend" not in kit.names()


def test_after_retention_nothing_is_left_but_what_is_bounded(kit):
    kit.configure(tombstone_expires=10.0, result_expires=10.0, dead_expires=10.0)
    worker = kit.worker()
    for start in range(0, 9000, 1000):
        kit.enqueue(*(message(f"a{number}") for number in range(start, start + 1000)))
    work(worker)
    kit.enqueue(message("c1", edges=Edges(success=("c2",))))
    kit.enqueue(message("c2", edges=Edges(waits=True, takes="c1")))
    kit.send("failed")
    kit.send("scheduled", eta=kit.now() + 1, expires=kit.now() + 5)
    work(worker)
    kit.store.queue.revoke(["never-came"])
    kit.tick(60, alive=[worker])
    kit.store.queue.close_owner(worker.name)
    kit.reap()
    left = [key for key in kit.names() if not key.startswith(("bell:", "rv:never"))]
    # The newest list of creation stays until a later one is begun.
    lists = [key for key in left if key.startswith("o:")]
    assert len(lists) <= 1
    assert set(left) - set(lists) <= {"og", "pass", "refs", "rvs", "schema", "seq"}
    assert kit.store.inspection.counts().states == {}


def test_counts_of_queues_that_are_empty_go(kit):
    worker = kit.worker()
    for number in range(20):
        kit.send(f"t{number}", queue=f"q{number}")
    ids = [f"t{number}" for number in range(20)]
    kit.store.queue.revoke(ids)
    kit.store.inspection.discard(ids)
    kit.tick(4, alive=[worker])
    assert "n" not in kit.names()
    assert kit.store.inspection.counts().states == {}


def test_one_enqueue_leaves_one_token_whatever_the_number(kit):
    for number in range(50):
        kit.send(f"t{number}")
    assert kit.do("LLEN", "bell:celery") == 1
