"""Tasks: sending, calling, running eagerly, repeating, handlers."""

import asyncio
import inspect
import pickle
from datetime import UTC, datetime, timedelta

import pytest
from inline import count, drain, make_app, stored

from celeriac import Task, states
from celeriac.exceptions import (
    CeleryWarning,
    EncodeError,
    Ignore,
    MaxRetriesExceededError,
    NotInThisVersion,
    Reject,
    Retry,
    TaskRevokedError,
)
from celeriac.outcome import Outcome
from celeriac.records import Commit, Manifest, Want
from celeriac.result import AsyncResult, EagerResult


@pytest.fixture
def app():
    return make_app()


@pytest.fixture
def add(app):
    @app.task(name="add")
    def add(a, b=0):
        return a + b

    return add


# -- delay, apply_async, call --------------------------------------------------------------------


def test_delay_returns_a_result_that_ends(app, add):
    result = add.delay(2, b=3)
    assert isinstance(result, AsyncResult)
    assert result.state == states.PENDING
    assert not result.ready()
    drain(app)
    assert result.get(timeout=5) == 5
    assert result.successful()


def test_apply_async_is_delay_with_arguments_in_a_list(app, add):
    result = add.apply_async([2], {"b": 3}, task_id="my-id")
    assert result.id == "my-id"
    drain(app)
    assert result.get(timeout=5) == 5


def test_calling_runs_it_here(app, add):
    assert add(1, 2) == 3
    assert count(app) == 0


def test_wrong_arguments_are_refused_before_anything_is_written(app, add):
    for call in (add.delay, lambda *a, **k: add.apply_async(a, k)):
        with pytest.raises(TypeError, match="missing 1 required positional argument: 'a'"):
            call()
        with pytest.raises(TypeError, match="unexpected keyword argument 'c'"):
            call(1, c=2)
        with pytest.raises(TypeError, match="takes from 1 to 2 positional arguments but 3"):
            call(1, 2, 3)
    assert count(app) == 0


def test_typing_false_leaves_the_check_to_the_worker(app):
    @app.task(name="loose", typing=False)
    def loose(a): ...

    result = loose.delay()
    drain(app)
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        result.get(timeout=5)


def test_strict_typing_is_the_default_of_typing():
    app = make_app(strict_typing=False)

    @app.task(name="loose")
    def loose(a): ...

    @app.task(name="strict", typing=True)
    def strict(a): ...

    loose.delay()
    with pytest.raises(TypeError):
        strict.delay()


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [("abc", None), (b"abc", None), ({"a": 1}, None), ((1,), [1]), ((1,), {1: 2})],
)
def test_arguments_must_be_a_list_and_a_dictionary(app, add, args, kwargs):
    with pytest.raises(TypeError):
        add.apply_async(args, kwargs)
    assert count(app) == 0


def test_bind_passes_the_task(app):
    @app.task(name="who", bind=True)
    def who(self, n):
        return [self.name, self.request.id, n]

    result = who.delay(4)
    drain(app)
    assert result.get(timeout=5) == ["who", result.id, 4]
    assert who(4) == ["who", None, 4]
    with pytest.raises(TypeError):
        who.delay(1, 2)


def test_the_options_of_a_task_are_what_it_is_sent_with():
    app = make_app(accept_content=["json", "msgpack"])

    @app.task(name="t", queue="mail", priority=7, expires=60, serializer="msgpack")
    def t(data): ...

    result = t.delay(b"\x00")
    record = stored(app, result.id)
    assert (record.queue, record.priority) == ("mail", 7)
    assert 0 < record.expires - record.enqueued_at <= 60
    assert result.args == [b"\x00"]


def test_options_set_later_count(app, add):
    add.delay(1)
    add.queue = "later"
    assert stored(app, add.delay(1).id).queue == "later"


def test_a_task_can_send_another_one_and_is_its_parent(app, add):
    @app.task(name="outer", bind=True)
    def outer(self):
        return add.delay(1).id

    result = outer.delay()
    drain(app)
    from celeriac.message import decode

    header = decode(stored(app, result.get(timeout=5)).wire).header
    assert (header.parent, header.root) == (result.id, result.id)


def test_a_pickled_task_is_the_task():
    with make_app(set_as_current=True) as app:

        @app.task(name="pickled")
        def pickled(): ...

        assert pickle.loads(pickle.dumps(pickled)) is pickled


