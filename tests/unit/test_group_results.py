"""Results of many calls: sets and groups."""

import asyncio
import copy
import pickle
import threading

import pytest
from inline import drain, make_app

from celeriac import chain, chord, group, states
from celeriac.exceptions import NotInThisVersion, ResultNotFound, TimeoutError
from celeriac.graph import CycleError, DependencyGraph
from celeriac.result import AsyncResult, GroupResult, ResultSet, result_from_tuple
from celeriac.testing.worker import start_worker


@pytest.fixture
def app():
    app = make_app()
    yield app
    app.close()


@pytest.fixture
def add(app):
    return app.task(name="add")(lambda a, b=0: a + b)


@pytest.fixture
def fail(app):
    @app.task(name="fail")
    def fail():
        raise ValueError("no")

    return fail


def test_states_of_the_whole(app, add, fail):
    result = group(add.s(1), add.s(2)).delay()
    assert (result.ready(), result.waiting(), result.successful(), result.failed()) == (
        False, True, False, False,
    )  # fmt: skip
    assert result.completed_count() == 0
    drain(app)
    assert (result.ready(), result.waiting(), result.successful(), result.failed()) == (
        True, False, True, False,
    )  # fmt: skip
    assert result.completed_count() == 2
    mixed = group(add.s(1), fail.s()).delay()
    drain(app)
    assert (mixed.ready(), mixed.successful(), mixed.failed(), mixed.completed_count()) == (
        True, False, True, 1,
    )  # fmt: skip
    with pytest.raises(ValueError, match="no"):
        mixed.maybe_throw()
    mixed.maybe_throw(propagate=False)


def test_values_in_order_and_nested(app, add):
    seen = []
    result = group(
        add.s(1), group(add.s(2), add.s(3)), add.s(4) | group(add.s(1), add.s(2))
    ).delay()
    drain(app)
    assert result.get(timeout=5) == result.join() == result.join_native() == [1, [2, 3], [5, 6]]
    result.get(callback=lambda name, value: seen.append((name, value)))
    first, (second, third), (fourth, fifth) = result
    members = [first, second, third, fourth, fifth]
    assert seen == [(each.id, value) for each, value in zip(members, [1, 2, 3, 5, 6], strict=True)]


def test_a_failure_is_raised_or_is_a_value(app, add, fail):
    result = group(add.s(1), fail.s(), add.s(2)).delay()
    drain(app)
    with pytest.raises(ValueError, match="no"):
        result.get(timeout=5)
    first, error, last = result.get(propagate=False)
    assert (first, repr(error), last) == (1, "ValueError('no')", 2)


def test_a_failure_is_raised_while_others_run(app, add, fail):
    result = ResultSet([add.s(1).set(queue="nobody").delay(), fail.delay()], app)
    drain(app)
    with pytest.raises(ValueError, match="no"):
        result.get(timeout=30)


def test_waiting_ends_in_time(app, add):
    result = group(add.s(1), add.s(2)).delay()
    with pytest.raises(TimeoutError, match=result[0].id):
        result.get(timeout=0.05)
    calls = []

    def passed():
        calls.append(1)
        if len(calls) == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        result.get(timeout=60, interval=0.02, on_interval=passed)
    with pytest.raises(TimeoutError):
        asyncio.run(result.aget(timeout=0.05))
    with pytest.raises(NotInThisVersion, match="on_message"):
        result.get(on_message=print)


def test_what_is_not_known_is_told(app):
    with pytest.raises(ResultNotFound):
        ResultSet([app.AsyncResult("x")], app).get(timeout=5)


def test_values_as_they_come(app, add, fail):
    with start_worker(app):
        result = group(add.s(number) for number in range(5)).delay()
        assert sorted(result.iterate(timeout=30)) == list(range(5))
        found = dict(group(add.s(1), fail.s()).delay().iter_native(timeout=30))
    assert sorted(each["status"] for each in found.values()) == ["FAILURE", "SUCCESS"]
    assert {each["task_id"] for each in found.values()} == found.keys()
    failed = next(each for each in found.values() if each["status"] == "FAILURE")
    assert isinstance(failed["result"], ValueError)
    assert "ValueError" in failed["traceback"]


def test_awaited(app, add, fail):
    async def wait(result):
        return await result, await result.aready()

    with start_worker(app):
        assert asyncio.run(wait(group(add.s(1), group(add.s(2))).delay())) == ([1, [2]], True)
        with pytest.raises(ValueError, match="no"):
            asyncio.run(wait(group(fail.s()).delay()))


