"""Eager runs: what a worker would have done, here and now."""

import asyncio
import copy
import logging
import pickle
import signal
import socket
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from inline import count, make_app

from celeriac.context import allow_join_result
from celeriac.exceptions import (
    EncodeError,
    Ignore,
    NotInThisVersion,
    QueueNotFound,
    Reject,
    ResultTooLarge,
    SoftTimeLimitExceeded,
    TaskRevokedError,
)
from celeriac.interrupt import soft_limit
from celeriac.result import AsyncResult, EagerResult


@pytest.fixture
def app():
    return make_app()


@pytest.fixture
def eager(app):
    app.conf.update(task_always_eager=True)
    return app


# -- the serializer ------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["apply", "delay", "apply_async", "signature"])
def test_arguments_are_what_a_worker_would_have_read(eager, call):
    @eager.task(name="kind")
    def kind(value):
        return type(value).__name__

    run = {
        "apply": lambda value: kind.apply((value,)),
        "delay": kind.delay,
        "apply_async": lambda value: kind.apply_async((value,)),
        "signature": lambda value: kind.s(value).apply(),
    }[call]
    assert run((1, 2)).get() == "list"
    assert run(datetime(2026, 1, 1, tzinfo=UTC)).get() == "datetime"
    with pytest.raises(EncodeError, match=r"args\[0\]"):
        run(object())
    assert count(eager) == 0


def test_the_result_is_what_a_caller_would_have_read(app):
    @app.task(name="pair")
    def pair():
        return 1, {"at": datetime(2026, 1, 1, tzinfo=UTC)}

    assert pair.apply().get() == [1, {"at": datetime(2026, 1, 1, tzinfo=UTC)}]


def test_a_result_that_cannot_be_serialised_fails_as_in_a_worker(app):
    seen = []

    class Base(app.Task):
        def on_success(self, *args):
            seen.append("success")

        def on_failure(self, *args):
            seen.append("failure")

    @app.task(name="bad", base=Base)
    def bad():
        return object()

    result = bad.apply()
    assert (result.state, seen) == ("FAILURE", ["failure"])
    with pytest.raises(EncodeError, match="result"):
        result.get()


def test_a_result_that_is_too_large_fails_as_in_a_worker(app):
    app.conf.update(result_max=2048)

    @app.task(name="large")
    def large():
        return "x" * 4096

    with pytest.raises(ResultTooLarge):
        large.apply().get()


def test_an_ignored_result_is_none_and_a_failure_is_told_all_the_same(app):
    @app.task(name="quiet", ignore_result=True)
    def quiet(fail=False):
        if fail:
            raise ValueError("x")
        return object()  # nobody would have serialised it

    assert (quiet.apply().get(), quiet.apply().state) == (None, "SUCCESS")
    assert quiet.apply((True,)).state == "FAILURE"
    with pytest.raises(ValueError, match="x"):
        quiet.apply((True,)).get()
    with pytest.raises(EncodeError):
        quiet.apply(ignore_result=False).get()


# -- options -------------------------------------------------------------------------------------


def test_options_are_checked_as_when_it_is_sent(eager):
    @eager.task(name="nothing")
    def nothing():
        pass

    for run in (nothing.apply, nothing.apply_async):
        with pytest.raises(TypeError, match="has no option 'zebra'"):
            run(zebra=1)
        with pytest.raises(ValueError, match="could never run"):
            run(countdown=60, expires=1)
        with pytest.raises(ValueError, match="priority"):
            run(priority=99)
        with pytest.raises(TypeError, match="args is a str"):
            run("ab")
    with pytest.raises(NotInThisVersion, match="shadow"):
        nothing.apply(shadow="x")


def test_queues_and_routes_are_looked_at_as_when_it_is_sent(eager):
    seen = []

    @eager.task(name="where", bind=True)
    def where(self):
        seen.append(self.request.delivery_info["routing_key"])

    eager.conf.update(task_routes={"where": {"queue": "mail"}}, task_queues=["mail", "celery"])
    assert where.delay().queue == "mail"
    assert seen == ["mail"]
    eager.conf.update(task_create_missing_queues=False)
    with pytest.raises(QueueNotFound, match="elsewhere"):
        where.apply(queue="elsewhere")