def test_asyncresult_of_a_task(app, add):
    result = add.delay(1)
    assert add.AsyncResult(result.id) == result == app.AsyncResult(result.id)


# -- async ---------------------------------------------------------------------------------------


def test_async_tasks_run_and_are_sent_from_coroutines(app):
    @app.task(name="later")
    async def later(n):
        await asyncio.sleep(0)
        return n + 1

    async def main():
        result = await later.adelay(1)
        other = await later.aapply_async((2,), queue="celery")
        await asyncio.to_thread(drain, app)
        return await result.aget(timeout=5), await other

    assert asyncio.run(main()) == (2, 3)
    assert inspect.iscoroutinefunction(later.run)
    assert asyncio.run(later(5)) == 6
    assert later.apply((1,)).get() == 2


def test_async_tasks_share_one_loop(app):
    @app.task(name="loop")
    async def loop():
        return id(asyncio.get_running_loop())

    results = [loop.delay() for _ in range(3)]
    drain(app)
    assert len({each.get(timeout=5) for each in results}) == 1


def test_adelay_in_a_task_keeps_the_parent(app, add):
    @app.task(name="outer")
    async def outer():
        return (await add.adelay(1)).id

    result = outer.delay()
    drain(app)
    from celeriac.message import decode

    assert decode(stored(app, result.get(timeout=5)).wire).header.parent == result.id


def test_wrong_arguments_of_adelay(app, add):
    with pytest.raises(TypeError, match="missing"):
        asyncio.run(add.adelay())


# -- eager ---------------------------------------------------------------------------------------


def test_apply_runs_it_here(app, add):
    result = add.apply((1, 2))
    assert isinstance(result, EagerResult)
    assert (result.get(), result.state, result.result) == (3, "SUCCESS", 3)
    assert result.ready()
    assert result.name == "add"
    assert count(app) == 0


def test_apply_has_a_request(app):
    @app.task(name="look", bind=True)
    def look(self):
        request = self.request
        return request.id, request.is_eager, request.called_directly, request.headers

    assert look.apply(task_id="x", headers={"h": 1}).get() == ["x", True, False, {"h": 1}]


def test_apply_holds_what_was_raised(app):
    @app.task(name="fail")
    def fail():
        raise KeyError("gone")

    result = fail.apply()
    assert result.failed()
    assert isinstance(result.result, KeyError)
    assert "KeyError" in result.traceback
    assert isinstance(result.get(propagate=False), KeyError)
    with pytest.raises(KeyError):
        result.get()
    with pytest.raises(KeyError):
        fail.apply(throw=True)


def test_apply_refuses_wrong_arguments_and_options(app, add):
    assert isinstance(add.apply(()).result, TypeError)
    with pytest.raises(TypeError, match="has no option 'zebra'"):
        add.apply((1,), zebra=1)


def test_apply_repeats_without_waiting(app):
    seen = []

    @app.task(name="again", bind=True, max_retries=2)
    def again(self, n):
        seen.append((self.request.retries, n))
        raise self.retry(args=(n + 1,), countdown=1000)

    result = again.apply((0,))
    assert seen == [(0, 0), (1, 1), (2, 2)]
    assert isinstance(result.result, MaxRetriesExceededError)
    assert result.state == "FAILURE"


def test_apply_of_ignore_and_reject(app):
    @app.task(name="pick")
    def pick(error):
        raise {"ignore": Ignore(), "reject": Reject("bad"), "again": Reject("x", requeue=True)}[
            error
        ]

    assert pick.apply(("ignore",)).state == "IGNORED"
    assert pick.apply(("reject",)).state == "REJECTED"
    assert pick.apply(("again",)).state == "PENDING"


def test_apply_lets_a_request_to_end_the_program_pass(app):
    @app.task(name="leave")
    def leave():
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        leave.apply()


def test_a_revoked_eager_result(app, add):
    result = add.apply((1,))
    result.revoke()
    assert result.state == "REVOKED"
    with pytest.raises(TaskRevokedError):
        result.get()


def test_always_eager_runs_here_with_what_a_worker_would_have_read():
    app = make_app(task_always_eager=True)

    @app.task(name="kind")
    def kind(value):
        return type(value).__name__

    assert kind.delay((1, 2)).get() == "list"
    assert kind.apply_async((datetime(2026, 1, 1, tzinfo=UTC),), task_id="x").get() == "datetime"
    with pytest.raises(EncodeError, match=r"args\[0\]"):
        kind.delay(object())
    with pytest.raises(TypeError):
        kind.delay()
    assert count(app) == 0


