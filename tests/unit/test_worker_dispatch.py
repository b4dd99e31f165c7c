"""The dispatch as bookkeeping: executors are lists of what they were sent, the store is a reply."""

import itertools
import logging
import time

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

from celeriac import states
from celeriac.message import Header, compose
from celeriac.outcome import Outcome
from celeriac.records import Delivery, Exchanged, TaskFacts, Verdict, Want
from celeriac.signing import Signer
from celeriac.worker.dispatch import BATCH, Dispatch, Hand
from celeriac.worker.incarnation import Incarnation
from celeriac.worker.paces import AHEAD_MAX, AHEAD_SECONDS

SUCCESS = Outcome(states.SUCCEEDED)
TASKS = {"quick": TaskFacts(), "slow": TaskFacts(), "once": TaskFacts(late=False)}


def wire(id: str, task: str, signer: Signer | None = None, **fields: object) -> bytes:
    message = compose(Header(id, task, f"n-{id}", **fields), b"[[], {}]")
    return message.encode()


class Desk:
    """A dispatch with executors that only note what they are sent."""

    def __init__(self, executors: int = 1, signer: Signer | None = None) -> None:
        self.incarnation = Incarnation(lease=15.0, margin=3.0)
        self.incarnation.begin(self.incarnation.owner, time.monotonic())
        self.wakes = 0
        self.dispatch = Dispatch(self.incarnation, TASKS, signer, self.wake)
        self.sent: list[tuple[int, int, str]] = []
        for index in range(executors):
            self.join(index)

    def wake(self) -> None:
        self.wakes += 1

    def join(self, index: int, left: int | None = None) -> Hand:
        hand = Hand(index, lambda first, items: self.send(hand, first, items))
        hand.left = left
        self.dispatch.join(hand)
        return hand

    def send(self, hand: Hand, first: int, items: list[Delivery]) -> None:
        assert self.dispatch.changed._lock.locked()
        for key, item in enumerate(items, first):
            assert hand.held[key].delivery == item
            self.sent.append((hand.index, key, item.id))

    def delivery(self, id: str, task: str = "quick", **fields: object) -> Delivery:
        nonce = f"{self.incarnation.owner}.1.1"
        return Delivery(id, 1, nonce, wire(id, task), "celery", **fields)

    def take(self):
        with self.dispatch.changed:
            return self.dispatch.take()

    def lease(self, *deliveries: Delivery, more: bool = False):
        """One exchange that brings *deliveries*; returns the batch."""
        batch = self.take()
        verdicts = (Verdict.OK,) * len(batch.commits)
        self.dispatch.settle(batch, Exchanged(verdicts, deliveries, more=more))
        return batch

    def want(self) -> Want:
        with self.dispatch.changed:
            return self.dispatch.want()

    def asks(self) -> bool:
        with self.dispatch.changed:
            return self.dispatch.has_work()

    def listens(self) -> bool:
        with self.dispatch.changed:
            return self.dispatch.may_wait()

    def done(self, hand: Hand, key: int, runtime: float = 0.001) -> None:
        self.dispatch.done(hand, [(key, SUCCESS, runtime)])

    def learn(self, hand: Hand, task: str = "quick", runtime: float = 0.0005) -> None:
        """Let *task* be measured by one run in *hand*, and its outcome be committed."""
        self.lease(self.delivery(f"lesson-{task}", task))
        self.done(hand, hand.next_key - 1, runtime)
        self.lease()
        self.sent.clear()

    @property
    def waiting(self) -> list[str]:
        return [held.delivery.id for held in self.dispatch.backlog]

    def ids(self, hand: Hand) -> list[str]:
        return [held.delivery.id for held in hand.held.values()]


# --- how much is wanted -----------------------------------------------------------------------
def test_it_wants_one_delivery_for_each_idle_executor_and_none_ahead_while_nothing_is_measured():
    assert Desk(3).want() == Want(free=3, ahead=0, brief=frozenset())


