"""Who hears of a task's runs: receivers of signals and the task's own handlers, in their order."""

import logging

import pytest
from inline import drain, make_app, stored

from celeriac import Task, signals, states
from celeriac.exceptions import Ignore, NotRegistered, Reject, Retry
from celeriac.hearers import Hearers
from celeriac.message import Header, compose
from celeriac.outcome import Outcome
from celeriac.policies import on_death
from celeriac.records import Delivery, TaskFacts
from celeriac.runner import Runner

RUN_SIGNALS = [
    signals.task_prerun,
    signals.task_postrun,
    signals.task_success,
    signals.task_failure,
    signals.task_retry,
    signals.task_internal_error,
]


@pytest.fixture
def app():
    return make_app()


@pytest.fixture
def connect():
    """Connect receivers for the length of a test."""
    made = []

    def on(signal, receiver, **options):
        signal.connect(receiver, weak=False, **options)
        made.append((signal, receiver, options.get("sender")))
        return receiver

    yield on
    for signal, receiver, sender in made:
        signal.disconnect(receiver, sender=sender)


@pytest.fixture
def heard(connect):
    """What is sent of runs, as (name of the signal, what comes along)."""
    found = []

    def hear(signal, **named):
        found.append((signal.name, named))

    for each in RUN_SIGNALS:
        connect(each, hear)
    return found


def base_of(calls):
    class Base(Task):
        def before_start(self, task_id, args, kwargs):
            calls.append(("before_start", task_id, args, kwargs))

        def on_success(self, retval, task_id, args, kwargs):
            calls.append(("on_success", retval, task_id, args, kwargs))

        def on_failure(self, exc, task_id, args, kwargs, einfo):
            calls.append(("on_failure", exc, task_id, args, kwargs, einfo))

        def on_retry(self, exc, task_id, args, kwargs, einfo):
            calls.append(("on_retry", exc, task_id, args, kwargs, einfo))

        def after_return(self, status, retval, task_id, args, kwargs, einfo):
            calls.append(("after_return", status, retval, task_id, args, kwargs, einfo))

    return Base


# -- order and arguments -------------------------------------------------------------------------


def order(connect, calls):
    for each in RUN_SIGNALS:
        connect(each, lambda signal, **named: calls.append((signal.name, named)))


def test_the_order_of_a_success(app, connect):
    calls = []
    order(connect, calls)

    @app.task(name="t", base=base_of(calls))
    def t(x, y=0):
        calls.append(("body",))
        return x + y

    sent = t.delay(1, y=2)
    drain(app)
    assert [each[0] for each in calls] == [
        "task_prerun", "before_start", "body", "on_success", "task_success", "after_return",
        "task_postrun",
    ]  # fmt: skip
    said = {each[0]: each[1:] for each in calls}
    assert said["before_start"] == (sent.id, (1,), {"y": 2})
    assert said["on_success"] == (3, sent.id, (1,), {"y": 2})
    assert said["after_return"] == ("SUCCESS", 3, sent.id, (1,), {"y": 2}, None)
    common = {"sender": t, "task_id": sent.id, "task": t, "args": (1,), "kwargs": {"y": 2}}
    assert said["task_prerun"] == (common,)
    assert said["task_postrun"] == ({**common, "retval": 3, "state": "SUCCESS"},)
    (success,) = said["task_success"]
    assert (success["sender"], success["result"]) == (t, 3)
    assert 0 <= success["runtime"] < 60