def test_many_are_waited_for(app, add):
    many = 2500
    result = group(add.s(number) for number in range(many)).delay()
    with start_worker(app):
        assert result.get(timeout=60) == list(range(many))


def test_callbacks_of_this_process(app, add, fail):
    done, failed = threading.Event(), threading.Event()
    with start_worker(app):
        result = group(add.s(1), add.s(2)).delay()
        assert result.then(lambda whole: done.set()) is result
        group(fail.s(), add.s(1)).delay().then(done.set, on_error=lambda each: failed.set())
        assert done.wait(30)
        assert failed.wait(30)
    called = []
    group([]).delay().then(called.append)
    assert len(called) == 1
    with pytest.raises(TypeError, match="callback"):
        result.then(5)


def test_inside_a_task_waiting_is_refused(app, add):
    errors = []

    @app.task(name="waits")
    def waits():
        result = group(add.s(1)).delay()
        for wait in (
            result.get,
            lambda: list(result.iterate()),
            lambda: list(result.iter_native()),
        ):
            try:
                wait()
            except RuntimeError as error:
                errors.append(str(error))

    waits.delay()
    drain(app)
    assert len(errors) == 3
    assert all("waits for the result of another task (the group" in each for each in errors)


def test_forget_and_revoke(app, add):
    result = group(add.s(1), add.s(2)).delay()
    drain(app)
    assert result.get(timeout=5) == [1, 2]
    result.forget()
    with pytest.raises(ResultNotFound):
        result.get(timeout=5)
    other = ResultSet([add.delay(1), group(add.s(2)).delay()], app)
    other.revoke()
    assert drain(app) == []
    asyncio.run(other.arevoke())
    asyncio.run(other.aforget())


def test_to_forget_the_end_of_a_chain_forgets_what_was_before_it(app, add):
    """As in Celery; a group that is asked itself forgets its members."""
    result = (add.s(1) | group(add.s(1), add.s(2)) | add.s([])).delay()
    drain(app)
    group_, first = result.parent, result.parent.parent
    assert (result.get(timeout=5), group_.get(timeout=5), first.get(timeout=5)) == (
        [2, 3],
        [2, 3],
        1,
    )
    group_.forget()
    assert first.get(timeout=5) == 1, "what was before the group is not the group's"
    result.forget()
    for each in (result, *group_, first, app.AsyncResult(first.id)):
        with pytest.raises(ResultNotFound, match="forget"):
            each.get(timeout=5)


@pytest.mark.parametrize("whole", ["body", "group", "set"])
def test_to_forget_reaches_what_is_before_a_member(app, add, whole):
    result = (group(chain(add.s(2, 3), add.s(3)), add.s(4, 5)) | add.s([])).delay()
    drain(app)
    members = result.parent
    early, late = members.results[0].parent, members.results[1]
    assert early.get(timeout=5) == 5
    {"body": result, "group": members, "set": ResultSet(members.results, app)}[whole].forget()
    for id in (early.id, members.results[0].id, late.id):
        with pytest.raises(ResultNotFound, match="forget"):
            app.AsyncResult(id).get(timeout=5)


@pytest.mark.parametrize("whole", ["body", "group", "set"])
def test_a_revoke_reaches_what_is_before_a_member(app, add, whole):
    inner = chord([chain(add.s(2), add.s(3)), add.s(4)], add.s())
    result = (group(add.s(1), chain(add.s(2), add.s(3)), inner) | add.s()).delay()
    members = result.parent
    {"body": result, "group": members, "set": ResultSet(members.results, app)}[whole].revoke()
    flow = app.store.inspection.flow(result.id)
    assert len(flow) == 8
    assert {each.state for each in flow} <= {states.CANCELLED, states.FAILED}
    assert drain(app) == []


def test_a_set_is_a_list_of_results(app, add):
    first, second = add.delay(1), add.delay(2)
    results = ResultSet([first], app)
    results.add(first)
    results.update([first, second])
    assert (len(results), list(results), results[1]) == (2, [first, second], second)
    assert first in results
    results.remove(first)
    results.discard(first)
    with pytest.raises(KeyError):
        results.remove(first.id)
    assert results == ResultSet([second], app)
    assert repr(results) == f"<ResultSet: [{second.id}]>"
    results.clear()
    assert len(results) == 0
    assert ResultSet([], app).get() == []
    assert app.ResultSet([second]).results == [second]