def test_what_is_under_way_is_not_wanted_twice():
    desk = Desk(3)
    first = desk.take()
    assert first.want.free == 3
    assert desk.want() == Want()
    desk.dispatch.settle(first, Exchanged(deliveries=(desk.delivery("a"),)))
    assert desk.want().free == 2


def test_a_measured_brief_task_is_wanted_ahead_within_a_few_milliseconds_of_work():
    desk = Desk(1)
    desk.learn(desk.dispatch.hands[0], runtime=0.0005)
    want = desk.want()
    assert want.brief == {"quick"}
    assert want.free == 1
    assert 1 <= want.ahead <= AHEAD_SECONDS / 0.0005


def test_however_brief_a_task_no_more_than_the_limit_goes_ahead():
    desk = Desk(1)
    hand = desk.dispatch.hands[0]
    for _ in range(200):
        desk.learn(hand, runtime=1e-6)
    want = desk.want()
    assert want.free + want.ahead <= min(AHEAD_MAX, BATCH + 1)


@pytest.mark.parametrize(("task", "runtime"), [("slow", 0.01), ("once", 0.0001)])
def test_long_and_at_most_once_tasks_never_count_as_brief(task: str, runtime: float):
    desk = Desk(1)
    desk.learn(desk.dispatch.hands[0], task, runtime)
    assert desk.want() == Want(free=1)


def test_a_brief_task_that_becomes_slow_is_brief_no_more():
    desk = Desk(1)
    hand = desk.dispatch.hands[0]
    desk.learn(hand)
    assert desk.want().brief == {"quick"}
    desk.learn(hand, runtime=1.0)
    assert desk.want().brief == frozenset()


def test_nothing_is_wanted_while_the_lease_is_not_trusted():
    desk = Desk(1)
    desk.incarnation.lose(desk.incarnation.owner)
    assert desk.want() == Want()
    assert not desk.asks()
    assert not desk.listens()


def test_nothing_is_wanted_once_it_closes():
    desk = Desk(1)
    desk.dispatch.close()
    assert desk.want() == Want()
    assert not desk.listens()


def test_a_closed_hand_and_one_at_its_last_run_are_not_fed():
    desk = Desk(0)
    closed, spent = desk.join(1), desk.join(2, left=0)
    closed.closed = True
    assert desk.want() == Want()
    desk.dispatch.requeue([])
    desk.lease(desk.delivery("a"))
    assert desk.waiting == ["a"]
    assert not spent.held
    assert not closed.held


# --- looking and listening --------------------------------------------------------------------
def test_it_asks_while_the_store_holds_more_and_listens_when_it_does_not():
    desk = Desk(2)
    desk.lease(desk.delivery("a"), more=True)
    assert desk.asks()
    assert not desk.listens()
    desk.lease()
    assert not desk.asks()
    assert desk.listens()


def test_what_is_left_but_may_not_go_ahead_is_not_asked_for_without_end():
    desk = Desk(1)
    hand = desk.dispatch.hands[0]
    desk.learn(hand)
    desk.lease(desk.delivery("a", "slow"), more=True)
    desk.lease(more=True)  # room ahead, but the queue begins with something slow
    assert desk.want().ahead
    assert not desk.asks()
    desk.done(hand, hand.next_key - 1)
    assert desk.asks()  # an outcome, and a free executor
    assert desk.lease(more=True).want.free == 1
    assert desk.asks()


def test_outcomes_are_exchanged_even_if_nothing_is_wanted():
    desk = Desk(1)
    hand = desk.dispatch.hands[0]
    desk.lease(desk.delivery("a"))
    desk.dispatch.close()
    assert not desk.asks()
    assert desk.dispatch.flushed
    desk.done(hand, 1)
    assert desk.asks()
    assert not desk.dispatch.flushed
    batch = desk.take()
    assert [commit.fence.id for commit in batch.commits] == ["a"]
    assert not desk.dispatch.flushed  # it is under way
    desk.dispatch.settle(batch, Exchanged((Verdict.OK,)))
    assert desk.dispatch.flushed


