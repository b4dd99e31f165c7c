"""Revoked stamps: what a caller asks, what a worker knows of them, and what it does then."""

import time
import uuid

import pytest
from inline import make_app, stored

from celeriac import states
from celeriac.control.inspect import situation
from celeriac.control.why import explain
from celeriac.exceptions import NotInThisVersion, OperationalError
from celeriac.message import Header, compose
from celeriac.records import (
    Delivery,
    Exchanged,
    Manifest,
    RevokedStamp,
    RevokeEffect,
    TaskFacts,
    Want,
)
from celeriac.stores import connect
from celeriac.testing.faults import Faults, wrap
from celeriac.testing.harness import using
from celeriac.worker.calledoff import call_off, deliveries_of
from celeriac.worker.dispatch import Dispatch, Hand
from celeriac.worker.duties.heart import Heart
from celeriac.worker.incarnation import Incarnation
from celeriac.worker.lanes import Lanes
from celeriac.worker.stamps import RevokedStamps

SOON = time.time() + 3600


def message(id, **stamps):
    held = {name: [value] for name, value in stamps.items()} or None
    return compose(Header(id, "job", f"n-{id}", stamps=held), b"[[], {}]")


def delivery(id, nonce="o.1.1", **stamps):
    return Delivery(id, 1, nonce, message(id, **stamps).encode(), "celery")


# -- what is known -------------------------------------------------------------------------------


def test_a_call_meets_the_revoke_of_a_stamp_that_it_carries():
    known = RevokedStamps()
    assert known.order({"a": [1]}) is None
    known.learn([RevokedStamp(1, "a=1", SOON), RevokedStamp(2, "b=x", SOON, "SIGKILL")])
    assert known.order(None) is None
    assert known.order({"a": [2], "c": [1]}) is None
    assert known.order({"a": [2, 1]}).stamp == "a=1"
    assert known.order({"a": [1], "b": ["x"]}).terminate == "SIGKILL", "what ends it goes first"


def test_one_that_has_lapsed_is_met_by_nobody_and_forgotten():
    known = RevokedStamps()
    known.learn([RevokedStamp(1, "a=1", SOON)])
    known.known["a=1"] = RevokedStamp(1, "a=1", time.time() - 1)
    assert known.order({"a": [1]}) is None
    known.learn([RevokedStamp(2, "b=1", SOON)])
    assert list(known.known) == ["b=1"]
    known.learn([RevokedStamp(3, "c=1", SOON)], anew=True)
    assert list(known.known) == ["c=1"]


# -- at the desk ---------------------------------------------------------------------------------


class Desk:
    """A dispatch with one executor, which notes what it is sent."""

    def __init__(self):
        self.incarnation = Incarnation(lease=15.0, margin=3.0)
        self.incarnation.begin(self.incarnation.owner, time.monotonic())
        self.dispatch = Dispatch(self.incarnation, {"job": TaskFacts()}, None, lambda: None)
        self.sent = []
        self.hand = Hand(0, lambda _, items: self.sent.extend(each.id for each in items))
        self.dispatch.join(self.hand)

    def take(self):
        with self.dispatch.changed:
            return self.dispatch.take()

    def settle(self, *ids_and_stamps):
        nonce = f"{self.incarnation.owner}.1.1"
        found = tuple(delivery(id, nonce, **stamps) for id, stamps in ids_and_stamps)
        return self.dispatch.settle(self.take(), Exchanged(deliveries=found))


def test_what_carries_one_reaches_no_executor_and_is_committed_as_revoked():
    desk = Desk()
    desk.dispatch.stamps.learn([RevokedStamp(1, "a=1", SOON, "SIGTERM")])
    ((held, how),) = desk.settle(("x", {"a": 1}), ("y", {"a": 2}), ("z", {}))
    assert (held.delivery.id, how) == ("x", "SIGTERM")
    assert desk.sent[:1] == ["y"]
    assert [each.id for each in deliveries_of(desk.dispatch)] == ["z", "y"]
    assert not desk.dispatch.flushed, "it is still to be ended"
    call_off(desk.dispatch, held)
    (commit,) = desk.take().commits
    assert (commit.fence, commit.outcome.state) == (held.delivery.fence, states.CANCELLED)


