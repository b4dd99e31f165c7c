"""Workflows on the memory store: sent, run, and what came of them."""

import asyncio
import copy
import logging
import pickle

import pytest
from inline import count, drain, make_app, steps_of, stored

from celeriac import chain, chord, group, signals, states
from celeriac.calls import Calls
from celeriac.exceptions import (
    ChordError,
    DecodeError,
    EncodeError,
    ImproperlyConfigured,
    NotInThisVersion,
    OperationalError,
    StoreError,
    TaskRevokedError,
)
from celeriac.flows import TOGETHER
from celeriac.result import GroupResult
from celeriac.streaming import StreamedResult
from celeriac.testing.harness import using


@pytest.fixture
def app():
    app = make_app()
    yield app
    app.close()


@pytest.fixture
def add(app):
    return app.task(name="add")(lambda a, b=0: a + b)


@pytest.fixture
def total(app):
    return app.task(name="total")(sum)


@pytest.fixture
def fail(app):
    @app.task(name="fail")
    def fail(*args, **kwargs):
        raise ValueError("no")

    return fail


@pytest.fixture
def told(app):
    """What errbacks were told; by two tasks, of either style."""
    seen = []

    @app.task(name="old")
    def old(task_id):
        seen.append(task_id)

    @app.task(name="new")
    def new(request, exc, traceback):
        seen.append((request.id, request.task, repr(exc), traceback))

    seen_by = {"old": old, "new": new}
    return seen, seen_by


def value(app, result):
    drain(app)
    return result.get(timeout=5)


# -- sending -------------------------------------------------------------------------------------


def test_a_chain(app, add):
    result = (add.s(1, 1) | add.s(2) | add.s(3)).delay()
    assert value(app, result) == 7
    assert (result.parent.get(), result.parent.parent.get()) == (4, 2)
    assert result.parent.parent.parent is None


def test_all_parts_are_stored_in_one_step(app, add, total, monkeypatch):
    steps = steps_of(app, monkeypatch)
    (add.s(1) | group(add.s(1), add.s(2)) | total.s().on_error(add.si(1))).delay()
    assert [*map(len, steps)] == [5]


def test_every_way_to_send_and_to_give_arguments(app, add):
    steps = add.s(b=1) | add.s(2)
    results = [
        steps(1), steps.delay(1), steps.apply_async((1,)), steps.clone((1,)).delay(),
        steps.apply_async((), {"a": 1}), asyncio.run(_awaited(steps)),
    ]  # fmt: skip
    drain(app)
    assert [each.get(timeout=5) for each in results] == [4] * 6
    assert value(app, group(add.s(1), add.s(2))(10)) == [11, 12]
    assert value(app, group(add.s(1), add.s(2)).apply_async((), {"b": 5}, queue="celery")) == [6, 7]


async def _awaited(steps):
    return await steps.aapply_async((1,))


def test_a_canvas_can_be_sent_again(app, add):
    steps = add.s(1) | group(add.s(1), add.s(2))
    first, second = steps.delay(), steps.delay()
    drain(app)
    assert first.id != second.id
    assert first.get(timeout=5) == second.get(timeout=5) == [2, 3]


def test_options_of_parts_and_of_the_whole(app, add):
    result = (add.s(1) | add.s(2).set(queue="own") | add.s(3)).apply_async(
        queue="whole", priority=4, time_limit=30, headers={"a": 1}, expires=600
    )
    parts = [result.parent.parent, result.parent, result]
    records = [stored(app, each.id) for each in parts]
    assert [each.queue for each in records] == ["whole", "own", "whole"]
    assert [each.priority for each in records] == [4, 4, 4]
    assert [each.expires is not None for each in records] == [True, False, False]  # not released
    members = group(add.s(1), add.s(2)).apply_async(countdown=60)
    assert [stored(app, each.id).state for each in members] == [states.SCHEDULED] * 2
    later = (add.s(1) | add.s(2)).apply_async(countdown=60)
    assert [stored(app, each).state for each in later.as_list()] == [
        states.WAITING, states.SCHEDULED,
    ]  # fmt: skip


def test_times_of_later_parts_count_from_when_they_are_released(app, add):
    timed = app.task(name="timed", expires=60)(lambda a: a)
    with using(app) as harness:
        result = (
            add.s(1).set(countdown=10) | add.s(2).set(countdown=60) | timed.s().set(countdown=30)
        ).delay()
        harness.clock.advance(10)
        harness.run_pending()
        assert harness.store.inspection.get([result.parent.id])[0].due == pytest.approx(
            harness.clock.wall() + 60, abs=1
        )
        harness.clock.advance(500)
        harness.run_pending()
        harness.clock.advance(40)
        harness.run_pending()
        assert result.get(timeout=5) == 3
        late = (add.s(1) | timed.s()).delay()
        harness.run_pending()
        assert late.get(timeout=5) == 1


def test_a_frozen_workflow_has_the_ids_it_is_sent_with(app, add, total):
    canvas = group(add.s(1), add.s(2)) | total.s()
    frozen = canvas.freeze("mine")
    result = canvas.delay()
    assert frozen == result == "mine"
    assert frozen.as_tuple() == result.as_tuple()
    assert value(app, frozen) == 3