def test_many_calls_run_eagerly_once_all_are_found_good(eager):
    ran = []

    @eager.task(name="note")
    def note(n):
        ran.append(n)
        return n

    results = eager.enqueue_many(note.s(n) for n in range(3))
    assert [each.get() for each in results] == [0, 1, 2]
    with pytest.raises(EncodeError):
        eager.enqueue_many([note.s(3), note.s(object())])
    assert (ran, count(eager)) == ([0, 1, 2], 0)


def test_what_is_signed_runs_eagerly(eager):
    eager.conf.update(security_key="k" * 32)

    @eager.task(name="again", bind=True)
    def again(self, n):
        if n < 2:
            raise self.retry(args=(n + 1,))
        return n

    assert again.delay(0).get() == 2


def test_the_request_of_an_eager_run(app):
    seen = {}

    @app.task(name="look", bind=True)
    def look(self):
        request = self.request
        seen.update(
            id=request.id, eager=request.is_eager, direct=request.called_directly,
            headers=request.headers, retries=request.retries, hostname=request.hostname,
            where=request.delivery_info, due=request.eta, level=request.loglevel,
            limits=request.timelimit, file=request.logfile, task=request.task,
        )  # fmt: skip

    look.apply(
        task_id="x", headers={"h": 1}, retries=2, queue="mail", priority=4, loglevel=10,
        eta=datetime(2030, 1, 1, tzinfo=UTC), soft_time_limit=5, time_limit=9,
    )  # fmt: skip
    assert seen == {
        "id": "x", "eager": True, "direct": False, "headers": {"h": 1}, "retries": 2,
        "hostname": socket.gethostname(), "due": "2030-01-01T00:00:00+00:00",
        "level": 10, "file": None,
        "limits": (9, 5), "task": "look",
        "where": {"exchange": "", "routing_key": "mail", "priority": 4, "redelivered": False,
                  "is_eager": True},
    }  # fmt: skip


def test_what_has_expired_does_not_run(app):
    ran = []

    @app.task(name="late")
    def late():
        ran.append(1)

    result = late.apply(expires=-1)
    assert (result.state, ran) == ("REVOKED", [])
    with pytest.raises(TaskRevokedError, match="expired"):
        result.get()
    assert late.apply(expires=60).state == "SUCCESS"


# -- repeats -------------------------------------------------------------------------------------


def test_repeats_do_not_wait_and_what_they_would_have_waited_is_kept(app):
    seen = []

    @app.task(name="again", bind=True, max_retries=3)
    def again(self, n):
        seen.append((self.request.retries, self.request.attempt, n))
        if n < 2:
            raise self.retry(args=(n + 1,), countdown=100 * (n + 1))
        return n

    started = time.monotonic()
    result = again.apply((0,))
    assert time.monotonic() - started < 50
    assert seen == [(0, 1, 0), (1, 2, 1), (2, 3, 2)]
    assert (result.get(), result.retries, result.waits) == (2, 2, (100.0, 200.0))
    assert result.args == (2,)


def test_arguments_of_a_repeat_go_through_the_serializer(app):
    @app.task(name="again", bind=True)
    def again(self, value):
        if self.request.retries == 0:
            raise self.retry(args=(object(),))

    with pytest.raises(EncodeError, match=r"args\[0\]"):
        again.apply((1,)).get()


def test_automatic_repeats_end_with_the_last_error(app):
    seen = []

    @app.task(
        name="flaky", bind=True, autoretry_for=(KeyError,), max_retries=3, retry_backoff=2,
        retry_jitter=False,
    )  # fmt: skip
    def flaky(self):
        seen.append(self.request.retries)
        raise KeyError(len(seen))

    result = flaky.apply()
    assert (seen, result.state, result.waits) == ([0, 1, 2, 3], "FAILURE", (2.0, 4.0, 8.0))
    with pytest.raises(KeyError) as caught:
        result.get()
    assert caught.value.args == (4,)


