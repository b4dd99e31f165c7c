"""What a workflow cannot be made of: each a clear error before anything is stored, or a defined
result. More of it stands in ``test_flows.py`` and ``test_workflow_plans.py``."""

import functools
import sys

import pytest
from inline import count, drain, make_app, steps_of, stored

from celeriac import chain, chord, group, signature, states
from celeriac.canvas import StampingVisitor
from celeriac.canvas.lines import MANY, TOGETHER
from celeriac.control.inspect import situation
from celeriac.control.why import explain
from celeriac.exceptions import EncodeError, PayloadTooLarge
from celeriac.message import decode


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


def notes(error):
    return " ".join(error.value.__notes__)


@pytest.mark.parametrize(
    ("make", "where"),
    [
        (lambda add, total, bad: add.s(1) | add.s(2) | bad, "part 2 of this workflow"),
        (lambda add, total, bad: group(add.s(1), bad), "member 1 of a group"),
        (lambda add, total, bad: group([add.s(1)] * (MANY + 2) + [bad]), f"member {MANY + 2} of"),
        (lambda add, total, bad: chord((each for each in [add.s(1), add.s(2), bad]), total.s()),
         "member 2 of a group"),
        (lambda add, total, bad: group((add.s(1) | bad) for _ in range(3)), "member 0 of a group"),
        (lambda add, total, bad: chord([add.s(1)], bad), "part 1 of this workflow"),
    ],
    ids=["chain", "group", "list", "generator", "chains", "body"],
)  # fmt: skip
@pytest.mark.parametrize(
    ("wrong", "error", "what"),
    [
        (({"k": [object()]},), EncodeError, r"args\[.\]\['k'\]\[0\] is of type object"),
        ((1, 2, 3), TypeError, "positional arguments but"),
    ],
    ids=["unserialisable", "arguments"],
)
def test_what_is_wrong_says_where_it_stands(app, add, total, make, where, wrong, error, what):
    with pytest.raises(error, match=what) as raised:
        make(add, total, add.s(*wrong)).delay()
    assert where in notes(raised)
    assert count(app) == 0


def test_a_member_that_is_no_signature_says_which_it_is(app, add, total):
    with pytest.raises(TypeError, match=r"takes signatures, such as task\.s\(…\), not 5") as raised:
        chord((add.s(n) if n < 5 else n for n in range(9)), total.s())()
    assert "member 5" in notes(raised)
    assert count(app) == 0


def test_what_is_found_wrong_in_a_later_step_leaves_what_was_sent(app, add, total):
    """The members that were sent run on; the body ends with the join, as after a dead sender."""
    members = (add.s(n if n < TOGETHER + 7 else object()) for n in range(TOGETHER + 9))
    with pytest.raises(EncodeError) as raised:
        chord(members, total.s())()
    assert f"member {TOGETHER + 7} of a group" in notes(raised)
    assert count(app) == TOGETHER + 1
    (body,) = app.store.inspection.list(task="total")
    assert stored(app, body.id).state == states.WAITING


@pytest.mark.parametrize("make", [list, iter], ids=["list", "generator"])
def test_nothing(app, add, total, make):
    alone = group(make([])).delay()
    assert (alone.get(timeout=5), alone.ready(), len(alone)) == ([], True, 0)
    assert count(app) == 0
    joined = chord(make([]), total.s())()
    drain(app)
    assert joined.get(timeout=5) == 0


def test_cycles_are_refused_before_anything_is_stored(app, add, total):
    steps = chain(add.s(1), add.s(2))
    steps.tasks.append(steps)
    header = chord([add.s(1)], total.s())
    header.tasks.append(header)
    linked, other = add.s(1), add.s(2)
    linked.link(other)
    other.link(linked)
    for canvas in (steps, header, linked, chord((each for each in [linked]), total.s())):
        with pytest.raises(ValueError, match="contains itself"):
            canvas.apply_async()
    assert count(app) == 0


def test_cycles_are_refused_wherever_the_whole_is_looked_at(add):
    steps, members, linked = chain(add.s(1), add.s(2)), group(add.s(1)), add.s(1)
    steps.tasks.append(steps)
    members.tasks.append(members)
    linked.link(linked)
    for canvas in (steps, members):
        for look in (canvas.clone, canvas.freeze, canvas.apply):
            with pytest.raises(ValueError, match="contains itself"):
                look()
    assert repr(steps) == "add(1) | add(2) | …"
    assert repr(members) == "group([add(1), …])"
    with pytest.raises(ValueError, match="contains itself"):
        linked.flatten_links()
    joined = steps | add.s(3)
    with pytest.raises(ValueError, match="contains itself"):
        joined.delay()