def test_eager_propagates():
    app = make_app(task_always_eager=True, task_eager_propagates=True)

    @app.task(name="fail")
    def fail():
        raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        fail.delay()


# -- retry ---------------------------------------------------------------------------------------


def test_retry_runs_again_under_the_same_id(app):
    seen = []

    @app.task(name="flaky", bind=True, default_retry_delay=0)
    def flaky(self, n):
        seen.append((self.request.id, self.request.retries))
        if self.request.retries < 2:
            raise self.retry(exc=ValueError("not yet"))
        return n

    result = flaky.delay(7)
    drain(app)
    assert seen == [(result.id, 0), (result.id, 1), (result.id, 2)]
    assert result.get(timeout=5) == 7
    assert result.retries == 2


def test_retry_waits_for_countdown_or_eta(app):
    @app.task(name="wait", bind=True)
    def wait(self, how):
        due = datetime.now(UTC) + timedelta(hours=1)
        raise self.retry(**{"countdown": {"countdown": 3600}, "eta": {"eta": due}, "": {}}[how])

    for how, seconds in (("countdown", 3600), ("eta", 3600), ("", 180)):
        result = wait.delay(how)
        drain(app)
        record = stored(app, result.id)
        assert record.state == states.SCHEDULED
        assert seconds - 60 < record.due - record.enqueued_at < seconds + 60
        assert result.state == "RETRY"
        assert isinstance(result.info, Retry)


def test_retry_past_the_limit_raises_the_reason(app):
    @app.task(name="give_up", bind=True, max_retries=1, default_retry_delay=0)
    def give_up(self, reason):
        raise self.retry(exc=ValueError("why") if reason else None)

    with_reason, without = give_up.delay(True), give_up.delay(False)
    drain(app)
    with pytest.raises(ValueError, match="why"):
        with_reason.get(timeout=5)
    with pytest.raises(MaxRetriesExceededError, match="repeated 1 times"):
        without.get(timeout=5)


def test_max_retries_of_the_call_to_retry_counts(app):
    runs = []

    @app.task(name="once", bind=True, default_retry_delay=0)
    def once(self):
        runs.append(1)
        raise self.retry(max_retries=0)

    once.delay()
    drain(app)
    assert len(runs) == 1


def test_retry_for_ever(app):
    @app.task(name="ever", bind=True, max_retries=None, default_retry_delay=0)
    def ever(self):
        if self.request.retries < 10:
            raise self.retry()

    result = ever.delay()
    drain(app)
    assert result.state == "SUCCESS"
    assert result.retries == 10


def test_retry_with_other_arguments_and_queue(app):
    seen = []

    @app.task(name="change", bind=True)
    def change(self, n, flag=False):
        seen.append((n, flag, self.request.queue, self.request.headers))
        if not flag:
            raise self.retry(
                args=(n + 1,), kwargs={"flag": True}, countdown=0, queue="other", headers={"h": 1}
            )
        return n

    result = change.delay(1)
    drain(app)
    drain(app, ["other"])
    assert seen == [(1, False, "celery", None), (2, True, "other", {"h": 1})]
    assert result.get(timeout=5) == 2


def test_retry_with_other_kwargs_keeps_the_arguments(app):
    seen = []

    @app.task(name="part", bind=True)
    def part(self, a, b=0):
        seen.append((a, b))
        if not b:
            raise self.retry(kwargs={"b": 1}, countdown=0)

    part.delay(5)
    drain(app)
    assert seen == [(5, 0), (5, 1)]


def test_retry_that_does_not_throw_repeats_all_the_same(app):
    @app.task(name="quiet", bind=True)
    def quiet(self):
        if self.request.retries == 0:
            asked = self.retry(throw=False, countdown=0)
            assert isinstance(asked, Retry)
            return "dropped"
        return "kept"

    result = quiet.delay()
    drain(app)
    assert result.get(timeout=5) == "kept"
    assert result.retries == 1


def test_retry_of_a_direct_call_raises_the_reason(app):
    @app.task(name="direct", bind=True)
    def direct(self, exc):
        raise self.retry(exc=exc)

    with pytest.raises(ValueError, match="x"):
        direct(ValueError("x"))
    with pytest.raises(Retry):
        direct(None)


