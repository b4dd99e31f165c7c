"""A worker that waits on Redis says beforehand how much it would lease, and the server does it."""

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from servers import server, until

from celeriac import states
from celeriac.exceptions import OperationalError
from celeriac.outcome import Outcome
from celeriac.records import Commit, Manifest, TaskFacts, Want
from celeriac.stores import connect
from celeriac.stores.base import Options
from celeriac.testing.conformance import message
from celeriac.testing.faults import Faults, Rule, wrap
from celeriac.worker.dispatch import Dispatch
from celeriac.worker.hands import Hand
from celeriac.worker.incarnation import Incarnation
from celeriac.worker.lanes import Lanes

QUEUES = ["celery"]
LONG = 60.0
_numbers = itertools.count(1)


@pytest.fixture(scope="module", params=["redis", "valkey"])
def place(request):
    with server(request.param) as made:
        yield made


class Bidder:
    """A store on the server's own clock, with one owner, and a thread that can wait."""

    def __init__(self, place, pool):
        self.place = place
        self.name = f"bids{next(_numbers)}"
        self.store = connect(place.url, Options(namespace=self.name))
        self.queue = self.store.queue
        self.queue.register("w1", Manifest({"job": TaskFacts()}))
        self.pool = pool

    def bid(self, seq=1, free=2, timeout=LONG):
        return self.queue.wait_and_lease("w1", 0, seq, QUEUES, Want(free=free), timeout)

    def waiting(self, seq=1, free=2):
        """Bid in another thread; returns once the server has it asleep."""
        answer = self.pool.submit(self.bid, seq, free)
        until("it waits", lambda: self.asleep() or answer.done())
        assert not answer.done()
        return answer

    def asleep(self):
        return int(self.place.do("INFO", "clients")["blocked_clients"])

    def send(self, *ids, **header):
        self.queue.enqueue([message(each, **header) for each in ids])

    def state(self, id):
        return self.store.inspection.get([id])[0].state

    def do(self, command, key, *more):
        return self.place.do(command, f"{{{self.name}}}:{key}", *more)


@pytest.fixture
def bidder(place):
    with ThreadPoolExecutor(2) as pool:
        made = Bidder(place, pool)
        # So that the server knows the script, whichever test comes first: what it does not know it
        # cannot do while somebody sleeps.
        made.queue.exchange("w1", 9, 1, [], [], QUEUES, Want())
        yield made
        made.queue.wake()


def ids(exchanged):
    return [each.id for each in exchanged.deliveries]


def test_what_is_sent_is_leased_without_a_word_from_the_worker(bidder, place):
    answer = bidder.waiting()
    bidder.send("warm")
    assert ids(answer.result(LONG)) == ["warm"]
    answer = bidder.waiting(seq=2)
    place.do("CONFIG", "RESETSTAT")
    bidder.send("a")
    found = answer.result(LONG)
    assert ids(found) == ["a"]
    assert (found.lost, found.more) == (False, False)
    calls = place.do("INFO", "commandstats")
    assert calls["cmdstat_evalsha"]["calls"] == 2  # the enqueue, and the lease sent beforehand
    assert bidder.state("a") == states.LEASED


def test_no_more_is_leased_than_was_bid_and_the_next_is_rung(bidder):
    bidder.queue.register("w2", Manifest({"job": TaskFacts()}))
    answer = bidder.waiting(free=2)
    bidder.send("a", "b", "c")
    found = answer.result(LONG)
    assert ids(found) == ["a", "b"]
    assert found.more
    other = bidder.queue.wait_and_lease("w2", 0, 1, QUEUES, Want(free=2), LONG)
    assert ids(other) == ["c"]


def test_work_that_is_there_is_leased_at_once(bidder):
    bidder.send("a")
    assert ids(bidder.bid()) == ["a"]


