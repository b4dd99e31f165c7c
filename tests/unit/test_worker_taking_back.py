"""What a shared executor holds and has not begun is taken back; what has ended never is.

The pool, its slot, its board and its socket are real; only the executor's steps are taken by the
test, each at the moment it is about.
"""

import selectors
import socket
import tempfile
import time
from collections.abc import Callable, Iterator

import pytest

from celeriac import states
from celeriac.message import Header, compose
from celeriac.outcome import Outcome
from celeriac.records import Delivery, Exchanged, TaskFacts, Want
from celeriac.worker import frames
from celeriac.worker.dispatch import Batch, Dispatch
from celeriac.worker.duties.limits import MemoryLimits, SharedLimits
from celeriac.worker.hands import Company, Hand
from celeriac.worker.incarnation import Incarnation
from celeriac.worker.pools.nursery import ASYNCIO, THREADS, Nursery, Process
from celeriac.worker.pools.shared import (
    CELL_SECONDS,
    CELLS_ALL,
    CELLS_MOST,
    HOLD_SECONDS,
    Crowd,
    Shape,
    Shared,
)
from celeriac.worker.slots import Board, Slots
from celeriac.worker.spec import WorkerSpec

DONE = Outcome(states.SUCCEEDED)
PLACES = 4


class Watched(Board):
    """A board that lets something happen around its next look."""

    before: Callable[[], None] | None = None
    after: Callable[[], None] | None = None

    def keys(self) -> list[int]:
        before, self.before = self.before, None
        if before is not None:
            before()
        found = super().keys()
        after, self.after = self.after, None
        if after is not None:
            after()
        return found


class Bench:
    """A pool with one executor that holds the tasks *a*, *b*, *c* under the keys 1, 2, 3."""

    def __init__(self, role: str = THREADS) -> None:
        self.incarnation = Incarnation(lease=15.0, margin=3.0)
        self.incarnation.begin(self.incarnation.owner, time.monotonic())
        facts = {"once": TaskFacts(late=False)}
        self.dispatch = Dispatch(self.incarnation, facts, None, lambda: None)
        self.slots = Slots.create(2)
        self.selector = selectors.DefaultSelector()
        self.pool = Shared(
            Nursery(WorkerSpec(app="none", hostname="here"), self.slots),
            self.dispatch, self.selector, Shape(role, PLACES, 10.0), lambda _death, _ran: None,
        )  # fmt: skip
        ours, self.theirs = socket.socketpair()
        ours.setblocking(False)
        self.board = Watched.create(PLACES)
        assert isinstance(self.board, Watched)
        crash = tempfile.TemporaryFile()  # noqa: SIM115 - the process closes it
        process = Process(0, role, ours, crash, time.monotonic(), board=self.board)
        hand = Hand(0, lambda _first, _items: None)
        hand.company, hand.places, hand.width = Company.CROWD, PLACES, PLACES
        self.executor = Crowd(process, hand)
        self.pool._admit(self.executor)
        self.dispatch.join(hand)
        self.lease("a", "b", "c")

    def close(self) -> None:
        self.theirs.close()
        self.executor.process.close()
        self.selector.close()
        self.slots.close()

    def lease(self, *ids: str) -> None:
        nonce = f"{self.incarnation.owner}.1.1"
        found = tuple(
            Delivery(
                id, 1, nonce, compose(Header(id, "once", f"n-{id}"), b"[[], {}]").encode(), "celery"
            )
            for id in ids
        )
        with self.dispatch.changed:
            batch = self.dispatch.flights.begin(Batch(self.incarnation.owner, [], [], Want(), []))
        self.dispatch.settle(batch, Exchanged((), found))

    # --- the executor's steps -----------------------------------------------------------------
    def begin(self, key: int) -> bool:
        """Write on the board, look at the hold."""
        self.board.write(key - 1, key, time.monotonic())
        if not self.slots.held_back(0, key):
            return True
        self.board.wipe(key - 1)
        return False

    def answer(self, key: int) -> None:
        self.theirs.sendall(frames.encode(frames.Done(key, DONE, 1.0)))

    def end(self, key: int) -> None:
        self.answer(key)
        self.board.wipe(key - 1)

    # --- the supervisor's ---------------------------------------------------------------------
    def hold(self) -> None:
        """Hold everything back, for long enough."""
        self.pool.hold_back(self.executor)
        self.executor.held_at -= HOLD_SECONDS

    def collect(self) -> list[str]:
        return [held.delivery.id for held in self.pool.collect_held_back(self.executor)]

    def committed(self) -> list[str]:
        with self.dispatch.changed:
            return [commit.fence.id for commit in self.dispatch.take().commits]


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