def test_a_collecting_task_goes_where_the_members_go(app, add):
    members = group(add.s(1).set(queue="mail", priority=3), add.s(2).set(queue="mail"))
    (members | group(add.s(), add.s()).set(queue="mail")).delay()
    (collecting,) = app.store.inspection.list(task="celeriac.collect")
    assert (collecting.queue, collecting.priority) == ("mail", 3)


def test_a_map_goes_where_its_task_goes(app):
    inner = app.task(name="inner", queue="mail")(lambda x: x)
    assert stored(app, inner.map([1]).delay().id).queue == "mail"
    app.conf.task_routes = {"inner": {"queue": "routed"}}
    other = app.task(name="other")(lambda x: x)
    app.conf.task_routes = {"other": {"queue": "routed"}}
    assert stored(app, other.map([1]).delay().id).queue == "routed"


def test_maps_and_chunks(app, add):
    @app.task(name="wait")
    async def wait(x):
        await asyncio.sleep(0)
        return x

    pairs = [(n, n) for n in range(5)]
    results = [
        add.map([1, 2]).delay(), add.starmap(pairs).delay(), add.chunks(pairs, 2)(),
        wait.map([1, 2]).delay(), (add.s(1) | add.map([5])).delay(),
    ]  # fmt: skip
    drain(app)
    assert [each.get(timeout=5) for each in results] == [
        [1, 2], [0, 2, 4, 6, 8], [[0, 2], [4, 6], [8]], [1, 2], [5],
    ]  # fmt: skip


def test_empty_workflows(app, add, total):
    assert chain().delay() is None
    result = group([]).delay()
    assert (result.get(), len(result), result.ready(), result.successful()) == ([], 0, True, True)
    assert count(app) == 0
    assert value(app, chord([], total.s())()) == 0
    assert value(app, (add.s(1) | group([])).delay()) == 1
    assert value(app, (add.s(1) | group([]) | total.s()).delay()) == 0


def test_a_chord_takes_its_body_when_it_is_called(app, add, total):
    header = chord([add.s(1), add.s(2)])
    assert value(app, header(total.s())) == 3
    assert value(app, header.apply_async(kwargs={"body": total.s()})) == 3
    with pytest.raises(ValueError, match="this chord has no body"):
        header()


def test_by_name_and_unknown(app, add):
    """A part of a name that this app does not know is sent; whoever knows it may run it."""
    result = (add.s(1) | app.signature("elsewhere", (2,)) | add.s(3)).delay()
    drain(app)
    assert [stored(app, id).state for id in result.as_list()] == [
        states.WAITING, states.QUEUED, states.SUCCEEDED,
    ]  # fmt: skip
    assert stored(app, result.parent.id).parked
    app.task(name="elsewhere")(lambda a, b: a * b)
    assert value(app, result) == 5


# -- options of one call -------------------------------------------------------------------------


def test_link_and_link_error_of_one_call(app, add, fail, told):
    seen, errbacks = told
    kept = []
    keep = app.task(name="keep")(kept.append)
    add.apply_async((1, 2), link=[keep.s(), add.s(10) | keep.s()])
    app.send_task("add", (1, 1), link=keep.s())
    sent = fail.apply_async(link_error=errbacks["old"].s(), link=keep.s())
    drain(app)
    assert sorted(kept) == [2, 3, 13]
    assert seen == [sent.id]


def test_the_options_that_say_where_a_call_stands(app, add, total):
    seen = []

    @app.task(name="where", bind=True)
    def where(self):
        run = self.request
        seen.append((run.root_id, run.parent_id, run.group, run.group_index))

    where.apply_async(root_id="r", parent_id="p", group_id="g", group_index=3)
    drain(app)
    assert seen == [("r", "p", "g", 3)]
    sent = add.apply_async((1, 2), chord=total.s(), task_id="member")
    drain(app)
    assert (sent.id, sent.get(timeout=5)) == ("member", 3)
    body = app.store.inspection.list(task="total")[0]
    assert app.AsyncResult(body.id).get(timeout=5) == 3
    first = add.apply_async((1, 2), chain=[add.s(100), add.s(10)])  # the next one last
    drain(app)
    (second,) = first.children
    assert (first.get(), second.get(), second.children[0].get()) == (3, 13, 113)


@pytest.mark.parametrize("option", ["link", "link_error"])
def test_a_group_takes_no_callbacks(app, add, option):
    for canvas in (group(add.s(1)), group(add.s(n) for n in range(2)), add.chunks([(1, 2)], 1)):
        with pytest.raises(TypeError, match=f"a group has no {option}"):
            canvas.apply_async(**{option: add.s()})
    assert count(app) == 0


def test_many_at_once_may_be_workflows(app, add, total):
    calls = [add.s(1, 2), add.s(1) | add.s(2), group(add.s(1), add.s(2)) | total.s(),
             add.s(3).set(link=add.s(1)), group(add.s(1))]  # fmt: skip
    results = app.enqueue_many(calls)
    drain(app)
    assert [each.get(timeout=5) for each in results] == [3, 3, 3, 3, [1]]


# -- bad input -----------------------------------------------------------------------------------


def test_a_part_that_cannot_be_serialised_leaves_nothing(app, add, total):
    for canvas in (
        add.s(1) | add.s(object()),
        group(add.s(1), add.s(object())),
        chord([add.s(1)], total.s().on_error(add.s(object()))),
    ):
        with pytest.raises(EncodeError, match="of type object"):
            canvas.delay()
    assert count(app) == 0


