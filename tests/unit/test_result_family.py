"""What came of a task: callbacks, the tasks it sent, and the twins for event loops."""

import asyncio
import gc
import logging
import threading
import weakref

import pytest
from inline import HOSTNAME, drain, make_app

from celeriac.exceptions import IncompleteStream, TimeoutError
from celeriac.result import AsyncResult

DEADLINE = 60


@pytest.fixture
def app():
    with make_app() as made:

        @made.task(name="add")
        def add(a, b):
            return a + b

        @made.task(name="fails")
        def fails():
            raise ValueError("no")

        @made.task(name="sends", bind=True)
        def sends(self, count, **options):
            sent = [add.apply_async((n, n), **options) for n in range(count)]
            assert [each.id for each in self.request.children] == [
                each.id for each in sent if options.get("add_to_parent", True)
            ]
            return count

        yield made


class Heard:
    """Results that callbacks were called with."""

    def __init__(self):
        self.results = []
        self.bell = threading.Event()

    def __call__(self, result):
        self.results.append(result)
        self.bell.set()

    def wait(self):
        assert self.bell.wait(DEADLINE)
        return self.results


# -- then ----------------------------------------------------------------------------------------


def test_then_calls_back_with_the_result_once_the_task_has_succeeded(app):
    heard, wrong = Heard(), Heard()
    result = app.tasks["add"].delay(1, 2)
    assert result.then(heard, wrong) is result
    drain(app)
    assert heard.wait() == [result]
    assert heard.results[0].get(timeout=0) == 3
    assert wrong.results == []


def test_then_calls_on_error_where_it_has_failed(app):
    heard, wrong = Heard(), Heard()
    result = app.tasks["fails"].delay().then(heard, on_error=wrong)
    drain(app)
    assert wrong.wait() == [result]
    assert heard.results == []


def test_then_of_what_has_ended_already_is_called_too(app):
    result = app.tasks["add"].delay(1, 2)
    drain(app)
    heard = Heard()
    result.then(heard)
    assert heard.wait() == [result]


def test_then_of_an_unknown_id_is_an_error(app):
    heard, wrong = Heard(), Heard()
    AsyncResult("never", app).then(heard, wrong)
    assert [each.id for each in wrong.wait()] == ["never"]


def test_a_callback_that_raises_is_logged_and_the_others_are_called(app, caplog):
    def broken(result):
        raise RuntimeError("my mistake")

    heard = Heard()
    result = app.tasks["add"].delay(1, 2)
    with caplog.at_level(logging.ERROR, "celeriac.watcher"):
        result.then(broken).then(heard)
        drain(app)
        heard.wait()
    assert "my mistake" in caplog.text
    assert result.id in caplog.text


def test_many_callbacks_share_one_thread(app):
    all_heard = [Heard() for _ in range(20)]
    results = [app.tasks["add"].delay(n, n).then(heard) for n, heard in enumerate(all_heard)]
    assert sum(each.name == "celeriac-results" for each in threading.enumerate()) == 1
    drain(app)
    assert [each.wait() for each in all_heard] == [[each] for each in results]


def test_a_weak_callback_goes_with_its_result(app):
    heard, other = Heard(), Heard()
    result = app.tasks["add"].delay(1, 2)
    gone = weakref.ref(result)
    result.then(heard, weak=True)
    kept = AsyncResult(result.id, app).then(other)
    del result
    gc.collect()
    assert gone() is None
    drain(app)
    assert other.wait() == [kept]
    assert heard.results == []


# -- children ------------------------------------------------------------------------------------


def test_children_are_what_the_task_has_sent(app):
    result = app.tasks["sends"].delay(3)
    assert result.children is None
    drain(app)
    assert [each.get(timeout=DEADLINE) for each in result.children] == [0, 2, 4]
    assert [each.children for each in result.children] == [[], [], []]


def test_children_of_a_failed_task_are_known(app):
    @app.task
    def half():
        app.tasks["add"].delay(1, 1)
        raise ValueError("then")

    result = half.delay()
    drain(app)
    assert [each.get(timeout=DEADLINE) for each in result.children] == [2]


def test_children_of_enqueue_many_and_send_task_are_known(app):
    @app.task
    def many():
        app.enqueue_many(app.tasks["add"].s(n, n) for n in range(3))
        app.send_task("add", (5, 5))

    result = many.delay()
    drain(app)
    assert [each.get(timeout=DEADLINE) for each in result.children] == [0, 2, 4, 10]


def test_a_call_may_stay_out_of_its_parents_children(app):
    result = app.tasks["sends"].delay(2, add_to_parent=False)
    drain(app)
    assert result.get(timeout=DEADLINE) == 2
    assert result.children == []


def test_a_task_without_trail_remembers_no_children(app):
    @app.task(trail=False)
    def quiet():
        app.tasks["add"].delay(1, 1)

    result = quiet.delay()
    drain(app)
    assert result.children == []


def test_no_more_than_a_thousand_children_are_kept(app):
    @app.task
    def very_many():
        app.enqueue_many(app.tasks["add"].s(n, n) for n in range(1100))

    result = very_many.delay()
    drain(app, most=3000)
    assert len(result.children) == 1000


def test_collect_gives_every_value_behind_its_parents(app):
    @app.task
    def above():
        app.tasks["sends"].delay(2)
        return "above"

    result = above.delay()
    drain(app)
    assert [value for _, value in result.collect(timeout=DEADLINE)] == ["above", 2, 0, 2]
    parents = [parent and parent.name for parent, _ in result.iterdeps()]
    assert parents == [None, above.name, "sends", "sends"]
    assert result.get_leaf() == 2


def test_iterdeps_stops_at_what_may_still_send_more(app):
    result = app.tasks["add"].delay(1, 1)
    with pytest.raises(IncompleteStream, match=result.id):
        list(result.iterdeps())
    assert list(result.iterdeps(intermediate=True)) == [(None, result)]


# -- the rest ------------------------------------------------------------------------------------


def test_the_worker_is_named_after_the_end(app):
    result = app.tasks["add"].delay(1, 1)
    assert result.worker is None
    drain(app)
    assert result.worker == HOSTNAME


def test_get_calls_back_with_id_and_value(app):
    result = app.tasks["add"].delay(1, 1)
    drain(app)
    seen = []
    assert result.get(callback=lambda *args: seen.append(args)) == 2
    assert seen == [(result.id, 2)]


def test_get_calls_on_interval_while_it_waits(app):
    result = app.tasks["add"].delay(1, 1)
    calls = []

    def passed():
        calls.append(1)
        if len(calls) == 3:
            drain(app)

    assert result.get(timeout=DEADLINE, interval=0.01, on_interval=passed) == 2
    assert len(calls) == 3
    with pytest.raises(TimeoutError):
        app.tasks["add"].delay(1, 1).get(timeout=0.05, interval=0.01, on_interval=passed)


def test_twins_for_event_loops(app):
    async def use():
        first = await app.tasks["add"].adelay(1, 1)
        assert not await first.aready()
        await asyncio.to_thread(drain, app)
        assert await first.aready()
        await first.aforget()
        second = await app.tasks["add"].adelay(1, 1)
        await second.arevoke()
        return first, second

    first, second = asyncio.run(use())
    assert app.store.results.get_many([first.id])[0].forgotten
    assert second.state == "REVOKED"


def test_throw_is_maybe_throw(app):
    result = app.tasks["fails"].delay()
    drain(app)
    with pytest.raises(ValueError, match="no"):
        result.throw()
