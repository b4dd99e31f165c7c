"""Stamps of canvases: who is asked in which order, what is written, and what a task sees of it."""

import json

import pytest
from inline import drain, make_app, stored

from celeriac import chain, chord, chunks, group, signature
from celeriac.canvas import StampingVisitor, maybe_signature
from celeriac.exceptions import EncodeError
from celeriac.message import decode
from celeriac.stamps import NAMES, checked_stamps, combined, keys_of, listed_keys, text_of


@pytest.fixture
def app():
    return make_app()


@pytest.fixture
def add(app):
    return app.task(name="add")(lambda a, b=0: a + b)


@pytest.fixture
def total(app):
    return app.task(name="total")(sum)


@pytest.fixture
def seen(app):
    """A task that returns its stamps, whatever it is given."""
    return app.task(name="seen", bind=True)(lambda self, *_: dict(self.request.stamps))


class Noting(StampingVisitor):
    """Notes each call of a hook, and says what *says* has for it."""

    def __init__(self, **says):
        self.says = says
        self.calls = []

    def __getattribute__(self, name):
        hook = super().__getattribute__(name)
        if not name.startswith("on_"):
            return hook

        def noted(part, **headers):
            self.calls.append((name, getattr(part, "subtask_type", None) or part.task, headers))
            return hook(part, **headers)

        return noted

    def on_signature(self, sig, **headers):
        return self.says.get("signature", {})

    def on_chain_start(self, chain, **headers):
        return self.says.get("chain")

    def on_group_start(self, group, **headers):
        return self.says.get("group")

    def on_chord_body(self, sig, **header):
        return self.says.get("body")

    def on_callback(self, callback, **header):
        return self.says.get("callback")

    def on_errback(self, errback, **header):
        return self.says.get("errback")


def stamps(sig):
    return checked_stamps(sig.options)


# -- the order of the hooks ----------------------------------------------------------------------


def test_hooks_of_a_chord_are_asked_in_celerys_order_with_the_headers_so_far(add, total):
    canvas = chord([add.s(1), chain(add.s(2), add.s(3))], total.s())
    canvas.link(signature("after"))
    canvas.link_error(signature("sorry"))
    visitor = Noting(
        signature={"own": 1}, chain={"c": 1}, group={"g": 1}, body={"b": 1}, callback={"cb": 1},
        errback={"eb": 1},
    )  # fmt: skip
    assert canvas.stamp(visitor=visitor) is canvas
    g, gc, gb = ({"g": 1} | more for more in ({}, {"c": 1}, {"b": 1}))
    expected = [
        ("on_chord_header_start", "chord", {}),
        ("on_group_start", "group", {}),
        ("on_signature", "add", g),
        ("on_chain_start", "chain", g),
        ("on_signature", "add", gc),
        ("on_signature", "add", gc),
        ("on_chain_end", "chain", gc),
        ("on_chord_header_end", "chord", g),
        ("on_group_end", "group", g),
        ("on_chord_body", "chord", g),
        ("on_callback", "after", gb),
        ("on_signature", "after", gb | {"cb": 1}),
        ("on_errback", "sorry", gb),
        ("on_signature", "sorry", gb | {"eb": 1}),
        ("on_signature", "total", gb),
    ]
    assert visitor.calls == [
        (hook, part, headers | ({NAMES: list(headers)} if headers else {}))
        for hook, part, headers in expected
    ]
    (first, steps), body = canvas.tasks, canvas.body
    assert stamps(first) == {"g": [1], "own": [1]}
    assert [stamps(each) for each in steps.tasks] == [{"g": [1], "c": [1], "own": [1]}] * 2
    assert stamps(body) == {"g": [1], "b": [1], "own": [1]}
    assert stamps(body.options["link"][0]) == {"g": [1], "b": [1], "cb": [1], "own": [1]}
    assert stamps(body.options["link_error"][0]) == {"g": [1], "b": [1], "eb": [1], "own": [1]}