def test_one_exchange_carries_a_bounded_number_of_outcomes():
    desk = Desk(1)
    for number in range(BATCH + 10):
        desk.dispatch.commit(desk.delivery(f"t{number}").fence, SUCCESS)
    assert len(desk.take().commits) == BATCH
    assert len(desk.take().commits) == 10


def test_outcomes_of_a_refused_exchange_go_with_the_next_in_their_order():
    desk = Desk(1)
    for number in range(3):
        desk.dispatch.commit(desk.delivery(f"t{number}").fence, SUCCESS)
    batch = desk.take()
    desk.dispatch.commit(desk.delivery("t3").fence, SUCCESS)
    desk.dispatch.give_back(batch)
    assert [commit.fence.id for commit in desk.take().commits] == ["t0", "t1", "t2", "t3"]


def test_a_refused_outcome_is_told(caplog: pytest.LogCaptureFixture):
    desk = Desk(1)
    desk.dispatch.commit(desk.delivery("late").fence, SUCCESS)
    desk.dispatch.settle(desk.take(), Exchanged((Verdict.FENCED,)))
    assert "Task late: another attempt owns it now" in caplog.text


def test_only_the_newest_progress_of_a_task_is_sent():
    desk = Desk(1)
    fence, other = desk.delivery("a").fence, desk.delivery("b").fence
    desk.dispatch.note_update(fence, "HALF", b"1")
    desk.dispatch.note_update(other, "HALF", None)
    desk.dispatch.note_update(fence, "MOST", b"2")
    updates = {update[0].id: update for update in desk.take().updates}
    assert updates == {"a": (fence, "MOST", b"2"), "b": (other, "HALF", None)}
    desk.dispatch.updated()
    assert desk.take().updates == []


def test_newer_progress_does_not_overtake_older():
    """Two lanes with one each could come to the store in either order."""
    desk = Desk(1)
    dispatch, fence = desk.dispatch, desk.delivery("a").fence
    desk.lease()
    dispatch.note_update(fence, "HALF", b"1")
    assert desk.take().updates == [(fence, "HALF", b"1")]
    dispatch.note_update(fence, "MOST", b"2")
    dispatch.look = False
    with dispatch.changed:
        assert not dispatch.has_work(), "another lane would turn round and round"
        assert dispatch.take().updates == []
    assert not dispatch.flushed
    dispatch.updated()
    with dispatch.changed:
        assert dispatch.has_work()
        assert dispatch.take(updates=False).updates == []
        assert dispatch.take().updates == [(fence, "MOST", b"2")]


def test_a_begin_is_reported_once():
    desk = Desk(1)
    hand = desk.dispatch.hands[0]
    delivery = desk.delivery("a")
    desk.lease(delivery)
    desk.dispatch.began(hand, 1)
    desk.dispatch.began(hand, 1)
    desk.dispatch.began(hand, 99)
    assert desk.take().started == [delivery.fence]


# --- placing ----------------------------------------------------------------------------------
def test_deliveries_go_to_idle_executors_and_the_rest_waits():
    desk = Desk(2)
    desk.lease(desk.delivery("a"), desk.delivery("b"), desk.delivery("c"))
    assert desk.sent == [(0, 1, "a"), (1, 1, "b")]
    assert desk.waiting == ["c"]
    desk.done(desk.dispatch.hands[1], 1)
    assert desk.sent[-1] == (1, 2, "c")


def test_a_new_executor_is_given_what_waits():
    desk = Desk(0)
    desk.lease(desk.delivery("a"))
    assert desk.waiting == ["a"]
    desk.join(7)
    assert desk.sent == [(7, 1, "a")]