def test_retry_names_the_error_being_handled_as_cause(app):
    @app.task(name="direct", bind=True)
    def direct(self):
        try:
            raise KeyError("inner")
        except KeyError:
            raise self.retry(exc=ValueError("outer"))  # noqa: B904 - this is what is tested

    with pytest.raises(ValueError, match="outer") as caught:
        direct()
    assert isinstance(caught.value.__cause__, KeyError)


def test_retry_refuses_options_that_would_make_another_task(app):
    @app.task(name="other", bind=True)
    def other(self):
        raise self.retry(task_id="x")

    result = other.delay()
    drain(app)
    with pytest.raises(TypeError, match="retry"):
        result.get(timeout=5)


@pytest.mark.parametrize("options", [{"retry_for": [ValueError]}, {"autoretry_for": (ValueError,)}])
def test_autoretry(app, options):
    @app.task(name="auto", bind=True, retry_kwargs={"max_retries": 2, "countdown": 0}, **options)
    def auto(self, kind):
        raise {"value": ValueError("v"), "key": KeyError("k")}[kind]

    value, key = auto.delay("value"), auto.delay("key")
    drain(app)
    assert (value.state, value.retries) == ("FAILURE", 2)
    assert (key.state, key.retries) == ("FAILURE", 0)
    with pytest.raises(ValueError, match="v"):
        value.get(timeout=5)


def test_dont_autoretry_for_is_looked_at_first(app):
    @app.task(
        name="auto", autoretry_for=(LookupError,), dont_autoretry_for=(KeyError,),
        retry_kwargs={"countdown": 0}, max_retries=1,
    )  # fmt: skip
    def auto(kind):
        raise {"index": IndexError(), "key": KeyError()}[kind]

    index, key = auto.delay("index"), auto.delay("key")
    drain(app)
    assert (index.retries, key.retries) == (1, 0)


def test_autoretry_backs_off(app):
    @app.task(
        name="auto", autoretry_for=(ValueError,), retry_backoff=10, retry_backoff_max=15,
        retry_jitter=False,
    )  # fmt: skip
    def auto():
        raise ValueError

    auto.delay()
    ((_, outcome),) = drain(app)
    assert outcome.delay == 10
    from celeriac.policies.retries import AutoRetries

    class Run:
        retries, args, kwargs, id, expiry, replacement = 1, (), {}, "x", None, None

    assert AutoRetries().on_error(auto, Run(), ValueError()).delay == 15
    auto.retry_jitter = True
    waits = {AutoRetries().on_error(auto, Run(), ValueError()).delay for _ in range(300)}
    assert waits <= set(range(16))
    assert len(waits) > 8


def test_autoretry_leaves_ignore_reject_and_retry_alone(app):
    @app.task(name="auto", bind=True, autoretry_for=(Exception,), retry_kwargs={"countdown": 0})
    def auto(self, kind):
        if kind == "retry" and self.request.retries == 0:
            raise self.retry(countdown=0)
        if kind == "retry":
            return "done"
        raise {"ignore": Ignore(), "reject": Reject("no")}[kind]

    ignored, rejected, repeated = auto.delay("ignore"), auto.delay("reject"), auto.delay("retry")
    drain(app)
    assert [ignored.state, rejected.state, repeated.state] == ["IGNORED", "REJECTED", "SUCCESS"]
    assert repeated.retries == 1


def test_exceptions_that_end_programs_are_not_retried_unless_named(app):
    @app.task(name="auto", autoretry_for=(Exception,), retry_kwargs={"countdown": 0})
    def auto():
        raise SystemExit(1)

    @app.task(
        name="named", autoretry_for=(SystemExit,), retry_kwargs={"countdown": 0}, max_retries=1
    )
    def named():
        raise SystemExit(1)

    first, second = auto.delay(), named.delay()
    drain(app)
    assert (first.state, first.retries) == ("FAILURE", 0)
    assert (second.state, second.retries) == ("FAILURE", 1)


# -- update_state --------------------------------------------------------------------------------


def test_update_state_shows_while_the_task_runs(app):
    seen = []

    @app.task(name="progress", bind=True)
    def progress(self):
        self.update_state(
            state="PROGRESS", meta={"done": 1, "at": datetime(2026, 1, 1, tzinfo=UTC)}
        )
        result = app.AsyncResult(self.request.id)
        seen.append((result.state, result.info))
        return "end"

    result = progress.delay()
    drain(app)
    assert seen == [("PROGRESS", {"done": 1, "at": datetime(2026, 1, 1, tzinfo=UTC)})]
    assert (result.state, result.info) == ("SUCCESS", "end")


