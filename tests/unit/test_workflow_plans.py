"""What the planner makes of canvases: parts, edges, joins."""

import itertools

import pytest
from inline import make_app

from celeriac import chain, chord, group
from celeriac.canvas.lines import DEEPEST
from celeriac.message import Edges, NewJoin
from celeriac.workflow import COLLECT, freeze, plan


@pytest.fixture
def add():
    return make_app().task(name="add")(lambda a, b=0: a + b)


def planned(canvas, *args, **options):
    """The plan of *canvas*, with ids i0, i1 … in the order in which they are drawn."""
    numbers = itertools.count()
    return plan(canvas, args, {}, options, new_id=lambda: f"i{next(numbers)}")


def edges(made):
    return {id: part.edges for id, part in made.parts.items()}


def calls(made):
    return {id: (*part.values, *part.call.args) for id, part in made.parts.items() if part.call}


def shape(shown):
    """A result's shape as nested tuples: (id, parent's) or (id, parent's, [members'])."""
    if shown is None:
        return None
    if shown.members is None:
        return shown.id, shape(shown.parent)
    return shown.id, shape(shown.parent), [shape(each) for each in shown.members]


def test_one_task_has_no_edges(add):
    made = planned(add.s(1))
    assert (edges(made), made.joins, made.flow) == ({"i0": None}, [], "i0")


def test_each_step_of_a_chain_is_released_by_the_one_before(add):
    made = planned(add.s(1) | add.s(2) | add.si(3, 4))
    assert edges(made) == {
        "i0": Edges(success=("i1",)),
        "i1": Edges(waits=True, success=("i2",), takes="i0"),
        "i2": Edges(waits=True, after="i1"),  # immutable: it takes nothing
    }
    assert shape(made.shown) == ("i2", ("i1", ("i0", None)))
    assert [(each.root, each.parent) for each in made.parts.values()] == [
        ("", ""), ("i0", "i0"), ("i0", "i1"),
    ]  # fmt: skip


def test_a_group_has_no_record_of_its_own(add):
    made = planned(group(add.s(1), add.s(2)))
    assert edges(made) == {"i1": None, "i2": None}
    assert [(each.group, each.index) for each in made.parts.values()] == [("i0", 0), ("i0", 1)]
    assert shape(made.shown) == ("i0", None, [("i1", None), ("i2", None)])


def test_a_task_before_a_group_releases_all_members(add):
    made = planned(add.s(0) | group(add.s(1), add.s(2) | add.s(3)))
    assert edges(made) == {
        "i0": Edges(success=("i2", "i3")),
        "i2": Edges(waits=True, takes="i0"),
        "i3": Edges(waits=True, success=("i4",), takes="i0"),
        "i4": Edges(waits=True, takes="i3"),
    }
    assert shape(made.shown) == (
        "i1", ("i0", None), [("i2", None), ("i4", ("i3", None))],
    )  # fmt: skip


def test_the_body_of_a_chord_gathers_a_join(add):
    made = planned(chord([add.s(1) | add.s(2), add.s(3)], add.s(4)))
    assert edges(made) == {
        "i1": Edges(success=("i2",), within=("i0", 0)),
        "i2": Edges(waits=True, takes="i1", join=("i0", 0), within=("i0", 0)),
        "i3": Edges(join=("i0", 1), within=("i0", 1)),
        "i4": Edges(waits=True, gathers="i0"),
    }
    assert made.joins == [NewJoin("i0", "i4", 2)]
    assert shape(made.shown) == ("i4", ("i0", None, [("i2", ("i1", None)), ("i3", None)]))
    assert (made.parts["i4"].root, made.parts["i4"].parent) == ("i1", "i2")


def test_an_immutable_body_names_its_join_all_the_same(add):
    made = planned(chord([add.s(1)], add.si(4)))
    assert made.parts["i2"].edges == Edges(waits=True, gathers="i0", immutable=True)


