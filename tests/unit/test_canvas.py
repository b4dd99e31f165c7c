"""Canvases as values: what they are made of, what joins them, through JSON and back."""

import copy
import json
import pickle

import pytest
from inline import make_app

import celeriac
from celeriac import Signature, chain, chord, chunks, group, signature, xmap, xstarmap
from celeriac.canvas import maybe_signature


@pytest.fixture
def app():
    return make_app()


@pytest.fixture
def add(app):
    return app.task(name="add")(lambda a, b=0: a + b)


@pytest.fixture
def parts(add):
    """Five calls that can be told apart."""
    return [add.s(number) for number in range(5)]


# -- what | makes --------------------------------------------------------------------------------


def test_tasks_are_joined_to_a_chain(parts):
    a, b, c, *_ = parts
    joined = a | b | c
    assert isinstance(joined, chain)
    assert joined.tasks == [a, b, c]
    assert joined == chain(a, b, c) == chain([a, b, c]) == chain(each for each in (a, b, c))
    assert (a | (b | c)) == ((a | b) | c) == joined
    assert repr(joined) == "add(0) | add(1) | add(2)"


def test_a_task_before_a_group_is_a_chain_that_ends_in_it(parts):
    a, b, c, *_ = parts
    joined = a | group(b, c)
    assert isinstance(joined, chain)
    assert joined.tasks == [a, group(b, c)]


def test_a_group_before_a_task_is_a_chord(parts):
    a, b, c, *_ = parts
    joined = group(a, b) | c
    assert isinstance(joined, chord)
    assert (joined.tasks, joined.body) == ([a, b], c)
    assert joined == chord([a, b], c) == chord(group(a, b), c) == chain(group(a, b), c)
    assert repr(joined) == "group([add(0), add(1)]) | add(2)"


def test_a_chain_that_ends_in_a_group_becomes_one_that_ends_in_a_chord(parts):
    a, b, c, d, _ = parts
    joined = a | group(b, c) | d
    assert joined.tasks == [a, chord([b, c], d)]
    assert chain(a, group(b, c), d) == joined


def test_what_follows_a_chord_joins_its_body(parts):
    a, b, c, d, e = parts
    assert (group(a, b) | c | d).body == c | d
    assert (a | group(b, c) | d | e).tasks == [a, chord([b, c], d | e)]
    assert (group(a, b) | c | group(d, e)).body == c | group(d, e)


def test_two_groups_are_a_chord_whose_body_is_a_group(parts):
    a, b, c, d, e = parts
    joined = group(a, b) | group(c, d)
    assert (joined.tasks, joined.body) == ([a, b], group(c, d))
    assert (joined | e).body == chord([c, d], e)


def test_a_group_of_one_counts_as_its_member_behind_something(parts):
    a, b, c, *_ = parts
    assert (a | group([b])) == a | b
    assert (a | group([b]) | c) == a | b | c
    assert isinstance(group([a]) | b, chord)  # but its list is a list


def test_empty_groups_and_chains_drop_out(parts):
    a, b, *_ = parts
    assert (group(a, b) | group([])) == group(a, b)
    assert (chord([a], b) | chain()) == chord([a], b)
    assert (a | chain() | b) == a | b
    assert chain() | a == chain(a)


def test_a_chain_with_options_of_its_own_stays_one(parts):
    a, b, c, *_ = parts
    first = (a | b).set(queue="mail")
    joined = first | c
    assert joined.tasks == [first, c]
    assert chain(a, b, queue="mail") == first


def test_joining_changes_nothing_in_place(parts):
    a, b, c, d, e = parts
    chord_ = group(a, b) | c
    chain_ = d | e
    before = copy.deepcopy([chord_, chain_])
    _ = chord_ | chain_, chain_ | chord_, chain_ | a, a | chain_
    assert [chord_, chain_] == before


def test_a_chain_of_ten_thousand_is_made_without_recursion(add):
    made = add.s(0)
    for number in range(1, 10_000):
        made |= add.s(number)
    assert len(made.tasks) == len(chain(add.s(n) for n in range(10_000)).tasks) == 10_000


def test_what_follows_a_chord_in_a_body_stands_behind_it(add):
    """And not in its body, a level deeper with each step."""
    made = add.s(0)
    for number in range(400):
        made = made | group(add.s(number), add.s(number)) | add.s(number)
    first, whole = made.tasks
    assert first == add.s(0)
    assert len(whole.body.tasks) == 400
    assert whole.body.tasks[0] == add.s(0)
    assert whole.body.tasks[1:] == [
        chord([add.s(number), add.s(number)], add.s(number)) for number in range(1, 400)
    ]