@pytest.mark.parametrize("state", sorted(states.READY_STATES))
def test_update_state_refuses_states_that_mean_an_end(app, state):
    @app.task(name="cheat", bind=True)
    def cheat(self):
        self.update_state(state=state)

    result = cheat.delay()
    drain(app)
    with pytest.raises(ValueError, match="has ended"):
        result.get(timeout=5)


def test_update_state_refuses_metadata_that_cannot_be_serialised(app):
    @app.task(name="meta", bind=True)
    def meta(self):
        self.update_state(state="X", meta={"a": [object()]})

    result = meta.delay()
    drain(app)
    with pytest.raises(EncodeError, match=r"meta.*a"):
        result.get(timeout=5)


def test_update_state_without_a_worker_is_lost_and_says_so(app, add):
    with pytest.warns(CeleryWarning, match="No worker runs other: update_state"):
        add.update_state("other", "X")
    waiting = add.delay(1, 2)
    with pytest.warns(CeleryWarning, match=f"No worker runs {waiting.id}"):
        add.update_state(waiting.id, "X")
    assert waiting.state == "PENDING"
    with pytest.warns(CeleryWarning, match="lost"):
        add.update_state(state="X", meta=1)  # outside a worker there is nowhere to write


def test_update_state_of_the_run_we_are_in_by_its_id_from_another_task(app):
    seen = []

    @app.task(name="helper")
    def helper():
        pass

    @app.task(name="outer", bind=True)
    def outer(self):
        helper.update_state(self.request.id, "PROGRESS", {"done": 1})
        seen.append((self.AsyncResult(self.request.id).state, self.request.id))

    sent = outer.delay()
    drain(app)
    assert seen == [("PROGRESS", sent.id)]


def test_update_state_of_a_task_that_another_worker_runs(app):
    @app.task(name="long")
    def long():
        pass

    queue = app.store.queue
    queue.register("other", Manifest(tasks=app.facts()))
    sent = long.delay()
    (delivery,) = queue.exchange("other", 1, 1, [], (), ["celery"], Want(free=1)).deliveries
    long.update_state(sent.id, "PROGRESS", {"done": 1})
    assert (sent.state, sent.info) == ("PROGRESS", {"done": 1})
    commit = Commit(delivery.fence, Outcome(states.SUCCEEDED))
    queue.exchange("other", 1, 2, [commit], (), ["celery"], Want())
    with pytest.warns(CeleryWarning, match="No worker runs"):
        long.update_state(sent.id, "PROGRESS", {"done": 2})


def test_push_request_is_what_tests_of_a_body_use(app):
    @app.task(name="asks", bind=True)
    def asks(self):
        return self.request.id, self.request.called_directly

    asks.push_request(id="pushed", called_directly=False)
    assert asks.run() == ("pushed", False)
    asks.push_request({"id": "inner"})
    assert asks.request.id == "inner"
    asks.pop_request()
    assert asks.request.id == "pushed"
    asks.pop_request()
    assert asks.request.id is None
    with pytest.raises(IndexError, match="without push_request"):
        asks.pop_request()


# -- base classes and handlers -------------------------------------------------------------------


def test_a_base_class_keeps_things_per_process(app):
    class Base(Task):
        abstract = True
        made = 0
        limit = 3

        @property
        def connection(self):
            if "kept" not in vars(self):
                type(self).made += 1
                self.kept = object()
            return self.kept

    @app.task(name="use", base=Base, bind=True, limit=9)
    def use(self):
        return id(self.connection), self.limit

    first, second = use.delay(), use.delay()
    drain(app)
    assert first.get(timeout=5) == second.get(timeout=5)
    assert first.get(timeout=5)[1] == 9
    assert isinstance(use, Base)
    with pytest.raises(TypeError, match="not derived from Task"):
        app.task(name="bad", base=int)(lambda: None)


def test_a_call_of_ones_own_wraps_the_body(app):
    class Base(Task):
        def __call__(self, *args, **kwargs):
            return ["wrapped", self.request.id, super().__call__(*args, **kwargs)]

    @app.task(name="inner", base=Base, bind=True)
    def inner(self, n):
        return [n, self.request.id]

    result = inner.delay(3)
    drain(app)
    assert result.get(timeout=5) == ["wrapped", result.id, [3, result.id]]
    assert inner(3) == ["wrapped", None, [3, None]]