def test_a_list_for_several_tasks_is_held_by_one_that_collects(add):
    made = planned(group(add.s(1), add.s(2)) | group(add.s(3), add.s(4)))
    (held,) = (each for each in made.parts.values() if each.task == COLLECT)
    assert held.edges == Edges(waits=True, gathers="i0", success=("i5", "i6"))
    assert made.joins == [NewJoin("i0", held.id, 2)]
    assert made.parts["i5"].edges == Edges(waits=True, takes=held.id)
    assert shape(made.shown)[0] == "i3"


def test_a_group_in_a_header_is_one_member(add):
    made = planned(chord([group(add.s(1), add.s(2)), add.s(3)], add.s(4)))
    assert made.joins == [NewJoin("i1", "i1", 2), NewJoin("i0", "i5", 2)]
    assert made.parts["i1"].task == COLLECT
    assert made.parts["i1"].edges == Edges(
        waits=True, gathers="i1", join=("i0", 0), within=("i0", 0)
    )
    assert made.parts["i2"].edges == Edges(join=("i1", 0), within=("i1", 0))


def test_an_empty_header_needs_no_join(add):
    made = planned(chord([], add.s(4)))
    assert (made.joins, calls(made)) == ([], {"i1": ([], 4)})
    made = planned(add.s(1) | group([]) | add.s(4))
    assert edges(made) == {"i0": Edges(success=("i2",)), "i2": Edges(waits=True, after="i0")}
    assert calls(made) == {"i0": (1,), "i2": ([], 4)}


def test_an_empty_group_in_a_header_is_an_empty_list(add):
    made = planned(chord([group([]), add.s(1)], add.s(2)))
    assert made.joins[0].size == 2
    assert [each.values for each in made.parts.values() if each.task == COLLECT] == [([],)]


def test_an_empty_group_at_the_end_is_nothing(add):
    made = planned(chain(add.s(1), group([])))
    assert (edges(made), shape(made.shown)) == ({"i0": None}, ("i0", None))
    assert planned(chain()).shown is None
    assert shape(planned(group([])).shown) == ("i0", None, [])


def test_callbacks_are_successors_that_no_join_waits_for(add):
    made = planned(chord([add.s(1).set(link=add.s(7) | add.s(8))], add.s(2)))
    assert made.parts["i1"].edges == Edges(success=("i2",), join=("i0", 0), within=("i0", 0))
    assert made.parts["i2"].edges == Edges(waits=True, success=("i3",), takes="i1")
    assert made.parts["i3"].edges == Edges(waits=True, takes="i2")


def test_what_is_linked_to_a_whole_follows_its_last_part(add):
    made = planned((add.s(1) | add.s(2)), link=add.s(9))
    assert [each.call.args for each in made.parts.values()] == [(1,), (2,), (9,)]
    assert made.parts["i1"].success == ["i2"]
    made = planned(chain(add.s(1), group(add.s(2), add.s(3))).set(link=add.s(9)))
    callback = next(each for each in made.parts.values() if each.call.args == (9,))
    first = made.parts["i2"]  # of that member, without its result
    assert (first.success, callback.edges) == ([callback.id], Edges(waits=True, after="i2"))


def test_errbacks_of_one_step_are_its_own(add):
    made = planned(add.s(1).on_error(add.s(9)).on_error(add.si(8)) | add.s(2))
    assert made.parts["i0"].own == ["i1", "i2"]
    assert made.parts["i1"].edges == Edges(waits=True, told="i0")
    assert made.parts["i2"].edges == Edges(waits=True, after="i0")
    assert made.parts["i3"].own == []


def test_one_errback_behind_the_last_part_does_for_a_chain(add):
    made = planned((add.s(1) | add.s(2) | add.s(3)).on_error(add.s(9)))
    assert {id: (part.own, part.failure) for id, part in made.parts.items()} == {
        "i0": ([], []), "i1": ([], []), "i2": ([], ["i3"]), "i3": ([], []),
    }  # fmt: skip
    assert made.parts["i3"].told == "i2"


def test_where_something_is_before_a_chain_each_step_has_its_errback(add):
    made = planned(add.s(0) | (add.s(1) | add.s(2)).on_error(add.s(9)))
    guarded = [each for each in made.parts.values() if each.own]
    assert [each.call.args for each in guarded] == [(1,), (2,)]
    assert all(not each.failure for each in made.parts.values())


