"""Replays: a recorded task once more, here, with nothing of it stored."""

import asyncio
import logging

import msgspec
import pytest
from inline import drain, make_app, stored

from celeriac import signals, states
from celeriac.exceptions import (
    Ignore,
    NotRegistered,
    NotReplayable,
    Reject,
    ResultNotFound,
    SecurityError,
    SoftTimeLimitExceeded,
)
from celeriac.ids import new_task_id
from celeriac.message import Edges, compose
from celeriac.replay import find, replay


@pytest.fixture
def app():
    return make_app()


class Heard(list):
    def __call__(self, state, value):
        self.append((state, value))


def run(app, id, **options):
    heard = Heard()
    found = replay(app, find(app, id), heard, **options)
    return found, heard


def test_it_returns_what_the_task_returns_and_stores_nothing(app):
    calls = []

    @app.task(name="adds", bind=True)
    def adds(self, x, y=0):
        run = self.request
        calls.append((run.id, run.is_replay, run.is_eager, run.called_directly, run.attempt))
        return x + y

    sent = adds.delay(1, y=2)
    drain(app)
    before = stored(app, sent.id)
    found, heard = run(app, sent.id)
    assert (found.succeeded, found.value, found.error, heard) == (True, 3, None, [])
    assert calls == [(sent.id, False, False, False, 1), (sent.id, True, True, False, 1)]
    assert stored(app, sent.id) == before


@pytest.mark.parametrize("drained", [False, True], ids=["waiting", "failed"])
def test_it_raises_what_the_task_raises_and_stores_nothing(app, drained):
    @app.task(name="fails")
    def fails(text):
        raise ValueError(text)

    sent = fails.delay("no such user")
    if drained:
        drain(app)
    before = stored(app, sent.id)
    found, _ = run(app, sent.id)
    assert (found.succeeded, found.outcome.state) == (False, states.FAILED)
    assert isinstance(found.error, ValueError)
    assert found.text == "ValueError: no such user"
    assert found.traceback.count("File ") == 1
    assert "raise ValueError(text)" in found.traceback
    assert stored(app, sent.id) == before


def test_the_run_is_the_last_one_of_the_record(app):
    seen = []

    @app.task(name="repeats", bind=True, max_retries=2)
    def repeats(self):
        seen.append((self.request.retries, self.request.attempt))
        raise self.retry(exc=KeyError("key"), countdown=0)

    sent = repeats.delay()
    drain(app)
    assert seen == [(0, 1), (1, 2), (2, 3)]
    found, _ = run(app, sent.id)
    assert seen[-1] == (2, 3)
    assert (found.outcome.state, found.text) == (states.FAILED, "KeyError: 'key'")


def test_a_retry_ends_it(app):
    @app.task(name="again", bind=True)
    def again(self, how):
        if how == "raised":
            try:
                {}["key"]
            except KeyError as error:
                raise self.retry(exc=error, countdown=30) from error
        if how == "made":
            raise self.retry(exc=ValueError("made"), countdown=30)
        raise self.retry(countdown=30)

    made = {how: again.delay(how).id for how in ("raised", "made", "bare")}
    found = {how: run(app, id)[0] for how, id in made.items()}
    assert {each.outcome.charge for each in found.values()} == {"retry"}
    assert {each.outcome.delay for each in found.values()} == {30}
    assert {how: each.text for how, each in found.items()} == {
        "raised": "KeyError: 'key'",
        "made": "ValueError: made",
        "bare": "Retry: Retry in 30s",
    }
    assert '{}["key"]' in found["raised"].traceback
    assert all("inside.py" not in each.traceback for each in found.values())
    assert {stored(app, id).state for id in made.values()} == {states.QUEUED}


def test_an_automatic_retry_shows_what_was_raised(app):
    @app.task(name="auto", autoretry_for=(OSError,), max_retries=3, retry_backoff=False)
    def auto():
        raise OSError("the disk")

    found, _ = run(app, auto.delay().id)
    assert (found.outcome.charge, found.text) == ("retry", "OSError: the disk")
    assert 'raise OSError("the disk")' in found.traceback


@pytest.mark.parametrize(
    ("error", "state"),
    [(Ignore("not now"), states.SKIPPED), (Reject("no"), states.REFUSED),
     (SystemExit(3), states.FAILED)],
    ids=["ignore", "reject", "exit"],
)  # fmt: skip
def test_other_ends(app, error, state):
    @app.task(name="ends")
    def ends():
        raise error

    found, _ = run(app, ends.delay().id)
    assert (found.succeeded, found.outcome.state) == (False, state)


