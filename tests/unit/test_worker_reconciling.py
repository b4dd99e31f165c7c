"""A store that went back to an earlier state: what it has under the lease is held against what is
here."""

import signal
from types import SimpleNamespace

import pytest

from celeriac import states
from celeriac.exceptions import OperationalError
from celeriac.ids import new_owner_id
from celeriac.message import Header, compose
from celeriac.outcome import Outcome
from celeriac.records import Beat, Exchanged, Fence, Manifest, TaskFacts, Verdict, Want
from celeriac.stores import connect
from celeriac.worker.courses import Call, Exchanges, Pulse, follow
from celeriac.worker.custody import LEASE_LOST, Custody
from celeriac.worker.dispatch import Dispatch, Hand
from celeriac.worker.incarnation import Incarnation

TASKS = {
    "job": TaskFacts(), "once": TaskFacts(late=False), "slow": TaskFacts(rate_limit="1/m"),
}  # fmt: skip


class Pool:
    """Executors that do nothing, and what they are told."""

    def __init__(self):
        self.executors = {}
        self.returned = []
        self.begins = {}
        self.told = []

    def begun(self, executor):
        return self.begins.get(executor.hand.index, [])

    def terminate(self, executor, key, number, why):
        self.told.append((executor.hand.held[key].delivery.id, number, why))
        return len(self.told) > 1


class Bench:
    def __init__(self):
        self.store = connect(f"memory://{new_owner_id()}")
        self.queue = self.store.queue
        self.incarnation = Incarnation(15.0, 3.0)
        self.owner = self.incarnation.owner
        self.dispatch = Dispatch(self.incarnation, dict(TASKS), None, lambda: None)
        self.custody = Custody(self.dispatch, self.queue, 5.0, lambda *_: None)
        self.pool = self.custody.pool = Pool()
        self.queue.register(self.owner, Manifest(dict(TASKS)))
        self.sequence = 0

    def begin(self):
        self.incarnation.begin(self.owner, self.incarnation._clock())

    def hand(self):
        """An executor that holds what is leased from now on."""
        made = Hand(0, lambda first, items: None)
        self.pool.executors[0] = SimpleNamespace(hand=made)
        self.dispatch.join(made)
        return made

    def send(self, id, task="job"):
        self.queue.enqueue([compose(Header(id, task, f"n-{id}"), b"[[], {}]")])

    def exchange(self, want=8):
        """The store leases what there is; the answer is under way."""
        with self.dispatch.changed:
            batch = self.dispatch.take()
        self.sequence += 1
        answer = self.queue.exchange(
            self.owner, 1, self.sequence, batch.commits, [], ["celery"], Want(free=want)
        )
        return batch, answer

    def lease(self, *ids, task="job"):
        for id in ids:
            self.send(id, task)
        self.dispatch.settle(*self.exchange())

    def states(self, *ids):
        return [each.state for each in self.store.inspection.get(ids)]


@pytest.fixture
def bench():
    made = Bench()
    made.begin()
    return made


@pytest.mark.parametrize("task", ["job", "slow"])
def test_what_waits_here_stays(bench, task):
    bench.lease("a", "b", task=task)
    bench.custody.reconcile()
    assert bench.states("a", "b") == [states.LEASED] * 2


def test_what_an_executor_holds_stays_until_its_commit_has_been_answered(bench):
    hand = bench.hand()
    bench.lease("a")
    bench.custody.reconcile()
    assert list(hand.held) == [1]
    bench.dispatch.done(hand, [(1, Outcome(states.SUCCEEDED), 0.1)])
    bench.custody.reconcile()
    assert bench.states("a") == [states.LEASED]
    # It has left the line, and nothing was sent yet.
    with bench.dispatch.changed:
        batch = bench.dispatch.take()
    bench.custody.reconcile()
    assert bench.states("a") == [states.LEASED]
    bench.dispatch.settle(batch, Exchanged(verdicts=(Verdict.OK,)))


def test_what_goes_back_to_others_is_left_to_who_hands_it_back(bench):
    bench.lease("a")
    bench.pool.returned = bench.dispatch.drain_backlog()
    bench.custody.reconcile()
    assert bench.states("a") == [states.LEASED]


def test_what_an_exchange_under_way_has_leased_stays(bench):
    course = Exchanges(bench.dispatch, ["celery"])
    bench.send("a")

    def call(step):
        answer = getattr(bench.queue, step.method)(*step.args, **step.options)
        bench.custody.reconcile()  # the store has done it, and nobody here knows yet
        return answer

    with bench.dispatch.changed:
        batch = bench.dispatch.bid()
    batch.want = Want(free=1)
    follow(course.exchange(1, 1, batch), call, None)
    assert bench.states("a") == [states.LEASED]
    assert [held.delivery.id for held in bench.dispatch.backlog] == ["a"]
    assert not bench.dispatch.flights.under_way


