"""The runner: from a delivery to an outcome, whatever is in the message and whatever happens."""

import asyncio
import logging
import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date

import pytest
from inline import drain, make_app, stored

from celeriac import Task, states
from celeriac.bodies import unseal
from celeriac.context import Context, current
from celeriac.exceptions import (
    EncodeError,
    Ignore,
    NotRegistered,
    OperationalError,
    Reject,
    ResultTooLarge,
    SoftTimeLimitExceeded,
    TimeLimitExceeded,
)
from celeriac.here import Here
from celeriac.message import Edges, Header, NewJoin, compose
from celeriac.outcome import Outcome
from celeriac.policies import on_death, on_hard_limit
from celeriac.policies.predicates import Predicates
from celeriac.records import Delivery, TaskFacts
from celeriac.runner import Runner


@pytest.fixture
def app():
    return make_app()


@pytest.fixture
def runner(app):
    runner = Runner(app, "worker@here")
    yield runner
    runner.close()


def delivery(app, name="t", args=(), kwargs=None, **options):
    message = app.client.message(name, args, kwargs or {}, options=options)
    return Delivery(message.id, 1, "owner.1.1", message.encode(), message.header.queue)


def failure(app, outcome, id):
    return unseal(outcome.body, id, app.signer).failure


# -- messages that cannot be run -----------------------------------------------------------------


def test_an_unknown_name_fails_and_says_what_is_near(app, runner):
    app.task(name="mail.send")(lambda: None)
    sent = delivery(app, "mail.sned")
    outcome = runner.run(sent)
    assert outcome.state == states.FAILED
    assert outcome.reason.startswith("NotRegistered: Task 'mail.sned' is not registered.")
    assert "mail.send" in outcome.reason
    assert failure(app, outcome, sent.id).type == "celeriac.exceptions.NotRegistered"


@pytest.mark.parametrize(
    "wire", [b"", b"\xc1", b"\x93\x01\xc4\x00\xc4\x00", b"\x93\x09\xc4\x00\xc4\x00"]
)
def test_a_message_that_is_none_fails(runner, wire):
    outcome = runner.run(Delivery("x", 1, "o.1.1", wire, "celery"))
    assert outcome.state == states.FAILED
    assert outcome.reason.startswith("DecodeError: ")


def test_every_flipped_bit_of_a_message_ends_in_an_outcome(app, runner, caplog):
    app.task(name="t")(lambda: None)
    caplog.set_level(logging.CRITICAL, "celeriac")
    wire = delivery(app).wire
    for at in range(len(wire)):
        for bit in range(8):
            changed = bytes([*wire[:at], wire[at] ^ 1 << bit, *wire[at + 1 :]])
            assert isinstance(runner.run(Delivery("x", 1, "o.1.1", changed, "celery")), Outcome)


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        (b"not json", "DecodeError"),
        (b"[1,2]", "InvalidTaskError"),
        (b"[[]]", "InvalidTaskError"),
        (b"{}", "InvalidTaskError"),
        (b"[{},[]]", "InvalidTaskError"),
        (b'[["x"],{}]', "TypeError"),
    ],
)
def test_a_payload_that_is_none_fails(app, runner, payload, error):
    app.task(name="t")(lambda: None)
    message = compose(Header(id="x", task="t", nonce="n"), payload)
    outcome = runner.run(Delivery("x", 1, "o.1.1", message.encode(), "celery"))
    assert outcome.state == states.FAILED
    assert outcome.reason.startswith(f"{error}: ")


def test_content_that_is_not_accepted_is_not_read(app, runner):
    ran = []
    app.task(name="t")(lambda: ran.append(1))
    message = compose(Header(id="x", task="t", nonce="n", serializer="msgpack"), b"\x92\x90\x80")
    outcome = runner.run(Delivery("x", 1, "o.1.1", message.encode(), "celery"))
    assert outcome.reason.startswith("ContentDisallowed: ")
    assert ran == []