def _looped(add, total, kind):
    """A canvas of that kind that contains itself."""
    if kind == "link":
        made = add.s(1)
        made.link(made)
    elif kind == "errback":
        made = add.s(1)
        made.link_error(made)
    elif kind == "body":
        made = chord([add.s(1)], total.s())
        made["kwargs"]["body"] = made
    elif kind == "header":
        made = chord([add.s(1)], total.s())
        made.tasks.append(made)
    elif kind == "chain":
        made = chain(add.s(1), add.s(2))
        made.tasks.append(made)
    else:
        made = group(add.s(1), add.s(2))
        made.tasks.append(made)
    return made


class Blind(StampingVisitor):
    def on_signature(self, sig, **headers):
        return {"seen": 1}


@pytest.mark.parametrize("kind", ["link", "errback", "body", "header", "chain", "group"])
@pytest.mark.parametrize(
    "change",
    [
        lambda canvas, add: canvas.stamp(batch=1),
        lambda canvas, add: canvas.stamp(visitor=Blind()),
        lambda canvas, add: canvas.set_immutable(True),
        lambda canvas, add: canvas.link_error(add.s()),
        lambda canvas, add: canvas.on_error(add.s()),
        lambda canvas, add: canvas.link(add.s()),
        lambda canvas, add: (add.s(1) | canvas).delay(),
        lambda canvas, add: chain(add.s(1), canvas).delay(),
    ],
    ids=["stamp", "visitor", "immutable", "link_error", "on_error", "link", "or", "chain"],
)
def test_a_cycle_is_told_by_whatever_walks_it(app, add, total, kind, change):
    """Or it is not walked, and told when it is sent."""
    canvas = _looped(add, total, kind)
    try:
        change(canvas, add)
    except ValueError as error:
        assert "contains itself" in str(error)  # noqa: PT017 - or it comes with the next line
    with pytest.raises(ValueError, match="contains itself"):
        canvas.delay()
    assert count(app) == 0


def test_a_dictionary_that_contains_itself_is_refused():
    plain = {"task": "celery.group", "subtask_type": "group", "kwargs": {"tasks": []}}
    plain["kwargs"]["tasks"].append(plain)
    with pytest.raises(ValueError, match="contains itself"):
        signature(plain)


def test_an_error_of_a_visitor_stays_what_it_is(add):
    class Lost(StampingVisitor):
        def on_signature(self, sig, **headers):
            return self.on_signature(sig, **headers)

    with pytest.raises(RecursionError):
        group(add.s(1)).stamp(visitor=Lost())


def test_a_chain_may_be_joined_to_itself(app, add):
    steps = chain(add.s(1), add.s(2))
    assert len((add.s(0) | steps | steps).tasks) == 5


@pytest.mark.parametrize(
    ("plain", "told"),
    [
        ({"args": [1]}, "no task name"),
        ({"task": 5}, "no task name"),
        ({"task": "add", "args": 5}, "args is 5, and not a list"),
        ({"task": "add", "args": "ab"}, "args is 'ab', and not a list"),
        ({"task": "add", "kwargs": [1]}, r"kwargs is \[1\], and not a dictionary"),
        ({"task": "add", "options": 4}, "options is 4, and not a dictionary"),
        ({"task": "add", "subtask_type": []}, r"of kind \[\]; there are chain"),
        ({"task": "add", "subtask_type": "nosuch"}, "of kind 'nosuch'; there are chain"),
        ({"task": "celery.chain", "subtask_type": "chain"}, "no chain: it has no 'tasks'"),
        ({"task": "celery.group", "subtask_type": "group"}, "no group: it has no 'tasks'"),
        ({"task": "celery.chord", "subtask_type": "chord"}, "no chord: it has no 'header'"),
        ({"task": "x", "subtask_type": "chain", "kwargs": {"tasks": 5}}, "a list of sig.*not 5"),
        ({"task": "x", "subtask_type": "chain", "kwargs": {"tasks": [5]}}, "takes sig.*not 5"),
        ({"task": "x", "subtask_type": "group", "kwargs": {"tasks": {"a": 1}}}, "takes signatures"),
        ({"task": "x", "subtask_type": "chord", "kwargs": {"header": [], "kwargs": 3}},
         "kwargs is 3, and not a dictionary"),
    ],
)  # fmt: skip
def test_dictionaries_that_were_no_signatures_say_what_is_wrong(plain, told):
    with pytest.raises(TypeError, match=told):
        signature(plain)