def test_brief_measured_tasks_go_ahead_and_to_the_least_laden():
    desk = Desk(2)
    desk.learn(desk.dispatch.hands[0])
    desk.lease(*(desk.delivery(f"t{number}") for number in range(6)))
    assert {index: len(hand.held) for index, hand in desk.dispatch.hands.items()} == {0: 3, 1: 3}
    assert not desk.waiting


@pytest.mark.parametrize(
    ("task", "fields"),
    [("slow", {}), ("once", {}), ("quick", {"losses": 1}), ("never measured", {})],
)
def test_unmeasured_slow_lost_and_at_most_once_tasks_wait_for_an_idle_executor(
    task: str, fields: dict[str, int]
):
    desk = Desk(1)
    hand = desk.dispatch.hands[0]
    desk.learn(hand)
    desk.lease(desk.delivery("busy"), desk.delivery("careful", task, **fields))
    assert desk.ids(hand) == ["busy"]
    assert desk.waiting == ["careful"]
    desk.done(hand, hand.next_key - 1)
    assert desk.ids(hand) == ["careful"]


def test_nothing_is_sent_behind_a_closed_hand():
    desk = Desk(1)
    hand = desk.dispatch.hands[0]
    desk.learn(hand)
    desk.lease(desk.delivery("long"))
    hand.closed = True
    desk.lease(desk.delivery("a"))
    assert desk.ids(hand) == ["long"]
    assert desk.waiting == ["a"]


def test_runs_left_bound_what_is_held_and_end_the_feeding():
    desk = Desk(1)
    desk.learn(desk.dispatch.hands[0])
    desk.dispatch.remove(desk.dispatch.hands[0])
    hand = desk.join(1, left=2)
    desk.lease(*(desk.delivery(f"t{number}") for number in range(4)))
    assert len(hand.held) == 2
    desk.done(hand, 1)
    desk.done(hand, 2)
    assert hand.left == 0
    assert not hand.idle
    assert not hand.held
    assert desk.waiting == ["t2", "t3"]


def test_keys_of_one_hand_grow_and_are_never_used_twice():
    desk = Desk(1)
    hand = desk.dispatch.hands[0]
    for number in range(5):
        desk.lease(desk.delivery(f"t{number}"))
        desk.done(hand, number + 1)
    assert [key for _, key, _ in desk.sent] == [1, 2, 3, 4, 5]


# --- isolation --------------------------------------------------------------------------------
def test_a_crashed_task_waits_for_a_process_nobody_has_used():
    desk = Desk(1)
    used = desk.dispatch.hands[0]
    desk.learn(used)
    desk.lease(desk.delivery("killer", crashes=1))
    assert desk.waiting == ["killer"]
    assert desk.dispatch.outworn == [used]
    assert used.closed
    assert desk.wakes
    desk.dispatch.remove(used)
    fresh = desk.join(1)
    assert desk.ids(fresh) == ["killer"]


def test_a_fresh_executor_runs_a_crashed_task_at_once_and_nothing_behind_it():
    desk = Desk(2)
    desk.learn(desk.dispatch.hands[0])
    used, fresh = desk.dispatch.hands.values()
    assert (used.ran, fresh.ran) == (1, 0)
    desk.lease(desk.delivery("killer", crashes=1))
    assert desk.ids(fresh) == ["killer"]
    assert desk.dispatch.outworn == []
    desk.lease(*(desk.delivery(f"t{number}") for number in range(3)))
    assert desk.ids(fresh) == ["killer"]
    assert desk.ids(used) == ["t0", "t1", "t2"]
    desk.done(fresh, 1)
    desk.lease(desk.delivery("after"))
    assert desk.ids(fresh) == ["after"]