def test_wrong_arguments_and_options_leave_nothing(app, add):
    with pytest.raises(TypeError, match="missing 1 required"):
        (add.s() | add.s()).delay()
    with pytest.raises(TypeError, match="takes from 1 to 2 positional arguments but 3"):
        (add.s(1) | add.s(2, 3)).delay()
    with pytest.raises(TypeError, match="has no option 'zebra'"):
        (add.s(1) | add.s(2).set(zebra=1)).delay()
    with pytest.raises(NotInThisVersion, match="shadow"):
        group(add.s(1)).apply_async(shadow="x")
    with pytest.raises(TypeError, match="takes signatures"):
        add.apply_async((1,), link=5)
    assert count(app) == 0


def test_a_canvas_that_contains_itself_is_refused(app, add):
    members = group(add.s(1))
    members.tasks.append(members)
    with pytest.raises(ValueError, match="contains itself"):
        members.delay()
    assert count(app) == 0


# -- streams -------------------------------------------------------------------------------------


def test_a_generator_is_sent_as_it_comes(app, add, total):
    small = chord((add.s(n) for n in range(3)), total.s())()
    assert value(app, small) == 3
    assert len(small.parent) == 3
    drained = []

    def members(many):
        for number in range(many):
            if number == TOGETHER + 5:
                drained.append(count(app))  # the first ones are there already
            yield add.s(number, 1)

    many = TOGETHER + 10
    result = chord(members(many), total.s() | add.s(1)).delay()
    drain(app, most=5000)
    assert drained == [4 + 2 + TOGETHER]
    assert result.get(timeout=5) == sum(range(many)) + many + 1
    header = result.parent.parent
    assert isinstance(header, StreamedResult)
    assert header.get(timeout=5) == [number + 1 for number in range(many)]


def test_a_long_list_goes_in_parts_too(app, add, total, monkeypatch):
    steps = steps_of(app, monkeypatch)
    alone = group(add.s(n) for n in range(2 * TOGETHER + 1))()
    joined = chord([add.s(n) | add.s(1) for n in range(TOGETHER + 1)], total.s())()
    joined_parts = [TOGETHER, TOGETHER, 2]
    assert [*map(len, steps)] == [TOGETHER, TOGETHER, 1, *joined_parts]
    drain(app, most=9000)
    assert alone.get(timeout=5) == list(range(2 * TOGETHER + 1))
    assert joined.get(timeout=5) == sum(range(TOGETHER + 1)) + TOGETHER + 1
    assert joined.parent.completed_count() == TOGETHER + 1


def test_what_follows_a_stream_may_hold_groups(app, add, total, monkeypatch):
    steps = steps_of(app, monkeypatch)
    result = chord(
        (add.s(n) for n in range(TOGETHER + 1)), group(total.s(), total.s()) | total.s()
    )()
    drain(app, most=9000)
    assert result.get(timeout=5) == 2 * sum(range(TOGETHER + 1))
    assert [*map(len, steps)] == [TOGETHER, 1]  # a stream all the same


def test_a_generator_is_sent_once(app, add):
    lazy = group(add.s(n) for n in range(3))
    assert value(app, lazy.delay()) == [0, 1, 2]
    with pytest.raises(RuntimeError, match="have been sent already"):
        lazy.delay()


@pytest.mark.parametrize("many", [3, TOGETHER + 3])
def test_a_generator_that_raises_half_way(add, total, many):
    """What was sent runs on; the body fails once the join has waited for the rest in vain."""
    app = make_app(join_seal_timeout=0.1, publish_timeout=0.1)

    @app.task(name="add")
    def plus(a):
        return a

    tot = app.task(name="total")(sum)

    def members():
        for number in range(many):
            yield plus.s(number)
        raise OSError("half")

    with pytest.raises(OSError, match="half"):
        chord(members(), tot.s())()
    if many < TOGETHER:
        assert count(app) == 0
        return
    drain(app, most=5000)
    (body,) = app.store.inspection.list(task="total")
    assert body.state == states.WAITING
    _wait_for_the_reaper(app, body.id)
    assert stored(app, body.id).reason.startswith("HeaderIncomplete: header incomplete: 1000")


def test_the_join_is_gone_when_its_seal_is_repeated(app, add, monkeypatch):
    """The store's answer is lost; meanwhile the body runs and is replaced by another task."""

    @app.task(bind=True)
    def total(self, values):
        return self.replace(group(add.s(sum(values), each) for each in range(2)))

    seal, seals = app.store.queue.seal, []

    def lost(join, size):
        seal(join, size)
        seals.append(join)
        if len(seals) == 1:
            drain(app, most=5000)
            raise OperationalError("the answer is lost")

    monkeypatch.setattr(app.store.queue, "seal", lost)
    members = range(TOGETHER + 3)
    result = chord((add.s(each, 0) for each in members), total.s())()
    assert value(app, result) == [sum(members), sum(members) + 1]
    assert len(seals) == 1, "the second found nothing to seal"


def test_a_join_that_is_gone_before_its_first_seal_is_an_error(app, add, total, monkeypatch):
    seal = app.store.queue.seal
    monkeypatch.setattr(app.store.queue, "seal", lambda _join, size: seal("nowhere", size))
    with pytest.raises(StoreError, match="join nowhere is not known"):
        chord((add.s(each, 0) for each in range(TOGETHER + 3)), total.s())()