def test_a_worker_that_stops_hands_it_back_and_leaves_it_to_others():
    desk = Desk()
    desk.dispatch.stamps.learn([RevokedStamp(1, "a=1", SOON)])
    desk.dispatch.close()
    assert desk.settle(("x", {"a": 1})) == []
    assert [each.delivery.id for each in desk.dispatch.drain_backlog()] == ["x"]


def test_one_that_is_heard_of_while_deliveries_arrive_is_met_too():
    """Whoever learned of it has looked at what is in line, where these are not yet."""
    desk = Desk()

    class Heard:
        def received(self, arrived):
            desk.dispatch.stamps.learn([RevokedStamp(1, "a=1", SOON)])
            assert deliveries_of(desk.dispatch) == []

        def settled(self, commits, verdicts):
            assert not commits

    desk.dispatch.events = Heard()
    ((held, _),) = desk.settle(("x", {"a": 1}))
    assert (held.delivery.id, desk.sent) == ("x", [])


# -- with a store --------------------------------------------------------------------------------


class Place:
    """A store in memory, where calls can be made to fail, and the heart of one worker."""

    def __init__(self):
        self.faults = Faults()
        self.store = wrap(connect(f"memory://{uuid.uuid4().hex}"), self.faults)
        self.desk = Desk()
        self.heart = Heart(self.store, self.desk.incarnation, None, 3.0, self.beaten, self.failed)
        self.heart.watch(self.desk.dispatch.stamps, lambda: deliveries_of(self.desk.dispatch))
        self.beats = []

    def beaten(self, beat):
        self.beats.append(beat)

    def failed(self, error):
        raise error

    def register(self):
        self.heart.register(Manifest(tasks={"job": TaskFacts()}))

    def lease(self, number=1):
        owner, desk = self.desk.incarnation.owner, self.desk
        got = self.store.queue.exchange(owner, 1, number, (), (), ["celery"], Want(free=9))
        return desk.dispatch.settle(desk.take(), got)

    def state(self, id):
        return self.store.inspection.get([id])[0].state


@pytest.fixture
def place():
    return Place()


def test_a_worker_knows_them_once_it_is_registered(place):
    place.store.queue.revoke_stamps(["a=1"])
    place.register()
    place.store.queue.enqueue([message("x", a=1)])
    ((held, _),) = place.lease()
    assert held.delivery.id == "x"
    place.heart._beat()
    assert place.beats[-1].revoked == ()
    assert place.desk.dispatch.stamps.number == place.beats[-1].stamps > 0


def test_what_it_holds_when_it_hears_of_one_is_revoked_and_comes_back_as_an_order(place):
    place.register()
    place.store.queue.enqueue([message("x", a=1), message("y", b=1), message("z", a=1, b=1)])
    assert place.lease() == []
    assert place.desk.sent[0] == "x"
    place.heart._beat()
    place.store.queue.revoke_stamps(["a=1"])
    place.store.queue.revoke_stamps(["b=1"], "SIGKILL")
    place.heart._beat()
    assert place.heart._hurried, "it looks at once"
    place.heart._beat()
    orders = {each.fence.id: each.terminate for each in place.beats[-1].revoked}
    assert orders == {"x": None, "y": "SIGKILL", "z": "SIGKILL"}


@pytest.mark.parametrize("method", ["queue.revoked_stamps", "queue.revoke"])
def test_a_store_that_does_not_answer_then_is_asked_with_the_next_beat(place, method):
    place.register()
    place.store.queue.enqueue([message("x", a=1)])
    place.lease()
    place.store.queue.revoke_stamps(["a=1"])
    place.faults.arm("before", method)
    assert place.heart._beat(), "the lease was extended all the same"
    assert place.store.inspection.get(["x"])[0].revoked is False
    place.heart._beat()
    assert place.store.inspection.get(["x"])[0].revoked is True