def test_hooks_of_a_chain_with_a_group_in_it(add, total):
    canvas = chain(add.s(1), group(add.s(2), add.s(3)), total.s())
    canvas.link(signature("after"))
    visitor = Noting()
    canvas.stamp(visitor, z="q")
    assert [each[:2] for each in visitor.calls] == [
        ("on_chain_start", "chain"),
        ("on_callback", "after"),
        ("on_signature", "after"),
        ("on_signature", "add"),
        ("on_chord_header_start", "chord"),
        ("on_group_start", "group"),
        ("on_signature", "add"),
        ("on_signature", "add"),
        ("on_chord_header_end", "chord"),
        ("on_group_end", "group"),
        ("on_chord_body", "chord"),
        ("on_signature", "total"),
        ("on_chain_end", "chain"),
    ]
    assert visitor.calls[0][2] == {"z": "q"}
    assert all(headers["z"] == "q" for _, _, headers in visitor.calls)


def test_a_visitor_with_a_state_of_its_own_knows_where_it_is(add, total):
    class InGroup(StampingVisitor):
        inside = False

        def on_group_start(self, group, **headers):
            self.inside = True

        def on_group_end(self, group, **headers):
            self.inside = False

        def on_signature(self, sig, **headers):
            return {"in_group": self.inside, NAMES: ["in_group"]}

    canvas = chord((add.s(number) for number in range(2)), total.s()).stamp(visitor=InGroup())
    assert [stamps(each) for each in canvas.tasks] == [{"in_group": [True]}] * 2
    assert stamps(canvas.body) == {"in_group": [False]}


def test_each_task_has_its_own_answer_even_one_that_is_there_twice(add):
    class Numbering(StampingVisitor):
        number = 0

        def on_signature(self, sig, **headers):
            self.number += 1
            return {"number": self.number}

    one = add.s(1)
    steps = chain(one, one)
    canvas = group(one, one, steps, steps).stamp(Numbering())
    first, second, third, fourth = canvas.tasks
    numbers = [stamps(each)["number"] for each in (first, second, *third.tasks, *fourth.tasks)]
    assert numbers == [[1], [2], [3], [4], [5], [6]]
    assert NAMES not in one.options


def test_maps_and_chunks_are_visited_as_one_task(add, seen):
    visitor = Noting(signature={"x": 1})
    canvas = group(add.map([1, 2]), seen.chunks([(1,), (2,), (3,)], 2)).stamp(visitor)
    assert [each[:2] for each in visitor.calls] == [
        ("on_group_start", "group"),
        ("on_signature", "xmap"),
        ("on_signature", "chunks"),
        ("on_group_end", "group"),
    ]
    assert [stamps(each) for each in canvas.tasks] == [{"x": [1]}] * 2


def test_a_visitor_says_something_of_tasks():
    with pytest.raises(TypeError, match="on_signature"):
        StampingVisitor()


# -- what is written -----------------------------------------------------------------------------


def test_a_stamp_is_an_option_as_celery_has_it(add):
    sig = add.s(1).stamp(header="value")
    assert sig.options == {"header": "value", NAMES: ["header"]}


def test_the_last_value_takes_the_place_of_the_one_before_unless_it_is_appended(add):
    assert stamps(add.s(1).stamp(a="1").stamp(a="2")) == {"a": ["2"]}
    assert stamps(add.s(1).stamp(a="1").stamp(a="2", append_stamps=True)) == {"a": ["1", "2"]}
    assert stamps(add.s(1).stamp(a="1").stamp(b="2")) == {"a": ["1"], "b": ["2"]}
    assert stamps(add.s(1).stamp(Noting(signature={"a": "2"}), a="1")) == {"a": ["2"]}
    assert stamps(add.s(1).stamp(Noting(signature={"a": "2"}), True, a="1")) == {"a": ["1", "2"]}


def test_lists_are_united_in_their_order_without_what_is_there_twice(add):
    assert stamps(add.s(1).stamp(a=[3, 1]).stamp(a=(1, 2, "3"))) == {"a": [3, 1, 2]}
    assert stamps(add.s(1).stamp(a={"c", "a", "b"})) == {"a": ["a", "b", "c"]}
    assert stamps(add.s(1).stamp(a=True).stamp(a=1, append_stamps=True)) == {"a": [True, 1]}