def test_arguments_are_converted_to_their_annotations(app):
    @dataclass
    class User:
        name: str
        born: date

    seen = []

    @app.task(name="t")
    def t(user: User, *, day: date):
        seen.append((user, day))

    t.delay({"name": "Ada", "born": "1815-12-10"}, day="2026-01-01")
    drain(app)
    assert seen == [(User("Ada", date(1815, 12, 10)), date(2026, 1, 1))]


def test_an_argument_that_cannot_be_converted_is_named(app):
    @app.task(name="t")
    def t(day: date): ...

    result = t.delay("tomorrow")
    drain(app)
    with pytest.raises(TypeError, match=r"argument 'day' must be datetime\.date"):
        result.get(timeout=5)


# -- ends ----------------------------------------------------------------------------------------


def test_success(app, runner):
    app.task(name="t")(lambda: {"a": 1})
    sent = delivery(app)
    outcome = runner.run(sent)
    assert (outcome.state, outcome.keep, outcome.reason) == (states.SUCCEEDED, True, "")
    body = unseal(outcome.body, sent.id, None)
    assert (body.serializer, body.value, body.failure) == ("json", b'{"a":1}', None)


def test_an_ignored_result_is_not_even_encoded(app, runner):
    app.task(name="t", ignore_result=True)(lambda: [object()])
    outcome = runner.run(delivery(app))
    assert (outcome.state, outcome.keep, outcome.body) == (states.SUCCEEDED, False, None)
    assert runner.run(delivery(app, ignore_result=False)).state == states.FAILED


def test_a_result_that_cannot_be_serialised_fails(app):
    calls = []

    class Watch(Task):
        def on_success(self, *args):
            calls.append("success")

        def on_failure(self, *args):
            calls.append("failure")

    @app.task(name="t", base=Watch)
    def t():
        return {"a": [object()]}

    result = t.delay()
    drain(app)
    with pytest.raises(EncodeError, match=r"result\['a'\]\[0\]"):
        result.get(timeout=5)
    assert calls == ["failure"]


@pytest.mark.parametrize("value", [float("nan"), lambda: None, threading.Lock(), (n for n in [])])
def test_results_that_cannot_travel(app, runner, value):
    app.task(name="t")(lambda: value)
    assert runner.run(delivery(app)).reason.startswith("EncodeError: ")


def test_a_result_may_be_as_large_as_the_setting_and_no_larger():
    app = make_app(result_max=2000)
    app.task(name="t")(lambda n: "x" * n)
    envelope = 12  # bytes around the text: two quotes, and the body's fields
    fits, large = (app.tasks["t"].delay(n) for n in (2000 - envelope, 2001 - envelope))
    drain(app)
    assert len(stored(app, fits.id).body) == 2000
    assert len(fits.get(timeout=5)) == 2000 - envelope
    with pytest.raises(ResultTooLarge, match="takes 2,001 bytes and 2,000 are allowed"):
        large.get(timeout=5)


def test_a_failure_that_is_too_large_is_kept_without_its_traceback():
    app = make_app(result_max=1024)

    @app.task(name="t")
    def t():
        raise ValueError("x" * 5000)

    result = t.delay()
    drain(app)
    with pytest.raises(ValueError, match=r"^xxx"):
        result.get(timeout=5)
    assert len(stored(app, result.id).body) <= 1024


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (Ignore(), states.SKIPPED),
        (Ignore("x"), states.SKIPPED),
        (Reject(), states.REFUSED),
        (Reject("bad", requeue=False), states.REFUSED),
        (Reject("bad", requeue=True), states.SCHEDULED),
        (ValueError("x"), states.FAILED),
        (SystemExit(1), states.FAILED),
        (KeyboardInterrupt(), states.FAILED),
        (GeneratorExit(), states.FAILED),
        (asyncio.CancelledError(), states.FAILED),
        (BaseException("x"), states.FAILED),
    ],
)
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_what_a_task_raises_decides_how_it_ends(app, runner, error, state, kind):
    @app.task(name="sync")
    def sync():
        raise error

    @app.task(name="async")
    async def coroutine():
        raise error

    assert runner.run(delivery(app, kind)).state == state