def test_the_order_of_a_failure(app, connect):
    calls = []
    order(connect, calls)

    @app.task(name="t", base=base_of(calls))
    def t(x):
        raise ValueError("no")

    sent = t.delay(1)
    drain(app)
    assert [each[0] for each in calls] == [
        "task_prerun", "before_start", "on_failure", "task_failure", "after_return",
        "task_postrun",
    ]  # fmt: skip
    said = {each[0]: each[1:] for each in calls}
    (failure,) = said["task_failure"]
    error, info = failure["exception"], failure["einfo"]
    assert (failure["sender"], failure["task_id"], failure["args"]) == (t, sent.id, (1,))
    assert isinstance(error, ValueError)
    assert failure["traceback"] is error.__traceback__
    assert said["on_failure"] == (error, sent.id, (1,), {}, info)
    assert said["after_return"] == ("FAILURE", error, sent.id, (1,), {}, info)
    assert (said["task_postrun"][0]["state"], said["task_postrun"][0]["retval"]) == (
        "FAILURE", error,
    )  # fmt: skip
    assert (info.exception, info.type, info.internal) == (error, ValueError, False)
    assert info.exc_info == (ValueError, error, error.__traceback__)
    assert info.tb is error.__traceback__
    assert str(info) == info.traceback
    assert "ValueError: no" in info.traceback
    assert "in t" in info.traceback


@pytest.mark.parametrize("how", ["asked", "auto"])
def test_the_order_of_a_repeat(app, connect, how):
    calls = []
    order(connect, calls)

    @app.task(
        name="t", bind=True, base=base_of(calls), autoretry_for=(KeyError,), default_retry_delay=0
    )
    def t(self):
        if self.request.retries:
            return "second"
        if how == "auto":
            raise KeyError("first")
        raise self.retry(exc=KeyError("first"), countdown=0)

    sent = t.delay()
    drain(app)
    assert [each[0] for each in calls] == [
        "task_prerun", "before_start", "on_retry", "task_retry", "task_postrun",
        "task_prerun", "before_start", "on_success", "task_success", "after_return",
        "task_postrun",
    ]  # fmt: skip
    said = dict(reversed([(each[0], each[1:]) for each in calls]))
    (retry,) = said["task_retry"]
    assert (retry["sender"], retry["request"].id) == (t, sent.id)
    assert isinstance(retry["reason"], Retry)
    assert isinstance(retry["reason"].exc, KeyError)
    assert isinstance(retry["einfo"].exception, KeyError)
    assert said["on_retry"][0] is retry["reason"].exc
    assert said["task_postrun"][0]["state"] == "RETRY"


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (Ignore(), "IGNORED"),
        (Reject("bad"), "REJECTED"),
        (Reject("later", requeue=True), "REJECTED"),
    ],
)
def test_what_is_ignored_or_rejected_has_a_beginning_and_an_end(app, heard, error, state):
    @app.task(name="t")
    def t():
        raise error

    t.delay()
    drain(app)
    assert [name for name, _ in heard] == ["task_prerun", "task_postrun"]
    assert heard[1][1]["state"] == state
    assert heard[1][1]["retval"] is error


def test_a_call_that_does_not_fit_is_a_failure_that_is_told(app, connect):
    calls = []
    order(connect, calls)

    @app.task(name="t", base=base_of(calls))
    def t(x): ...

    app.send_task("t", (1, 2))
    drain(app)
    assert [each[0] for each in calls] == [
        "task_prerun", "on_failure", "task_failure", "after_return", "task_postrun",
    ]  # fmt: skip
    assert isinstance(calls[2][1]["exception"], TypeError)
    assert calls[2][1]["args"] == (1, 2)


def test_async_tasks_and_eager_runs_are_told_alike(app, heard):
    @app.task(name="a")
    async def a():
        return 1

    a.delay()
    drain(app)
    names = ["task_prerun", "task_success", "task_postrun"]
    assert [name for name, _ in heard] == names
    heard.clear()
    a.apply()
    assert [name for name, _ in heard] == names


def test_self_request_is_that_of_the_run_in_receivers_and_handlers(app, connect):
    seen = []
    for each in (signals.task_prerun, signals.task_success, signals.task_postrun):
        connect(each, lambda sender, **kwargs: seen.append(sender.request.id))
    sent = app.task(name="t")(lambda: None).delay()
    drain(app)
    assert seen == [sent.id] * 3


# -- who hears -----------------------------------------------------------------------------------