def test_ends_that_are_no_failures(app):
    @app.task(name="pick")
    def pick(how):
        raise {"ignore": Ignore("x"), "reject": Reject("bad")}[how]

    ignored, rejected = pick.apply(("ignore",)), pick.apply(("reject",))
    assert (ignored.state, ignored.get()) == ("IGNORED", None)
    assert rejected.state == "REJECTED"
    with pytest.raises(Reject):
        rejected.get()


# -- limits --------------------------------------------------------------------------------------


def busy(seconds=20.0):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.005)


def test_the_soft_limit_is_raised_in_the_task(app):
    @app.task(name="slow", soft_time_limit=0.05)
    def slow(catch):
        try:
            time.sleep(20)
        except SoftTimeLimitExceeded:
            if catch:
                return "cleaned up"
            raise

    assert slow.apply((True,)).get() == "cleaned up"
    result = slow.apply((False,))
    assert (result.state, type(result.result)) == ("FAILURE", SoftTimeLimitExceeded)


def test_the_soft_limit_of_the_call_goes_over_the_tasks(app):
    @app.task(name="slow", soft_time_limit=30)
    def slow():
        time.sleep(20)

    with pytest.raises(SoftTimeLimitExceeded):
        slow.apply(soft_time_limit=0.05, throw=True)


def test_the_soft_limit_in_a_thread(app):
    @app.task(name="slow", soft_time_limit=0.05)
    def slow():
        busy()

    results = []
    thread = threading.Thread(target=lambda: results.append(slow.apply()))
    thread.start()
    thread.join(60)
    assert isinstance(results[0].result, SoftTimeLimitExceeded)


def test_a_soft_limit_in_a_thread_that_was_kept_leaves_nothing_behind():
    late = []

    def body():
        for _ in range(200):
            try:
                with soft_limit(0.002):
                    busy(0.002)
            except SoftTimeLimitExceeded:
                pass
        try:
            busy(0.05)
        except SoftTimeLimitExceeded as error:
            late.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    assert late == []


def test_a_timer_that_was_set_before_goes_on():
    """pytest-timeout, for one, uses the only timer there is."""
    rung = []
    before = signal.signal(signal.SIGALRM, lambda *_: rung.append(time.monotonic()))
    timer = signal.getitimer(signal.ITIMER_REAL)
    started = time.monotonic()
    try:
        signal.setitimer(signal.ITIMER_REAL, 30.0)
        with soft_limit(10):
            pass
        assert 20 < signal.getitimer(signal.ITIMER_REAL)[0] <= 30
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(SoftTimeLimitExceeded), soft_limit(2.0):
            busy()
        assert len(rung) == 1
        assert 0.04 < rung[0] - started < 20
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(SoftTimeLimitExceeded), soft_limit(0.02):
            busy()
        busy(0.2)
        assert len(rung) == 2
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if timer[0]:
            signal.setitimer(signal.ITIMER_REAL, timer[0])


# -- coroutines ----------------------------------------------------------------------------------


@pytest.fixture
def where(eager):
    @eager.task(name="where")
    async def where(fail=False):
        await asyncio.sleep(0)
        if fail:
            raise ValueError("x")
        return threading.get_ident()

    return where


def test_an_async_task_runs_eagerly_outside_of_a_loop(where):
    assert where.delay().get() == threading.get_ident()
    with pytest.raises(ValueError, match="x"):
        where.apply((True,), throw=True)


def test_an_async_task_runs_eagerly_inside_of_a_loop(where):
    async def main():
        loop = asyncio.get_running_loop()
        sync = where.delay().get()
        with pytest.raises(ValueError, match="x"):
            where.apply((True,)).get()
        assert asyncio.get_running_loop() is loop
        return sync, await (await where.adelay())

    sync, own = asyncio.run(main())
    assert sync != threading.get_ident()  # a loop cannot run inside another one
    assert own == threading.get_ident()  # awaited: it runs in the caller's