def test_reject_with_requeue_is_not_a_retry(app, runner):
    @app.task(name="t")
    def t():
        raise Reject("not mine", requeue=True)

    outcome = runner.run(delivery(app))
    assert (outcome.charge, outcome.reason) == ("", "Reject: not mine")


@pytest.mark.parametrize(
    ("attempt", "wait"), [(0, 0.1), (1, 0.1), (2, 0.2), (5, 1.6), (10, 30.0), (100_000, 30.0)]
)
def test_a_call_that_is_put_back_waits_longer_each_time(app, attempt, wait):
    task = app.task(name="t")(lambda: None)
    outcome = Predicates().on_error(task, Context(attempt=attempt), Reject(requeue=True))
    assert outcome.delay == pytest.approx(wait)


class Away:
    """A reader whose store does not answer."""

    def __getattr__(self, name):
        raise OperationalError("connection refused")


@pytest.mark.parametrize(
    "edges",
    [Edges(takes="a"), Edges(gathers="J"), Edges(told="a")],
    ids=["takes", "gathers", "told"],
)
def test_a_call_whose_arguments_the_store_cannot_give_now_is_put_back(app, edges):
    began = []
    app.task(name="t")(began.append)
    message = app.client.message("t", (), {}, place={"edges": edges})
    sent = Delivery(message.id, 3, "owner.1.1", message.encode(), message.header.queue)
    outcome = Runner(app, "h", reader=Away()).run(sent)
    assert (outcome.state, outcome.charge, outcome.delay) == (states.SCHEDULED, "", 0.4)
    assert outcome.reason == "not begun: OperationalError: connection refused"
    assert not began


def test_where_nobody_would_run_it_again_it_fails(app):
    app.task(name="t")(lambda value: None)
    message = app.client.message("t", (), {}, place={"edges": Edges(takes="a")})
    sent = Delivery(message.id, 1, "owner.1.1", message.encode(), message.header.queue)
    here = Here(app, "h", reader=Away())
    assert here.run(sent).state == states.FAILED
    assert isinstance(here.error, OperationalError)


def test_what_expired_before_its_start_does_not_run(app, runner):
    ran = []
    app.task(name="t")(lambda: ran.append(1))
    outcome = runner.run(delivery(app, expires=-1))
    assert (outcome.state, outcome.reason) == (states.EXPIRED, "TaskRevokedError: expired")
    assert ran == []


def test_the_same_delivery_can_be_run_after_a_task_was_registered(app, runner):
    sent = delivery(app)
    assert runner.run(sent).state == states.FAILED
    app.task(name="t")(lambda: 1)
    assert runner.run(sent).state == states.SUCCEEDED


def test_the_context_is_gone_after_every_end(app, runner):
    def body(error=None):
        assert current() is not None
        if error:
            raise BaseException("x")  # noqa: TRY002

    app.task(name="t")(body)
    for args in ((), (1,)):
        runner.run(delivery(app, args=args))
        assert current() is None


# -- requests ------------------------------------------------------------------------------------