def _wait_for_the_reaper(app, id):
    import time

    deadline = time.monotonic() + 30
    while stored(app, id).state == states.WAITING:
        assert time.monotonic() < deadline
        app.store.queue.reap()
        time.sleep(0.05)


# -- failures ------------------------------------------------------------------------------------


def test_what_a_step_raised_is_raised_by_those_behind_it(app, add, fail):
    result = (add.s(1) | fail.s(2) | add.s(3) | add.s(4)).delay()
    drain(app)
    with pytest.raises(ValueError, match="no") as caught:
        result.get(timeout=5)
    raised = f"fail(…, 2)[{result.parent.parent.id}]"
    assert caught.value.__notes__ == [
        f"Raised by task {raised}, without which {result.id} cannot run."
    ]
    assert (result.state, result.parent.state) == ("FAILURE", "FAILURE")


def test_a_chords_failure_names_member_task_arguments_and_exception(app, add, fail, total):
    result = (group(add.s(1), fail.s(7, b=8)) | total.s() | add.s(1)).delay()
    drain(app)
    member = result.parent.parent[1].id
    for each in (result, result.parent):
        with pytest.raises(ChordError) as caught:
            each.get(timeout=5)
        assert str(caught.value) == (
            f"member 1 of the header, fail(7, 'b': 8)[{member}], ended without success: "
            "ValueError: no"
        )
        assert isinstance(caught.value.__cause__, ValueError)


def again(app, **changes):
    """A task that asks to be repeated with *changes* in its first run."""

    @app.task(name="again", bind=True)
    def again(self, first, second=0, third=0):
        if not self.request.retries:
            raise self.retry(countdown=0, **changes)
        return [first, second, third, *self.request.args]

    return again.s(2)


REPEATS = [
    # What it takes stays what it was, and is not taken twice.
    ({}, [1, 2, 0, 1, 2]),
    ({"kwargs": {"third": 5}}, [1, 2, 5, 1, 2]),
    ({"priority": 3}, [1, 2, 0, 1, 2]),
    # Arguments of its own are all it gets.
    ({"args": (7, 8)}, [7, 8, 0, 7, 8]),
    ({"args": (7,), "kwargs": {"third": 5}}, [7, 0, 5, 7]),
]


@pytest.mark.parametrize("here", [False, True], ids=["sent", "here"])
def test_errbacks_are_told_the_arguments_that_the_failed_run_had(app, add, fail, total, here):
    """With the results that it took, as in Celery; what has not run took none."""
    seen = []

    @app.task(name="breaks")
    def breaks(*args):
        raise ValueError("no")

    @app.task(name="hears")
    def hears(request, exc, traceback):
        seen.append((request.task, request.args))

    told = hears.s()
    for canvas in (
        add.s(1) | breaks.s("x").on_error(told),
        chord([add.s(1), add.s(2)], breaks.s("x").on_error(told)),
        add.s(1) | breaks.si("x").on_error(told),
        chord([fail.s(), add.s(2)], total.s().on_error(told)),
    ):
        canvas.apply() if here else canvas.delay()
        drain(app)
    assert seen == [
        ("breaks", (1, "x")), ("breaks", ([1, 2], "x")), ("breaks", ("x",)), ("total", ()),
    ]  # fmt: skip


@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize(("changes", "wanted"), REPEATS)
def test_a_step_is_repeated_with_other_arguments(app, add, changes, wanted, eager):
    canvas = add.s(1, 0) | again(app, **changes)
    result = canvas.apply() if eager else canvas.delay()
    drain(app)
    assert result.get(timeout=5) == wanted


@pytest.mark.parametrize(("changes", "wanted"), REPEATS)
def test_a_body_is_repeated_with_other_arguments(app, add, changes, wanted):
    result = (group(add.s(1, 0)) | again(app, **changes)).delay()
    drain(app)
    whole = [[each] if each == 1 else each for each in wanted]
    assert result.get(timeout=5) == whole


def test_a_repeat_with_other_arguments_is_retried_with_those(app, add):
    fails = [True]

    @app.task(name="once", bind=True)
    def once(self, *args):
        if not self.request.retries:
            raise self.retry(args=(7, 8), countdown=0)
        if fails:
            raise ValueError("no")
        return list(args)

    result = (add.s(1, 0) | once.s(2)).delay()
    drain(app)
    assert result.failed()
    fails.clear()
    assert app.control.retry(result.id)
    drain(app)
    assert app.AsyncResult(result.id).get(timeout=5) == [7, 8]
    fails.append(True)


@pytest.mark.parametrize("kind", ["s", "si", "chord"])
def test_what_was_revoked_before_its_turn_waits_for_that_again(app, add, total, kind):
    if kind == "chord":
        result = chord([add.s(1, 2)], total.s()).delay()
    else:
        result = (add.s(1, 2) | (add.s(4) if kind == "s" else add.si(3, 4))).delay()
    app.control.revoke(result.id)
    done = app.control.retry(result.id)
    assert (done.runs, done.left) == ([result.id], {})
    assert app.store.inspection.get([result.id])[0].state == states.WAITING
    drain(app)
    assert app.AsyncResult(result.id).get(timeout=5) == (3 if kind == "chord" else 7)