@pytest.mark.parametrize("other", [5, "add", None, {"a": 1}, [1]])
def test_joining_with_what_is_no_signature_says_so(parts, other):
    with pytest.raises(TypeError, match="takes signatures, such as task"):
        parts[0] | other
    with pytest.raises(TypeError, match="takes signatures, such as task"):
        other | parts[0]
    with pytest.raises(TypeError, match="takes signatures, such as task"):
        chain(parts[0], other)


def test_joining_with_a_task_says_what_to_write(add, parts):
    with pytest.raises(TypeError, match=r"add is a task: write add\.s"):
        parts[0] | add
    with pytest.raises(TypeError, match=r"add is a task: write add\.s"):
        group(add)


def test_a_dictionary_that_was_a_signature_may_be_joined(parts):
    a, b, *_ = parts
    assert (a | json.loads(json.dumps(b))).tasks == [a, b]


# -- kinds ---------------------------------------------------------------------------------------


def test_a_chain_of_one_thing_that_is_no_task_is_that(parts):
    a, b, *_ = parts
    assert chain(group(a, b)) == group(a, b)
    assert chain(chord([a], b)) == chord([a], b)
    assert chain(a).tasks == [a]
    assert chain().tasks == []
    assert repr(chain()) == "chain()"


@pytest.mark.parametrize("make", [list, tuple, iter, lambda them: (each for each in them)])
def test_a_group_is_made_of_any_iterable(parts, make):
    assert group(make(parts)).tasks == parts == group(*parts).tasks
    assert group(group(make(parts))).tasks == parts


def test_members_of_a_generator_are_made_when_somebody_looks(parts):
    made = []

    def members():
        for each in parts:
            made.append(each)
            yield each

    lazy = group(members())
    assert lazy.lazy
    assert repr(lazy) == "group([…])"
    assert made == []
    assert lazy.tasks == parts
    assert not lazy.lazy
    assert lazy.tasks == parts  # they stay


@pytest.mark.parametrize("wrong", [5, "add", b"add", None])
def test_a_group_of_what_is_no_signature_says_so(wrong):
    with pytest.raises(TypeError, match=r"group\(\) takes"):
        group(wrong)
    with pytest.raises(TypeError, match=r"group\(\) takes"):
        group([wrong])


def test_a_group_can_be_skewed(add):
    made = group(add.s(n) for n in range(4)).skew(start=1, stop=3)
    assert [each.options["countdown"] for each in made.tasks] == [1, 2, 3, 3]


def test_links_of_groups_and_chords_go_where_celery_has_them(parts):
    a, b, c, d, e = parts
    both = group(a, b)
    both.link(d)
    both.link_error(e)
    assert a.options == {"link": [d.clone().set(immutable=True)], "link_error": [e]}
    assert b.options == {"link_error": [e]}
    made = chord([a], c)
    assert made.link(d) is d
    assert made.on_error(e) is made
    assert c.options == {"link": [d], "link_error": [e]}
    with pytest.raises(TypeError, match="chord without a body"):
        chord([a]).link(d)


def test_links_are_kept_once_and_shared_with_no_copy(parts):
    a, b, c, *_ = parts
    copied = a.clone()
    assert a.link(b) is b
    assert a.link(copy.copy(b)) == b
    assert a.on_error(c) is a
    assert a.options == {"link": [b], "link_error": [c]}
    assert copied.options == {}
    other = a.clone()
    other.link(c)
    assert a.options["link"] == [b]
    a.extend_list_option("link", [c, c])
    assert a.options["link"] == [b, c, c]
    b.link(c)
    assert a.flatten_links() == [a, b, c, c, c]
    for link in (a.link, a.link_error, a.on_error):
        with pytest.raises(TypeError, match="takes a signature"):
            link("add")


def test_the_links_of_a_chain_can_be_handed_to_its_steps(parts):
    a, b, c, d, _ = parts
    made = (a | b).on_error(d)
    made.link(c)
    first, last = made.unchain_tasks()
    assert (first.options, last.options) == ({"link_error": [d]}, {"link": [c], "link_error": [d]})
    assert a.options == {}


def test_immutability_of_the_whole(parts):
    a, b, c, *_ = parts
    made = chord([a, b], c)
    made.set_immutable(True)
    assert [a.immutable, b.immutable, c.immutable] == [True, True, False]


