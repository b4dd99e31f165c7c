"""The harness: an application in memory, a clock to drive, and assertions."""

import asyncio
import os
import textwrap
import threading
import time
from datetime import UTC, datetime, timedelta
from unittest import mock

import pytest
from inline import count, make_app

from celeriac import Celeriac
from celeriac.app import current
from celeriac.clock import SYSTEM
from celeriac.context import allow_join_result
from celeriac.exceptions import (
    Ignore,
    ImproperlyConfigured,
    OperationalError,
    ResultNotFound,
    SecurityError,
    SoftTimeLimitExceeded,
    TaskRevokedError,
)
from celeriac.exceptions import TimeoutError as CeleriacTimeoutError
from celeriac.testing import VirtualClock, using


@pytest.fixture
def app():
    return make_app()


@pytest.fixture
def harness(app):
    with using(app) as harness:
        yield harness


@pytest.fixture
def add(app):
    @app.task(name="add")
    def add(x, y=0):
        return x + y

    return add


# -- using ---------------------------------------------------------------------------------------


def test_the_apps_own_store_is_not_touched(tmp_path):
    app = Celeriac(
        "shop", broker=f"sqlite:///{tmp_path}/shop.db", set_as_current=False, result_expires=60
    )

    @app.task(name="add")
    def add(x, y):
        return x + y

    with using(app) as harness:
        result = add.delay(1, 2)
        harness.run_pending()
        assert result.get() == 3
        assert app.broker_url == f"sqlite:///{tmp_path}/shop.db"
        assert app.store.options.result_expires == 60
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - names are enough
    with pytest.raises(ResultNotFound):
        app.AsyncResult(result.id).get(timeout=0)
    add.delay(3, 4)
    assert count(app) == 1


def test_blocks_may_be_nested_and_each_begins_empty(app, add):
    with using(app) as outer:
        add.delay(1)
        with using(app) as inner:
            assert inner.enqueued() == []
            add.delay(2)
        assert [each.args for each in outer.enqueued()] == [[1]]
    assert app.client.wall.__self__ is SYSTEM


def test_what_runs_eagerly_enqueues_nothing_and_is_refused():
    app = make_app(task_always_eager=True)
    with pytest.raises(ImproperlyConfigured, match="task_always_eager"), using(app):
        pass


def test_a_child_process_does_not_fall_back_on_the_real_store(app, harness, add):
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            add.delay(1)
        except OperationalError:
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


# -- run_pending ---------------------------------------------------------------------------------


def test_what_is_due_runs_in_this_thread_in_order(app, harness):
    threads = []

    @app.task(name="note", bind=True)
    def note(self, n, *, more=None):
        threads.append(threading.get_ident())
        assert not self.request.is_eager
        assert self.request.hostname == "celeriac@test"
        return (n, more)

    first, _, third = note.delay(1), note.apply_async((2,), countdown=5), note.delay(3, more="m")
    ran = harness.run_pending()
    assert [(each.id, each.task, each.state) for each in ran] == [
        (first.id, "note", "SUCCESS"),
        (third.id, "note", "SUCCESS"),
    ]
    assert [(each.args, each.kwargs, each.result) for each in ran] == [
        ((1,), {}, [1, None]),
        ((3,), {"more": "m"}, [3, "m"]),
    ]
    assert set(threads) == {threading.get_ident()}
    assert harness.run_pending() == []
    assert app.store.inspection.workers() == []


def test_what_a_task_sends_runs_too(app, harness):
    @app.task(name="inner")
    def inner(n):
        return n

    @app.task(name="outer")
    def outer():
        inner.apply_async((1,), queue="another")
        inner.apply_async((2,), countdown=1)

    outer.delay()
    assert [each.task for each in harness.run_pending()] == ["outer", "inner"]
    assert [each.args for each in harness.enqueued(inner)] == [[2]]


def test_queues_can_be_chosen(app, harness, add):
    add.apply_async((1,), queue="a")
    add.apply_async((2,), queue="b")
    assert [each.queue for each in harness.run_pending(["b"])] == ["b"]
    assert [each.queue for each in harness.enqueued()] == ["a"]


def test_a_failure_is_raised_as_it_was_and_the_rest_stays(app, harness, add):
    class Own(Exception):
        pass

    @app.task(name="fail")
    def fail():
        raise Own("x")

    failed, _ = fail.delay(), add.delay(1)
    with pytest.raises(Own) as caught:
        harness.run_pending()
    assert f"Raised by task fail[{failed.id}]" in caught.value.__notes__[0]
    assert failed.state == "FAILURE"
    harness.assert_enqueued(add)
    fail.delay()
    ran = harness.run_pending(throw=False)
    assert [(each.task, each.state) for each in ran] == [("add", "SUCCESS"), ("fail", "FAILURE")]
    assert isinstance(ran[1].result, Own)