def test_what_a_task_knows_of_its_run(app):
    seen = {}

    @app.task(name="t", bind=True)
    def t(self, a, b=0):
        request = self.request
        for field in [
            "id",
            "task",
            "args",
            "kwargs",
            "retries",
            "hostname",
            "delivery_info",
            "root_id",
            "parent_id",
            "is_eager",
            "called_directly",
            "headers",
            "eta",
            "expires",
            "timelimit",
            "attempt",
            "fencing_token",
            "correlation_id",
            "origin",
            "time_limit",
            "soft_time_limit",
            "ignore_result",
            "queue",
            "priority",
            "crashes",
        ]:
            seen[field] = getattr(request, field)

    result = t.apply_async(
        (1,), {"b": 2}, headers={"h": "x"}, priority=3, time_limit=9, soft_time_limit=8, expires=60
    )
    drain(app)
    record = stored(app, result.id)
    assert seen.pop("expires").endswith("+00:00")
    assert seen.pop("hostname").startswith("inline@")
    assert "@" in seen.pop("origin")
    assert seen == {
        "id": result.id, "correlation_id": result.id, "root_id": result.id, "parent_id": None,
        "task": "t", "args": (1,), "kwargs": {"b": 2}, "retries": 0, "is_eager": False,
        "called_directly": False, "headers": {"h": "x"}, "eta": None, "timelimit": (9, 8),
        "time_limit": 9, "soft_time_limit": 8, "attempt": 1, "fencing_token": record.attempt,
        "ignore_result": False, "queue": "celery", "priority": 3, "crashes": 0,
        "delivery_info": {
            "exchange": "", "routing_key": "celery", "priority": 3, "redelivered": False,
        },
    }  # fmt: skip


def test_a_redelivered_task_knows(app, runner):
    seen = []

    @app.task(name="t", bind=True)
    def t(self):
        seen.append((self.request.delivery_info["redelivered"], self.request.crashes))

    sent = delivery(app)
    runner.run(sent)
    runner.run(Delivery(sent.id, 2, "o.1.2", sent.wire, "celery", crashes=1))
    runner.run(Delivery(sent.id, 2, "o.1.2", sent.wire, "celery", retries=1))
    assert seen == [(False, 0), (True, 1), (False, 0)]


# -- limits --------------------------------------------------------------------------------------


@contextmanager
def alarm(seconds):
    def ring(*_):
        raise SoftTimeLimitExceeded(seconds)

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("where", ["task", "call", "setting"])
def test_the_soft_limit_is_raised_in_the_task(where):
    app = make_app(**({"task_soft_time_limit": 0.05} if where == "setting" else {}))
    runner = Runner(app, "h", limiter=alarm)

    @app.task(name="t", **({"soft_time_limit": 0.05} if where == "task" else {}))
    def t(catch):
        try:
            time.sleep(60)
        except SoftTimeLimitExceeded:
            if not catch:
                raise
            return "cleaned up"

    options = {"soft_time_limit": 0.05} if where == "call" else {}
    assert runner.run(delivery(app, args=(True,), **options)).state == states.SUCCEEDED
    outcome = runner.run(delivery(app, args=(False,), **options))
    assert outcome.reason.startswith("SoftTimeLimitExceeded: ")


def test_the_limiter_is_asked_only_where_there_is_a_limit(app):
    asked = []

    @contextmanager
    def limiter(seconds):
        asked.append(seconds)
        yield

    runner = Runner(app, "h", limiter=limiter)
    app.task(name="t")(lambda: None)
    runner.run(delivery(app))
    runner.run(delivery(app, soft_time_limit=7))
    assert asked == [7]


@pytest.mark.parametrize("catch", [True, False])
def test_the_soft_limit_of_a_coroutine_is_raised_where_it_awaits(app, runner, catch):
    cancelled = []

    @app.task(name="t", soft_time_limit=0.02)
    async def t():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(1)
            raise
        except SoftTimeLimitExceeded:
            if not catch:
                raise
            await asyncio.sleep(0.05)  # it is raised once only
            return "cleaned up"

    outcome = runner.run(delivery(app))
    assert outcome.state == (states.SUCCEEDED if catch else states.FAILED)
    assert catch or outcome.reason.startswith("SoftTimeLimitExceeded: ")
    assert cancelled == []


def test_the_soft_limit_reaches_through_nested_awaits(app, runner):
    @app.task(name="t", soft_time_limit=0.02)
    async def t():
        async def inner():
            await asyncio.gather(asyncio.sleep(60), asyncio.sleep(60))

        try:
            await inner()
        except SoftTimeLimitExceeded:
            return 1

    assert runner.run(delivery(app)).state == states.SUCCEEDED