@pytest.mark.parametrize("kind", ["s", "si"])
def test_a_line_that_was_revoked_as_a_whole_is_retried_from_its_beginning(app, add, kind):
    result = (add.s(1, 2) | (add.s(4) if kind == "s" else add.si(3, 4))).delay()
    result.revoke()
    assert app.control.retry(result.id).runs == [result.parent.id, result.id]
    drain(app)
    assert app.AsyncResult(result.id).get(timeout=5) == 7


def test_a_retry_that_is_refused_leaves_what_is_before_it_alone(app, add):
    result = (add.s(1, 2) | add.s(4).on_error(add.si(1, 1))).delay()
    result.revoke()
    done = app.control.retry(result.id)
    assert (done.runs, done.left[result.id].code) == ([], "errback")
    assert app.store.inspection.get([result.parent.id])[0].state == states.CANCELLED
    drain(app)
    assert app.control.retry(result.id).runs == [result.parent.id, result.id]
    drain(app)
    assert app.AsyncResult(result.id).get(timeout=5) == 7


def test_an_errback_is_told_though_what_the_failed_run_took_cannot_be_read(app, add, monkeypatch):
    seen = []

    @app.task(name="hears")
    def hears(request, exc, traceback):
        seen.append((request.id, request.args))

    result = (add.s(1) | add.s("x").on_error(hears.s())).delay()
    monkeypatch.setattr(Calls, "_input", broken_input)
    drain(app)
    assert result.failed()
    assert seen == [(result.id, ("x",))], "with what it was sent, without what cannot be read"


def broken_input(*_args):
    raise DecodeError("cannot be read")


def test_an_errback_of_what_has_succeeded_is_not_retried(app, add):
    result = add.s(1, 2).on_error(add.si(1, 1)).delay()
    (errback,) = (each.id for each in app.store.inspection.list([states.WAITING]))
    app.control.revoke(errback)
    drain(app)
    done = app.control.retry(errback)
    assert (done.runs, done.left[errback].code) == ([], "upstream")
    told = f"it is for when {result.id} has failed, which is succeeded"
    assert done.left[errback].text == told


def test_an_errback_is_repeated_with_what_it_was_told(app, fail):
    seen = []

    @app.task(name="tell", bind=True)
    def tell(self, id, note=""):
        if not self.request.retries:
            raise self.retry(kwargs={"note": "again"}, countdown=0)
        seen.append((id, note))

    result = fail.s().on_error(tell.s()).delay()
    drain(app)
    assert seen == [(result.id, "again")]


def test_a_chords_failure_tells_nothing_that_is_hidden(app, total):
    @app.task(name="login", sensitive=["password"])
    def login(user, password):
        raise ValueError(f"no such user with {password}")

    result = (group([login.s("eve", "hunter2"), login.s("bob", "s3cret")]) | total.s()).delay()
    drain(app)
    with pytest.raises(ChordError, match=r"login\('eve', \*\*\*\)") as caught:
        result.get(timeout=5)
    assert "hunter2" not in str(caught.value)


def test_what_fails_before_a_chord_is_raised_by_its_body(app, add, fail, total):
    result = (fail.s() | group(add.s(1), add.s(2)) | total.s()).delay()
    drain(app)
    with pytest.raises(ValueError, match="no"):
        result.get(timeout=5)


@pytest.mark.parametrize("style", ["old", "new"])
def test_errbacks_are_told_of_what_failed(app, add, fail, total, told, style):
    seen, errbacks = told

    def runs(canvas, at):
        result = canvas.on_error(errbacks[style].s()).delay()
        drain(app)
        failed = at(result)
        (one,) = seen
        seen.clear()
        if style == "old":
            assert one == failed.id
        else:
            assert one[:2] == (failed.id, failed.name)
        return one

    runs(fail.s(), lambda result: result)
    one = runs(add.s(1) | fail.s() | add.s(1) | add.s(2), lambda result: result.parent.parent)
    runs(fail.s() | group(add.s(1), add.s(2)) | total.s(), lambda result: result.parent.parent)
    runs(fail.s() | add.s(1) | group(add.s(1), add.s(2)), lambda result: result.parent.parent)
    body = runs(chord([add.s(1), fail.s()], total.s()), lambda result: result)
    if style == "new":
        assert one[2] == "ValueError('no')"
        assert 'raise ValueError("no")' in one[3]
        assert body[2].startswith("ChordError('member 1 of the header")


def test_errbacks_that_are_not_needed_do_not_run(app, add, fail, told):
    seen, errbacks = told
    (add.s(1) | add.s(2)).on_error(errbacks["old"].s()).delay()
    (add.s(1) | fail.s() | add.s(1).on_error(errbacks["new"].s())).delay()
    drain(app)
    assert seen == []


def test_errbacks_have_arguments_of_their_own_and_may_take_nothing_else(app, fail):
    seen = []

    @app.task(name="note")
    def note(*args):
        seen.append(args)

    @app.task(name="mail")
    def mail(task_id, address):
        seen.append((task_id, address))

    sent = fail.s().on_error(note.si("told")).on_error(mail.s("me@shop")).delay()
    drain(app)
    assert seen == [("told",), (sent.id, "me@shop")]