def test_wrong_arguments_and_unsigned_messages_fail_as_in_a_worker(app, harness):
    @app.task(name="picky", typing=False)
    def picky(x):
        pass

    picky.delay()
    with pytest.raises(TypeError, match="missing"):
        harness.run_pending()
    picky.delay(1)
    app.conf.update(security_key="k" * 32)
    with pytest.raises(SecurityError):
        harness.run_pending()


def test_ends_that_are_no_failures_are_not_raised(app, harness):
    @app.task(name="skip")
    def skip():
        raise Ignore

    skip.delay()
    assert [(each.state, each.result) for each in harness.run_pending()] == [("IGNORED", None)]


def test_a_task_that_never_ends_is_told(app, harness):
    @app.task(name="again", bind=True, max_retries=None)
    def again(self):
        raise self.retry(countdown=0)

    again.delay()
    with pytest.raises(RuntimeError, match=r"50 tasks have run, the last one again\["):
        harness.run_pending(most=50)


def test_what_is_meant_for_the_program_passes(app, harness):
    @app.task(name="leave")
    def leave():
        raise KeyboardInterrupt

    leave.delay()
    with pytest.raises(KeyboardInterrupt):
        harness.run_pending(throw=False)
    harness.assert_enqueued(leave, count=1)


def test_soft_limits_and_states_of_ones_own(app, harness):
    seen = []

    @app.task(name="slow", bind=True, soft_time_limit=0.05)
    def slow(self):
        self.update_state(state="PROGRESS", meta={"done": 1})
        seen.append(
            (app.AsyncResult(self.request.id).state, self.AsyncResult(self.request.id).info)
        )
        threading.Event().wait(20)

    slow.delay()
    with pytest.raises(SoftTimeLimitExceeded):
        harness.run_pending()
    assert seen == [("PROGRESS", {"done": 1})]


def test_async_tasks_run_with_and_without_a_loop(app, harness):
    @app.task(name="where")
    async def where():
        await asyncio.sleep(0)
        return threading.get_ident()

    where.delay()
    assert [each.result for each in harness.run_pending()] == [threading.get_ident()]

    async def main():
        await where.adelay()
        apart = harness.run_pending()
        await where.adelay()
        return apart[0].result, (await harness.arun_pending())[0].result

    apart, here = asyncio.run(main())
    assert apart != threading.get_ident()
    assert here == threading.get_ident()


def test_modules_are_imported_as_by_a_worker(tmp_path, monkeypatch):
    program = """
    from celeriac import shared_task

    @shared_task(name="mail.send")
    def send():
        pass
    """
    (tmp_path / "harness_mail.py").write_text(textwrap.dedent(program))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(current, "shared", current.shared.copy())
    app = make_app(include=["harness_mail"])
    with using(app) as harness:
        app.send_task("mail.send")
        assert [each.task for each in harness.run_pending()] == ["mail.send"]


# -- the clock -----------------------------------------------------------------------------------


def test_countdown_and_eta_are_due_when_that_time_has_passed(app, harness, add):
    later = add.apply_async((1,), countdown=3600)
    add.apply_async((2,), eta=datetime.now(UTC) + timedelta(hours=2))
    harness.clock.advance(3500)
    assert harness.run_pending() == []
    assert later.state == "PENDING"
    harness.clock.advance(100)
    assert [each.args for each in harness.run_pending()] == [(1,)]
    harness.clock.advance(timedelta(hours=1))
    assert [each.args for each in harness.run_pending()] == [(2,)]


def test_time_that_the_application_worked_out_itself_counts_from_now(harness, add):
    harness.clock.advance(86_400)
    add.apply_async((1,), countdown=60)
    add.apply_async((2,), eta=harness.clock.now() + timedelta(seconds=90))
    (first, second) = harness.enqueued()
    assert first.countdown == 60
    assert 89 < second.countdown <= 90
    assert first.eta - datetime.now(UTC) > timedelta(hours=23)


def test_repeats_with_backoff(app, harness):
    @app.task(
        name="flaky", bind=True, autoretry_for=(KeyError,), retry_backoff=10, retry_jitter=False,
        max_retries=3,
    )  # fmt: skip
    def flaky(self):
        if self.request.retries < 3:
            raise KeyError("x")
        return self.request.retries

    result = flaky.delay()
    assert [each.state for each in harness.run_pending()] == ["RETRY"]
    assert result.state == "RETRY"
    for wait in (10, 20, 40):
        (found,) = harness.assert_enqueued(flaky, countdown=wait, count=1)
        assert found.retries == {10: 1, 20: 2, 40: 3}[wait]
        harness.clock.advance(wait - 5)
        assert harness.run_pending() == []
        harness.clock.advance(5)
        assert len(harness.run_pending()) == 1
    assert result.get() == 3