def test_a_sync_task_is_awaited_without_blocking_the_loop(eager):
    @eager.task(name="slow")
    def slow():
        time.sleep(0.5)
        return threading.get_ident()

    async def main():
        ticks = 0
        running = asyncio.ensure_future(slow.aapply_async(task_id="x"))
        while not running.done():
            ticks += 1
            await asyncio.sleep(0.001)
        return ticks, await running

    ticks, result = asyncio.run(main())
    assert ticks > 3
    assert (result.id, result.get() != threading.get_ident()) == ("x", True)


def test_an_awaited_call_is_checked_and_can_be_cancelled(eager):
    @eager.task(name="sleeps")
    async def sleeps(n):
        started.set()
        await asyncio.sleep(60)

    started = asyncio.Event()

    async def main():
        with pytest.raises(TypeError, match="missing"):
            await sleeps.adelay()
        running = asyncio.ensure_future(sleeps.adelay(1))
        await started.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(main())


def test_the_soft_limit_of_an_async_task(eager):
    @eager.task(name="sleeps", soft_time_limit=0.05)
    async def sleeps():
        await asyncio.sleep(60)

    assert isinstance(sleeps.delay().result, SoftTimeLimitExceeded)
    assert isinstance(asyncio.run(sleeps.adelay()).result, SoftTimeLimitExceeded)


# -- tasks within tasks --------------------------------------------------------------------------


def test_a_task_that_sends_another_one(eager):
    seen = []

    @eager.task(name="inner", bind=True)
    def inner(self, n):
        seen.append((self.request.parent_id, self.request.root_id, self.request.is_eager))
        return n

    @eager.task(name="outer", bind=True)
    def outer(self):
        first = inner.delay(1)
        inner.apply_async((2,))
        assert self.request.id == "o"
        return first.state

    result = outer.apply_async(task_id="o")
    assert result.get() == "SUCCESS"
    assert seen == [("o", "o", True), ("o", "o", True)]
    assert [each.get() for each in result.children] == [1, 2]
    assert result.children[0].children == []
    assert next(node.id for _, node in result.iterdeps()) == "o"
    assert [value for _, value in result.collect()] == ["SUCCESS", 1, 2]


def test_what_was_to_be_sent_may_not_be_waited_for_inside_a_task(eager):
    """A worker would refuse it, so a test must, too. What apply() returned was never sent."""

    @eager.task(name="inner")
    def inner():
        return 1

    @eager.task(name="outer")
    def outer(how):
        if how == "apply":
            return inner.apply().get()
        if how == "allowed":
            with allow_join_result():
                return inner.delay().get()
        return inner.delay().get()

    assert outer.delay("apply").get() == 1
    assert outer.delay("allowed").get() == 1
    with pytest.raises(RuntimeError, match="waits for the result of another task"):
        outer.delay("plain").get()


# -- what is raised ------------------------------------------------------------------------------


class Broken(Exception):
    """Not known to any app."""

    def __init__(self, code):
        super().__init__("broken")
        self.code = code


def test_the_exception_is_the_one_that_was_raised(app):
    @app.task(name="fail")
    def fail():
        raise Broken(7)

    result = fail.apply()
    with pytest.raises(Broken) as caught:
        result.get()
    assert caught.value.code == 7
    assert result.get(propagate=False) is caught.value
    assert result.traceback.startswith("Traceback (most recent call last)")
    assert "raise Broken(7)" in result.traceback
    assert "celeriac/runner.py" not in result.traceback


def test_propagation(eager):
    @eager.task(name="fail")
    def fail():
        raise ValueError("x")

    assert fail.delay().failed()
    with pytest.raises(ValueError, match="x"):
        fail.apply(throw=True)
    eager.conf.update(task_eager_propagates=True)
    with pytest.raises(ValueError, match="x"):
        fail.delay()
    with pytest.raises(ValueError, match="x"):
        fail.apply()
    assert fail.apply(throw=False).failed()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, pytest.fail.Exception])
def test_what_is_meant_for_the_program_passes(app, error):
    @app.task(name="leave", autoretry_for=(BaseException,))
    def leave():
        raise error("now")

    with pytest.raises(error):
        leave.apply()