def test_an_interrupt_is_for_the_process(app):
    @app.task(name="interrupted")
    def interrupted():
        raise KeyboardInterrupt

    sent = interrupted.delay()
    with pytest.raises(KeyboardInterrupt):
        run(app, sent.id)


def test_states_and_progress_are_heard(app):
    @app.task(name="shows", bind=True)
    def shows(self):
        self.update_state(state="LOADING", meta={"file": 1})
        self.progress(1, 2, "half")

    sent = shows.delay()
    found, heard = run(app, sent.id)
    assert found.succeeded
    (state, meta), (nothing, said) = heard
    assert (state, meta, nothing) == ("LOADING", {"file": 1}, None)
    assert (said.current, said.total, said.message) == (1, 2, "half")
    assert (sent.state, sent.progress) == ("PENDING", None)


def test_what_it_sends_is_sent_and_listed(app):
    @app.task(name="other")
    def other(number):
        return number

    @app.task(name="sends", bind=True)
    def sends(self):
        first = other.delay(1)
        second = other.apply_async((2,), queue="mail")
        many = app.enqueue_many([other.s(3), other.s(4)])
        return [first.id, second.id, *(each.id for each in many)]

    sent = sends.delay()
    found, _ = run(app, sent.id)
    assert [(task, queue) for task, _, queue in found.sent] == [
        ("other", "celery"), ("other", "mail"), ("other", "celery"), ("other", "celery"),
    ]  # fmt: skip
    assert [id for _, id, _ in found.sent] == found.value
    assert stored(app, found.value[1]).queue == "mail"
    assert not signals.after_task_publish.receivers


def test_a_coroutine(app):
    @app.task(name="acts", bind=True)
    async def acts(self):
        await asyncio.sleep(0)
        self.progress(1)
        return self.request.is_replay

    found, heard = run(app, acts.delay().id)
    assert (found.value, len(heard)) == (True, 1)


def test_only_what_surrounds_a_run_is_called(app):
    called = []

    from celeriac import Task

    class Telling(Task):
        def before_start(self, *args):
            called.append("before_start")

        def on_success(self, *args):
            called.append("on_success")

        def on_failure(self, *args):
            called.append("on_failure")

        def after_return(self, *args):
            called.append("after_return")

    @app.task(name="told", base=Telling)
    def told(fail):
        if fail:
            raise ValueError

    def note(signal=None, **_):
        called.append(signal.name)

    names = ("task_prerun", "task_postrun", "task_success", "task_failure", "task_retry")
    for name in names:
        getattr(signals, name).connect(note, weak=False)
    try:
        for fail in (False, True):
            run(app, told.delay(fail).id)
    finally:
        for name in names:
            getattr(signals, name).disconnect(note)
    assert called == ["task_prerun", "before_start", "task_postrun"] * 2


def test_it_does_not_log_an_end(app, caplog):
    @app.task(name="logs")
    def logs():
        logging.getLogger("shop").warning("from the task")
        raise ValueError("no")

    sent = logs.delay()
    run(app, sent.id)
    assert [each.message for each in caplog.records] == ["from the task"]


def test_what_has_expired_runs_all_the_same(app):
    @app.task(name="late", bind=True)
    def late(self):
        return self.request.expires

    sent = late.apply_async(expires=0.000001)
    found, _ = run(app, sent.id)
    assert (found.succeeded, found.value) == (True, None)


def test_the_soft_limit_is_kept_unless_it_is_left_out(app):
    import time

    @app.task(name="slow", soft_time_limit=0.05)
    def slow():
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            pass
        return "slow"

    sent = slow.delay()
    assert isinstance(run(app, sent.id)[0].error, SoftTimeLimitExceeded)
    assert run(app, sent.id, limits=False)[0].value == "slow"


def test_hidden_arguments_are_used_and_not_shown(app):
    @app.task(name="pays", sensitive=["card"])
    def pays(card):
        raise ValueError(f"no money on {card}")

    found, _ = run(app, pays.delay("4711-0815").id)
    assert found.text == "ValueError: no money on ***"
    assert "4711" not in found.traceback
    assert str(found.error) == "no money on 4711-0815"