def test_run_for_runs_everything_on_the_way_at_its_time(app, harness):
    seen = []
    start = harness.clock.wall()

    @app.task(name="flaky", bind=True, default_retry_delay=10, max_retries=None)
    def flaky(self):
        seen.append(round((harness.clock.wall() - start) / 10) * 10)
        raise self.retry()

    flaky.delay()
    ran = harness.run_for(35)
    assert seen == [0, 10, 20, 30]
    assert [each.retries for each in ran] == [0, 1, 2, 3]
    harness.run_for(timedelta(seconds=5))
    assert seen[4:] == [40]
    harness.run_for(100)  # to the second: time stands still while tasks run
    assert seen[4:] == [40, 50, 60, 70, 80, 90, 100, 110, 120, 130, 140]
    assert 140 <= harness.clock.wall() - start < 150


def test_run_all_takes_as_long_as_it_needs(app, harness, add):
    add.apply_async((1,), countdown=86_400)
    add.apply_async((2,), countdown=60)
    assert [each.args for each in harness.run_all()] == [(2,), (1,)]
    assert harness.enqueued() == []


def test_what_expires_does_not_run(app, harness, add):
    result = add.apply_async((1,), expires=60)
    kept = add.apply_async((2,), expires=120)
    harness.clock.advance(61)
    assert result.state == "REVOKED"
    assert [each.args for each in harness.run_pending()] == [(2,)]
    with pytest.raises(TaskRevokedError):
        result.get()
    assert kept.get() == 2


def test_results_expire(app, harness, add):
    result = add.delay(1)
    harness.run_pending()
    harness.clock.advance(app.conf.result_expires + 60)
    with pytest.raises(ResultNotFound):
        app.AsyncResult(result.id).get()


def test_the_clock_follows_who_changes_the_machines(app, harness, add):
    start = time.time()
    with mock.patch("time.time", return_value=start):
        add.apply_async((1,), countdown=60)
        assert harness.run_pending() == []
    with mock.patch("time.time", return_value=start + 60):
        assert len(harness.run_pending()) == 1


def test_signed_messages_are_run_and_their_results_read(app, harness, add):
    app.conf.update(security_key="k" * 32)
    result = add.delay(1)
    assert [each.result for each in harness.run_pending()] == [1]
    assert result.get() == 1


def test_the_clock_itself():
    moved = []
    clock = VirtualClock(lambda: moved.append(1))
    before = clock.wall()
    clock.advance(10)
    assert 10 <= clock.wall() - before < 20
    assert abs(clock.monotonic() - SYSTEM.monotonic()) < 5
    clock.advance_to(before + 100)
    assert 100 <= clock.wall() - before < 110
    clock.advance_to(datetime(2000, 1, 1, tzinfo=UTC))
    assert 100 <= clock.wall() - before < 110
    assert abs((clock.now() - datetime.now(UTC)).total_seconds() - 100) < 10
    assert len(moved) == 2
    with pytest.raises(ValueError, match="cannot pass by -1"):
        clock.advance(-1)
    with pytest.raises(ValueError, match="no time zone"):
        clock.advance_to(datetime(2030, 1, 1))  # noqa: DTZ001 - what is refused


# -- assertions ----------------------------------------------------------------------------------


def test_assertions_on_what_is_enqueued(harness, add):
    moment = datetime(2100, 1, 1, tzinfo=UTC)
    add.apply_async(
        ((1, 2),), {"y": 3}, queue="mail", countdown=60, priority=4, headers={"h": 1},
        task_id="one",
    )  # fmt: skip
    add.apply_async((5,), eta=moment, expires=moment + timedelta(1))
    is_enqueued = harness.assert_enqueued
    assert [each.id for each in is_enqueued(add, args=((1, 2),), kwargs={"y": 3})] == ["one"]
    is_enqueued(add, args=[[1, 2]])
    is_enqueued(add, args=(mock.ANY,), count=2)
    is_enqueued("add", queue="mail", countdown=60, priority=4, headers={"h": 1}, id="one")
    is_enqueued(add, countdown=timedelta(minutes=1))
    is_enqueued(eta=moment, expires=moment + timedelta(1), count=1)
    is_enqueued(count=2)
    harness.assert_not_enqueued("other")
    harness.assert_not_enqueued(add, queue="elsewhere")
    for wrong in (
        {"args": (1,)}, {"kwargs": {"y": 4}}, {"queue": "celery", "args": ([1, 2],)},
        {"countdown": 61},
        {"priority": 5}, {"headers": {}}, {"id": "two"}, {"args": (object(),)}, {"count": 1},
        {"eta": moment + timedelta(1)}, {"expires": moment}, {"count": 0},
    ):  # fmt: skip
        with pytest.raises(AssertionError):
            is_enqueued(add, **wrong)
    with pytest.raises(AssertionError, match="Expected that it is not enqueued"):
        harness.assert_not_enqueued(add, queue="mail")
    with pytest.raises(TypeError, match="expected a task or the name of one"):
        is_enqueued(3)