def test_a_revoked_workflow_revokes_what_has_not_run(app, add, total):
    result = (add.s(1) | group(add.s(1), add.s(2)) | total.s() | add.s(3)).delay()
    result.revoke()
    assert drain(app) == []
    with pytest.raises(TaskRevokedError):
        result.get(timeout=5)
    assert {each.state for each in app.store.inspection.list()} == {states.CANCELLED}
    members = group(add.s(1), add.s(2)).delay()
    members.revoke()
    assert drain(app) == []


# -- inside --------------------------------------------------------------------------------------


def test_what_a_task_knows_of_its_place(app, total):
    @app.task(name="place", bind=True)
    def place(self, *args):
        run = self.request
        return [run.id, run.root_id, run.parent_id, run.group, run.group_index]

    result = (place.s() | group(place.s(), place.s()) | place.s()).delay()
    drain(app)
    members = result.parent
    first = members.parent
    ids = [each.id for each in members]
    assert first.get() == [first.id, first.id, None, None, None]
    assert members[1].get() == [ids[1], first.id, first.id, members.id, 1]
    assert result.get() == [result.id, first.id, ids[0], None, None]


def test_what_a_task_sends_is_its_child(app, add):
    @app.task(name="sends")
    def sends():
        (add.s(1) | add.s(2)).delay()
        group(add.s(3), add.s(4)).delay()
        chord([add.s(5)], add.s([6])).apply_async(add_to_parent=False)

    result = sends.delay()
    drain(app)
    children = result.children
    assert [each.get() for each in children] == [1, 3, 4]
    assert [each.get() for each in children[0].children] == [3]
    assert {stored(app, each.id).task for each in children} == {"add"}


def test_children_are_those_that_follow_too(app, add):
    result = (add.s(1) | add.s(2).set(link=add.s(10))).delay()
    drain(app)
    assert result.parent.children == [result]
    assert [each for _, each in result.parent.collect()] == [1, 3, 13]
    graph = result.parent.graph
    assert len(graph) == 3
    assert graph.topsort()[0] == result.parent
    assert graph[result] == [result.parent]


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda add, total: add.s(1, 2), 3),
        (lambda add, total: add.s(1) | add.s(2) | add.s(3), 6),
        (lambda add, total: group(add.s(1), add.s(2)), [1, 2]),
        (lambda add, total: chord([add.s(1), add.s(2)], total.s()), 3),
        (lambda add, total: add.s(1) | group(add.s(1), add.s(2)), [2, 3]),
        (lambda add, total: group([]), []),
        (lambda add, total: add.map([4, 5]), [4, 5]),
        (lambda add, total: add.s(1).set(link=add.s(5)), 1),
    ],
)
def test_a_run_is_replaced(app, add, total, make, expected):
    @app.task(name="instead", bind=True)
    def instead(self, *args):
        raise self.replace(make(add, total))

    @app.task(name="wrap")
    def wrap(value):
        return {"of": value}

    alone, first, member = (
        instead.delay(), (instead.s() | wrap.s()).delay(),
        (group(instead.s(), add.s(9)) | wrap.s()).delay(),
    )  # fmt: skip
    within = (add.s(0) | group([instead.s() | wrap.s(), add.s(9)]) | wrap.s()).delay()
    drain(app)
    assert alone.get(timeout=5) == expected
    assert first.get(timeout=5) == {"of": expected}
    assert member.get(timeout=5) == {"of": [expected, 9]}
    assert within.get(timeout=5) == {"of": [{"of": expected}, 9]}
    assert value(app, instead.delay()) == instead.apply().get() == expected


def test_called_like_a_function_replace_returns_the_value(app, add):
    @app.task(name="instead", bind=True)
    def instead(self, number):
        return self.replace(add.s(number) | add.s(1))

    assert instead(1) == 2


def test_a_replacement_that_fails_fails_in_its_place(app, add, fail, total, told):
    seen, errbacks = told

    @app.task(name="instead", bind=True)
    def instead(self):
        raise self.replace(add.s(1) | fail.s() | add.s(2))

    result = (instead.s() | add.s(1)).on_error(errbacks["old"].s()).delay()
    drain(app)
    with pytest.raises(ValueError, match="no"):
        result.get(timeout=5)
    assert len(seen) == 1
    whole = chord([instead.s(), add.s(1)], total.s())()
    drain(app)
    with pytest.raises(ChordError):
        whole.get(timeout=5)


@pytest.mark.parametrize(
    "make", [lambda add, fail: fail.s() | add.s(2), lambda add, fail: group(fail.s(), add.s(1))]
)
def test_errbacks_of_the_replaced_run_once_wherever_the_replacement_fails(
    app, add, fail, told, make
):
    seen, errbacks = told

    @app.task(name="instead", bind=True)
    def instead(self, *args):
        raise self.replace(make(add, fail))

    (add.s(1) | instead.s().on_error(errbacks["old"].s()) | add.s(1)).delay()
    drain(app)
    assert len(seen) == 1