def test_stamped_headers_says_what_of_the_headers_is_a_stamp(add):
    said = {"kept": 1, "passed_on": 2, NAMES: ["kept"]}
    canvas = chain(add.s(1), add.s(2))
    visitor = Noting(chain=said)
    canvas.stamp(visitor, a=1, b=2, stamped_headers=["a"])
    assert [stamps(each) for each in canvas.tasks] == [{"a": [1], "kept": [1]}] * 2
    assert visitor.calls[1][2] == {
        "a": 1, "b": 2, "kept": 1, "passed_on": 2, NAMES: ["a", "kept"],
    }  # fmt: skip
    assert canvas.tasks[0].options.keys() == {"a", "kept", NAMES}


def test_without_a_visitor_all_is_stamped_bodies_and_links_too(add, total):
    canvas = chord([add.s(1)], total.s())
    canvas.link(add.s(2))
    canvas.stamp(x=1)
    assert stamps(canvas.tasks[0]) == stamps(canvas.body) == {"x": [1]}
    assert stamps(canvas.body.options["link"][0]) == {"x": [1]}


def test_links_that_were_json_are_stamped_too(add):
    sig = add.s(1)
    sig.link(add.s(2))
    back = maybe_signature(json.loads(json.dumps(sig)))
    back.stamp(x=1)
    assert stamps(back.options["link"][0]) == {"x": [1]}


def test_members_of_a_generator_are_stamped_as_they_come(add):
    made = []

    def members():
        for number in range(3):
            made.append(number)
            yield add.s(number)

    canvas = group(members()).stamp(x=1).stamp(y=2)
    assert (canvas.lazy, made) == (True, [])
    assert [stamps(each) for each in canvas.tasks] == [{"x": [1], "y": [2]}] * 3


@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        ({"queue": "x"}, ValueError, "option of apply_async"),
        ({"link": "x"}, ValueError, "option of apply_async"),
        ({"a=b": "x"}, ValueError, "cannot be the name"),
        ({"a" * 129: "x"}, ValueError, "cannot be the name"),
        ({"a": object()}, EncodeError, "the stamp 'a' is a object"),
        ({"a": "x" * 1025}, ValueError, "1,025 characters"),
        ({NAMES: ["a"]}, TypeError, "no value for it"),
        ({NAMES: 5}, TypeError, "list of the names"),
    ],
)
def test_what_cannot_be_a_stamp_is_refused(add, given, error, match):
    with pytest.raises(error, match=match):
        add.s(1).stamp(**given)
    if NAMES not in given and "link" not in given:
        with pytest.raises(error, match=match):
            add.apply_async((1,), **given, stamped_headers=list(given))


def test_a_hook_that_returns_nonsense_is_named(add):
    with pytest.raises(TypeError, match="a hook of a StampingVisitor returns a dictionary"):
        add.s(1).stamp(Noting(signature=["a"]))


@pytest.mark.parametrize("make", [
    lambda add: add.s(), lambda add: add.s() | add.s(), lambda add: group(add.s()),
    lambda add: chord([add.s()], add.s()),
])  # fmt: skip
def test_what_is_no_visitor_is_refused(add, make):
    for wrong, told in ((Noting, r"not its class: write Noting\(\)"), (5, "not 5")):
        with pytest.raises(TypeError, match=told):
            make(add).stamp(visitor=wrong)


def test_a_name_without_a_value_is_refused_when_it_is_sent(add):
    with pytest.raises(TypeError, match="there is no value for it"):
        add.apply_async((1,), stamped_headers=["a"])
    with pytest.raises(TypeError, match="no option 'b'"):
        add.apply_async((1,), stamped_headers=["a"], a=1, b=2)


# -- what is sent and seen -----------------------------------------------------------------------


def result_of(app, result):
    drain(app)
    return result.get(timeout=30)