def nothing(_bench: Bench) -> None:
    pass


@pytest.mark.parametrize(
    ("first", "before", "after"),
    [
        pytest.param(lambda b: b.end(1), nothing, nothing, id="ended long before"),
        pytest.param(lambda b: b.answer(1), nothing, nothing, id="stopped before it wipes"),
        pytest.param(
            lambda b: b.answer(1), lambda b: b.board.wipe(0), nothing, id="wipes before the look"
        ),
        pytest.param(
            lambda b: b.answer(1), nothing, lambda b: b.board.wipe(0), id="wipes after the look"
        ),
        pytest.param(nothing, lambda b: b.end(1), nothing, id="ends before the look"),
        pytest.param(nothing, nothing, lambda b: b.end(1), id="ends after the look"),
    ],
)
def test_what_has_ended_is_never_taken_back(bench: Bench, first, before, after) -> None:
    assert bench.begin(1)
    bench.hold()
    first(bench)
    bench.board.before = lambda: before(bench)
    bench.board.after = lambda: after(bench)
    assert bench.collect() == ["b", "c"]
    assert bench.committed() == ["a"]
    assert not bench.executor.hand.held


def test_what_runs_stays_until_it_has_ended(bench: Bench) -> None:
    assert bench.begin(2)
    bench.hold()
    assert bench.collect() == ["a", "c"]
    assert bench.collect() == []
    bench.end(2)
    assert bench.collect() == []
    assert bench.committed() == ["b"]


def test_what_would_begin_after_the_look_does_not(bench: Bench) -> None:
    begun: list[bool] = []
    bench.hold()
    bench.board.after = lambda: begun.append(bench.begin(1))
    assert bench.collect() == ["a", "b", "c"]
    assert begun == [False]


def test_a_hold_is_not_relied_on_at_once(bench: Bench) -> None:
    bench.pool.hold_back(bench.executor)
    assert bench.collect() == []
    assert len(bench.executor.hand.held) == 3


def test_what_is_given_out_while_the_pipe_is_read_is_not_taken_back(bench: Bench) -> None:
    """An outcome lifts the hold for new keys, which may have begun before we take back."""
    assert bench.begin(1)
    bench.executor.relieved = True
    bench.hold()
    bench.answer(1)
    bench.lease("d")  # waits: everything is held back
    with bench.dispatch.changed:
        assert [held.delivery.id for held in bench.dispatch.backlog] == ["d"]
    assert bench.collect() == ["b", "c"]
    assert [held.delivery.id for held in bench.executor.hand.held.values()] == ["d"]
    assert bench.begin(4)


def test_what_comes_when_all_places_are_taken_goes_back_from_the_line(bench: Bench) -> None:
    bench.lease("d")
    bench.begin(1)
    bench.executor.relieved = True
    bench.hold()
    bench.lease("e")
    with bench.dispatch.changed:
        assert [held.delivery.id for held in bench.dispatch.backlog] == ["e"]
    bench.pool.relieve(bench.executor)
    assert [held.delivery.id for held in bench.pool.returned] == ["b", "c", "d", "e"]
    assert not bench.dispatch.backlog


@pytest.mark.parametrize("heard", ["before the look", "by a limit that is due at the same time"])
def test_places_that_were_answered_but_not_wiped_hold_nothing_back(bench: Bench, heard) -> None:
    """A busy machine can keep an executor for long between answering and wiping its board. If what
    it was given meanwhile were held back, no outcome would ever come that lifts the hold."""
    bench.lease("d")
    long_ago = time.monotonic() - 10.0
    for key in range(1, PLACES + 1):
        bench.board.write(key - 1, key, long_ago)
        bench.answer(key)
    if heard == "before the look":
        assert bench.pool._hear_out(bench.executor)
        assert not bench.executor.hand.held
    else:
        bench.executor.hand.held[1].hard = 1.0
    bench.lease("e", "f")
    limits = SharedLimits(bench.pool, bench.dispatch, bench.slots, MemoryLimits(1 << 60, None), 15)
    for _ in range(3):
        limits._look_at_board(bench.executor, time.monotonic())
    assert not bench.executor.hand.closed
    for place in range(PLACES):
        bench.board.wipe(place)
    assert [held.delivery.id for held in bench.executor.hand.held.values()] == ["e", "f"]
    assert all(not bench.slots.held_back(0, key) for key in bench.executor.hand.held)