def test_others_in_line_do_not_take_the_executor_made_for_an_isolated_task():
    desk = Desk(1)
    used = desk.dispatch.hands[0]
    desk.learn(used, "slow", 0.01)
    desk.lease(desk.delivery("a", "slow"), desk.delivery("b", "slow"))
    desk.lease(desk.delivery("killer", crashes=1))
    assert sorted(desk.waiting) == ["b", "killer"]
    desk.dispatch.remove(used)
    fresh = desk.join(1)
    assert desk.ids(fresh) == ["killer"]
    assert desk.waiting == ["b"]


def test_one_fresh_process_at_a_time_is_asked_for():
    desk = Desk(3)
    for hand in desk.dispatch.hands.values():
        hand.ran = 1
    desk.lease(desk.delivery("k1", crashes=1), desk.delivery("k2", crashes=2))
    assert len(desk.dispatch.outworn) == 1
    outworn = desk.dispatch.outworn.pop()
    desk.dispatch.remove(outworn)
    fresh = desk.join(9)
    assert desk.ids(fresh) == ["k1"]
    assert len(desk.dispatch.outworn) == 1  # the next, for the second


def test_nothing_more_is_sent_to_an_executor_that_is_to_make_room_for_a_fresh_one():
    desk = Desk(1)
    used = desk.dispatch.hands[0]
    desk.learn(used)
    desk.lease(desk.delivery("killer", crashes=1), desk.delivery("brief"))
    assert used.closed
    assert desk.sent == []
    assert sorted(desk.waiting) == ["brief", "killer"]


# --- taking back ------------------------------------------------------------------------------
def test_what_stands_behind_a_long_run_is_given_to_others_first_in_line():
    desk = Desk(1)
    hand = desk.dispatch.hands[0]
    desk.learn(hand)
    desk.lease(*(desk.delivery(f"t{number}") for number in range(3)))
    long = min(hand.held)
    hand.closed = True
    desk.lease(desk.delivery("later"))
    back = desk.dispatch.take_back(hand, long)
    assert [held.delivery.id for held in back] == ["t1", "t2"]
    assert desk.ids(hand) == ["t0"]
    desk.dispatch.requeue(back)
    assert desk.waiting == ["t1", "t2", "later"]
    desk.join(5)
    assert next(id for index, _, id in desk.sent if index == 5) == "t1"


def test_what_an_executor_skipped_is_placed_again_under_a_new_key():
    desk = Desk(1)
    hand = desk.dispatch.hands[0]
    desk.learn(hand)
    desk.lease(desk.delivery("a"), desk.delivery("b"))
    first, second = sorted(hand.held)
    desk.done(hand, first)
    desk.dispatch.skipped(hand, second)
    assert desk.ids(hand) == ["b"]
    assert min(hand.held) > second


def test_a_skip_or_an_outcome_of_what_was_taken_back_changes_nothing():
    desk = Desk(1)
    hand = desk.dispatch.hands[0]
    desk.learn(hand)
    desk.lease(desk.delivery("a"), desk.delivery("b"))
    first, second = sorted(hand.held)
    hand.closed = True
    desk.dispatch.requeue(desk.dispatch.take_back(hand, first))
    desk.dispatch.skipped(hand, second)
    desk.done(hand, second)
    assert desk.waiting == ["b"]
    assert desk.ids(hand) == ["a"]
    assert desk.take().commits == []


def test_a_dead_executor_gives_up_all_it_held_and_is_fed_no_more():
    desk = Desk(2)
    hand = desk.dispatch.hands[0]
    desk.lease(desk.delivery("a"), desk.delivery("b"))
    held = desk.dispatch.remove(hand)
    assert [item.delivery.id for item in held.values()] == ["a"]
    assert not hand.held
    assert 0 not in desk.dispatch.hands
    desk.dispatch.requeue(held.values())
    assert desk.waiting == ["a"]