def test_a_task_sees_its_stamps(app, seen):
    @app.task(name="names", bind=True)
    def names(self):
        return self.request.stamped_headers

    assert result_of(app, seen.apply_async(stamped_headers=["a"], a="x")) == {"a": ["x"]}
    assert result_of(app, app.send_task("seen", stamped_headers=["a"], a=[1, 2])) == {"a": [1, 2]}
    assert result_of(app, names.apply_async(stamped_headers=["b", "a"], a=1, b=2)) == ["b", "a"]
    assert result_of(app, names.delay()) is None
    assert result_of(app, seen.delay()) == {}
    (result,) = app.enqueue_many([seen.s().stamp(a=1)])
    assert result_of(app, result) == {"a": [1]}


def test_in_an_eager_run_too(app, seen):
    assert seen.apply(stamped_headers=["a"], a="x").get() == {"a": ["x"]}
    app.conf.task_always_eager = True
    assert seen.s().stamp(a="x").delay().get() == {"a": ["x"]}
    assert chain(seen.si(), seen.si()).stamp(a="x").delay().get() == {"a": ["x"]}


def test_what_it_is_sent_with_goes_beside_the_stamps_that_it_has(app, seen):
    sig = seen.s().stamp(a="own")
    sent = sig.apply_async(stamped_headers=["a", "b"], a="other", b="more")
    assert result_of(app, sent) == {"a": ["own"], "b": ["more"]}
    assert sig.options == {"a": "own", NAMES: ["a"]}
    assert combined({}, sig.options, {"countdown": 1}) == {**sig.options, "countdown": 1}


def test_stamps_of_a_whole_hold_for_all_its_tasks(app, seen):
    steps = chain(seen.si(), seen.si().stamp(b=2), group(seen.si(), seen.si()))
    result = steps.apply_async(stamped_headers=["a"], a=1)
    assert result_of(app, result) == [{"a": [1]}] * 2
    assert result.parent.get(timeout=30) == {"a": [1], "b": [2]}
    assert result.parent.parent.get(timeout=30) == {"a": [1]}
    made = seen.chunks([(1,), (2,)], 1).stamp(c=3).apply_async()
    drain(app)
    wires = [stored(app, each.id).wire for each in made.results]
    assert [decode(wire).header.stamps for wire in wires] == [{"c": [3]}] * 2


def test_a_long_header_that_is_streamed_is_stamped(app, seen):
    @app.task(name="count", bind=True)
    def count(self, values):
        return [len(values), values[0], values[-1], dict(self.request.stamps)]

    result = chord((seen.s(each) for each in range(1500)), count.s()).stamp(a=1).apply_async()
    drain(app, most=3000)
    assert result.get(timeout=30) == [1500, {"a": [1]}, {"a": [1]}, {"a": [1]}]


def test_repeats_have_the_stamps_and_more_if_they_are_given(app):
    tries = []

    @app.task(name="again", bind=True)
    def again(self, *_):
        tries.append(dict(self.request.stamps))
        if len(tries) == 1:
            raise self.retry(countdown=0)
        if len(tries) == 2:
            raise self.retry(args=(1,), countdown=0, stamped_headers=["b"], b=2)
        return dict(self.request.stamps)

    assert result_of(app, again.apply_async(stamped_headers=["a"], a=1)) == {"a": [1], "b": [2]}
    assert tries == [{"a": [1]}, {"a": [1]}, {"a": [1], "b": [2]}]
    tries.clear()
    assert again.apply(stamped_headers=["a"], a=1).get() == {"a": [1], "b": [2]}


@pytest.mark.parametrize("kind", ["task", "chain", "group", "chord"])
def test_what_takes_a_tasks_place_has_its_stamps(app, seen, kind):
    made = {
        "task": lambda: seen.si().stamp(b=2),
        "chain": lambda: chain(seen.si(), seen.s().stamp(b=2)),
        "group": lambda: group(seen.si(), seen.si().stamp(b=2)),
        "chord": lambda: chord([seen.si()], seen.s().stamp(b=2)),
    }

    @app.task(name="swap", bind=True)
    def swap(self):
        raise self.replace(made[kind]())

    result = swap.apply_async(stamped_headers=["a"], a=1)
    last = {"a": [1], "b": [2]}
    assert result_of(app, result) == ([{"a": [1]}, last] if kind == "group" else last)
    record = stored(app, result.id)
    kept = decode(record.wire).header.stamps
    assert kept == ({"a": [1]} if kind == "group" else last)