def test_a_coroutine_that_is_quick_enough_is_left_alone(app, runner):
    @app.task(name="t", soft_time_limit=30)
    async def t():
        try:
            await asyncio.wait_for(asyncio.sleep(60), 0.01)
        except TimeoutError:
            return "own timeout"

    sent = delivery(app)
    assert unseal(runner.run(sent).body, sent.id, None).value == b'"own timeout"'


# -- coroutines ----------------------------------------------------------------------------------


def test_arun_runs_many_at_once(app):
    runner = Runner(app, "h")
    started = []
    all_started = asyncio.Event()

    @app.task(name="t", bind=True)
    async def t(self, n):
        started.append(n)
        if len(started) == 20:
            all_started.set()
        await all_started.wait()
        return [n, self.request.args[0]]

    @app.task(name="sync", bind=True)
    def sync(self, n):
        return [n, self.request.args[0]]

    async def main():
        sent = [delivery(app, args=(n,)) for n in range(20)]
        sent += [delivery(app, "sync", args=(n,)) for n in range(20)]
        return sent, await asyncio.gather(*(runner.arun(each) for each in sent))

    sent, outcomes = asyncio.run(main())
    values = [
        unseal(outcome.body, each.id, None).value
        for each, outcome in zip(sent, outcomes, strict=True)
    ]
    assert values == [f"[{n},{n}]".encode() for n in range(20)] * 2


def test_arun_of_what_cannot_be_run(app):
    assert asyncio.run(Runner(app, "h").arun(delivery(app))).state == states.FAILED


def test_arun_of_a_failure_and_a_handler(app):
    class Base(Task):
        def before_start(self, *args):
            raise ValueError("not ready")

    @app.task(name="t", base=Base)
    async def t(): ...

    assert asyncio.run(Runner(app, "h").arun(delivery(app))).reason == "ValueError: not ready"


def test_what_a_task_leaves_on_the_loop_ends_with_the_runner(app):
    ended = []
    runner = Runner(app, "h")

    @app.task(name="t")
    async def t():
        async def forever():
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(1)

        t.kept = asyncio.create_task(forever())
        await asyncio.sleep(0)

    runner.run(delivery(app))
    assert ended == []
    runner.close()
    runner.close()
    assert ended == [1]


# -- references ----------------------------------------------------------------------------------


def test_a_call_takes_the_result_it_refers_to(app, runner):
    app.task(name="t")(lambda *args: list(args))
    first = app.task(name="first")(lambda: 41).delay()
    drain(app)
    body = stored(app, first.id).body
    message = compose(Header(id="x", task="t", nonce="n", edges=Edges(takes=first.id)), b"[[1],{}]")
    for inputs in (None, body):
        sent = Delivery("x", 1, "o.1.1", message.encode(), "celery", inputs=inputs)
        assert unseal(runner.run(sent).body, "x", None).value == b"[41,1]"


def test_a_call_gathers_the_results_of_a_join(app):
    app.task(name="member")(lambda n: n * 10)
    app.task(name="body")(lambda *args: list(args))
    queue = app.store.queue
    body = compose(
        Header(id="body", task="body", nonce="n", edges=Edges(waits=True, gathers="j")), b"[[],{}]"
    )
    queue.open_join("j", body)
    members = [
        compose(
            Header(
                id=f"m{n}", task="member", nonce="n", edges=Edges(join=("j", n), within=("j", n))
            ),
            f"[[{n}],{{}}]".encode(),
        )
        for n in range(3)
    ]  # fmt: skip
    queue.enqueue(members, join="j")
    queue.seal("j", 3)
    drain(app)
    assert app.AsyncResult("body").get(timeout=5) == [[0, 10, 20]]