def test_a_worker_that_cannot_read_them_is_not_registered(place):
    place.faults.arm("before", "queue.revoked_stamps")
    with pytest.raises(OperationalError):
        place.register()


@pytest.mark.parametrize("kind", ["before", "after"])
def test_the_store_knows_it_is_revoked_before_it_is_dropped_even_if_it_is_away(place, kind):
    place.store.queue.revoke_stamps(["a=1"], "SIGTERM")
    place.register()
    place.store.queue.enqueue([message("x", a=1)])
    owner = place.desk.incarnation.owner
    got = place.store.queue.exchange(owner, 1, 1, (), (), ["celery"], Want(free=1))
    place.faults.arm(kind, "queue.revoke")
    lanes = Lanes(place.store, place.desk.dispatch, ["celery"], 1, place.failed)
    lanes._follow(lanes._courses._settle(place.desk.take(), got))
    record = place.store.inspection.get(["x"])[0]
    assert (record.revoked, record.terminate) == (True, "SIGTERM")
    batch = place.desk.take()
    reply = place.store.queue.exchange(owner, 1, 2, batch.commits, (), ["celery"], Want())
    assert place.state("x") == states.CANCELLED
    place.desk.dispatch.settle(batch, reply)
    assert place.desk.dispatch.flushed


# -- what a caller asks --------------------------------------------------------------------------


@pytest.fixture
def app():
    made = make_app()
    yield made
    made.close()


@pytest.fixture
def job(app):
    return app.task(name="job", bind=True)(lambda self: dict(self.request.stamps))


def test_what_is_there_is_revoked_and_the_rest_stays(app, job):
    many = [job.s().stamp(a=number % 2).delay() for number in range(250)]
    met = app.control.revoke_by_stamped_headers({"a": 1})
    assert met == {each.id: RevokeEffect.REVOKED for each in many[1::2]}
    assert {stored(app, each.id).state for each in many[::2]} == {states.QUEUED}
    assert app.control.revoke_by_stamped_headers({"a": [1, "none"], "b": "x"}) == {}
    kept = [each.stamp for each in app.store.queue.revoked_stamps()]
    assert kept == ["a=1", "a=none", "b=x"]


def test_the_signal_is_kept_for_what_comes(app, job):
    app.AsyncResult("any").revoke_by_stamped_headers({"a": 1}, terminate=True, signal="kill")
    (kept,) = app.store.queue.revoked_stamps()
    assert (kept.stamp, kept.terminate) == ("a=1", "SIGKILL")


def test_it_is_refused_where_it_could_not_hold(app):
    with pytest.raises(NotInThisVersion, match="destination of revoke_by_stamped_headers"):
        app.control.revoke_by_stamped_headers({"a": 1}, destination=["w@x"])
    with pytest.raises(NotInThisVersion, match="It stands in the store"):
        app.control.broadcast("revoke_by_stamped_headers", {"headers": {"a": 1}})
    with pytest.raises(TypeError, match="it is a dictionary"):
        app.control.revoke_by_stamped_headers("a=1")
    assert app.store.queue.revoked_stamps() == []


def test_tests_without_a_worker_see_it_too(app, job):
    with using(app) as harness:
        before = job.apply_async(stamped_headers=["a"], a=1)
        app.control.revoke_by_stamped_headers({"a": 1})
        after, other = (job.apply_async(stamped_headers=["a"], a=value) for value in (1, 2))
        harness.run_pending()
        assert [each.state for each in (before, after, other)] == ["REVOKED", "REVOKED", "SUCCESS"]


def test_why_names_the_stamps(app, job):
    result = job.apply_async(stamped_headers=["a", "b"], a=["x", 1], b=True)
    facts = dict(explain(situation(app.store, result.id, time.time())).facts)
    assert facts["stamps"] == "a=x, a=1, b=true"
    assert "stamps" not in dict(explain(situation(app.store, job.delay().id, time.time())).facts)