def test_a_hook_of_the_task_may_stamp_what_takes_its_place(app, seen):
    class Stamping(app.Task):
        def on_replace(self, sig):
            sig.stamp(b=self.request.stamps["a"])
            return super().on_replace(sig)

    @app.task(name="swap", bind=True, base=Stamping)
    def swap(self):
        raise self.replace(seen.si())

    assert result_of(app, swap.apply_async(stamped_headers=["a"], a=1)) == {"a": [1], "b": [1]}


def test_callbacks_and_errbacks_have_what_they_were_stamped_with(app, seen):
    told = []

    @app.task(name="fail")
    def fail():
        raise ValueError

    @app.task(name="sorry", bind=True)
    def sorry(self, request, exc, traceback):
        told.append((dict(self.request.stamps), dict(request.stamps), request.stamped_headers))

    fail.s().on_error(sorry.s()).stamp(a=1).delay()
    drain(app)
    assert told == [({"a": [1]}, {"a": [1]}, ["a"])]
    result = seen.s().stamp(own=1)
    callback = seen.s().freeze()
    linked = seen.signature(task_id=callback.id)
    result.link(linked)
    result.apply_async(stamped_headers=["b"], b=2)
    drain(app)
    assert callback.get(timeout=30) == {}, "stamps of one task are its own"


def test_a_message_without_stamps_holds_no_byte_of_them(app, seen):
    result = seen.delay()
    assert b"stamps" not in stored(app, result.id).wire


# -- as text -------------------------------------------------------------------------------------


def test_values_are_the_same_stamp_if_their_text_is():
    assert text_of("7") == text_of(7) == "7"
    assert [text_of(each) for each in (True, None, 1.5, {"b": 1, "a": 2})] == [
        "true", "null", "1.5", '{"a":2,"b":1}',
    ]  # fmt: skip
    assert keys_of({"a": [1, "x"], "b": []}) == ["a=1", "a=x"]
    assert listed_keys({"a": ["x", "x", 1], "b": True}) == ["a=x", "a=1", "b=true"]


@pytest.mark.parametrize(
    ("given", "error"), [("a=1", TypeError), ({}, ValueError), ({"a": []}, ValueError)]
)
def test_what_names_no_stamp_is_refused(given, error):
    with pytest.raises(error):
        listed_keys(given)


def test_of_celerys_chunks_and_maps_options_stay(seen):
    made = chunks(seen.s(), [(1,)], 1).stamp(a=1)
    assert made.group().options == {"a": 1, NAMES: ["a"]}
    assert seen.map([1]).stamp(a=1).clone(stamped_headers=["b"], b=2).options == {
        "a": 1, "b": 2, NAMES: ["b", "a"],
    }  # fmt: skip


def test_members_of_a_long_header_have_each_its_own(app, seen):
    class Numbers(StampingVisitor):
        def on_signature(self, sig, **headers):
            return {"number": sig.args[0] if sig.args else "body"}

    members = [seen.s(number) for number in range(1200)]
    members[7].stamp(b="own").set(priority=3)
    members[9] = seen.s(9)
    canvas = group(members).stamp(Numbers())
    result = canvas.apply_async()
    drain(app, most=3000)
    found = result.get(timeout=30)
    assert found[7] == {"b": ["own"], "number": [7]}
    del found[7]
    assert found == [{"number": [number]} for number in range(1200) if number != 7]
    late = (
        seen.s(n) if n != 1100 else seen.s(n).set(stamped_headers=["gone"]) for n in range(1200)
    )
    with pytest.raises(TypeError, match="there is no value for it") as raised:
        group(late).apply_async()
    assert raised.value.__notes__ == ["It is member 1100 of a group, counted from 0."]