def test_a_revoked_delivery_is_withdrawn_from_the_line_but_not_from_a_hand():
    desk = Desk(1)
    running, waiting = desk.delivery("running"), desk.delivery("waiting")
    desk.lease(running, waiting)
    assert desk.dispatch.withdraw(waiting.fence)
    assert desk.waiting == []
    assert not desk.dispatch.withdraw(running.fence)


def test_closing_keeps_what_arrives_for_whoever_hands_it_back():
    desk = Desk(1)
    batch = desk.take()
    desk.dispatch.close()
    desk.dispatch.settle(batch, Exchanged(deliveries=(desk.delivery("a"),)))
    assert desk.sent == []
    assert [held.delivery.id for held in desk.dispatch.drain_backlog()] == ["a"]
    assert desk.waiting == []


# --- incarnations -----------------------------------------------------------------------------
def begin_anew(desk: Desk) -> None:
    """As the supervisor does it."""
    desk.dispatch.drop_all()
    desk.incarnation.begin(desk.incarnation.candidate(), time.monotonic())


def test_an_exchange_that_reads_lost_ends_the_incarnation_and_wakes_the_main_thread():
    desk = Desk(1)
    desk.dispatch.settle(desk.take(), Exchanged(lost=True))
    assert desk.incarnation.lost
    assert desk.wakes == 1


def test_an_answer_to_an_earlier_incarnation_brings_and_loses_nothing():
    desk = Desk(1)
    batch, old = desk.take(), desk.delivery("old")
    desk.incarnation.lose(desk.incarnation.owner)
    begin_anew(desk)
    desk.dispatch.settle(batch, Exchanged(deliveries=(old,), lost=True))
    assert desk.sent == []
    assert desk.waiting == []
    assert not desk.incarnation.lost
    assert desk.want().free == 1


def test_deliveries_of_a_lost_incarnation_are_neither_kept_nor_requeued():
    desk = Desk(1)
    hand = desk.dispatch.hands[0]
    desk.lease(desk.delivery("running"), desk.delivery("waiting"))
    desk.incarnation.lose(desk.incarnation.owner)
    desk.dispatch.drop_all()
    assert desk.waiting == []
    desk.dispatch.requeue(desk.dispatch.remove(hand).values())  # ended and buried meanwhile
    desk.incarnation.begin(desk.incarnation.candidate(), time.monotonic())
    assert desk.waiting == []
    desk.join(1)
    assert [id for *_, id in desk.sent] == ["running"]


def test_outcomes_of_a_lost_incarnation_are_still_sent_for_the_store_to_judge():
    desk = Desk(1)
    hand = desk.dispatch.hands[0]
    desk.lease(desk.delivery("a"))
    desk.incarnation.lose(desk.incarnation.owner)
    begin_anew(desk)
    desk.done(hand, 1)
    assert [commit.fence.id for commit in desk.take().commits] == ["a"]


def test_what_arrived_while_the_lease_was_not_trusted_begins_when_it_is_again():
    desk = Desk(1)
    batch = desk.take()
    owner = desk.incarnation.owner
    desk.incarnation.begin(owner, time.monotonic() - 20)
    desk.dispatch.settle(batch, Exchanged(deliveries=(desk.delivery("a"),)))
    assert desk.sent == []
    desk.incarnation.extended(owner, time.monotonic())
    desk.dispatch.place()
    assert desk.sent == [(0, 1, "a")]


# --- what cannot be trusted -------------------------------------------------------------------
def test_a_message_that_cannot_be_read_fails_without_being_run(caplog: pytest.LogCaptureFixture):
    desk = Desk(1)
    garbage = Delivery("x", 1, f"{desk.incarnation.owner}.1.1", b"\xc1garbage", "celery")
    desk.lease(garbage, desk.delivery("a"))
    assert [id for *_, id in desk.sent] == ["a"]
    (commit,) = desk.take().commits
    assert commit.fence == garbage.fence
    assert commit.outcome.state == states.FAILED
    assert "DecodeError" in commit.outcome.reason
    assert "x refused" in caplog.text