def test_one_task_for_many_arguments(app, add):
    mapped, starred = add.map([1, 2]), add.starmap(iter([(1, 2), (3, 4)]))
    assert mapped == xmap(add.s(), [1, 2])
    assert starred == xstarmap(add.s(), [(1, 2), (3, 4)])
    assert (mapped.task, starred.task) == ("celery.map", "celery.starmap")
    assert (repr(mapped), repr(starred)) == (
        "[add(x) for x in 2 values]",
        "[add(*x) for x in 2 values]",
    )
    cut = add.chunks(zip(range(5), range(5), strict=True), 2)
    assert isinstance(cut, chunks)
    assert [each.kwargs["it"] for each in cut.group().tasks] == [
        [(0, 0), (1, 1)], [(2, 2), (3, 3)], [(4, 4)],
    ]  # fmt: skip
    for wrong in (lambda: add.map(5), lambda: add.chunks("ab", 2)):
        with pytest.raises(TypeError, match="takes an iterable"):
            wrong()
    for number in (0, True, 1.5):
        with pytest.raises(ValueError, match="whole number from 1"):
            add.chunks([], number)


# -- copies and data -----------------------------------------------------------------------------


@pytest.fixture
def canvases(add, parts):
    a, b, c, d, e = parts
    nested = group(a | b, group(c, d) | e, group([]), add.map([1])) | group(add.chunks([(1, 2)], 1))
    return [
        a | b,
        group(a, b).set(queue="mail"),
        chord([a, b], c, kwargs={"b": 1}, countdown=3),
        nested.set(priority=3),
        a.clone().on_error(b | c),
        add.map([1, 2]).set(queue="x"),
        add.chunks([(1, 2), (3, 4)], 1),
    ]


def test_groups_of_generators_through_json_and_back(app, add):
    """Their members are made for it, and stay."""
    for make in (
        group,
        lambda members: chord(members, add.s(5)),
        lambda members: add.s(9) | group(members),
    ):
        canvas = make(add.s(number) for number in range(3))
        assert app.signature(json.loads(json.dumps(canvas))) == canvas
        assert len(canvas.tasks) in (2, 3)


def test_through_json_and_back(app, canvases):
    for each in canvases:
        made = app.signature(json.loads(json.dumps(each)))
        assert type(made) is type(each)
        assert json.dumps(made) == json.dumps(each)
        assert made == Signature.from_dict(json.loads(json.dumps(each)), app=app)


def test_through_pickle_and_copy(canvases):
    for each in canvases:
        for made in (pickle.loads(pickle.dumps(each)), copy.copy(each), copy.deepcopy(each)):
            assert made == each
            assert type(made) is type(each)


def test_a_clone_shares_no_part_that_is_changed(canvases):
    for each in canvases:
        before = json.dumps(each)
        made = each.clone()
        made.set(queue="other")
        for part in made.kwargs.get("tasks") or []:
            part.set(queue="other", immutable=True)
        assert json.dumps(each) == before


def test_clones_take_arguments_and_options(parts):
    a, b, *_ = parts
    made = (a | b).clone((1,), {"b": 2}, queue="x")
    assert (made.args, made.given, made.options) == ((1,), {"b": 2}, {"queue": "x"})
    assert maybe_signature(a, clone=True) == a
    assert maybe_signature(a, clone=True) is not a


def test_dictionaries_as_celery_writes_them_are_read(app, add):
    body = {"task": "add", "args": [1], "kwargs": {}, "options": {}, "subtask_type": None,
            "immutable": False}  # fmt: skip
    theirs = {
        "task": "celery.chord", "args": [], "subtask_type": "chord", "immutable": False,
        "options": {}, "kwargs": {"kwargs": {}, "header": [dict(body), dict(body)], "body": body},
    }  # fmt: skip
    made = app.signature(theirs)
    assert made == chord([add.s(1), add.s(1)], add.s(1))


def test_a_kind_of_ones_own_can_be_registered(app, add):
    @Signature.register_type("twice")
    class Twice(chain):
        KIND = "twice"

    made = Twice(add.s(1), add.s(2))
    assert type(made) is Twice
    assert type(app.signature(json.loads(json.dumps(made)))) is Twice
    del Signature.TYPES["twice"]
    with pytest.raises(TypeError, match="of kind 'twice'"):
        app.signature(json.loads(json.dumps(made)))


def test_they_are_public_names():
    for name in ("chain", "group", "chord", "chunks", "xmap", "xstarmap", "subtask"):
        assert getattr(celeriac, name) is getattr(celeriac.canvas, name)
    assert signature(chain()) == chain()