def test_errbacks_of_a_chain_that_ends_side_by_side(add):
    made = planned((add.s(1) | group(add.s(2), add.s(3))).on_error(add.s(9)))
    guarded = [each.call.args for each in made.parts.values() if each.own]
    assert guarded == [(1,), (2,), (3,)]


def test_the_errback_of_a_chord_is_about_its_body(add):
    made = planned(chord([add.s(1), add.s(2)], add.s(3)).on_error(add.s(9)))
    guarded = [each.call.args for each in made.parts.values() if each.own or each.failure]
    assert guarded == [(3,)]


def test_arguments_and_options_of_a_whole(add):
    made = planned(add.s(1) | add.s(2).set(queue="own") | add.s(3), 7, queue="q", countdown=5)
    assert calls(made) == {"i0": (7, 1), "i1": (2,), "i2": (3,)}
    assert [each.call.options for each in made.parts.values()] == [
        {"queue": "q", "countdown": 5}, {"queue": "own"}, {"queue": "q"},
    ]  # fmt: skip
    made = planned(group(add.s(1), add.s(2).set(queue="own")), 7, queue="q", countdown=5)
    assert list(calls(made).values()) == [(7, 1), (7, 2)]
    assert all(each.call.options == {"queue": "q", "countdown": 5} for each in made.parts.values())
    made = planned(chord([add.s(1)], add.s(2)), 7, priority=3, countdown=5)
    assert list(calls(made).values()) == [(7, 1), (2,)]
    assert [each.call.options for each in made.parts.values()] == [
        {"priority": 3, "countdown": 5}, {"priority": 3},
    ]  # fmt: skip


def test_the_id_of_a_whole_is_that_of_its_result(add):
    for canvas in (add.s(1) | add.s(2), group(add.s(1)), chord([add.s(1)], add.s(2)),
                   chord([add.s(1)], add.s(2) | add.s(3))):  # fmt: skip
        assert planned(canvas, task_id="mine").flow == "mine"
        canvas.freeze("yours")
        assert plan(canvas).flow == "yours"
        canvas.freeze("another's")
        assert plan(canvas).flow == "yours"


def test_frozen_ids_are_planned_ids(add):
    same = add.s(1)
    canvas = chain(same, same, group(same, add.chunks([(1, 2), (3, 4)], 1)), same)
    shown = freeze(canvas)
    made = plan(canvas)
    assert shape(made.shown) == shape(shown)
    assert shape(plan(canvas).shown) == shape(shown)
    assert "task_id" not in same.options


def test_an_id_is_given_once(add):
    fixed = add.s(1).set(task_id="same")
    with pytest.raises(ValueError, match="two parts of this workflow have the id same"):
        plan(fixed | fixed)
    # but an errback of several steps is a record for each
    plan(chain(add.s(1), group(add.s(2), add.s(3))).on_error(add.s(9).set(task_id="e")))


def test_a_canvas_that_contains_itself_is_refused(add):
    members = group(add.s(1))
    members.tasks.append(members)
    steps = chain(add.s(1))
    steps.tasks.append(steps)
    linked = add.s(1)
    linked.link(linked)
    whole = chord([add.s(1)], add.s(2))
    whole.body = whole
    for canvas in (members, steps, linked, whole):
        with pytest.raises(ValueError, match="contains itself"):
            plan(canvas)


def test_a_chord_without_a_body_is_refused(add):
    with pytest.raises(ValueError, match="this chord has no body"):
        plan(chord([add.s(1)]))


def test_depth_is_bounded_for_groups_alone(add):
    canvas = group(add.s(1))
    for _ in range(DEEPEST - 1):
        canvas = group([canvas])
    plan(canvas)
    with pytest.raises(ValueError, match="nested deeper than"):
        plan(group([group([canvas])]))
    steps = add.s(0)
    for number in range(300):
        steps = steps | group(add.s(1), add.s(2)) | add.s(number)
    made = plan(steps)
    assert (len(made.parts), len(made.joins)) == (901, 300)


def test_a_chain_of_ten_thousand_is_planned(add):
    made = plan(chain(add.s(number) for number in range(10_000)))
    assert len(made.parts) == 10_000