def test_an_unsigned_message_fails_without_being_run():
    desk = Desk(1, Signer.from_setting("a secret that is long enough for it", "celeriac"))
    desk.lease(desk.delivery("a"))
    assert desk.sent == []
    (commit,) = desk.take().commits
    assert commit.outcome.state == states.FAILED
    assert "Security" in commit.outcome.reason


def test_each_delivery_is_told_as_received(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "celeriac.worker.strategy")
    Desk(1).lease(Desk(0).delivery("a", "slow"))
    assert "Task slow[a] received" in caplog.text


# --- everything at once -----------------------------------------------------------------------
class AnyOrder(RuleBasedStateMachine):
    """Whatever happens in whatever order: counts stay true and nothing is doubled or forgotten."""

    flights = Bundle("flights")

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk(0)
        self.desk.send = self.send
        self.dispatch = self.desk.dispatch
        self.numbers = itertools.count()
        self.open: dict[int, object] = {}  # flights not settled yet
        self.leased: set[str] = set()  # ids that must be somewhere
        self.committed: list[str] = []
        self.all_hands: dict[int, Hand] = {}

    # What an executor may be sent is judged at the moment it is sent.
    def send(self, hand: Hand, first: int, items: list[Delivery]) -> None:
        assert hand.ready
        assert not hand.closed
        assert hand.left is None or len(hand.held) <= hand.left
        for key, item in enumerate(items, first):
            held = hand.held[key]
            assert held.delivery == item
            if held.careful or held.name not in self.dispatch.paces.brief:
                assert key == min(hand.held), "something careful was sent ahead"
            if held.alone:
                assert hand.ran == 0
                assert len(hand.held) == 1, "an isolated task is not alone"

    @rule(target=flights)
    def exchange(self):
        with self.dispatch.changed:
            idle = sum(hand.idle for hand in self.dispatch.hands.values())
            batch = self.dispatch.take()
        assert batch.want.free <= idle
        assert batch.want.free >= 0
        assert batch.want.ahead >= 0
        for commit in batch.commits:
            self.committed.append(commit.fence.id)
            self.leased.discard(commit.fence.id)
        number = next(self.numbers)
        self.open[number] = batch
        return number

    @precondition(lambda self: not any(each.bid for each in self.open.values()))
    @rule(target=flights)
    def bid(self):
        with self.dispatch.changed:
            idle = sum(hand.idle for hand in self.dispatch.hands.values())
            bid = self.dispatch.bid()
        assert 0 <= bid.want.free <= idle
        assert bid.commits == bid.started == bid.updates == []
        number = next(self.numbers)
        self.open[number] = bid
        return number

    @rule(number=flights)
    def drop_the_bid(self, number):
        if number in self.open and self.open[number].bid:
            self.dispatch.drop_bid(self.open.pop(number))

    @rule(
        number=flights,
        share=st.floats(0, 1),
        task=st.sampled_from(["quick", "slow", "once"]),
        crashes=st.sampled_from([0, 0, 0, 1]),
        losses=st.sampled_from([0, 0, 1]),
        more=st.booleans(),
    )
    def answer(self, number, share, task, crashes, losses, more):
        batch = self.open.pop(number, None)
        if batch is None:
            return
        nonce = f"{batch.owner}.1.{number}"
        found = []
        for place in range(int(share * batch.want.free + 0.5)):
            id = f"{number}.{place}"
            counts = {"crashes": crashes, "losses": losses}
            found.append(Delivery(id, 1, nonce, wire(id, task), "celery", **counts))
        for name in sorted(batch.want.brief)[:1]:
            for place in range(int(share * min(batch.want.ahead, 20))):
                id = f"{number}.ahead{place}"
                found.append(Delivery(id, 1, nonce, wire(id, name), "celery"))
        if batch.owner == self.desk.incarnation.owner:
            self.leased.update(delivery.id for delivery in found)
        verdicts = (Verdict.OK,) * len(batch.commits)
        self.dispatch.settle(batch, Exchanged(verdicts, tuple(found), more=more))

    @precondition(lambda self: len(self.all_hands) < 4)
    @rule(left=st.sampled_from([None, None, 3]))
    def new_executor(self, left):
        index = next(self.numbers)
        hand = Hand(index, lambda first, items: self.send(hand, first, items))
        hand.left = left
        self.all_hands[index] = hand
        self.dispatch.join(hand)

    def some_hand(self, choice: int) -> Hand | None:
        hands = list(self.all_hands.values())
        return hands[choice % len(hands)] if hands else None

    @rule(choice=st.integers(0, 9), runtime=st.sampled_from([0.0001, 0.0005, 0.01]))
    def finish_one(self, choice, runtime):
        hand = self.some_hand(choice)
        if hand is not None and hand.held:
            self.dispatch.done(hand, [(min(hand.held), SUCCESS, runtime)])

    @rule(choice=st.integers(0, 9))
    def run_long_and_take_back(self, choice):
        hand = self.some_hand(choice)
        if hand is not None and hand.held:
            hand.closed = True
            running = min(hand.held)
            self.dispatch.began(hand, running)
            self.dispatch.requeue(self.dispatch.take_back(hand, running))
            self.dispatch.skipped(hand, running + 1)

    @rule(choice=st.integers(0, 9))
    def reopen(self, choice):
        hand = self.some_hand(choice)
        if hand is not None and hand not in self.dispatch.outworn:
            hand.closed = False
            self.dispatch.place()

    @rule(choice=st.integers(0, 9))
    def die(self, choice):
        hand = self.some_hand(choice)
        if hand is None:
            return
        del self.all_hands[hand.index]
        held = self.dispatch.remove(hand)
        if held:
            convict = held.pop(min(held))
            outcome = Outcome(states.QUEUED, charge="crash")
            self.dispatch.commit(convict.delivery.fence, outcome)
        self.dispatch.requeue(held.values())

    @rule()
    def replace_outworn(self):
        while self.dispatch.outworn:
            hand = self.dispatch.outworn.pop()
            if self.all_hands.get(hand.index) is hand:
                del self.all_hands[hand.index]
                self.dispatch.requeue(self.dispatch.remove(hand).values())
                self.new_executor(None)

    @rule()
    def lose_the_lease(self):
        self.desk.incarnation.lose(self.desk.incarnation.owner)
        for hand in list(self.all_hands.values()):
            del self.all_hands[hand.index]
            self.dispatch.requeue(self.dispatch.remove(hand).values())
        begin_anew(self.desk)
        waiting = {commit.fence.id for commit in self.dispatch.commits}
        self.leased &= waiting

    @invariant()
    def flights_are_counted(self):
        assert self.dispatch.flights.number == sum(not each.bid for each in self.open.values())
        assert self.dispatch.flights.free == sum(each.want.free for each in self.open.values())
        assert self.dispatch.flights.ahead == sum(each.want.ahead for each in self.open.values())

    @invariant()
    def each_delivery_is_in_exactly_one_place(self):
        places = list(self.desk.waiting)
        for hand in self.all_hands.values():
            places += self.desk.ids(hand)
        places += [commit.fence.id for commit in self.dispatch.commits]
        assert len(places) == len(set(places)), "a delivery is in two places"
        assert set(places) == self.leased, "a delivery was forgotten or kept too long"

    @invariant()
    def no_outcome_is_sent_twice(self):
        assert len(self.committed) == len(set(self.committed))

    @invariant()
    def idle_executors_and_work_for_them_do_not_wait_for_each_other(self):
        waiting = any(not held.alone for held in self.dispatch.backlog)
        assert not (waiting and any(hand.idle for hand in self.dispatch.hands.values()))


TestAnyOrder = AnyOrder.TestCase