@pytest.mark.parametrize("given", [(None,), (5,), ("add", 5), ("add", "ab"), ("add", (), [1])])
def test_what_no_signature_can_be_made_of(given):
    with pytest.raises(TypeError, match=r"a signature is made of|no signature can be made of"):
        signature(*given)


def test_an_unknown_name_in_a_chain_is_explained(app, add):
    result = (add.s(1) | app.signature("elsewhere") | add.s(3)).delay()
    drain(app)
    unknown, last = result.parent.id, result.id
    assert stored(app, unknown).parked
    now = app.client.wall()
    told = {id: explain(situation(app.store, id, now)) for id in (unknown, last)}
    assert "elsewhere" in told[unknown].reason
    assert unknown in told[last].reason


def test_groups_that_are_nested_too_deep_are_refused(app, add):
    deep = functools.reduce(lambda inner, _: group(inner, add.s(1)), range(150), add.s(1))
    with pytest.raises(ValueError, match="nested deeper than 100"):
        deep.delay()
    assert count(app) == 0


@pytest.mark.parametrize("backend", [None, "disabled://"])
def test_a_chord_whose_results_nobody_keeps_reaches_its_body(backend):
    app = make_app(result_backend=backend)
    plus = app.task(name="add")(lambda a: a)
    seen = []
    app.task(name="total")(seen.append)
    chord((plus.s(n) for n in range(3)), app.tasks["total"].s())()
    drain(app)
    assert seen == [[0, 1, 2]]
    app.close()


# -- sizes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [2, 11])
def test_a_step_of_a_stream_is_bounded_by_its_parts(app, add, total, monkeypatch, length):
    steps = steps_of(app, monkeypatch)
    many = 3 * TOGETHER // length
    chord([chain(*[add.s(1)] * length) for _ in range(many)], total.s())()
    assert sum(map(len, steps)) == many * length
    assert max(map(len, steps)) < TOGETHER + length


def test_a_step_of_a_stream_is_bounded_by_bytes(app, total, monkeypatch):
    size = app.task(name="size")(len)
    steps = steps_of(app, monkeypatch)
    large = "x" * 900_000
    chord((size.s(large) for _ in range(40)), total.s())()
    assert sum(map(len, steps)) == 40
    assert max(sum(len(each.payload) for each in step) for step in steps) < 19_000_000


def test_an_argument_that_is_too_large_says_where_it_stands(app, add, total):
    with pytest.raises(PayloadTooLarge) as raised:
        chord((add.s("x" * (9_000_000 if n == 3 else 1)) for n in range(9)), total.s())()
    assert "member 3 of a group" in notes(raised)
    assert count(app) == 0


def test_messages_of_a_stream_do_not_grow_with_it(app, add, total):
    result = chord((add.s(7) for _ in range(2 * TOGETHER)), total.s())()
    sizes = [
        len(each.wire)
        for each in app.store.inspection.flow(result.id, limit=3 * TOGETHER)
        if decode(each.wire).header.index is not None
    ]
    assert len(sizes) == 2 * TOGETHER
    assert max(sizes) - min(sizes) <= 16  # of the index and of the time, as numbers are written


@pytest.mark.parametrize("shape", ["chain", "list", "stream", "chains"])
def test_twice_as_long_is_twice_as_much_work(app, add, total, shape):
    """Counted in calls of functions, for a clock tells more of what else the machine does."""
    make = {
        "chain": lambda many: chain(*[add.s(1)] * many),
        "list": lambda many: group([add.s(1)] * many),
        "stream": lambda many: chord((add.s(1) for _ in range(many)), total.s()),
        "chains": lambda many: chord([add.s(1) | add.s(1)] * (many // 2), total.s()),
    }[shape]

    def calls(many):
        found = 0

        def count_call(frame, event, arg):
            nonlocal found
            found += event in ("call", "c_call")

        sys.setprofile(count_call)
        try:
            make(many).apply_async()
        finally:
            sys.setprofile(None)
        return found

    calls(300)
    assert calls(8000) < 8.2 * calls(1000)
