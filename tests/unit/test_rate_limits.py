"""Rate limits: how they are written, and which task may begin when."""

import itertools
import threading

import pytest

from celeriac import Celeriac
from celeriac.conf import Settings
from celeriac.conf.rates import per_second, written
from celeriac.exceptions import ImproperlyConfigured
from celeriac.message import Header, compose
from celeriac.records import Delivery, Fence, TaskFacts, Want
from celeriac.worker import ratelimits
from celeriac.worker.hands import Held
from celeriac.worker.ratelimits import Bucket, RateLimits, Turns


@pytest.mark.parametrize(
    ("limit", "rate", "text"),
    [
        ("10/s", 10, "10/s"),
        ("100/m", 100 / 60, "100/m"),
        ("5/h", 5 / 3600, "5/h"),
        ("0.5/s", 0.5, "0.5/s"),
        (" 10 / s ", 10, "10/s"),
        ("10", 10, "10/s"),
        (10, 10, "10/s"),
        (2.5, 2.5, "2.5/s"),
        (None, None, ""),
        ("", None, ""),
        (0, None, ""),
        ("0/s", None, ""),
    ],
)
def test_how_a_limit_is_written(limit, rate, text):
    assert per_second(limit) == (rate if rate is None else pytest.approx(rate))
    assert written(limit) == text
    assert per_second(written(limit)) == per_second(limit)


WRONG = ["10/d", "ten", "10/", "-1/s", "1e3/s", "/s", -1, float("nan"), float("inf"), True, [10]]


@pytest.mark.parametrize("limit", WRONG, ids=repr)
def test_what_is_no_limit_is_refused_everywhere(limit):
    words = "is no rate limit"
    with pytest.raises(ValueError, match=words):
        per_second(limit)
    with pytest.raises(ImproperlyConfigured, match=f"task_default_rate_limit = .*{words}"):
        Settings(task_default_rate_limit=limit)
    app = Celeriac("shop", broker="memory://", set_as_current=False)
    with pytest.raises((ValueError, TypeError), match=f"task '.*limited'.*{words}"):
        app.task(rate_limit=limit)(limited)


def limited():
    """A function to make a task of."""


def test_facts_hold_the_limit_of_the_task_else_that_of_the_settings():
    app = Celeriac("shop", broker="memory://", set_as_current=False, task_default_rate_limit="9/m")
    for name, limit in {"own": "10/s", "number": 3, "none": 0, "default": None}.items():
        app.task(name=name, rate_limit=limit)(limited)
    limits = {name: facts.rate_limit for name, facts in app.facts().items()}
    wanted = {"own": "10/s", "number": "3/s", "none": "", "default": "9/m"}
    assert {name: limits[name] for name in wanted} == wanted
    app.conf.worker_disable_rate_limits = True
    assert {facts.rate_limit for facts in app.facts().values()} == {""}


def test_a_wrong_limit_of_a_class_is_told_with_the_tasks_name():
    app = Celeriac("shop", broker="memory://", set_as_current=False)

    class Wrong(app.Task):
        name = "shop.wrong"
        rate_limit = "often"

        def run(self):
            """Never."""

    with pytest.raises(ValueError, match=r"shop.wrong.*'often' is no rate limit"):
        app.register_task(Wrong())
    task = app.task(name="shop.right")(limited)
    task.rate_limit = "often"
    with pytest.raises(ValueError, match=r"shop.right.*'often' is no rate limit"):
        app.facts()


# -- buckets -----------------------------------------------------------------------------------


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


NUMBERS = itertools.count()


def held(name="slow"):
    id = f"t{next(NUMBERS)}"
    wire = compose(Header(id, name, f"n-{id}"), b"[[], {}]").encode()
    return Held(Delivery(id, 1, "o.1.1", wire, "celery"), name, TaskFacts(), None)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def woken():
    return []


@pytest.fixture
def limits(clock, woken):
    tasks = {"slow": TaskFacts(rate_limit="10/s"), "quick": TaskFacts()}
    lock = threading.Condition(threading.Lock())
    return RateLimits(tasks, lock, lambda: woken.append(1), clock)


def begin(limits):
    """Let begin what may; returns the ids."""
    ready = limits.ready()
    for each in ready:
        limits.begun(each)
    return [each.delivery.id for each in ready]


