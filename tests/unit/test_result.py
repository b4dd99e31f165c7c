"""Results: states, waiting, failures as data and back, signatures."""

import asyncio
import pickle
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from inline import HOSTNAME, drain, make_app, stored

from celeriac import exceptions, failures, states
from celeriac.bodies import seal, unseal
from celeriac.context import Context, enter, leave
from celeriac.exceptions import (
    DeadTaskError,
    DecodeError,
    Ignore,
    NotInThisVersion,
    NotRegistered,
    Reject,
    ResultNotFound,
    ResultTooLarge,
    SecurityError,
    TaskFailed,
    TaskRevokedError,
    TimeLimitExceeded,
    TimeoutError,
    WorkerLostError,
)
from celeriac.failures import RemoteTraceback, capture, from_reason, revive
from celeriac.outcome import MESSAGE_MAX, TRACEBACK_MAX, Failure, ResultBody
from celeriac.result import AsyncResult, EagerResult, allow_join_result
from celeriac.signing import Signer

KEY = "a secret of some length"


class OutOfStock(Exception):
    """An exception of an application, with a constructor that must not run."""

    built = 0

    def __init__(self, item, count):
        type(self).built += 1
        super().__init__(item, count)
        self.item = item

    def __str__(self):
        return f"no {self.item} left"


@pytest.fixture
def app():
    return make_app()


@pytest.fixture
def ended(app):
    """Runs a function as a task and returns its result object."""

    def run(fun, *args, **options):
        options.setdefault("name", f"t{len(app.tasks)}")
        task = app.task(**options)(fun)
        result = task.delay(*args)
        drain(app)
        return result

    return run


def fail(error):
    def body():
        raise error

    return body


# -- reading -------------------------------------------------------------------------------------


def test_what_a_finished_task_says(app, ended):
    before = datetime.now(UTC)
    result = ended(lambda: {"n": 1}, name="named")
    assert (result.state, result.status) == ("SUCCESS", "SUCCESS")
    assert result.result == result.info == result.get(timeout=5) == result.wait(5) == {"n": 1}
    assert result.ready()
    assert result.successful()
    assert not result.failed()
    assert result.traceback is None
    assert abs((result.date_done - before).total_seconds()) < 60
    assert (result.retries, result.name, result.queue) == (0, "named", "celery")
    assert (result.args, result.kwargs) == ([], {})
    assert result.worker == HOSTNAME
    assert result.exists()
    assert result.task_id == result.id == str(result)


def test_what_a_task_that_waits_says(app):
    app.task(name="t")(lambda: None)
    result = app.tasks["t"].delay()
    assert result.state == "PENDING"
    assert result.result is None
    assert result.date_done is None
    assert not result.ready()
    assert not result.successful()
    assert not result.failed()


def test_the_worker_that_holds_a_task(app):
    names = []

    @app.task(name="t", bind=True)
    def t(self):
        result = app.AsyncResult(self.request.id)
        names.append((result.worker, self.request.hostname, result.state))

    t.delay()
    drain(app)
    ((worker, hostname, state),) = names
    assert worker == hostname
    assert state in {"RECEIVED", "STARTED"}


def test_an_id_that_nobody_knows(app):
    result = app.AsyncResult("never-was")
    assert result.state == "PENDING"
    assert not result.exists()
    assert (result.result, result.date_done, result.name, result.args) == (None, None, None, None)
    with pytest.raises(ResultNotFound, match="never sent here, or its record has expired"):
        result.get()
    with pytest.raises(ResultNotFound):
        asyncio.run(result.aget())


@pytest.mark.parametrize("id", ["", None, 3])
def test_a_result_needs_an_id(app, id):
    with pytest.raises(ValueError, match="id of a task"):
        app.AsyncResult(id)


def test_results_compare_by_id(app):
    one, same, other = (app.AsyncResult(each) for each in ("a", "a", "b"))
    assert one == same == "a"
    assert one != other
    assert len({one, same, other}) == 2
    assert one != 3
    assert repr(one) == "<AsyncResult: a>"
    assert one.as_tuple() == (("a", None), None)
    assert one.as_list() == ["a"]
    assert (one.parent, one.children) == (None, None)