def test_errbacks_of_an_inner_chain_run_once_and_only_if_it_began(app, add, fail, total, told):
    seen, errbacks = told
    inside = group(add.s(1), add.s(2)) | total.s()
    (add.s(1) | chain(fail.s(), inside).on_error(errbacks["old"].s())).delay()
    drain(app)
    assert len(seen) == 1
    (fail.s() | chain(inside, add.s(1)).on_error(errbacks["old"].s())).delay()
    drain(app)
    assert len(seen) == 1


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("sent_with", [False, True])
def test_errbacks_of_groups_in_a_row_run_once_whichever_fails(
    app, add, fail, total, told, at, first, sent_with
):
    seen, errbacks = told
    fine = app.task(name="fine")(lambda *values: 1)
    groups = [group(fail.s() if at == n else fine.s(), fine.s()) for n in range(3)]
    steps = chain(*groups, total.s())
    if sent_with:
        (add.s(1) | steps).apply_async(link_error=errbacks["old"].s())
    else:
        whole = steps.on_error(errbacks["old"].s())
        (whole if first else fine.s() | whole).delay()
    drain(app)
    assert len(seen) == 1


def test_a_replacement_may_be_replaced(app, add):
    @app.task(name="down", bind=True)
    def down(self, number):
        raise self.replace(group(down.s(number - 1), add.s(number)) if number else add.s(0))

    assert value(app, (down.s(3) | add.s([7])).delay()) == [[[0, 1], 2], 3, 7]


def test_a_run_that_fails_after_replace_has_not_been_replaced(app, add):
    @app.task(name="fails", bind=True)
    def fails(self):
        try:
            self.replace(add.s(1))
        finally:
            raise ValueError("after all")

    result = fails.delay()
    drain(app)
    with pytest.raises(ValueError, match="after all"):
        result.get(timeout=5)
    assert count(app) == 1


def test_replace_says_what_it_cannot_take(app, add):
    errors = []

    @app.task(name="tries", bind=True)
    def tries(self):
        for wrong in (chain(), add.s(1).set(chord=add.s()), 5):
            try:
                self.replace(wrong)
            except (ImproperlyConfigured, TypeError) as error:
                errors.append(str(error))

    tries.delay()
    drain(app)
    assert ["chain without tasks" in errors[0], "member of a chord" in errors[1],
            "takes signatures" in errors[2]] == [True] * 3  # fmt: skip


def test_members_are_added_to_a_chord(app, add, total):
    @app.task(name="grows", bind=True)
    def grows(self, number):
        for each in range(number):
            self.add_to_chord(grows.s(each))
        return 1

    result = (group(grows.s(3), add.s(100)) | total.s()).delay()
    drain(app)
    assert result.get(timeout=5) == 100 + 8
    ordered = (group(grows.s(0) | grows.s(), add.s(5)) | add.s([9])).delay()
    assert value(app, ordered) == [1, 5, 1, 9]


def test_an_added_member_that_fails_is_named_as_one(app, add, fail, total):
    @app.task(name="grows", bind=True)
    def grows(self):
        self.add_to_chord(fail.s())

    result = chord([grows.s(), add.s(1)], total.s())()
    drain(app)
    with pytest.raises(ChordError, match=r"^a member added to the header, fail\(\)\[.*: no$"):
        result.get(timeout=5)


def test_only_a_member_of_a_chord_can_add_to_it(app, add):
    @app.task(name="grows", bind=True)
    def grows(self):
        self.add_to_chord(add.s(1))

    result = grows.delay()
    drain(app)
    with pytest.raises(ValueError, match="not a member of a chord"):
        result.get(timeout=5)


def test_results_that_are_not_kept_reach_who_takes_them(total):
    app = make_app(task_ignore_result=True)
    kept = []
    add = app.task(name="add")(lambda a, b=0: a + b)
    tot = app.task(name="total")(sum)
    keep = app.task(name="keep")(kept.append)
    (add.s(1) | group(add.s(1), group(add.s(2), add.s(3)) | tot.s()) | tot.s() | keep.s()).delay()
    drain(app)
    assert kept == [2 + 3 + 4]
    assert all(each.body is None for each in app.store.inspection.list())


# -- what surrounds it ---------------------------------------------------------------------------


def test_signed_workflows(app):
    signed = make_app(security_key="k" * 32)
    add = signed.task(name="add")(lambda a, b=0: a + b)
    total = signed.task(name="total")(sum)

    @signed.task(name="instead", bind=True)
    def instead(self, *args):
        raise self.replace(group(add.s(1), add.s(2)) | total.s())

    result = (add.s(1) | group(add.s(1), instead.s()) | total.s()).delay()
    assert value(signed, result) == 5
    many = chord((add.s(n) for n in range(TOGETHER + 1)), total.s())()
    drain(signed, most=5000)
    assert many.get(timeout=5) == sum(range(TOGETHER + 1))
    group_ = group(add.s(1)).delay()
    group_.save()
    assert GroupResult.restore(group_.id, signed) == group_


def test_hidden_arguments_stay_hidden_in_parts_and_maps(app, caplog):
    @app.task(name="login", sensitive=["password"])
    def login(user, password="x"):
        raise ValueError(password)

    with caplog.at_level(logging.DEBUG):
        (login.s("eve", "hunter2") | login.s("more")).delay()
        login.starmap([("eve", "hunter2")]).delay()
        drain(app)
    for record in app.store.inspection.list():
        assert "hunter2" not in record.reason
    assert "hunter2" not in caplog.text