HANDLERS = ("before_start", "on_success", "on_failure", "on_retry", "after_return")


def make_recorder(calls, broken=()):
    class Recorder(Task):
        pass

    for handler in HANDLERS:

        def record(self, *args, _name=handler):
            calls.append((_name, *args))
            if _name in broken:
                raise RuntimeError(f"{_name} is broken")

        setattr(Recorder, handler, record)
    return Recorder


def test_handlers_of_success_in_order(app):
    calls = []

    @app.task(name="t", base=make_recorder(calls))
    def t(a, b):
        calls.append("body")
        return a + b

    result = t.delay(1, b=2)
    drain(app)
    assert calls == [
        ("before_start", result.id, (1,), {"b": 2}),
        "body",
        ("on_success", 3, result.id, (1,), {"b": 2}),
        ("after_return", "SUCCESS", 3, result.id, (1,), {"b": 2}, None),
    ]


def test_handlers_of_failure_in_order(app):
    calls = []

    @app.task(name="t", base=make_recorder(calls))
    def t():
        raise KeyError("k")

    result = t.delay()
    drain(app)
    assert [each[0] for each in calls] == ["before_start", "on_failure", "after_return"]
    _, exc, id, args, kwargs, einfo = calls[1]
    assert isinstance(exc, KeyError)
    assert (id, args, kwargs) == (result.id, (), {})
    assert "Traceback (most recent call last)" in str(einfo)
    assert 'raise KeyError("k")' in einfo.traceback
    assert einfo.exception is exc
    assert einfo.type is KeyError
    assert calls[2][1:3] == ("FAILURE", exc)
    assert calls[2][-1].exception is exc


def test_handlers_of_a_repeat(app):
    calls = []

    @app.task(name="t", base=make_recorder(calls), bind=True, autoretry_for=(ValueError,),
              retry_kwargs={"countdown": 0})  # fmt: skip
    def t(self, how):
        if self.request.retries:
            return "done"
        if how == "auto":
            raise ValueError("a")
        raise self.retry(exc=KeyError("m"), countdown=0)

    for how, cls in (("auto", ValueError), ("asked", KeyError)):
        calls.clear()
        t.delay(how)
        drain(app)
        assert [each[0] for each in calls] == [
            "before_start", "on_retry", "before_start", "on_success", "after_return",
        ]  # fmt: skip
        assert isinstance(calls[1][1], cls)


def test_before_start_is_part_of_the_task(app):
    class Guarded(Task):
        def before_start(self, task_id, args, kwargs):
            raise Ignore if args else ValueError("not ready")

    ran = []

    @app.task(name="t", base=Guarded)
    def t(*args):
        ran.append(args)

    ignored, failed = t.delay(1), t.delay()
    drain(app)
    assert ignored.state == "IGNORED"
    with pytest.raises(ValueError, match="not ready"):
        failed.get(timeout=5)
    assert ran == []


@pytest.mark.parametrize("broken", ["on_success", "on_failure", "on_retry", "after_return"])
def test_what_a_handler_raises_is_logged_and_changes_nothing(app, broken, caplog):
    calls = []

    @app.task(name="t", base=make_recorder(calls, {broken}), bind=True)
    def t(self, how):
        if how == "fail":
            raise KeyError("k")
        if how == "retry" and not self.request.retries:
            raise self.retry(countdown=0)
        return 1

    results = {how: t.delay(how) for how in ("ok", "fail", "retry")}
    drain(app)
    assert [each.state for each in results.values()] == ["SUCCESS", "FAILURE", "SUCCESS"]
    lines = [each.getMessage() for each in caplog.records if "is broken" in each.getMessage()]
    assert lines
    assert all("the task's state stands" in line and broken in line for line in lines)


def test_a_handler_that_ends_the_program_does_not(app):
    class Leaver(Task):
        def on_success(self, *args):
            raise SystemExit(1)

    @app.task(name="t", base=Leaver)
    def t(): ...

    result = t.delay()
    drain(app)
    assert result.state == "SUCCESS"


# -- what is not built ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["backend", "shadow_name"])
def test_members_of_celerys_tasks_that_are_not_built_are_refused_by_name(add, name):
    with pytest.raises(NotInThisVersion, match=name):
        getattr(add, name)
    assert not hasattr(add, name)
    with pytest.raises(AttributeError, match="no attribute 'delya'"):
        _ = add.delya
