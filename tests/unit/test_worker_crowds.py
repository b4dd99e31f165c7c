"""The dispatch with hands that hold several runs at once, and the board that says what runs."""

import os
import time
from types import SimpleNamespace
from typing import cast

import pytest

from celeriac import states
from celeriac.message import Header, compose
from celeriac.outcome import Outcome
from celeriac.records import Delivery, Exchanged, TaskFacts, Verdict, Want
from celeriac.worker.dispatch import Dispatch, Hand
from celeriac.worker.hands import Company
from celeriac.worker.incarnation import Incarnation
from celeriac.worker.pools.nursery import Process
from celeriac.worker.pools.shared import Crowd, Shared
from celeriac.worker.slots import Board, Slots

DONE = Outcome(states.SUCCEEDED)
TASKS = {"task": TaskFacts(), "once": TaskFacts(late=False)}


class Desk:
    """A dispatch of a shared pool whose executors only note what they are sent."""

    def __init__(self, *widths: int) -> None:
        self.incarnation = Incarnation(lease=15.0, margin=3.0)
        self.incarnation.begin(self.incarnation.owner, time.monotonic())
        self.wakes = 0
        self.dispatch = Dispatch(self.incarnation, TASKS, None, self._wake)
        self.dispatch.crowded = True
        self.sent: list[tuple[int, str]] = []
        self.hands = [self.join(index, width) for index, width in enumerate(widths)]

    def _wake(self) -> None:
        self.wakes += 1

    def join(self, index: int, width: int, company: Company = Company.CROWD) -> Hand:
        hand = Hand(
            index, lambda _first, items: self.sent.extend((index, item.id) for item in items)
        )
        hand.width = hand.places = width
        hand.company = company
        if company is Company.CELL:
            hand.left = 1
        self.dispatch.join(hand)
        return hand

    def lease(self, *ids: str, task: str = "task", **fields: int) -> None:
        with self.dispatch.changed:
            batch = self.dispatch.take()
        nonce = f"{self.incarnation.owner}.1.1"
        found = tuple(
            Delivery(
                id, 1, nonce, compose(Header(id, task, f"n-{id}"), b"[[], {}]").encode(), "celery",
                **fields,
            )
            for id in ids
        )  # fmt: skip
        verdicts = (Verdict.OK,) * len(batch.commits)
        self.dispatch.settle(batch, Exchanged(verdicts, found))

    def want(self) -> Want:
        with self.dispatch.changed:
            return self.dispatch.want()

    def key_of(self, hand: Hand, id: str) -> int:
        return next(key for key, held in hand.held.items() if held.delivery.id == id)


def test_it_wants_as_many_as_there_are_places() -> None:
    desk = Desk(5)
    assert desk.want().free == 5
    desk.lease("a", "b")
    assert [id for _, id in desk.sent] == ["a", "b"]
    assert desk.want().free == 3
    desk.dispatch.done(desk.hands[0], [(desk.key_of(desk.hands[0], "a"), DONE, 1.0)])
    assert desk.want().free == 4


def test_what_is_not_brief_never_exceeds_the_width() -> None:
    desk = Desk(2)
    desk.lease("a", "b", "c")
    assert [id for _, id in desk.sent] == ["a", "b"]
    assert [held.delivery.id for held in desk.dispatch.backlog] == ["c"]


def test_a_wide_executor_is_filled_by_several_exchanges() -> None:
    assert Desk(10_000).want().free == 1024


def test_a_narrower_width_takes_no_more_until_it_fits() -> None:
    desk = Desk(4)
    desk.lease("a", "b", "c")
    desk.dispatch.widen(desk.hands[0], 2)
    assert desk.want().free == 0
    desk.dispatch.widen(desk.hands[0], 4)
    assert desk.want().free == 1


def test_what_it_has_left_to_run_bounds_what_it_is_given() -> None:
    desk = Desk(4)
    desk.hands[0].left = 3
    desk.lease("a", "b", "c", "d")
    assert [id for _, id in desk.sent] == ["a", "b", "c"]
    assert desk.want() == Want(0, 0, frozenset())


def test_a_task_that_crashed_waits_apart_for_a_cell_and_nobody_waits_behind_it() -> None:
    desk = Desk(4)
    desk.lease("crashed", crashes=1)
    assert desk.sent == []
    assert [held.delivery.id for held in desk.dispatch.apart] == ["crashed"]
    assert desk.wakes == 1
    desk.lease("a")
    assert desk.sent == [(0, "a")]
    cell = desk.join(9, 1, Company.CELL)
    assert desk.sent == [(0, "a"), (9, "crashed")]
    desk.lease("b", "c")
    assert [index for index, _ in desk.sent[2:]] == [0, 0], "a cell takes nothing else"
    desk.dispatch.done(cell, [(1, DONE, 0.1)])
    desk.lease("crashed again", crashes=1)
    assert len(desk.dispatch.apart) == 1, "a cell is used once"