def test_a_receiver_of_one_task_hears_no_other(app, connect):
    seen = []
    one = app.task(name="one")(lambda: None)
    two = app.task(name="two")(lambda: None)
    connect(signals.task_success, lambda sender, **kwargs: seen.append(sender.name), sender=one)
    one.delay()
    two.delay()
    drain(app)
    assert seen == ["one"]


def test_who_hears_is_worked_out_once_and_again_when_receivers_change(app, connect, monkeypatch):
    made = []
    real = Hearers.__init__

    def counted(self, task):
        made.append(task.name)
        real(self, task)

    monkeypatch.setattr(Hearers, "__init__", counted)
    seen = []

    def hear(**kwargs):
        seen.append(kwargs["task_id"])

    t = app.task(name="t")(lambda: None)
    runner = Runner(app)

    def run():
        message = app.client.message("t", (), {})
        runner.run(Delivery(message.id, 1, "o.1.1", message.encode(), "celery"))

    for _ in range(3):
        run()
    assert (made, seen) == (["t"], [])
    connect(signals.task_prerun, hear, sender=t)
    run()
    run()
    assert (made, len(seen)) == (["t", "t"], 2)
    signals.task_prerun.disconnect(hear, sender=t)
    run()
    assert (made, len(seen)) == (["t", "t", "t"], 2)


def test_a_task_that_nobody_hears_of_sends_nothing(app, monkeypatch):
    sent = []
    for each in RUN_SIGNALS:
        monkeypatch.setattr(each, "send", lambda *args, **kwargs: sent.append(args))
    app.task(name="t")(lambda: None).delay()
    drain(app)
    assert sent == []


# -- harm ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ValueError("bad"), SystemExit(3), KeyboardInterrupt()])
def test_what_receivers_raise_changes_nothing(app, connect, caplog, error):
    def bad(**kwargs):
        raise error

    for each in RUN_SIGNALS:
        connect(each, bad)
    sent = app.task(name="t")(lambda: 42).delay()
    with caplog.at_level(logging.ERROR):
        drain(app)
    assert sent.get(timeout=5) == 42
    assert "task_prerun raised" in caplog.text


def test_a_handler_that_raises_is_an_internal_error(app, heard, caplog):
    class Base(Task):
        def on_success(self, *args):
            raise RuntimeError("handler")

    sent = app.task(name="t", base=Base)(lambda: 1).delay()
    drain(app)
    assert sent.get(timeout=5) == 1
    (told,) = [named for name, named in heard if name == "task_internal_error"]
    assert (told["task_id"], told["request"].id) == (sent.id, sent.id)
    assert isinstance(told["exception"], RuntimeError)
    assert "RuntimeError: handler" in told["einfo"].traceback
    assert [name for name, _ in heard][-1] == "task_postrun"


# -- what cannot be run --------------------------------------------------------------------------


def test_an_unknown_name_and_what_is_no_message(app, connect):
    seen = []

    def hear(signal, sender, **named):
        seen.append((signal.name, sender.hostname, named))

    connect(signals.task_unknown, hear)
    connect(signals.task_rejected, hear)
    runner = Runner(app, "w@here")
    message = compose(Header(id="x", task="nobody", nonce="n"), b"[[],{}]")
    runner.run(Delivery("x", 1, "o.1.1", message.encode(), "celery"))
    runner.run(Delivery("y", 1, "o.1.1", b"\x00", "celery"))
    (unknown, _, first), (rejected, _, second) = seen
    assert (unknown, first["name"], first["id"]) == ("task_unknown", "nobody", "x")
    assert isinstance(first["exc"], NotRegistered)
    assert first["message"].header.id == "x"
    assert rejected == "task_rejected"
    assert second["message"] == b"\x00"


def test_a_payload_of_another_shape_is_rejected_and_has_failed(app, connect, heard):
    seen = []
    connect(signals.task_rejected, lambda exc, **kwargs: seen.append(type(exc).__name__))
    app.task(name="t")(lambda: None)
    message = compose(Header(id="x", task="t", nonce="n"), b"[1]")
    Runner(app).run(Delivery("x", 1, "o.1.1", message.encode(), "celery"))
    assert seen == ["InvalidTaskError"]
    assert [name for name, _ in heard] == ["task_prerun", "task_failure", "task_postrun"]