def test_a_result_without_an_app_uses_the_current_one():
    with make_app(set_as_current=True) as app:
        result = AsyncResult("x")
        assert result.app is app
        copy = pickle.loads(pickle.dumps(result))
        assert copy == result


def test_forget_drops_the_result(app, ended):
    result = ended(lambda: 5)
    result.forget()
    with pytest.raises(ResultNotFound, match="forget"):
        result.get(timeout=5)
    assert result.state == "SUCCESS"
    assert result.result is None
    assert stored(app, result.id).body is None


def test_a_result_that_is_none_is_no_forgotten_one(ended):
    assert ended(lambda: None).get(timeout=5) is None


def test_maybe_throw(ended):
    seen = []
    assert ended(lambda: 5).maybe_throw(callback=lambda *args: seen.append(args)) == 5
    assert seen[0][1] == 5
    with pytest.raises(ValueError, match="x"):
        ended(fail(ValueError("x"))).maybe_throw()
    assert isinstance(ended(fail(ValueError("x"))).maybe_throw(propagate=False), ValueError)


@pytest.mark.parametrize("name", ["backend"])
def test_members_of_celerys_results_that_are_not_built_are_refused_by_name(app, name):
    for result in (app.AsyncResult("x"), EagerResult("x", 1, states.SUCCESS)):
        with pytest.raises(NotInThisVersion, match=name):
            getattr(result, name)
        assert not hasattr(result, name)


# -- waiting -------------------------------------------------------------------------------------


def test_get_waits_until_it_ends(app):
    @app.task(name="t")
    def t():
        return 1

    result = t.delay()
    got = []
    thread = threading.Thread(target=lambda: got.append(result.get(timeout=60)))
    thread.start()
    drain(app)
    thread.join(60)
    assert got == [1]


@pytest.mark.parametrize("kind", [TimeoutError, __builtins__["TimeoutError"]])
def test_a_wait_that_is_over_says_what_the_task_is_doing(app, kind):
    @app.task(name="t", queue="slow")
    def t(): ...

    result = t.delay()
    with pytest.raises(kind) as caught:
        result.get(timeout=0.01)
    text = str(caught.value)
    assert f"Task {result.id} had not ended after 0.01 s." in text
    assert "slow" in text
    with pytest.raises(kind, match="slow"):
        asyncio.run(result.aget(timeout=0.01))


def test_many_coroutines_wait(app):
    @app.task(name="t")
    def t(n):
        return n

    async def main():
        results = [await t.adelay(n) for n in range(5)]
        waits = [asyncio.create_task(each.aget(timeout=60)) for each in results]
        await asyncio.to_thread(drain, app)
        return await asyncio.gather(*waits)

    assert asyncio.run(main()) == list(range(5))


def test_awaits_take_no_thread_from_others(app):
    """Were they to share the loop's own, here a single one, each would hold it for a second."""

    @app.task(name="t")
    def t(): ...

    async def main():
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        waits = [asyncio.create_task(t.delay().aget()) for _ in range(100)]
        await asyncio.sleep(0)
        assert await asyncio.wait_for(asyncio.to_thread(int), 30) == 0
        for each in waits:
            each.cancel()

    asyncio.run(main())


def test_an_await_with_no_time_finds_what_has_ended(app):
    @app.task(name="t")
    def t():
        return 1

    done = t.delay()
    drain(app)
    assert asyncio.run(app.AsyncResult(done.id).aget(timeout=0)) == 1


def test_an_await_can_be_cancelled(app):
    @app.task(name="t")
    def t(): ...

    async def main():
        wait = asyncio.create_task(t.delay().aget())
        await asyncio.sleep(0)
        wait.cancel()
        with pytest.raises(asyncio.CancelledError):
            await wait

    asyncio.run(main())


