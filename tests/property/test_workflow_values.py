"""Workflows of any shape: their plans hold together, and give what a direct evaluation gives.

The interpreter below is the reference: it walks a canvas as the documentation describes it, and
knows nothing of plans, edges or stores.
"""

import itertools
import json
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from inline import make_app

from celeriac import chain, chord, group
from celeriac.canvas import Signature, chunks, xmap
from celeriac.testing.harness import using
from celeriac.workflow import freeze, plan

APP = make_app("flows")


@APP.task(name="name")
def name(*values):
    """A value that says how it came about."""
    return f"({' '.join(map(str, values))})"


# -- canvases ------------------------------------------------------------------------------------

numbers = itertools.count()


def call(immutable):
    return (name.si if immutable else name.s)(next(numbers))


leaves = st.booleans().map(call) | st.integers(1, 3).map(
    lambda count: name.map([next(numbers) for _ in range(count)])
)


def wider(inner, fewest=0):
    members = st.lists(inner, min_size=fewest, max_size=4)
    return st.one_of(
        st.lists(inner, min_size=1, max_size=4).map(chain),
        members.map(group),
        st.tuples(members, inner).map(lambda both: chord(*both)),
        st.tuples(inner, inner).map(lambda both: both[0] | both[1]),
        st.lists(st.tuples(st.integers(), st.integers()), min_size=1, max_size=4).map(
            lambda calls: name.chunks(calls, 2)
        ),
    )


def behind_a_task(widen):
    return st.recursive(leaves, widen, max_leaves=14).map(lambda made: chain(name.s("first"), made))


canvases = behind_a_task(wider)
#: Without groups of nothing, of which the store holds nothing.
full_canvases = behind_a_task(lambda inner: wider(inner, 1))


# -- the reference interpreter -------------------------------------------------------------------

NOTHING = object()


def value_of(canvas, given=NOTHING):
    """What *canvas* returns if it gets *given*; NOTHING if there is nothing in it to run."""
    kind = canvas.subtask_type
    if kind == "chain":
        return value_of_steps(canvas.tasks, given)
    if kind == "group":
        values = [value_of(each, given) for each in canvas.tasks]
        return [each for each in values if each is not NOTHING]
    if kind == "chunks":
        calls, count = canvas.kwargs["it"], canvas.kwargs["n"]
        return [
            [name(*each) for each in calls[at : at + count]] for at in range(0, len(calls), count)
        ]
    if kind == "chord":
        return value_of(canvas.body, value_of(canvas.header, given))
    if kind == "xmap":
        return [name(each) for each in canvas.kwargs["it"]]
    if kind == "xstarmap":
        return [name(*each) for each in canvas.kwargs["it"]]
    if canvas.immutable or given is NOTHING:
        return name(*canvas.args)
    return name(given, *canvas.args)


def value_of_steps(steps, given):
    value = given
    for at, step in enumerate(steps):
        last = at == len(steps) - 1
        if last and at and is_nothing(step):
            return value  # an empty group at the end of a chain is nothing
        value = value_of(step, value)
    return value


def is_nothing(step):
    return step.subtask_type in {"group", "chain"} and not step.tasks


# -- what holds for every plan -------------------------------------------------------------------


def calls_in(canvas):
    """How many single calls there are in *canvas*."""
    if isinstance(canvas, chunks):
        return len(canvas.group().tasks)
    if isinstance(canvas, chord):
        return calls_in(canvas.header) + calls_in(canvas.body)
    if canvas.subtask_type in {"chain", "group"}:
        return sum(map(calls_in, canvas.tasks))
    return 1


def check(made):
    """Edges fit together: whatever waits is released by exactly one edge or join."""
    parts = made.parts
    released = Counter()
    joined = {}
    for part in parts.values():
        edges = part.edges
        for each in (*part.success, *part.failure, *part.own):
            assert parts[each].waits
            released[each] += 1
        if edges is None:
            continue
        if edges.join is not None:
            assert edges.within is not None
            assert edges.join not in joined
            joined[edges.join] = part.id
        if edges.takes is not None:
            assert part.id in parts[edges.takes].success
        if edges.told is not None:
            told = parts[edges.told]
            assert part.id in (*told.own, *told.failure)
    for join in made.joins:
        released[join.body] += 1
        assert parts[join.body].gathers == join.id
        assert sorted(index for id, index in joined if id == join.id) == list(range(join.size))
    assert {id for id, _ in joined} == {each.id for each in made.joins}
    for part in parts.values():
        assert released[part.id] == part.waits
        if part.within is not None:
            assert part.within in joined
    assert len({part.gathers for part in parts.values() if part.gathers}) == len(made.joins)


