"""Custody: what becomes of deliveries that do not simply run to their end."""

from types import SimpleNamespace

import pytest

from celeriac.clock import ManualClock
from celeriac.exceptions import OperationalError
from celeriac.message import Header, compose
from celeriac.records import Delivery, TaskFacts, Verdict
from celeriac.worker.custody import Custody
from celeriac.worker.dispatch import Dispatch, Held
from celeriac.worker.incarnation import Incarnation


class Queue:
    """Hands back, and while it is *cut* does not say so."""

    def __init__(self):
        self.cut = False
        self.asked = []

    def release(self, owner, fences, started=False):
        self.asked.append([fence.id for fence in fences])
        self.started = started
        if self.cut:
            raise OperationalError("the reply is lost")
        return (Verdict.OK,) * len(fences)


@pytest.fixture
def desk():
    clock, queue = ManualClock(), Queue()
    incarnation = Incarnation(15.0, 3.0, clock.monotonic)
    incarnation.begin(incarnation.owner, clock.monotonic())
    dispatch = Dispatch(incarnation, {"job": TaskFacts()}, None, lambda: None)
    custody = Custody(dispatch, queue, 5.0, lambda *_: None, clock=clock.monotonic)
    custody.pool = SimpleNamespace(executors={}, returned=[])
    return SimpleNamespace(
        clock=clock, queue=queue, incarnation=incarnation, dispatch=dispatch, custody=custody
    )


def held(desk, id):
    wire = compose(Header(id, "job", f"n-{id}"), b"[[], {}]").encode()
    delivery = Delivery(id, 1, f"{desk.incarnation.owner}.1.1", wire, "celery")
    return Held(delivery, "job", TaskFacts(), None)


def test_what_may_have_been_handed_back_is_not_run_here(desk):
    desk.custody.pool.returned = [held(desk, "a"), held(desk, "b")]
    desk.queue.cut = True
    desk.custody.give_back()
    assert not desk.dispatch.backlog
    desk.custody.give_back()
    assert desk.queue.asked == [["a", "b"]], "asked again at once"
    desk.clock.advance(1.0)
    desk.queue.cut = False
    desk.custody.give_back()
    assert desk.queue.asked == [["a", "b"], ["a", "b"]]
    assert desk.custody.pool.returned == []


def test_what_was_interrupted_is_handed_back_until_the_store_answers(desk):
    desk.queue.cut = True
    desk.custody.hand_back([held(desk, "a")], started=True)
    assert desk.custody.owes
    desk.clock.advance(1.0)
    desk.custody.give_back()
    assert desk.queue.asked == [["a"], ["a"]]
    assert desk.custody.owes
    desk.queue.cut = False
    desk.clock.advance(1.0)
    desk.custody.give_back()
    assert (desk.queue.asked, desk.queue.started) == ([["a"]] * 3, True)
    assert not desk.custody.owes


def test_what_was_leased_by_an_incarnation_that_is_lost_is_not_handed_back(desk):
    desk.custody.pool.returned = [held(desk, "a")]
    desk.queue.cut = True
    desk.custody.give_back()
    desk.incarnation.lose(desk.incarnation.owner)
    desk.clock.advance(1.0)
    desk.custody.give_back()
    assert desk.queue.asked == [["a"]]
    assert desk.custody.pool.returned == []