def test_waiting_inside_a_task_is_refused_unless_it_is_meant(app):
    @app.task(name="inner")
    def inner():
        return 1

    done = inner.delay()
    drain(app)

    @app.task(name="outer")
    def outer(how):
        again = app.AsyncResult(done.id)
        if how == "flag":
            return again.get(timeout=5, disable_sync_subtasks=False)
        if how == "block":
            with allow_join_result():
                return again.get(timeout=5)
        return again.get(timeout=5)

    @app.task(name="aouter")
    async def aouter():
        return await app.AsyncResult(done.id)

    results = [outer.delay(how) for how in ("flag", "block", "")] + [aouter.delay()]
    drain(app)
    assert [each.state for each in results] == ["SUCCESS", "SUCCESS", "FAILURE", "FAILURE"]
    with pytest.raises(RuntimeError, match="waits for the result of another task"):
        results[2].get(timeout=5)
    with pytest.raises(RuntimeError, match="waits for the result of another task"):
        results[3].get(timeout=5)
    assert inner.apply().get() == 1


def test_outside_a_task_the_block_does_nothing():
    with allow_join_result():
        pass


def test_an_ignored_result_is_none_at_once_when_it_has_ended(app, ended):
    result = ended(lambda: 5, ignore_result=True)
    assert result.ignored
    assert result.state == "SUCCESS"
    assert result.get(timeout=5) is None
    assert stored(app, result.id).body is None


def test_a_call_can_ask_for_what_its_task_ignores(app):
    @app.task(name="t", ignore_result=True)
    def t():
        return 5

    kept, dropped = t.apply_async(ignore_result=False), t.delay()
    drain(app)
    assert kept.get(timeout=5) == 5
    assert dropped.get(timeout=5) is None


def test_an_ignored_failure_still_raises(ended):
    result = ended(fail(ValueError("x")), ignore_result=True)
    with pytest.raises(ValueError, match="x"):
        result.get(timeout=5)


# -- failures ------------------------------------------------------------------------------------


def test_a_builtin_is_raised_as_itself_and_as_a_failure(ended):
    result = ended(fail(ValueError("no such user", 7)))
    assert result.failed()
    for cls in (ValueError, TaskFailed):
        with pytest.raises(cls) as caught:
            result.get(timeout=5)
    error = caught.value
    assert type(error).__name__ == "ValueError"
    assert error.args == ("no such user", 7)
    assert str(error) == str(ValueError("no such user", 7))
    assert error.type_name == "ValueError"
    assert isinstance(result.result, ValueError)
    assert isinstance(result.get(timeout=5, propagate=False), ValueError)


def test_the_remote_traceback_is_kept_and_shown(ended):
    result = ended(fail(ValueError("x")))
    assert "in body" in result.traceback
    assert "celeriac/runner" not in result.traceback
    with pytest.raises(ValueError, match="x") as caught:
        result.get(timeout=5)
    assert isinstance(caught.value.__cause__, RemoteTraceback)
    shown = "".join(traceback.format_exception(caught.value))
    assert "raise error" in shown
    assert caught.value.remote_traceback == result.traceback


def test_an_os_error_has_its_number(ended):
    with pytest.raises(FileNotFoundError) as caught:
        ended(fail(FileNotFoundError(2, "No such file", "x.txt"))).get(timeout=5)
    assert caught.value.errno == 2


def test_a_class_of_the_application_is_not_rebuilt_unless_it_is_known(app, ended):
    OutOfStock.built = 0
    error = OutOfStock("tea", 3)
    result = ended(fail(error))
    with pytest.raises(TaskFailed) as caught:
        result.get(timeout=5)
    assert not isinstance(caught.value, OutOfStock)
    assert caught.value.type_name == f"{__name__}.OutOfStock"
    assert caught.value.message == "no tea left"

    assert app.register_exception(OutOfStock) is OutOfStock
    with pytest.raises(OutOfStock) as caught:
        result.get(timeout=5)
    assert isinstance(caught.value, TaskFailed)
    assert caught.value.args == ("tea", 3)
    assert str(caught.value) == "no tea left"
    assert OutOfStock.built == 1, "the constructor ran in the reader"