def test_after_the_timeout_nothing_is_leased_and_the_number_is_not_used(bidder):
    while bidder.bid(timeout=0.05) is not None:
        pass  # rings left over from opening the store
    bidder.send("a")
    assert ids(bidder.bid(seq=1)) == ["a"]


def test_what_falls_due_is_leased_when_it_is(bidder):
    assert bidder.bid(timeout=0.01) is None
    sent = time.time()
    bidder.send("a", eta=sent + 0.5)
    assert ids(bidder.bid()) == ["a"]
    assert time.time() - sent >= 0.5


def test_an_earlier_eta_is_heard_of_by_who_sleeps_for_a_later_one(bidder):
    bidder.send("late", eta=time.time() + 600)
    assert bidder.bid(timeout=0.01) is None  # and it knows when something falls due
    answer = bidder.waiting()
    bidder.send("soon", eta=time.time() + 0.3)
    assert ids(answer.result(LONG)) == ["soon"]


def test_who_is_called_away_leases_nothing(bidder):
    answer = bidder.waiting()
    bidder.queue.wake()
    assert answer.result(LONG) is None
    bidder.send("a")
    assert bidder.state("a") == states.QUEUED


def test_who_is_called_away_passes_on_the_ring_it_heard(bidder, monkeypatch):
    # As where a ring and the call come at once, and it is the ring that ends the sleep.
    queue = bidder.queue
    lease = queue._waiters.lease

    def called(queues, timeout, request):
        def ask(away):
            bidder.place.do("RPUSH", away, "w", "w")
            return request(away)

        return lease(queues, timeout, ask)

    assert bidder.bid(timeout=0.01) is None
    monkeypatch.setattr(queue._waiters, "lease", called)
    bidder.send("a")
    assert bidder.do("DEL", "bell:celery") == 1
    # It does not look before, since it knows that nothing was there; the call is all it hears.
    assert bidder.bid() is None
    assert bidder.do("LLEN", "bell:celery") == 1
    assert bidder.state("a") == states.QUEUED


def test_a_lost_answer_is_asked_for_again_under_its_number(bidder):
    faults = Faults(Rule("queue.wait_and_lease", "after", hit=1))
    flaky = wrap(bidder.store, faults)
    bidder.send("a", "b")
    with pytest.raises(OperationalError):
        flaky.queue.wait_and_lease("w1", 0, 1, QUEUES, Want(free=1), LONG)
    again = bidder.queue.exchange("w1", 0, 1, [], [], QUEUES, Want(free=1))
    assert ids(again) == ["a"]
    assert bidder.state("b") == states.QUEUED


def test_an_owner_that_is_not_known_leases_nothing_and_is_told(bidder):
    answer = bidder.waiting()
    bidder.queue.close_owner("w1")
    bidder.send("a")
    found = answer.result(LONG)
    assert found.lost
    assert ids(found) == []
    assert bidder.state("a") == states.QUEUED


def test_a_server_that_has_forgotten_the_script_is_asked_in_the_usual_way(bidder, place):
    assert bidder.bid(timeout=0.01) is None
    place.do("SCRIPT", "FLUSH")
    answer = bidder.waiting()
    bidder.send("a")
    assert ids(answer.result(LONG)) == ["a"]


def test_a_server_that_goes_away_ends_the_wait_with_an_error(bidder, place):
    answer = bidder.waiting()
    place.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert isinstance(answer.exception(LONG), OperationalError)


class Desk:
    """A dispatch with one executor that only notes what it is sent, and the lanes beside it."""

    def __init__(self, store):
        # Nobody beats here, so the lease is to be trusted however long it takes.
        incarnation = Incarnation(lease=600.0, margin=3.0)
        incarnation.begin("w1", time.monotonic())
        incarnation.owner = "w1"
        self.dispatch = Dispatch(incarnation, {"job": TaskFacts()}, None, lambda: None)
        self.arrived = threading.Semaphore(0)
        self.sent = []
        self.hand = Hand(0, self.send)
        self.dispatch.join(self.hand)
        self.errors = []
        self.lanes = Lanes(store, self.dispatch, QUEUES, 2, self.errors.append)

    def send(self, first, deliveries):
        self.sent += [(first + at, each) for at, each in enumerate(deliveries)]
        self.arrived.release()

    def run_next(self):
        """Wait for a delivery and report that it succeeded; its id."""
        assert self.arrived.acquire(timeout=LONG)
        key, delivery = self.sent[-1]
        self.dispatch.done(self.hand, [(key, Outcome(states.SUCCEEDED, b"r"), 0.01)])
        return delivery.id