ALL = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=150)


@ALL
@given(canvases)
def test_every_call_is_planned_once_and_its_edges_fit(canvas):
    made = plan(canvas)
    check(made)
    assert sum(each.call is not None for each in made.parts.values()) == calls_in(canvas)


@ALL
@given(canvases, st.data())
def test_with_links_and_errbacks_the_edges_fit_too(canvas, data):
    todo = [canvas]
    while todo:
        each = todo.pop()
        if isinstance(each, chord):
            todo += [each.header, each.body]
        elif each.subtask_type in {"chain", "group"}:
            todo += each.tasks
        if data.draw(st.integers(0, 4)) == 0 and not isinstance(each, group):
            each.set(link_error=[name.s("error")])
        if data.draw(st.integers(0, 4)) == 0 and not isinstance(each, group):
            each.set(link=[name.s("link") | name.s("again")])
    check(plan(canvas))


@ALL
@given(canvases)
def test_frozen_ids_are_planned_ids(canvas):
    def ids(shown):
        if shown is None:
            return None
        members = None if shown.members is None else [ids(each) for each in shown.members]
        return shown.id, ids(shown.parent), members

    shown = freeze(canvas)
    assert ids(plan(canvas).shown) == ids(shown)


def outcome(run):
    """What *run* returns, as JSON has it."""
    value = run()
    return [outcome(lambda each=each: each) for each in value] if isinstance(value, list) else value


@settings(parent=ALL, max_examples=80)
@given(canvases)
@pytest.mark.parametrize("how", ["store", "eager", "frozen"])
def test_a_workflow_gives_what_a_direct_evaluation_gives(how, canvas):
    expected = value_of(canvas)
    if how == "eager":
        assert canvas.apply().get() == expected
        return
    with using(APP) as harness:
        frozen = canvas.freeze() if how == "frozen" else None
        result = canvas.apply_async()
        harness.run_all(most=5000)
        assert (frozen or result).get(timeout=5) == expected
        assert result.get(timeout=5) == expected


def test_the_canvases_are_of_all_kinds():
    """Guards the guard: the strategy makes what the tests are about."""
    seen = Counter()

    @settings(max_examples=200, deadline=None, database=None, derandomize=True)
    @given(canvases)
    def look(canvas):
        made = plan(canvas)
        seen["joins"] += bool(made.joins)
        seen["collects"] += any(each.call is None for each in made.parts.values())
        seen["groups"] += made.shown is not None and made.shown.members is not None
        seen["maps"] += any(
            each.call is not None and isinstance(each.call.sig, xmap)
            for each in made.parts.values()
        )

    look()
    assert min(seen[each] for each in ("joins", "collects", "groups", "maps")) > 0


# -- what comes after a run ----------------------------------------------------------------------

asked = []


@APP.task(name="ask", bind=True)
def ask(self):
    """Keep what comes after this run as it says."""
    asked.append(list(reversed(self.request.chain)))
    return "first"


def without_ids(canvas):
    """A copy that can be sent again."""
    plain = json.loads(json.dumps(canvas))
    todo = [plain]
    while todo:
        each = todo.pop()
        if isinstance(each, dict):
            if "task_id" in each:
                each["task_id"] = None  # and no other option: a group of one would be that one
            todo += each.values()
        elif isinstance(each, list):
            todo += each
    return Signature.from_dict(plain, app=APP)


# Something follows: of groups in a group that nothing follows, nobody keeps which was the first.
@settings(parent=ALL, max_examples=80)
@given(full_canvases)
def test_what_a_run_says_of_what_comes_after_it_comes_to_the_same(canvas):
    asked.clear()
    with using(APP) as harness:
        chain(ask.s(), canvas, name.s("last")).apply_async()
        harness.run_all(most=5000)
    ((*steps,),) = asked
    again = chain(name.s("first"), *map(without_ids, steps))
    assert value_of(again) == value_of(chain(name.s("first"), canvas, name.s("last")))