@pytest.mark.parametrize("option", ["throws", "autoretry_for"])
def test_classes_that_a_task_names_are_known(ended, option):
    result = ended(fail(OutOfStock("tea", 3)), **{option: (OutOfStock,)}, max_retries=0)
    with pytest.raises(OutOfStock):
        result.get(timeout=5)


@pytest.mark.parametrize("cls", [SystemExit, KeyboardInterrupt, GeneratorExit, MemoryError])
def test_exceptions_that_end_programs_are_failures_and_never_rebuilt(ended, cls):
    result = ended(fail(cls("x")))
    assert result.failed()
    with pytest.raises(TaskFailed) as caught:
        result.get(timeout=5)
    assert not isinstance(caught.value, cls)
    assert caught.value.type_name == cls.__name__


def test_an_own_error_keeps_its_attributes(ended):
    with pytest.raises(NotRegistered) as caught:
        ended(fail(NotRegistered("a.b", ["a.c"]))).get(timeout=5)
    assert caught.value.name == "a.b"
    assert isinstance(caught.value, TaskFailed)


def test_notes_and_causes_travel():
    error = ValueError("outer")
    error.add_note("look here")
    error.__cause__ = KeyError("inner")
    failure = capture(error)
    assert failure.notes == ("look here",)
    assert failure.causes == ("KeyError: 'inner'",)
    assert revive(failure, lambda name: None).__notes__ == ["look here"]


def test_a_revived_error_can_be_pickled():
    error = revive(capture(ValueError("x", 1)), lambda name: None)
    copy = pickle.loads(pickle.dumps(error))
    assert isinstance(copy, ValueError)
    assert isinstance(copy, TaskFailed)
    assert (copy.args, str(copy)) == (error.args, str(error))


def test_a_failure_that_a_task_passes_on_keeps_its_name(app, ended):
    inner = ended(fail(OutOfStock("tea", 1)))

    def outer():
        return inner.get(timeout=5, disable_sync_subtasks=False)

    with pytest.raises(TaskFailed) as caught:
        ended(outer).get(timeout=5)
    assert caught.value.type_name == "celeriac.exceptions.TaskFailed"
    assert "no tea left" in str(caught.value)


def test_a_class_that_cannot_be_joined_is_a_failure():
    sealed = type("Sealed", (Exception,), {"__init_subclass__": classmethod(lambda cls: 1 / 0)})
    failure = Failure(type="x.Sealed", message="m")
    assert type(revive(failure, lambda name: sealed)) is TaskFailed


# -- the zoo -------------------------------------------------------------------------------------


class BadStr(Exception):
    def __str__(self):
        raise RuntimeError("no text")


class BadRepr(Exception):
    def __repr__(self):
        raise RuntimeError("no repr")


class BadBoth(BadStr, BadRepr): ...


class NoStr(Exception):
    def __str__(self):
        return 3  # noqa: PLE0307 - that is the point


class BadArgs(Exception):
    args = property(lambda self: 1 / 0)


class Slotted(Exception):
    __slots__ = ("x",)


class ExitInStr(Exception):
    def __str__(self):
        raise SystemExit("from __str__")


def cyclic():
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    return first


def chained(count):
    error = None
    for n in range(count):
        outer = ValueError(f"e{n}")
        outer.__cause__ = error
        error = outer
    return error


def noted():
    error = ValueError("x")
    error.__notes__ = ["n" * 10_000_000, 3, *["more"] * 1000]
    return error


def odd_notes():
    error = ValueError("x")
    error.__notes__ = 7
    return error


def deep():
    def dive(n):
        if n:
            dive(n - 1)
        raise RecursionError("deep")

    try:
        dive(500)
    except RecursionError as error:
        return error