def test_receivers_hear_of_every_part(app, add, total):
    before, after = [], []

    def hear_before(sender, body, headers, **more):
        before.append(headers["id"])
        headers["trace"] = "t"

    def hear_after(sender, headers, **more):
        after.append(headers["id"])

    signals.before_task_publish.connect(hear_before)
    signals.after_task_publish.connect(hear_after)
    try:
        result = (group(add.s(1), add.s(2)) | total.s()).delay()
        many = chord((add.s(n) for n in range(TOGETHER + 1)), total.s())()
    finally:
        signals.before_task_publish.disconnect(hear_before)
        signals.after_task_publish.disconnect(hear_after)
    assert len(before) == 3 + TOGETHER + 2
    assert sorted(before) == sorted(after)
    drain(app, most=5000)
    assert result.get(timeout=5) == 3
    assert many.get(timeout=5) == sum(range(TOGETHER + 1))


def test_built_in_tasks_are_known_and_not_listed(app, add):
    assert "celeriac.collect" in app.tasks
    assert app.tasks["celery.map"].name == "celery.map"
    assert not {"celeriac.collect", "celery.map", "celery.starmap"} & set(app.tasks)
    assert {"celeriac.collect", "celery.map", "celery.starmap"} < app.facts().keys()
    assert app.tasks.get("celery.starmap") is not None
    assert app.tasks.get("zebra") is None


# -- here ----------------------------------------------------------------------------------------


def test_eager_workflows(app, add, total, fail, told):
    seen, errbacks = told
    result = (add.s(1) | group(add.s(1), add.s(2)) | total.s()).apply()
    assert (result.get(), result.state, result.parent.get()) == (5, "SUCCESS", [2, 3])
    assert result.parent.parent.get() == 1
    assert group(add.s(1), add.s(2)).apply((10,)).get() == [11, 12]
    failed = (add.s(1) | fail.s() | add.s(2)).on_error(errbacks["new"].s()).apply()
    with pytest.raises(ValueError, match="no"):
        failed.get()
    assert (failed.state, failed.parent.parent.state) == ("FAILURE", "SUCCESS")
    assert len(seen) == 1
    with pytest.raises(ChordError, match=r"fail\(\)"):
        chord([fail.s()], total.s()).apply().get()
    assert chain().apply() is None
    assert count(app) == 0


def test_an_eager_workflow_knows_what_came_of_each_task(app, add, total):
    """As the results of one that was sent do, once it has ended."""
    last = (add.s(1).set(link=add.s(10)) | add.s(2) | add.s(3)).apply()
    first = last.parent.parent
    assert [each.get() for each in first.children] == [11, 3]
    assert [value for _, value in first.collect()] == [1, 11, 3, 6]
    assert (len(first.graph), first.get_leaf()) == (4, 6)
    assert last.children == []
    again = pickle.loads(pickle.dumps(last))
    assert [each.get() for each in (again, again.parent, again.parent.parent)] == [6, 3, 1]
    joined = copy.copy(chord([add.s(1), add.s(2)], total.s()).apply())
    assert (joined.get(), joined.parent.get()) == (3, [1, 2])
    long = chain([add.s(0)] + [add.s(1)] * 500).apply()
    assert len(pickle.loads(pickle.dumps(long)).as_list()) == 501


@pytest.mark.parametrize(
    ("wrong", "error"),
    [({"countdown": "x"}, TypeError), ({"countdown": -1}, ValueError), ({"eta": "x"}, ValueError)],
    ids=str,
)
@pytest.mark.parametrize("at", [0, 1])
def test_options_are_found_wrong_in_an_eager_workflow_too(app, add, wrong, error, at):
    """Although it waits for no time: what passes there must not fail in production."""
    steps = [add.s(1), add.s(2)]
    steps[at].set(**wrong)
    for send in (chain(*steps).apply_async, chain(*steps).apply):
        with pytest.raises(error, match=r"countdown|eta"):
            send()


def test_the_body_may_be_given_where_a_chord_is_run_here(app, add, total):
    header = chord([add.s(1), add.s(2)])
    assert header.apply(kwargs={"body": total.s()}).get() == 3
    assert header.apply(body=total.s()).get() == 3


def test_always_eager(app, add, total, fail):
    app.conf.task_always_eager = True
    kept = []
    keep = app.task(name="keep")(kept.append)
    result = (group(add.s(1), add.s(2)) | total.s()).delay()
    assert (type(result).__name__, result.get()) == ("EagerResult", 3)
    assert add.apply_async((1, 2), link=keep.s()).get() == 3
    assert kept == [3]
    assert add.chunks([(1, 2), (3, 4)], 1)().get() == [[3], [7]]
    assert (add.s(1).set(countdown=60) | add.s(1).set(countdown=600)).delay().get() == 2
    app.conf.task_eager_propagates = True
    with pytest.raises(ValueError, match="no"):
        (add.s(1) | fail.s()).delay()
    assert count(app) == 0


def test_eager_repeats(app, add):
    runs = []

    @app.task(name="flaky", bind=True, default_retry_delay=60)
    def flaky(self, value):
        runs.append(value)
        if len(runs) < 3:
            raise self.retry()
        return value

    assert (add.s(1) | flaky.s() | add.s(1)).apply().get() == 2
    assert runs == [1, 1, 1]


def test_a_task_of_an_unknown_name_fails_here(app, add):
    result = (add.s(1) | app.signature("elsewhere") | add.s(1)).apply()
    with pytest.raises(Exception, match="'elsewhere' is not registered"):
        result.get()