def test_a_group_can_be_saved_and_restored(app, add):
    result = (
        add.s(1) | group(add.s(1), group(add.s(2), add.s(3)) | group(add.s(), add.s()))
    ).delay()
    assert GroupResult.restore(result.id, app) is None
    result.save()
    restored = GroupResult.restore(result.id, app)
    assert restored == result
    assert restored.as_tuple() == result.as_tuple()
    assert restored.parent == result.parent
    restored.delete()
    assert GroupResult.restore(result.id, app) is None


def test_results_as_plain_data(app, add):
    with make_app(set_as_current=True):
        result = (add.s(1) | group(add.s(1), add.s(2)) | add.s([3]) | add.s([4])).delay()
        for made in (result_from_tuple(result.as_tuple(), app), pickle.loads(pickle.dumps(result))):
            assert made.as_tuple() == result.as_tuple()
            assert type(made.parent.parent) is GroupResult
        members = result.parent.parent
        assert members.as_list() == [members.id, members[0].id, members[1].id, members.parent.id]
        assert result.as_list() == [result.id, result.parent.id, *members.as_list()[1:]]
        assert pickle.loads(pickle.dumps(members)) == members
    assert result_from_tuple(result, app) is result
    assert result_from_tuple(None) is None
    assert result_from_tuple(("x", None), app) == AsyncResult("x", app)


def test_the_app_restores_groups_and_makes_them(app, add):
    """As Celery's ``app.GroupResult``, which is the class bound to the app."""
    result = group(add.s(1), add.s(2)).delay()
    result.save()
    drain(app)
    again = app.GroupResult.restore(result.id)
    assert (again, again.app, again.get(timeout=5)) == (result, app, [1, 2])
    again.delete()
    assert app.GroupResult.restore(result.id) is None


def test_a_copy_of_a_group_knows_what_was_before_it(app, add):
    result = (add.s(1) | group(add.s(1), add.s(2))).delay()
    for again in (pickle.loads(pickle.dumps(result)), copy.copy(result)):
        assert (again, again.parent) == (result, result.parent)


def test_the_results_of_a_long_chain_are_plain_data_too(app, add):
    result = chain(add.s(number) for number in range(5000)).freeze()
    assert len(result.as_list()) == 5000
    assert result_from_tuple(result.as_tuple(), app).as_list() == result.as_list()


def test_equality_and_looks(app, add):
    result = group(add.s(1)).delay()
    same = app.GroupResult(result.id, [AsyncResult(result[0].id, app)])
    assert result == same == result.id
    assert hash(result) == hash(same)
    assert result != GroupResult(result.id, [], app=app)
    assert (str(result), bool(group([]).delay())) == (result.id, True)
    assert repr(result) == f"<GroupResult: {result.id} [{result[0].id}]>"
    assert result.children == result.results
    with pytest.raises(NotInThisVersion, match="backend"):
        _ = result.backend


def test_a_chord_whose_members_can_be_looked_at(app, add):
    result = chord([add.s(1), add.s(2)], add.s([3]))()
    assert result.parent.waiting()
    drain(app)
    assert (result.get(timeout=5), result.parent.get()) == ([1, 2, 3], [1, 2])
    assert result.state == states.SUCCESS


def test_graphs():
    graph = DependencyGraph([("b", ["a"]), ("c", ["a", "b"]), ("a", [])])
    assert graph.topsort() == ["a", "b", "c"]
    assert (graph.valency_of("c"), graph.edges(), len(graph), "a" in graph) == (
        4, ["b", "c"], 3, True,
    )  # fmt: skip
    assert dict(graph.items()) == {"b": ["a"], "c": ["a", "b"], "a": []}
    other = DependencyGraph([("d", ["d"])])
    graph.connect(other)
    with pytest.raises(CycleError):
        graph.topsort()

    class File(list):
        write = list.append
        writelines = list.extend

    file = File()
    DependencyGraph([('say "b"', ["a"]), ("a", [])]).to_dot(file)
    assert "".join(file) == ('digraph dependencies {\n  "a" -> "say \\"b\\"";\n  "a";\n}\n')
    assert repr(DependencyGraph([("a", [])])) == "a(1)"