ZOO = {
    "bad str": BadStr(),
    "bad repr": BadRepr("x"),
    "bad both": BadBoth(),
    "str that is no text": NoStr(),
    "bad args": BadArgs(),
    "slots": Slotted("x"),
    "exit in str": ExitInStr(),
    "50 MB": ValueError("x" * 50_000_000),
    "50 MB argument": ValueError("x", "y" * 50_000_000),
    "cyclic": cyclic(),
    "long chain": chained(500),
    "notes": noted(),
    "odd notes": odd_notes(),
    "deep": deep(),
    "unpicklable": ValueError(lambda: None, threading.Lock()),
    "surrogate": ValueError("\ud800"),
    "nul and escapes": ValueError("\x00\x1b[31m\r\n"),
    "group": ExceptionGroup("many", [ValueError(1), ExceptionGroup("in", [KeyError(2)])]),
    "nan": ValueError(float("nan")),
    "large integer": ValueError(10**30),
    "local class": type("Local", (Exception,), {"__module__": 3})("x"),
    "system exit": SystemExit(3),
    "keyboard": KeyboardInterrupt(),
    "generator": GeneratorExit(),
    "warning": UserWarning("w"),
    "stop": StopIteration(5),
    "unicode": UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"),
    "import": ImportError("x", name="n", path="p"),
    "syntax": SyntaxError("x", ("f", 1, 1, "t")),
    "empty": Exception(),
}


@pytest.mark.parametrize("animal", ZOO)
def test_every_exception_becomes_data_and_an_exception_again(app, animal, caplog):
    error = ZOO[animal]

    @app.task(name="t")
    def t():
        raise error

    result = t.delay()
    drain(app)
    assert result.state == "FAILURE"
    body = unseal(stored(app, result.id).body, result.id, None)
    assert len(body.failure.message) <= MESSAGE_MAX + 100
    assert len(body.failure.traceback) <= TRACEBACK_MAX + 100
    assert len(body.failure.causes) <= 8
    assert sum(map(len, body.failure.notes)) < 100_000
    assert len(stored(app, result.id).reason) <= 2000
    assert "\n" not in stored(app, result.id).reason
    with pytest.raises(TaskFailed) as caught:
        result.get(timeout=5)
    str(caught.value), repr(caught.value), pickle.dumps(caught.value)
    assert "raised unexpected" in caplog.text
    assert max(len(each.getMessage()) for each in caplog.records) < 100_000


def test_what_a_very_long_message_keeps_is_its_beginning_and_its_end():
    text = capture(ValueError("a" * 100_000 + "z" * 100_000)).message
    assert text.startswith("aaa")
    assert text.endswith("zzz")
    assert "characters left out" in text


# -- ends that a store made ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "cls"),
    [
        ("WorkerLostError: worker h (pid 1) stopped", WorkerLostError),
        ("DeadTaskError: put aside", DeadTaskError),
        ("TimeLimitExceeded: it ran longer", TimeLimitExceeded),
        ("ResultTooLarge: the result takes 9 bytes", ResultTooLarge),
        ("UpstreamFailed: upstream x ended failed", exceptions.UpstreamFailed),
        ("ChordError: member 3 (x) ended failed", exceptions.ChordError),
        ("HeaderIncomplete: 2 members", exceptions.HeaderIncomplete),
        ("ValueError: of an ignored result", ValueError),
        ("shop.OutOfStock: none", TaskFailed),
        ("OutOfStock: none", TaskFailed),
        ("", TaskFailed),
        ("a sentence: with a colon", TaskFailed),
    ],
)
def test_a_reason_becomes_the_error_it_names(reason, cls):
    error = from_reason(reason, "TaskFailed")
    assert isinstance(error, cls)
    assert isinstance(error, TaskFailed)
    assert (reason.partition(": ")[2] or reason) in str(error)
    pickle.loads(pickle.dumps(error))


def test_every_own_error_can_be_made_of_a_reason():
    for name in failures._OWN:
        error = from_reason(f"{name}: text", "TaskFailed")
        assert isinstance(error, failures._OWN[name])
        assert "text" in str(error)


def test_revoked_expired_ignored_rejected(app):
    @app.task(name="t")
    def t(error=None):
        if error == "ignore":
            raise Ignore("not now")
        if error == "reject":
            raise Reject("bad letter")

    revoked, expired = t.delay(), t.apply_async(expires=-1)
    ignored, rejected = t.delay("ignore"), t.delay("reject")
    revoked.revoke()
    drain(app)
    for result in (revoked, expired):
        assert result.state == "REVOKED"
        with pytest.raises(TaskRevokedError) as caught:
            result.get(timeout=5)
        assert not isinstance(caught.value, TaskFailed)
    assert (ignored.state, ignored.get(timeout=5)) == ("IGNORED", None)
    assert rejected.state == "REJECTED"
    with pytest.raises(Reject, match="bad letter"):
        rejected.get(timeout=5)