def test_suspects_take_no_room_from_others() -> None:
    desk = Desk(4)
    desk.lease("a", "b", "c")
    held = list(desk.dispatch.remove(desk.hands[0]).values())
    for each in held:
        each.suspect = True
    desk.join(1, 4)
    desk.dispatch.requeue(held)
    assert desk.want().free == 4
    assert [each.delivery.id for each in desk.dispatch.apart] == ["a", "b", "c"]
    desk.join(9, 1, Company.CELL)
    assert desk.sent[-1] == (9, "a")


def test_suspects_are_taken_out_of_the_line_before_the_cells() -> None:
    desk = Desk(2)
    desk.lease("a", "b")
    held = list(desk.dispatch.remove(desk.hands[0]).values())
    for each in held:
        each.suspect = True
    desk.join(1, 2)
    desk.dispatch.requeue(held)
    desk.lease("crashed", crashes=1)
    assert [each.delivery.id for each in desk.dispatch.take_suspects()] == ["a", "b"]
    assert [each.delivery.id for each in desk.dispatch.apart] == ["crashed"]
    assert desk.want().free == 1, "what has crashed before takes room, as it did"


def test_a_revoked_suspect_is_found_and_everything_is_handed_back_at_the_end() -> None:
    desk = Desk(2)
    desk.lease("a", "b")
    held = list(desk.dispatch.remove(desk.hands[0]).values())
    for each in held:
        each.suspect = True
    desk.dispatch.requeue(held)
    assert desk.dispatch.withdraw(held[0].delivery.fence)
    assert not desk.dispatch.withdraw(held[0].delivery.fence)
    assert [each.delivery.id for each in desk.dispatch.drain_backlog()] == ["b"]
    assert desk.want().free == 0  # no executor is left
    desk.join(1, 2)
    assert desk.want().free == 2


def test_what_has_not_begun_is_taken_back_and_what_is_picked_counts_no_more() -> None:
    desk = Desk(4)
    desk.lease("a", "b", "c")
    hand = desk.hands[0]
    begun = [desk.key_of(hand, "b")]
    assert [held.delivery.id for held in desk.dispatch.take_all_but(hand, begun, 9)] == ["a", "c"]
    picked = desk.dispatch.pick(hand, begun[0])
    assert picked is not None
    assert desk.dispatch.pick(hand, begun[0]) is None
    desk.dispatch.done(hand, [(begun[0], DONE, 1.0)])  # its outcome comes too late
    with desk.dispatch.changed:
        assert desk.dispatch.take().commits == []


def test_what_waits_in_the_worker_goes_back_when_all_places_are_taken_for_long() -> None:
    """Also if nothing stands behind them in the process: others can run it at once."""
    desk = Desk(2)
    desk.lease("a", "b", "c")
    begun = SimpleNamespace(keys=lambda: list(desk.hands[0].held))
    pool = Shared.__new__(Shared)
    pool.returned, pool._dispatch = [], desk.dispatch
    pool.relieve(Crowd(cast("Process", SimpleNamespace(board=begun)), desk.hands[0]))
    assert [held.delivery.id for held in pool.returned] == ["c"]
    assert not desk.dispatch.backlog
    # There is room again: it is not given away.
    desk.dispatch.done(desk.hands[0], [(desk.key_of(desk.hands[0], "a"), DONE, 1.0)])
    desk.lease("d")
    pool.relieve(Crowd(cast("Process", SimpleNamespace(board=begun)), desk.hands[0]))
    assert len(pool.returned) == 1


# --- the board --------------------------------------------------------------------------------
@pytest.fixture
def board():
    board = Board.create(3)
    yield board
    board.close()


def test_a_board_says_what_runs_and_since_when(board: Board) -> None:
    assert board.keys() == []
    board.write(1, 7, 12.5)
    board.write(0, 9, 13.0)
    assert board.runs() == [(9, 13.0), (7, 12.5)]
    board.wipe(0)
    assert board.runs() == [(7, 12.5)]
    other = Board(os.dup(board.fd), 3)
    assert other.keys() == [7]
    other.close()


def test_a_key_on_the_board_is_held_back_by_its_slot() -> None:
    slots = Slots.create(2)
    assert not slots.held_back(1, 5)
    slots.hold(1, 0)
    assert slots.held_back(1, 5)
    assert not slots.held_back(0, 5)
    slots.hold(1, 0, 6)  # what was taken back stays held, what is given out later may begin
    assert slots.held_back(1, 5)
    assert not slots.held_back(1, 6)
    slots.close()
