"""What planning costs, and what a canvas is that has travelled as JSON.

Costs are counted in calls of functions and in objects, for a clock tells more of what else the
machine does.
"""

import itertools
import json
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from inline import make_app

from celeriac import chain, chord, group
from celeriac.canvas import Signature
from celeriac.workflow import freeze, plan

APP = make_app("planner")


@APP.task(name="job")
def job(*args, **kwargs):
    """Never run."""


# -- canvases ------------------------------------------------------------------------------------

values = st.none() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)


@st.composite
def calls(draw):
    made = job.s(draw(values), key=draw(values))
    if draw(st.booleans()):
        made.set(immutable=True)
    for option, value in (("queue", "q"), ("countdown", 3), ("priority", 4), ("expires", 60)):
        if draw(st.integers(0, 5)) == 0:
            made.set(**{option: value})
    return made


def wider(inner):
    members = st.lists(inner, max_size=4)
    return st.one_of(
        st.lists(inner, min_size=1, max_size=4).map(chain),
        members.map(group),
        st.tuples(members, inner).map(lambda both: chord(*both)),
        st.tuples(inner, inner).map(lambda both: both[0] | both[1]),
        st.just(job.map([1, 2])),
        st.just(job.chunks([(1,), (2,), (3,)], 2)),
        st.tuples(inner, calls()).map(linked("link_error")),
        st.tuples(inner, calls()).map(linked("link")),
    )


def linked(option):
    """Have something linked to a canvas, if that can be."""

    def link(both):
        canvas, callback = both
        takes = canvas.subtask_type not in {"group", "chunks"}
        return canvas.clone().set(**{option: [callback]}) if takes else canvas

    return link


canvases = st.recursive(calls(), wider, max_leaves=20)
ALL = settings(
    deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow]
)  # fmt: skip


def nodes(canvas):
    """How many calls, groups and chords are in *canvas*, and how many errbacks and callbacks hold
    for how many calls each."""
    kind = canvas.subtask_type
    inside = {
        "chain": lambda: canvas.tasks,
        "group": lambda: canvas.tasks,
        "chord": lambda: [canvas.header, canvas.body],
        "chunks": lambda: canvas.group().tasks,
    }.get(kind, list)()
    below = 1 + sum(map(nodes, inside))
    linked = [each for name in ("link", "link_error") for each in canvas.options.get(name, ())]
    return below * (1 + sum(map(nodes, linked)))


@ALL
@given(canvases)
def test_a_plan_is_as_large_as_its_canvas(canvas):
    made = plan(canvas)
    most = 2 * nodes(canvas)
    assert len(made.parts) + len(made.joins) <= most
    edges = sum(
        len(each.success) + len(each.failure) + len(each.own) for each in made.parts.values()
    )
    assert edges <= len(made.parts)  # each part is released by one thing at most


def shape(canvas):
    """The plan of *canvas* as plain data, with ids in the order in which they are drawn."""
    numbers = itertools.count()
    made = plan(canvas, new_id=lambda: f"i{next(numbers)}")
    parts = [
        (id, part.edges, part.task, part.group, part.index, part.root, part.parent)
        for id, part in made.parts.items()
    ]
    sent = [
        (part.values, part.call.args, part.call.kwargs, part.call.options)
        for part in made.parts.values()
        if part.call is not None
    ]
    return parts, made.joins, made.shown, json.loads(json.dumps(sent))


@ALL
@given(canvases)
def test_a_canvas_that_has_travelled_is_planned_as_it_was(canvas):
    travelled = Signature.from_dict(json.loads(json.dumps(canvas)), app=APP)
    assert shape(travelled) == shape(canvas)
    again = Signature.from_dict(json.loads(json.dumps(travelled)), app=APP)
    assert json.dumps(again) == json.dumps(travelled)


# -- lengths -------------------------------------------------------------------------------------


def fork():
    return group(job.s(1), job.s(2))


def in_turns(count):
    return [fork() if at % 2 else job.s(at) for at in range(count)]


def joined(steps):
    made = steps[0]
    for each in steps[1:]:
        made = made | each
    return made


LONG = {
    "tasks": lambda count: chain([job.s(at) for at in range(count)]),
    "in turns": lambda count: chain(in_turns(count)),
    "in turns, joined": lambda count: joined(in_turns(count)),
    "groups": lambda count: chain([fork() for _ in range(count)]),
    "groups, joined": lambda count: joined([fork() for _ in range(count)]),
    "chords, joined": lambda count: joined([chord([job.s(1)], job.s(2)) for _ in range(count)]),
    "group, then tasks": lambda count: joined([fork(), *[job.s(at) for at in range(count)]]),
    "chords of chords": lambda count: joined(
        [chord([job.s(1)], chord([job.s(2)], job.s(3))) for _ in range(count)]
    ),
}


def work(run):
    """How many functions *run* calls, and what it returns."""
    found = 0

    def count_call(frame, event, arg):
        nonlocal found
        found += event in ("call", "c_call")

    sys.setprofile(count_call)
    try:
        made = run()
    finally:
        sys.setprofile(None)
    return found, made


@pytest.mark.parametrize("name", LONG)
def test_twice_as_long_is_twice_as_much_to_make_to_plan_and_to_copy(name):
    make = LONG[name]
    costs = []
    for count in (100, 200):
        making, canvas = work(lambda count=count: make(count))
        planning, made = work(lambda canvas=canvas: plan(canvas))
        copying, _ = work(canvas.clone)
        plain = json.loads(json.dumps(canvas))
        reading, _ = work(lambda plain=plain: Signature.from_dict(plain, app=APP))
        fixing, _ = work(lambda canvas=canvas: freeze(canvas))
        costs.append([making, planning, copying, reading, fixing, len(made.parts), len(made.joins)])
    short, long = costs
    assert all(twice <= 2.1 * once + 10 for once, twice in zip(short, long, strict=True)), costs


@pytest.mark.parametrize("name", LONG)
def test_a_long_line_ends_no_stack(name):
    canvas = LONG[name](1500)
    travelled = Signature.from_dict(json.loads(json.dumps(canvas)), app=APP)
    assert len(plan(travelled).parts) == len(plan(canvas.clone()).parts) >= 1500
    assert freeze(canvas) is not None
    assert repr(canvas)