def test_an_immutable_body_gets_its_own_arguments_alone(app):
    app.task(name="body")(lambda *args: list(args))
    edges = Edges(waits=True, gathers="j", immutable=True)
    body = compose(Header(id="body", task="body", nonce="n", edges=edges), b"[[7],{}]")
    app.store.queue.enqueue([body], joins=[NewJoin("j", "body", 0)])
    drain(app)
    assert app.AsyncResult("body").get(timeout=5) == [7]


# -- handlers for the dead -----------------------------------------------------------------------


def test_hooks_of_a_task_whose_executor_died(app, runner):
    calls = []

    class Base(Task):
        def on_failure(self, exc, task_id, args, kwargs, einfo):
            calls.append(("on_failure", type(exc).__name__, str(exc), task_id, args, str(einfo)))

        def on_retry(self, exc, *rest):
            calls.append(("on_retry", type(exc).__name__))

        def after_return(self, status, *rest):
            calls.append(("after_return", status, current().id))

    app.task(name="t", base=Base)(lambda n: None)
    sent = delivery(app, args=(5,))
    facts = TaskFacts(requeue_lost=False, retry_on_time_limit=(1.0,))
    runner.run_hook(sent, on_death(facts, sent, "died of signal 9"))
    runner.run_hook(sent, on_hard_limit(facts, sent, 3))
    runner.run_hook(sent, on_death(TaskFacts(), sent, "died of signal 9"))  # crash 1: runs again
    assert calls == [
        ("on_failure", "WorkerLostError", "died of signal 9", sent.id, (5,),
         "WorkerLostError: died of signal 9"),
        ("after_return", "FAILURE", sent.id),
        ("on_retry", "TimeLimitExceeded"),
    ]  # fmt: skip


def test_a_hook_of_a_message_that_is_none_is_logged(app, runner, caplog):
    runner.run_hook(Delivery("x", 1, "o", b"", "celery"), Outcome(states.FAILED))
    assert "No handler was called for task x" in caplog.text


# -- log lines -----------------------------------------------------------------------------------


def lines(caplog):
    return [
        (each.levelname, each.getMessage())
        for each in caplog.records
        if each.name == "celeriac.task"
    ]


def test_log_lines_that_people_know(app, caplog):
    caplog.set_level(logging.INFO, "celeriac")

    @app.task(name="t", bind=True, throws=(KeyError,))
    def t(self, how):
        if how == "retry" and not self.request.retries:
            raise self.retry(exc=ValueError("x"), countdown=0)
        if how in {"ok", "retry"}:
            return "r" * 5000
        raise {
            "expected": KeyError("k"), "unexpected": ValueError("x"), "ignore": Ignore(),
            "reject": Reject("bad"),
        }[how]  # fmt: skip

    ids = {
        how: t.delay(how).id
        for how in ("ok", "expected", "unexpected", "ignore", "reject", "retry")
    }
    drain(app)
    found = lines(caplog)

    def one(how):
        return [line for line in found if ids[how] in line[1]]

    ((level, text),) = one("ok")
    assert level == "INFO"
    assert text.startswith(f"Task t[{ids['ok']}] succeeded in ")
    assert "s: 'rrr" in text
    assert len(text) < 1300
    assert one("expected") == [
        ("INFO", f"Task t[{ids['expected']}] raised expected: KeyError('k')")
    ]
    ((level, text),) = one("unexpected")
    assert level == "ERROR"
    assert text.startswith(
        f"Task t[{ids['unexpected']}] raised unexpected: ValueError('x')\nTraceback"
    )
    assert "celeriac/runner.py" not in text
    assert one("ignore") == [("INFO", f"Task t[{ids['ignore']}] ignored")]
    assert one("reject") == [("INFO", f"Task t[{ids['reject']}] rejected")]
    assert one("retry")[0] == (
        "INFO",
        f"Task t[{ids['retry']}] retry: Retry in 0s: ValueError('x')",
    )