def test_an_assertion_that_fails_shows_what_there_is(harness, add):
    with pytest.raises(AssertionError, match=r"add is not enqueued\. Nothing is enqueued\."):
        harness.assert_enqueued(add)
    add.apply_async((1,), {"y": "z"}, countdown=60, priority=3)
    with pytest.raises(AssertionError) as caught:
        harness.assert_enqueued(add, args=(2,), queue="mail")
    assert str(caught.value) == (
        "add with args=(2,), queue='mail' is not enqueued. Enqueued:\n"
        "  add(1, y='z') in queue 'celery', countdown 60 s, priority 3"
    )
    with pytest.raises(AssertionError, match="add is enqueued once, expected 2 times"):
        harness.assert_enqueued(add, count=2)


def test_what_was_sent_is_known_after_it_has_run(app, harness, add):
    add.delay(1)
    app.send_task("elsewhere", (2,))
    app.enqueue_many([add.s(3), add.s(4)])
    harness.run_pending()
    assert [(each.task, each.args) for each in harness.sent()] == [
        ("add", [1]), ("elsewhere", [2]), ("add", [3]), ("add", [4]),
    ]  # fmt: skip
    assert [each.args for each in harness.sent(add)] == [[1], [3], [4]]
    assert [each.task for each in harness.enqueued()] == ["elsewhere"]  # nobody here knows it


# -- waiting -------------------------------------------------------------------------------------


def test_a_wait_that_nobody_can_end_is_refused(harness, add):
    result = add.delay(1)
    with pytest.raises(RuntimeError, match="Call run_pending"):
        result.get()
    with pytest.raises(CeleriacTimeoutError):
        result.get(timeout=0.01)
    harness.run_pending()
    assert result.get() == 1


def test_a_task_that_waits_for_another_one_is_refused_too(app, harness, add):
    @app.task(name="outer")
    def outer():
        with allow_join_result():
            return add.delay(1).get()

    outer.delay()
    with pytest.raises(RuntimeError, match="Call run_pending"):
        harness.run_pending()


# -- the worker ----------------------------------------------------------------------------------


def test_a_worker_in_a_thread_follows_the_clock(app, harness):
    app.conf.update(task_routes={"note": "mail"})

    @app.task(name="note", bind=True)
    def note(self, n):
        return [n, threading.current_thread().name, self.request.hostname]

    with harness.worker(hostname="w@test") as worker:
        assert note.delay(1).get(timeout=60) == [1, "celeriac-test-worker-0", "w@test"]
        later = note.apply_async((2,), countdown=3600)
        harness.clock.advance(3600)
        assert later.get(timeout=60)[0] == 2
        assert (worker.queues, worker.concurrency) == (("celery", "mail"), 1)
    assert app.store.inspection.workers() == []


def test_a_worker_learns_of_tasks_that_are_declared_later(app, harness):
    with harness.worker():

        @app.task(name="late")
        def late():
            return 1

        assert late.delay().get(timeout=60) == 1
    assert app.tasks.watchers == []


def test_a_worker_runs_several_at_a_time(app, harness):
    barrier = threading.Barrier(3)

    @app.task(name="meet")
    def meet():
        barrier.wait(60)
        return 1

    with harness.worker(concurrency=3):
        assert [each.get(timeout=60) for each in [meet.delay() for _ in range(3)]] == [1] * 3
    with (
        pytest.raises(ImproperlyConfigured, match="concurrency is 0"),
        harness.worker(concurrency=0),
    ):
        pass


def test_a_worker_that_does_not_end_is_told(app, harness):
    begun, free = threading.Event(), threading.Event()

    @app.task(name="stuck")
    def stuck():
        begun.set()
        free.wait(30)

    worker = harness.worker(shutdown_timeout=0.05)
    worker.__enter__()
    stuck.delay()
    assert begun.wait(60)
    with pytest.raises(RuntimeError, match="still runs a task after"):
        worker.__exit__(None, None, None)
    free.set()


def test_the_soft_limit_in_a_worker_in_a_thread(app, harness):
    @app.task(name="slow", soft_time_limit=0.05)
    def slow():
        for _ in range(4000):
            threading.Event().wait(0.005)

    with harness.worker(), pytest.raises(SoftTimeLimitExceeded):
        slow.delay().get(timeout=60)