def test_revoke_before_a_task_is_there(app):
    app.task(name="t")(lambda: None)
    app.control.revoke("later")
    result = app.tasks["t"].apply_async(task_id="later")
    assert result.state == "REVOKED"


def test_revoke_with_terminate_names_the_signal(app):
    seen = []
    app.store.queue.revoke = lambda ids, how: seen.append((list(ids), how)) or {}
    app.AsyncResult("a").revoke()
    app.AsyncResult("a").revoke(terminate=True)
    app.AsyncResult("a").revoke(terminate=True, signal="SIGKILL")
    app.control.terminate(["a", app.AsyncResult("b")])
    assert seen == [
        (["a"], None),
        (["a"], "SIGTERM"),
        (["a"], "SIGKILL"),
        (["a", "b"], "SIGTERM"),
    ]


def test_purge(app):
    app.task(name="t")(lambda: None)
    results = [app.tasks["t"].delay() for _ in range(3)]
    other = app.tasks["t"].apply_async(queue="other")
    assert app.control.purge() == 3
    assert {each.state for each in results} == {"REVOKED"}
    assert other.state == "PENDING"
    assert app.control.purge(["other"]) == 1


# -- signatures ----------------------------------------------------------------------------------


def test_results_are_signed_and_verified():
    app = make_app(security_key=KEY)
    task = app.task(name="t")(lambda: 5)
    result = task.delay()
    drain(app)
    assert result.get(timeout=5) == 5
    unseal(stored(app, result.id).body, result.id, Signer.from_setting(KEY, "celeriac"))


def test_a_failure_is_signed():
    app = make_app(security_key=KEY)
    result = app.task(name="t")(fail(ValueError("x"))).delay()
    drain(app)
    with pytest.raises(ValueError, match="x"):
        result.get(timeout=5)


def test_progress_is_signed():
    app = make_app(security_key=KEY)
    seen = []

    @app.task(name="t", bind=True)
    def t(self):
        self.update_state(state="P", meta=1)
        seen.append(app.AsyncResult(self.request.id).info)

    t.delay()
    drain(app)
    assert seen == [1]


@pytest.mark.parametrize(
    ("id", "signer"),
    [
        ("x", None),
        ("another task", Signer.from_setting(KEY, "celeriac")),
        ("x", Signer.from_setting("some other secret!", "celeriac")),
        ("x", Signer.from_setting(KEY, "another namespace")),
    ],
)
def test_a_forged_result_is_refused(id, signer):
    forged = seal(ResultBody(value=b"1"), id, signer)
    with pytest.raises(SecurityError) as caught:
        unseal(forged, "x", Signer.from_setting(KEY, "celeriac"))
    assert "It is the result of task x." in caught.value.__notes__


def test_a_body_that_is_none_is_told():
    with pytest.raises(DecodeError, match="result of task x cannot be read"):
        unseal(b"\xc1", "x", None)


# -- eager ---------------------------------------------------------------------------------------


def test_an_eager_result_is_a_result():
    result = EagerResult("x", 5, states.SUCCESS, name="t")
    assert isinstance(result, AsyncResult)
    assert (result.get(), result.result, result.info, result.state) == (5, 5, 5, "SUCCESS")
    assert asyncio.run(result.aget()) == 5
    assert result.ready()
    assert result.successful()
    assert not result.failed()
    assert (result.name, result.queue, result.retries, result.traceback) == ("t", None, 0, None)
    assert result.date_done.tzinfo is UTC
    result.forget()
    assert pickle.loads(pickle.dumps(result)).get() == 5


def test_an_eager_result_may_be_read_inside_a_task():
    token = enter(Context(id="x", called_directly=False), None)
    try:
        assert EagerResult("x", 5, states.SUCCESS).get() == 5
    finally:
        leave(token)