def test_handlers_and_log_lines_are_those_of_a_worker(app, caplog):
    seen = []

    class Base(app.Task):
        def before_start(self, task_id, args, kwargs):
            seen.append("before_start")

        def on_retry(self, *args):
            seen.append("on_retry")

        def on_success(self, *args):
            seen.append("on_success")

        def after_return(self, status, *args):
            seen.append(f"after_return {status}")

    @app.task(name="again", bind=True, base=Base)
    def again(self):
        if self.request.retries == 0:
            raise self.retry(countdown=5)

    with caplog.at_level(logging.INFO, "celeriac"):
        again.apply(task_id="x")
    assert seen == ["before_start", "on_retry", "before_start", "on_success",
                    "after_return SUCCESS"]  # fmt: skip
    assert "Task again[x] retry: Retry in 5s" in caplog.text
    assert "Task again[x] succeeded" in caplog.text


# -- keeping it ----------------------------------------------------------------------------------


@pytest.mark.parametrize("broker", ["memory", "sqlite"])
def test_results_are_stored_when_asked(tmp_path, broker):
    app = make_app(**({"broker": f"sqlite:///{tmp_path}/a.db"} if broker == "sqlite" else {}))

    @app.task(name="add")
    def add(x, y):
        return x + y

    @app.task(name="fail", store_eager_result=True)
    def fail():
        raise ValueError("x")

    add.apply((1, 2), task_id="a")
    assert not app.AsyncResult("a").exists()
    app.conf.update(task_store_eager_result=True)
    add.apply((1, 2), task_id="b")
    assert app.AsyncResult("b").get(timeout=60) == 3
    app.conf.update(task_store_eager_result=False)
    fail.apply(task_id="c")
    assert app.AsyncResult("c").state == "FAILURE"
    with pytest.raises(ValueError, match="x"):
        app.AsyncResult("c").get(timeout=60)


# -- the result ----------------------------------------------------------------------------------


def test_everything_an_eager_result_says(app):
    @app.task(name="add")
    def add(x, y):
        return x + y

    result = add.apply((1,), {"y": 2}, task_id="x", queue="mail")
    assert isinstance(result, AsyncResult)
    assert (result.id, result.task_id, str(result)) == ("x", "x", "x")
    assert repr(result) == "<EagerResult: x>"
    assert (result.name, result.args, result.kwargs) == ("add", (1,), {"y": 2})
    assert (result.queue, result.worker, result.retries, result.waits) == ("mail", None, 0, ())
    assert (result.state, result.status, result.result, result.info) == ("SUCCESS",) * 2 + (3,) * 2
    assert (result.ready(), result.successful(), result.failed()) == (True, True, False)
    assert (result.traceback, result.children, result.parent) == (None, [], None)
    assert result.supports_native_join is False
    assert datetime.now(UTC) - result.date_done < timedelta(minutes=1)
    assert (result.get(), result.wait(timeout=1), result.maybe_throw()) == (3, 3, 3)
    told = []
    assert result.then(told.append) is result
    assert result.get(callback=lambda *pair: told.append(pair)) == 3
    assert told == [result, ("x", 3)]
    result.forget()
    assert result.get() == 3
    for same in (pickle.loads(pickle.dumps(result)), copy.copy(result)):
        assert (same.get(), same.args, same == result) == (3, (1,), True)


def test_an_eager_result_is_made_as_celerys():
    result = EagerResult("id", 10, "SUCCESS", traceback=None, name="t")
    assert (result.get(), result.name, result.args) == (10, "t", ())


def test_revoke_and_maybe_throw(app):
    @app.task(name="fail")
    def fail():
        raise ValueError("x")

    seen = []
    result = fail.apply(task_id="x")
    with pytest.raises(ValueError, match="x"):
        result.maybe_throw(callback=lambda task_id, value: seen.append((task_id, str(value))))
    assert seen == [("x", "x")]
    assert isinstance(result.maybe_throw(propagate=False), ValueError)
    result.revoke(terminate=True)
    assert result.state == "REVOKED"
    with pytest.raises(TaskRevokedError):
        result.get()
