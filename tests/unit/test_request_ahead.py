"""``self.request.chain``, ``callbacks``, ``errbacks`` and ``chord`` of a part of a workflow."""

import json

import msgspec
import pytest
from inline import drain, make_app

from celeriac import chain, chord, group
from celeriac.canvas import Signature
from celeriac.context import Context
from celeriac.exceptions import SecurityError


class Scene:
    """An app whose task ``look`` notes what *ask* returns of its request."""

    def __init__(self, **settings):
        self.app = app = make_app(**settings)
        self.seen = []
        self.ask = lambda run: [run.chain, run.callbacks, run.errbacks, run.chord]

        @app.task(name="look", bind=True)
        def look(task, *args):
            self.seen.append(self.ask(task.request))
            return 1

        @app.task(name="add")
        def add(a=0, b=0, c=0):
            return a + b + c

        @app.task(name="fail")
        def fail(*args):
            raise ValueError("no")

        self.look, self.add, self.fail = look, add, fail

    def run(self, canvas):
        result = canvas.delay()
        drain(self.app)
        return result


@pytest.fixture
def scene():
    made = Scene()
    yield made
    made.app.close()


@pytest.fixture
def reads(scene, monkeypatch):
    """The ids that records are read of, one list for each call."""
    made = []
    get = scene.app.store.inspection.get

    def noted(ids):
        made.append(list(ids))
        return get(ids)

    monkeypatch.setattr(scene.app.store.inspection, "get", noted)
    return made


def bare(canvas):
    """A canvas as text, with what is linked to it."""
    if isinstance(canvas, list):
        return [bare(each) for each in canvas]
    text = repr(canvas)
    for name in ("link", "link_error"):
        if canvas.options.get(name):
            text += f" {name}={bare(canvas.options[name])}"
    return text


def test_the_steps_that_remain_the_next_one_last(scene):
    add = scene.add
    result = scene.run(scene.look.s() | add.s(2).set(queue="q", priority=3) | add.si(3, b=4))
    ((steps, callbacks, errbacks, body),) = scene.seen
    assert [bare(each) for each in steps] == ["add(3, b=4)", "add(2)"]
    assert (callbacks, errbacks, body) == ([], [], None)
    last, following = steps
    assert last["options"] == {"task_id": result.id, "queue": "celery"}
    assert (last.immutable, following.immutable) == (True, False)
    assert following["options"] == {
        "task_id": result.parent.id, "queue": "q", "priority": 3,
    }  # fmt: skip
    assert steps.pop() is following  # it is a list
    assert json.loads(json.dumps(last))["task"] == "add"


def test_the_last_step_and_a_task_by_itself(scene):
    scene.run(scene.add.s(1) | scene.look.s())
    scene.run(scene.look.s())
    assert scene.seen == [[[], [], [], None], [None, None, None, None]]


def test_callbacks_are_what_was_linked_and_no_steps(scene):
    add = scene.add
    first = scene.look.s()
    first.link(add.s(10))
    first.link(add.s(11) | add.s(12))
    scene.run(first | add.s(1))
    scene.look.apply_async(link=add.s(13), link_error=[add.si(14)])
    drain(scene.app)
    (one, two) = scene.seen
    assert bare(one[1]) == ["add(10)", "add(11) | add(12)"]
    assert bare(one[0]) == ["add(1)"]
    assert bare(two[:3]) == [[], ["add(13)"], ["add(14)"]]


def test_errbacks_are_its_own_and_those_of_its_chain(scene):
    add, look = scene.add, scene.look
    scene.run(
        chain(look.s().on_error(add.si(1)), look.s(), look.s().on_error(add.si(3))).on_error(
            add.si(9)
        )
    )
    assert [bare(each[2]) for each in scene.seen] == [
        ["add(1)", "add(9)"], ["add(9)"], ["add(3)", "add(9)"],
    ]  # fmt: skip


def test_groups_and_chords_that_follow(scene):
    add = scene.add
    scene.run(scene.look.s() | group(add.s(1), add.s(2) | add.s(3)) | add.s([]) | add.s(5))
    scene.run(scene.look.s() | add.s(0) | group(add.s(1), group(add.s(2), add.s(3))))
    (first, second) = scene.seen
    assert bare(first[0]) == ["group([add(1), add(2) | add(3)]) | add([]) | add(5)"]
    assert isinstance(first[0][0], chord)
    assert bare(second[0]) == ["group([add(1), group([add(2), add(3)])])", "add(0)"]
    scene.seen.clear()
    scene.run(scene.look.s() | group(add.s(1), add.s(2)) | group(add.s(3), add.s(4)))
    assert bare(scene.seen[0][0]) == ["group([add(1), add(2)]) | group([add(3), add(4)])"]


def test_the_body_of_the_chord_that_a_member_is_in(scene):
    add, look = scene.add, scene.look
    result = scene.run(chord([add.s(1) | look.s(), look.s()], add.s(7).on_error(add.si(8))))
    assert len(scene.seen) == 2
    for _, _, _, body in scene.seen:
        assert bare(body) == "add(7) link_error=['add(8)']"
        assert body.id == result.id
    scene.seen.clear()
    scene.run(chord([look.s(), look.s()], add.s(7) | add.s(8)))
    assert {bare(each[3]) for each in scene.seen} == {"add(7) | add(8)"}
    scene.seen.clear()
    scene.run(chord([group(look.s(), look.s()), add.s()], add.s(7)))
    assert {each[3].task for each in scene.seen} == {"celeriac.collect"}