def test_arguments_that_do_not_fit_any_more(app):
    @app.task(name="changed")
    def changed(x):
        return x

    other = make_app(broker=app.conf.broker_url)
    sent = changed.delay(1)

    @other.task(name="changed")
    def newer(x, y):
        return x + y

    found, _ = run(other, sent.id)
    assert not found.succeeded
    assert "y" in found.text


# -- what cannot be replayed -----------------------------------------------------------------------


def test_an_id_that_nobody_knows(app):
    with pytest.raises(ResultNotFound, match="No task nope is known to this store"):
        find(app, "nope")


def test_a_task_that_is_not_defined_here(app):
    sent = app.send_task("elsewhere.work")
    with pytest.raises(NotRegistered, match=r"'elsewhere\.work' is not registered"):
        find(app, sent.id)


def test_arguments_that_are_not_kept(app):
    @app.task(name="ignored", ignore_result=True)
    def ignored(x):
        pass

    sent = ignored.delay(1)
    assert find(app, sent.id)
    drain(app)
    with pytest.raises(
        NotReplayable, match=r"SUCCESS, and its arguments are not kept.*apply\(args"
    ):
        find(app, sent.id)


def test_a_message_with_a_wrong_signature():
    app = make_app(security_key="one key that is long enough to be one")
    other = make_app(broker=app.conf.broker_url, security_key="another key that is long enough")

    @app.task(name="signed")
    @other.task(name="signed")
    def signed():
        pass

    sent = app.send_task("signed")
    assert run(app, sent.id)[0].succeeded
    with pytest.raises(SecurityError):
        find(other, sent.id)


# -- parts of workflows ----------------------------------------------------------------------------


@pytest.fixture
def flow(app):
    """Stores parts as a planner would: (task, arguments, edges) by id."""

    @app.task(name="makes")
    def makes(value):
        if value is None:
            raise ValueError("nothing")
        return value

    @app.task(name="takes")
    def takes(value, more=0):
        return [value, more]

    def message(id, name, args, edges):
        made = app.client.message(name, args, {})
        header = msgspec.structs.replace(made.header, id=id, edges=edges)
        return compose(header, made.payload)

    def store(parts, join=None, body=None):
        queue = app.store.queue
        if join is not None:
            queue.open_join(join, message(*body))
        queue.enqueue([message(*part) for part in parts], join=join)
        if join is not None:
            queue.seal(join, len(parts))

    app.finalize()
    return store


def ids(count):
    return [new_task_id() for _ in range(count)]


def test_a_part_takes_the_stored_result_of_the_one_before(app, flow):
    a, b = ids(2)
    flow([
        (a, "makes", ["made"], Edges(success=(b,))),
        (b, "takes", [7], Edges(waits=True, takes=a)),
    ])  # fmt: skip
    with pytest.raises(NotReplayable, match=rf"takes the result of task {a}, which is PENDING"):
        find(app, b)
    drain(app)
    before = [stored(app, each) for each in (a, b)]
    assert run(app, b)[0].value == ["made", 7]
    assert run(app, a)[0].value == "made"  # and b is not released anew
    assert [stored(app, each) for each in (a, b)] == before
    app.store.results.forget([a])
    with pytest.raises(NotReplayable, match=rf"result of task {a}, which has expired or was drop"):
        find(app, b)


def test_a_part_behind_a_failure(app, flow):
    a, b = ids(2)
    flow([
        (a, "makes", [None], Edges(success=(b,))),
        (b, "takes", [7], Edges(waits=True, takes=a)),
    ])  # fmt: skip
    drain(app)
    with pytest.raises(NotReplayable, match=rf"which is FAILURE.*celeriac why {a}"):
        find(app, b)


def test_a_body_takes_the_stored_results_of_its_members(app, flow):
    a, b, body = ids(3)
    join = new_task_id()
    flow(
        [(a, "makes", ["a"], Edges(join=(join, 0))), (b, "makes", ["b"], Edges(join=(join, 1)))],
        join,
        (body, "takes", [], Edges(waits=True, gathers=join)),
    )
    with pytest.raises(NotReplayable, match="of which 0 of 2 are there"):
        find(app, body)
    drain(app)
    assert run(app, body)[0].value == [["a", "b"], 0]
    app.store.results.forget([a])
    with pytest.raises(NotReplayable, match="of which 1 of 2 are there"):
        find(app, body)