def test_a_result_whose_repr_raises_is_logged_all_the_same(app, caplog):
    caplog.set_level(logging.INFO, "celeriac")

    class Odd(dict):
        def __repr__(self):
            raise RuntimeError("no")

    app.task(name="t", ignore_result=True)(lambda: Odd(a=1))
    app.tasks["t"].delay()
    drain(app)
    assert "<unprintable " in lines(caplog)[0][1]


def test_names_in_errors_have_their_near_ones(app):
    with pytest.raises(NotRegistered):
        _ = app.tasks["x"]


# -- decisions of the supervisor -----------------------------------------------------------------


def dead(crashes, **facts):
    sent = Delivery("x", crashes + 1, "o.1.1", b"", "celery", crashes=crashes)
    return on_death(TaskFacts(**facts), sent, "died of signal 11 (SIGSEGV)", 5.0)


def test_the_first_crash_runs_again_at_once_the_second_later_the_third_is_dead():
    first, second, third = dead(0), dead(1), dead(2)
    assert (first.state, first.charge, first.delay) == (states.QUEUED, "crash", 0)
    assert (second.state, second.charge) == (states.SCHEDULED, "crash")
    assert 2.5 <= second.delay <= 7.5
    assert (third.state, third.charge) == (states.DEAD, "crash")
    assert third.reason == "DeadTaskError: put aside after crash 3: died of signal 11 (SIGSEGV)"
    assert "SIGSEGV" in first.reason
    assert len({dead(1).delay for _ in range(20)}) > 1


@pytest.mark.parametrize("facts", [{"late": False}, {"requeue_lost": False}])
def test_a_task_that_must_not_run_twice_fails_at_its_first_crash(facts):
    outcome = dead(0, **facts)
    assert outcome.state == states.FAILED
    assert outcome.reason == "WorkerLostError: died of signal 11 (SIGSEGV)"


def test_max_crashes_counts():
    assert dead(0, max_crashes=1).state == states.DEAD
    assert dead(4, max_crashes=6).state == states.SCHEDULED


def test_a_hard_limit_fails_at_once_and_is_no_crash():
    outcome = on_hard_limit(TaskFacts(), Delivery("x", 1, "o.1.1", b"", "celery", crashes=2), 3.0)
    assert (outcome.state, outcome.charge) == (states.FAILED, "")
    assert outcome.reason == "TimeLimitExceeded: it ran longer than its time limit of 3 s"


def test_a_hard_limit_repeats_only_what_says_so(app):
    @app.task(
        name="t", autoretry_for=(TimeLimitExceeded,), retry_backoff=2, retry_backoff_max=5,
        max_retries=3,
    )  # fmt: skip
    def t(): ...

    facts = app.facts()["t"]
    assert facts.retry_on_time_limit == (2, 4, 5)
    outcomes = [
        on_hard_limit(facts, Delivery("x", 1, "o.1.1", b"", "celery", retries=n), 3.0)
        for n in range(4)
    ]
    assert [each.delay for each in outcomes] == [2, 4, 5, 0]
    assert [each.charge for each in outcomes] == ["retry", "retry", "retry", ""]
    assert outcomes[3].state == states.FAILED


@pytest.mark.parametrize(
    ("options", "waits"),
    [
        ({}, None),
        ({"autoretry_for": (ValueError,)}, None),
        ({"autoretry_for": (Exception,), "max_retries": 2}, (180, 180)),
        ({"autoretry_for": (Exception,), "dont_autoretry_for": (TimeLimitExceeded,)}, None),
        ({"autoretry_for": (Exception,), "retry_kwargs": {"max_retries": 1, "countdown": 9}}, (9,)),
        ({"autoretry_for": (Exception,), "max_retries": None}, (180,) * 100),
    ],
)
def test_the_waits_that_the_manifest_lists(app, options, waits):
    app.task(name="t", **options)(lambda: None)
    assert app.facts()["t"].retry_on_time_limit == waits