@pytest.mark.parametrize("kind", ["before", "after"])
def test_lanes_run_each_task_once_whatever_answers_are_lost(bidder, kind):
    faults = Faults(
        Rule("queue.wait_and_lease", kind, probability=0.5),
        Rule("queue.exchange", kind, probability=0.3),
        seed=7,
    )
    desk = Desk(wrap(bidder.store, faults))
    desk.lanes.start()
    try:
        sent = 0
        # On a busy machine the exchange that commits one may lease the next, and nobody waits.
        while sent < 12 or ("queue.wait_and_lease", kind) not in faults.injected:
            bidder.send(f"t{sent}")
            assert desk.run_next() == f"t{sent}"
            sent += 1
            assert sent < 200, "the fault does not strike"
        until(
            "all have ended",
            lambda: all(bidder.state(f"t{n}") == states.SUCCEEDED for n in range(sent)),
        )
    finally:
        faults.disarm()
        desk.dispatch.close()
        assert desk.lanes.stop(timeout=30.0)
    assert not desk.errors
    assert len(desk.sent) == sent


def test_a_standing_bid_is_no_exchange_under_way_and_takes_the_room_of_others(bidder):
    desk = Desk(bidder.store)
    with desk.dispatch.changed:
        desk.dispatch.look = False
        bid = desk.dispatch.bid()
        assert bid.want.free == 1
        assert desk.dispatch.want().free == 0
    assert desk.dispatch.flushed
    desk.dispatch.drop_bid(bid)
    assert desk.dispatch.want().free == 1


def test_who_bids_more_than_there_is_room_for_is_called_away(bidder):
    desk = Desk(bidder.store)
    desk.lanes.start()
    try:
        until("the bell sleeps", bidder.asleep)
        bid = desk.dispatch.flights._bid
        assert bid.want.free == 1
        desk.hand.closed = True
        desk.lanes.settle()
        until("the bid is gone", lambda: desk.dispatch.flights._bid is not bid)
        bidder.send("a")
        assert bidder.state("a") == states.QUEUED
        assert not desk.sent
    finally:
        desk.dispatch.close()
        assert desk.lanes.stop(timeout=30.0)


def test_two_hundred_idle_workers_cost_the_server_less_than_two_hundred_commands(bidder, place):
    while bidder.bid(timeout=0.05) is not None:
        pass  # rings left over from opening the store
    before = place.do("INFO", "stats")["total_commands_processed"]
    for _ in range(10):
        assert bidder.bid(timeout=0.01) is None
    after = place.do("INFO", "stats")["total_commands_processed"]
    sleeps = (after - before - 1) / 10
    # Each lasts ten seconds. What is left of the budget is for the beats: one in three seconds.
    assert sleeps * 200 / 10 < 130


def test_commits_of_a_lost_answer_read_already(bidder):
    bidder.send("a")
    (delivery,) = bidder.bid().deliveries
    commit = Commit(delivery.fence, Outcome(states.SUCCEEDED, b"r"))
    first = bidder.queue.exchange("w1", 1, 1, [commit], [], QUEUES, Want())
    again = bidder.queue.exchange("w1", 1, 1, [commit], [], QUEUES, Want())
    assert ([str(each) for each in first.verdicts], [str(each) for each in again.verdicts]) == (
        ["ok"], ["already"],
    )  # fmt: skip
