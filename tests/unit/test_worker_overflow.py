"""What waits in a worker's line while all its executors are busy for long goes back."""

from collections import deque
from threading import Condition

import pytest

from celeriac.message import decode
from celeriac.records import Delivery, TaskFacts
from celeriac.testing.conformance import message
from celeriac.worker.hands import Company, Hand, Held
from celeriac.worker.overflow import take_overflow


class Desk:
    """What of a dispatch is asked."""

    def __init__(self, *hands, spare=0):
        self.changed = Condition()
        self.spare = spare
        self.hands = {hand.index: hand for hand in hands}
        self.backlog = deque([line("a"), line("b", crashes=1), line("c")])


def line(id, crashes=0):
    wire = message(id).encode()
    delivery = Delivery(id, 1, "o.1.1", wire, "q", 0, crashes, 0, None)
    return Held(delivery, decode(wire).header.task, TaskFacts(), None)


def hand(index, **fields):
    made = Hand(index, lambda first, items: None, ready=True, **fields)
    made.held = {1: line("runs")}
    return made


def ids(items):
    return [held.delivery.id for held in items]


def test_what_others_can_run_sooner_is_taken_out_of_line():
    desk = Desk(hand(1, closed=True), hand(2, closed=True))
    assert ids(take_overflow(desk)) == ["a", "c"]
    assert ids(desk.backlog) == ["b"], "it waits for a process of its own"
    assert take_overflow(desk) == []


@pytest.mark.parametrize("other", [hand(2), hand(2, width=2, company=Company.CROWD)])
def test_nothing_is_while_an_executor_may_soon_be_free(other):
    desk = Desk(hand(1, closed=True), other)
    assert take_overflow(desk) == []
    assert ids(desk.backlog) == ["a", "b", "c"]


def test_nothing_is_while_the_pool_may_grow():
    desk = Desk(hand(1, closed=True), spare=1)
    assert take_overflow(desk) == []
    assert ids(desk.backlog) == ["a", "b", "c"], "which is what makes it grow"


def test_an_executor_of_several_is_busy_when_its_places_are_taken():
    assert ids(take_overflow(Desk(hand(1, company=Company.CROWD)))) == ["a", "c"]