def test_a_map_is_one(scene):
    scene.run(scene.look.s() | scene.add.map([1, 2]))
    (step,) = scene.seen[0][0]
    assert (step.subtask_type, step.task, step.kwargs["it"]) == ("xmap", "celery.map", [1, 2])


def test_times_of_what_follows_are_as_they_were_given(scene):
    scene.run(scene.look.s() | scene.add.s().set(countdown=5, expires=60))
    (step,) = scene.seen[0][0]
    assert (step.options["countdown"], step.options["expires"]) == (5, 60)


def test_stamps_of_what_follows_are_there(scene):
    canvas = scene.look.s() | scene.add.s()
    canvas.stamp(monitoring_id="m1")
    scene.run(canvas)
    (step,) = scene.seen[0][0]
    assert step.options["stamped_headers"] == ["monitoring_id"]
    assert list(step.options["monitoring_id"]) == ["m1"]


def test_an_eager_run_knows_it_too(scene):
    (scene.look.s() | scene.add.s(2)).apply()
    assert bare(scene.seen[0][0]) == ["add(2)"]


def test_an_errback_is_told_what_the_failed_run_knew(scene):
    seen = []

    @scene.app.task(name="error")
    def error(request, exc, traceback):
        seen.append(bare([request.chain, request.errbacks]))

    scene.run(chain(scene.fail.s().on_error(error.s()), scene.add.s(2)))
    assert seen == [[["add(2)"], ["error()"]]]


# -- costs ---------------------------------------------------------------------------------------


def test_a_task_that_does_not_ask_reads_nothing(scene, reads):
    scene.ask = lambda run: run.id
    scene.run(scene.look.s() | scene.look.s().on_error(scene.add.s()) | scene.add.s())
    assert len(scene.seen) == 2
    assert reads == []


def test_what_is_asked_is_read_once_and_from_there_on_only(scene, reads):
    scene.ask = lambda run: [run.chain, run.callbacks, run.errbacks, run.chain]
    members = [scene.add.s(n) for n in range(50)]
    body = scene.look.s() | scene.add.s([]) | scene.add.s([])
    result = scene.run(chord(members, body))
    (seen,) = scene.seen
    assert len(seen[0]) == 2
    assert seen[0] is seen[3]
    asked = [id for ids in reads for id in ids]
    assert len(asked) == len(set(asked)) == 3
    assert asked[-1] == result.id


def test_many_are_read_at_a_time(scene, reads):
    scene.run(scene.look.s() | group([scene.add.s(n) for n in range(900)]))
    (members,) = scene.seen[0][0]
    assert [each.args for each in members.tasks] == [(n,) for n in range(900)]
    assert len(reads) <= 4
    assert max(map(len, reads)) <= 500


# -- writing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["chain", "callbacks", "errbacks", "chord"])
def test_they_cannot_be_changed_by_a_run(scene, name):
    said = []

    def ask(run):
        for write in (lambda: setattr(run, name, None), lambda: run.update({name: []})):
            with pytest.raises(AttributeError, match=rf"request\.{name} cannot be changed") as it:
                write()
            said.append(str(it.value))

    scene.ask = ask
    result = scene.run(scene.look.s() | scene.add.s(2))
    assert result.get(timeout=5) == 3
    assert len(said) == 2
    assert "use self.replace()" in said[0]


def test_outside_of_workflows_they_are_fields_like_others(scene):
    context = Context(chain=[1], callbacks=None)
    context.errbacks = [2]
    context.update(chord=3)
    assert (context.chain, context.callbacks) == ([1], None)
    assert (context.errbacks, context.chord) == ([2], 3)
    scene.look.push_request(chain=[{"task": "x"}])
    try:
        assert scene.look.request.chain == [{"task": "x"}]
    finally:
        scene.look.pop_request()


# -- bad cases -----------------------------------------------------------------------------------


def test_a_record_that_is_gone_leaves_nothing_to_read(scene):
    def ask(run):
        scene.app.store.inspection.discard([run.chain[0].id])
        return run

    scene.ask = ask
    scene.run(scene.look.s() | scene.add.s(1) | scene.add.s(2))
    assert len(scene.seen) == 1


def test_messages_that_are_not_signed_as_they_must_be_are_not_believed(monkeypatch):
    scene = Scene(security_key="one" * 16)
    other = make_app(broker=scene.app.conf.broker_url, security_key="two" * 16)
    forged = other.signature("add", (666,)).apply_async(queue="another")
    inspection = scene.app.store.inspection
    get = inspection.get

    def swapped(ids):
        """Records whose messages are the forged one, but for the one that runs."""
        (bad,) = get([forged.id])
        return [
            each if each.task == "look" else msgspec.structs.replace(each, wire=bad.wire)
            for each in get(ids)
        ]

    def refused(run):
        with monkeypatch.context() as patch:
            patch.setattr(inspection, "get", swapped)
            with pytest.raises(SecurityError):
                run.chain  # noqa: B018 - reading is what is looked at
        return "refused"

    scene.ask = refused
    scene.run(scene.look.s() | scene.add.s(1))
    scene.ask = lambda run: run.chain
    scene.run(scene.look.s() | scene.add.s(1))
    assert scene.seen[0] == "refused"
    assert bare(scene.seen[1]) == ["add(1)"]
    scene.app.close()
    other.close()


def test_they_are_signatures(scene):
    scene.run(scene.look.s() | scene.add.s(1))
    assert all(isinstance(each, Signature) for each in scene.seen[0][0])