def test_without_limits_nothing_is_done():
    limits = RateLimits({"quick": TaskFacts()}, threading.Lock(), lambda: None)
    assert not limits.active
    want = Want(1, 2, frozenset({"quick"}))
    assert limits.want(want) is want
    assert limits.pause() is None
    assert limits.take_returns([]) == []


def test_tasks_without_a_limit_pass(limits):
    slow, quick = held(), held("quick")
    assert limits.active
    assert limits.admit([slow, quick]) == [quick]
    assert limits.ready() == [slow]


def test_they_begin_at_the_rate_in_their_order(limits, clock):
    tasks = [held() for _ in range(15)]
    assert limits.admit(tasks) == []
    started = []
    start = clock.now
    while limits.waiting:
        started += [(clock.now - start, id) for id in begin(limits)]
        pause = limits.pause()
        clock.now += pause or 0.0
    assert [id for _, id in started] == [each.delivery.id for each in tasks]
    assert [at for at, _ in started] == pytest.approx([number / 10 for number in range(15)])


def test_a_token_that_is_not_used_is_not_saved(limits, clock):
    limits.admit([held()])
    assert len(begin(limits)) == 1
    clock.now += 60
    limits.admit([held(), held()])
    assert len(begin(limits)) == 1


def test_a_late_look_does_not_slow_it_down(limits, clock):
    """Timers are late; what was missed by a little is made up for."""
    limits.admit([held() for _ in range(20)])
    began, start = 0, clock.now
    while limits.waiting:
        began += len(begin(limits))
        clock.now += 0.07
    assert began == 20
    assert clock.now - start == pytest.approx(1.9, abs=0.15)


def test_a_high_rate_is_kept_with_coarse_looks(clock):
    limits = RateLimits({"slow": TaskFacts(rate_limit="200/s")}, threading.Lock(), int, clock)
    limits.admit([held() for _ in range(300)])
    start = clock.now
    while limits.waiting:
        begin(limits)
        clock.now += 0.05
    assert clock.now - start == pytest.approx(1.5, abs=0.15)


def test_what_another_lane_has_handed_back_is_not_handed_back_again(limits, monkeypatch):
    """Two lanes look at once, and the second gets the lock when there is nothing left."""
    limits.admit([held() for _ in range(100)])
    taken = []

    class Late:
        def __enter__(self):
            monkeypatch.undo()  # the other lane has the lock itself
            taken.extend(limits.take_returns([]))

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(limits, "_lock", Late())
    assert limits.take_returns([]) == []
    assert sum(len(fences) for _, fences in taken) == 79


def test_what_has_its_turn_later_goes_back_until_then(limits, clock):
    tasks = [held() for _ in range(100)]
    limits.admit(tasks)
    assert limits.waiting == 21  # two seconds' worth
    assert limits.pending
    lots = limits.take_returns([])
    assert limits.take_returns([]) == []
    ids = [fence.id for _, fences in lots for fence in fences]
    assert ids == [each.delivery.id for each in tasks[21:]]
    assert all(isinstance(each, Fence) for _, fences in lots for each in fences)
    assert len(lots) <= 8
    delays = [delay for delay, _ in lots]
    assert delays == sorted(delays)
    assert delays[0] == pytest.approx(1.1, abs=0.01)  # one second before its turn
    assert delays[-1] < 9.9
    limits.drain()
    assert limits.pending  # some are away
    clock.now += 10.1
    assert not limits.pending


def test_while_some_are_in_the_way_more_are_asked_for(limits):
    want = Want(1, 0, frozenset({"quick"}))
    assert limits.want(want) is want
    limits.admit([held() for _ in range(100)])
    asked = limits.want(want)
    assert asked.free == 1
    assert asked.ahead > 100
    assert asked.brief == {"slow"}
    ahead = limits.want(Want(0, 5, frozenset({"quick"})))
    assert ahead.brief == {"slow", "quick"}
    limits.admit([])
    assert limits.want(want) is want


def test_no_delay_is_longer_than_half_a_minute_while_few_wait(clock):
    bucket = Bucket(5 / 3600)
    bucket.take(clock())
    delays = [bucket.send_back(clock(), 1.0) for _ in range(100)]
    assert max(delays) <= 30
    assert min(delays) > 10


def test_the_more_wait_the_longer_they_stay_away(clock):
    """Whatever their number, about two hundred a second come back in vain."""
    bucket = Bucket(5 / 3600)
    delays = [bucket.send_back(clock(), 1.0) for _ in range(100_000)]
    assert 400 < max(delays) <= 500
    assert sum(1 for each in delays if each < 30) < 10_000
    clock.now += 2000  # two windows later
    for _ in range(2):
        assert bucket.send_back(clock(), 1.0) <= 500
        clock.now += 2000
    assert bucket.send_back(clock(), 1.0) <= 30