# -- tasks whose executor died -------------------------------------------------------------------


def test_the_facts_say_whether_a_death_must_be_told(app, connect):
    t = app.task(name="t")(lambda: None)
    other = app.task(name="other")(lambda: None)
    assert not t.facts().hooks
    connect(signals.task_failure, lambda **kwargs: None, sender=t)
    assert t.facts().hooks
    assert not other.facts().hooks


def test_a_death_is_told_as_a_failure_without_an_end_of_the_run(app, heard):
    t = app.task(name="t")(lambda n: None)
    message = app.client.message("t", (5,), {})
    sent = Delivery(message.id, 1, "o.1.1", message.encode(), "celery")
    runner = Runner(app, "w@here")
    runner.run_hook(sent, on_death(TaskFacts(requeue_lost=False), sent, "died of signal 9"))
    ((name, told),) = heard
    assert (name, told["sender"], told["task_id"]) == ("task_failure", t, message.id)
    assert type(told["exception"]).__name__ == "WorkerLostError"
    assert told["traceback"] is None
    heard.clear()
    runner.run_hook(sent, Outcome(states.SCHEDULED, reason="Retry in 1s: x", charge="retry"))
    assert [name for name, _ in heard] == ["task_retry"]


# -- what is kept and shown ----------------------------------------------------------------------


@pytest.mark.parametrize("by", ["task", "setting"])
def test_failures_may_be_kept_of_tasks_whose_results_are_not(by):
    app = make_app(task_store_errors_even_if_ignored=by == "setting")
    options = {"store_errors_even_if_ignored": True} if by == "task" else {}

    @app.task(name="t", ignore_result=True, **options)
    def t(good):
        if not good:
            raise ValueError("kept")

    @app.task(name="plain", ignore_result=True, store_errors_even_if_ignored=False)
    def plain():
        raise ValueError("dropped")

    good, bad, other = t.delay(True), t.delay(False), plain.delay()
    drain(app)
    assert stored(app, good.id).body is None
    assert stored(app, other.id).body is None
    assert stored(app, bad.id).body is not None
    found = app.AsyncResult(bad.id)
    with pytest.raises(ValueError, match="kept"):
        found.get(timeout=5)


def test_the_length_of_a_result_in_the_log(app, caplog):
    caplog.set_level(logging.INFO, "celeriac")
    app.task(name="t", resultrepr_maxsize=8)(lambda: "x" * 100).delay()
    drain(app)
    (line,) = [each.getMessage() for each in caplog.records if "succeeded" in each.getMessage()]
    assert line.endswith(": 'xxxxxxx…")
    with pytest.raises(ValueError, match="resultrepr_maxsize is -1"):
        app.task(name="u", resultrepr_maxsize=-1)(lambda: None)


# -- base classes --------------------------------------------------------------------------------


def test_state_of_a_base_class_is_kept_from_run_to_run(app):
    class Connected(Task):
        made = 0

        @property
        def connection(self):
            if "_connection" not in self.__dict__:
                type(self).made += 1
                self._connection = object()
            return self._connection

    @app.task(name="t", base=Connected, bind=True)
    def t(self):
        return id(self.connection)

    @app.task(name="u", base=Connected, bind=True)
    def u(self):
        return id(self.connection)

    sent = [t.delay(), t.delay(), u.delay()]
    drain(app)
    first, second, other = (each.get(timeout=5) for each in sent)
    assert first == second != other  # one instance of each task in a process


def test_a_class_that_is_a_task_itself_has_its_handlers_called(app):
    calls = []

    class Report(Task):
        name = "report"

        def run(self, n):
            return n * 2

        def on_success(self, retval, task_id, args, kwargs):
            calls.append(retval)

    report = app.register_task(Report())
    sent = report.delay(21)
    drain(app)
    assert (sent.get(timeout=5), calls) == (42, [42])