def test_a_run_that_was_answered_is_not_ended_by_its_limit(bench: Bench) -> None:
    assert bench.begin(1)
    bench.end(1)
    bench.pool.overrun(bench.executor, 1, 0.1)
    assert bench.committed() == ["a"]
    assert not bench.executor.draining, "its neighbours are left alone"


def test_a_coroutine_that_ended_in_time_is_not_given_up() -> None:
    bench = Bench(ASYNCIO)
    try:
        assert bench.begin(1)
        assert bench.pool.terminate(bench.executor, 1, 15)
        bench.theirs.sendall(frames.encode(frames.Stays(1)))
        bench.end(1)
        bench.pool.tick(time.monotonic() + 60.0)
        assert bench.committed() == ["a"]
        assert not bench.executor.draining
    finally:
        bench.close()


class Births:
    """What a nursery makes: processes with a board and nobody in them."""

    def __init__(self, bench: Bench) -> None:
        self.ends: list[socket.socket] = []
        self.made: list[Process] = []
        self.pool = bench.pool
        bench.pool._nursery.make = self.make  # type: ignore[method-assign]
        bench.pool._nursery.sock = self.ends  # type: ignore[assignment]

    def make(self, role: str, title: str, places: int = 0) -> Process:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self.ends.append(theirs)
        crash = tempfile.TemporaryFile()  # noqa: SIM115 - the process closes it
        board = Board.create(places)
        process = Process(len(self.ends), role, ours, crash, time.monotonic(), board=board)
        self.made.append(process)
        return process

    def join(self) -> None:
        """Those that are new are ready, and take what waits."""
        for each in self.made:
            hand = self.pool.executors[each.index].hand
            if not hand.ready:
                self.pool._dispatch.join(hand)

    def age(self) -> None:
        """Those that are, have lived for long."""
        for each in self.made:
            each.born -= CELL_SECONDS

    def close(self) -> None:
        for end in self.ends:
            end.close()
        for each in self.made:
            each.close()


def test_suspects_that_live_make_way_and_those_past_all_cells_go_back(bench: Bench) -> None:
    births = Births(bench)
    suspects = CELLS_ALL + 3
    bench.executor.hand.closed = True
    bench.lease(*map(str, range(suspects)))
    with bench.dispatch.changed:
        waiting = list(bench.dispatch.backlog)
    for held in waiting:
        held.suspect = True
    bench.dispatch.place()
    for cells in range(CELLS_MOST, CELLS_ALL + 1, CELLS_MOST):
        bench.pool.fill()
        births.join()
        bench.pool.fill()
        assert len(births.made) == cells, "no more at a time"
        births.age()
    assert bench.committed() == []
    bench.pool.fill()
    assert len(births.made) == CELLS_ALL
    with bench.dispatch.changed:
        commits = bench.dispatch.take().commits
    assert [each.fence.id for each in commits] == [str(CELLS_ALL + each) for each in range(3)]
    for each in commits:
        assert (each.outcome.state, each.outcome.charge) == (states.SCHEDULED, "")
        assert "a process that died" in each.outcome.reason
    births.close()


def test_what_cannot_be_read_is_left_to_the_death(bench: Bench) -> None:
    bench.hold()
    bench.theirs.sendall(b"\xff" * 64)
    assert bench.collect() == []
    assert len(bench.executor.hand.held) == 3


def test_a_silent_executor_is_told_once_with_what_it_runs(bench: Bench, caplog) -> None:
    assert bench.begin(1)
    assert bench.begin(2)
    now = time.monotonic()
    bench.pool.tick(now)  # asks
    asked = bench.executor.asked_at
    for later in (1.0, 4.9, 5.1, 6.0, 20.0):
        bench.pool.tick(asked + later)
        assert len(caplog.messages) == (later > 5.0), later
    assert "has not answered for 5 s: a task keeps the interpreter" in caplog.text
    assert caplog.messages[0].endswith("It runs once (2)")
    bench.theirs.sendall(frames.encode(frames.Pong(bench.executor.asked)))
    assert bench.pool._hear_out(bench.executor)
    bench.pool.tick(asked + 30.0)
    assert bench.executor.asked == 2, "the next one"
    assert len(caplog.messages) == 1