def test_everything_comes_through_in_the_end(clock, monkeypatch):
    """The worker and the store in small: what is handed back arrives again when it is due."""
    limits = RateLimits({"slow": TaskFacts(rate_limit="50/s")}, threading.Lock(), int, clock)
    store = [(clock.now, number, held()) for number in range(1000)]
    began, start, looks = [], clock.now, 0
    by_id = {each.delivery.id: each for _, _, each in store}
    while len(began) < 1000:
        store.sort(key=lambda row: row[:2])
        due = [row for row in store if row[0] <= clock.now][:256]
        del store[: len(due)]
        looks += len(due)
        limits.admit([row[2] for row in due])
        for delay, fences in limits.take_returns([]):
            store += [(clock.now + delay, 0, by_id[each.id]) for each in fences]
        began += begin(limits)
        clock.now += 0.02
        assert clock.now - start < 60
    assert len(set(began)) == 1000
    assert clock.now - start == pytest.approx(20, abs=1.5)
    assert looks < 5000


# -- changes -----------------------------------------------------------------------------------


def test_a_limit_can_be_set_and_ended(limits, clock, woken):
    limits.set("quick", "1/s")
    assert limits.limits == {"slow": "10/s", "quick": "1/s"}
    assert limits.admit([held("quick"), held("quick")]) == []
    assert len(begin(limits)) == 1
    limits.set("quick", None)
    assert len(begin(limits)) == 1  # what waited goes at once
    limits.set("slow", 0)
    assert limits.limits == {}
    assert not limits.active
    assert len(woken) == 3


def test_a_lower_limit_counts_from_now_on(limits, clock):
    limits.admit([held() for _ in range(20)])
    begin(limits)
    limits.set("slow", "1/s")
    clock.now += 0.1  # of the old limit
    assert len(begin(limits)) == 1
    assert limits.pause() == pytest.approx(1.0)


def test_a_higher_limit_does_not_wait_for_the_old_turn(clock):
    limits = RateLimits({"slow": TaskFacts(rate_limit="1/h")}, threading.Lock(), int, clock)
    limits.admit([held()])
    begin(limits)
    limits.set("slow", "10/s")
    limits.admit([held()])
    assert limits.pause() == pytest.approx(0.1)


def test_a_wrong_limit_is_refused_and_changes_nothing(limits):
    with pytest.raises(ValueError, match="'often' is no rate limit"):
        limits.set("slow", "often")
    assert limits.limits == {"slow": "10/s"}


def test_limits_that_are_switched_off_cannot_be_set(limits):
    limits.disabled = True
    with pytest.raises(ValueError, match="10/s of quick cannot be set: worker_disable_rate_lim"):
        limits.set("quick", "10/s")
    limits.set("slow", None)


# -- taken back --------------------------------------------------------------------------------


def test_one_that_waits_can_be_withdrawn(limits):
    first, second = held(), held()
    limits.admit([first, second])
    assert limits.withdraw(second.delivery.fence)
    assert not limits.withdraw(second.delivery.fence)
    assert limits.held() == [first]
    assert limits.waiting == 1


def test_all_that_waits_is_drained_what_was_to_go_back_too(limits):
    tasks = [held() for _ in range(50)]
    limits.admit(tasks)
    assert {each.delivery.id for each in limits.drain()} == {each.delivery.id for each in tasks}
    assert limits.waiting == 0
    assert limits.take_returns([]) == []
    assert limits.drain() == []


# -- a worker that runs one at a time ----------------------------------------------------------


def test_turns(clock):
    turns = Turns({"slow": TaskFacts(rate_limit="2/s"), "quick": TaskFacts()}, clock)
    assert turns.wait("quick") == 0.0
    assert turns.wait("slow") == 0.0
    assert turns.wait("slow") == pytest.approx(0.5)
    assert turns.wait("slow") == pytest.approx(1.0)
    clock.now += 0.5
    assert turns.wait("slow") == 0.0
    turns.set("slow", None)
    assert turns.wait("slow") == 0.0
    with pytest.raises(ValueError, match="no rate limit"):
        turns.set("slow", "x")


def test_the_numbers_hold_together():
    assert ratelimits._EARLY < ratelimits._HOLD