def test_a_lease_that_nobody_answers_for_is_handed_back(bench, caplog):
    bench.lease("a", "b")
    bench.lease("c", task="once")
    bench.dispatch.drain_backlog()  # all have ended, and the store has forgotten that
    bench.lease("d")
    bench.custody.reconcile()
    assert bench.states("a", "b", "c", "d") == [
        states.QUEUED, states.QUEUED, states.FAILED, states.LEASED,
    ]  # fmt: skip
    record, once = bench.store.inspection.get(["a", "c"])
    assert (record.attempt, record.losses, record.crashes) == (1, 0, 0)
    assert once.reason.startswith("WorkerLostError"), "it may have run, and must not twice"
    assert "3 task(s) that this worker was through with were handed back, 0 that" in caplog.text
    caplog.clear()
    bench.custody.reconcile()
    assert not caplog.text


def test_what_the_store_does_not_know_as_ours_is_ended(bench, caplog):
    hand = bench.hand()
    bench.lease("a")
    bench.lease("b")
    bench.queue.release(
        bench.owner, [held.delivery.fence for held in hand.held.values()], started=True
    )
    fences = [held.delivery.fence for held in bench.dispatch.backlog]
    bench.queue.release(bench.owner, fences)
    bench.custody.reconcile()
    assert "0 task(s) that this worker was through with were handed back, 2 that" in caplog.text
    assert not bench.dispatch.backlog, "what waited has gone from the line"
    bench.custody.obey()
    assert not bench.pool.told, "it has not begun"
    bench.pool.begins = {0: [1]}
    for _ in range(3):
        bench.custody.obey()
    # Asked again until it was done, and then no more.
    assert bench.pool.told == [("a", signal.SIGKILL, LEASE_LOST)] * 2


def test_one_that_ends_meanwhile_is_forgotten(bench):
    hand = bench.hand()
    bench.lease("a")
    bench.queue.release(bench.owner, [hand.held[1].delivery.fence], started=True)
    bench.custody.reconcile()
    bench.dispatch.done(hand, [(1, Outcome(states.SUCCEEDED), 0.1)])
    bench.pool.begins = {0: [1]}
    bench.custody.obey()
    assert not bench.pool.told


def test_a_store_that_does_not_answer_is_asked_again(bench, monkeypatch):
    def away(*_, **__):
        raise OperationalError("away")

    bench.lease("a")
    bench.dispatch.drain_backlog()
    with monkeypatch.context() as patch:
        patch.setattr(bench.queue, "release", away)
        with pytest.raises(OperationalError):
            bench.custody.reconcile()
    bench.custody.reconcile()
    assert bench.states("a") == [states.QUEUED]


def beats(*answers):
    """A pulse that has had these answers; and whether there was doubt after each."""
    incarnation = Incarnation(15.0, 3.0)
    pulse, doubts = Pulse(incarnation), []
    for answer in answers:

        def call(_step, answer=answer):
            if answer is None:
                raise OperationalError("away")
            return Beat(run=answer)

        follow(pulse.beat(), call, None)
        doubts.append(pulse.doubt)
        pulse.doubt = False
    return pulse, doubts


@pytest.mark.parametrize(
    ("runs", "doubts"),
    [
        (["", "", ""], [False, False, False]),
        # Something may have happened between its registration and its first beat.
        (["a", "a", "b", "b"], [True, False, True, False]),
        (["a", None, "a"], [True, False, True]),
        (["", None, None, ""], [False, False, False, True]),
        (["a", "", "a"], [True, False, False]),
    ],
)
def test_the_store_is_doubted_when_it_may_have_gone_back(runs, doubts):
    assert beats(*runs)[1] == doubts


def test_stamps_are_learned_anew_from_a_store_that_may_have_gone_back():
    pulse, _ = beats("a")
    asked = []

    def call(step: Call):
        asked.append((step.method, step.args))
        return []

    assert not follow(pulse.hear(0), call, None)
    assert asked == [("revoked_stamps", (0,))]
    assert not follow(pulse.hear(0), call, None)
    assert len(asked) == 1


def test_fences_are_told_apart_by_their_nonce(bench):
    """The same attempt of the same task, leased once more after the store went back."""
    bench.lease("a")
    (held,) = bench.dispatch.drain_backlog()
    bench.queue.release(bench.owner, [held.delivery.fence])
    bench.dispatch.backlog.append(held)
    batch, answer = bench.exchange()
    assert [each.fence for each in answer.deliveries] == [Fence("a", 1, f"{bench.owner}.1.2")]
    bench.dispatch.settle(batch, answer)
    bench.custody.reconcile()
    assert [each.delivery.nonce for each in bench.dispatch.backlog] == [f"{bench.owner}.1.2"]
    assert bench.states("a") == [states.LEASED]
