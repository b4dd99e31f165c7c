"""``task_allow_error_cb_on_chord_header``: errbacks of a chord for the members of its header."""

import pytest
from inline import drain, make_app, steps_of

from celeriac import Celeriac, chain, chord, group, signature
from celeriac.canvas.lines import TOGETHER
from celeriac.workflow import plan

SETTING = "task_allow_error_cb_on_chord_header"


class Scene:
    """An app, and what its errbacks were told of: one entry for each call."""

    def __init__(self, **settings):
        self.app = make_app(**settings)
        self.told = told = []
        task = self.app.task

        @task(name="fine")
        def fine(*args):
            return 1

        @task(name="fail")
        def fail(*args):
            raise ValueError("no")

        @task(name="error")
        def error(task_id):
            told.append(task_id)

        @task(name="new_error")
        def new_error(request, exc, traceback):
            told.append((request.task, type(exc).__name__))

        self.fine, self.fail, self.error, self.new_error = fine, fail, error, new_error


@pytest.fixture
def scene():
    made = Scene(**{SETTING: True})
    yield made
    made.app.close()


@pytest.fixture
def default():
    made = Scene()
    yield made
    made.app.close()


def ids(result):
    return [each.id for each in result.parent]


def test_it_is_off_by_default_and_the_errback_is_called_once_for_the_body(default):
    made = chord([default.fail.s(), default.fine.s(), default.fail.s()], default.fine.s())
    made.link_error(default.error.s())
    result = made()
    drain(default.app)
    assert default.told == [result.id]
    assert made.header.options == {}


def test_it_is_called_for_each_member_that_fails_and_for_the_body(scene):
    made = chord([scene.fail.s(), scene.fine.s(), scene.fail.s()], scene.fine.s())
    result = made.on_error(scene.error.s()).delay()
    drain(scene.app)
    first, _, last = ids(result)
    assert sorted(scene.told) == sorted([first, last, result.id])
    scene.told.clear()
    (group(scene.fine.s(), scene.fine.s()) | scene.fine.s()).on_error(scene.error.s()).delay()
    drain(scene.app)
    assert scene.told == []


def test_a_body_that_fails_calls_it_once(scene):
    result = chord([scene.fine.s()], scene.fail.s()).on_error(scene.error.s()).delay()
    drain(scene.app)
    assert scene.told == [result.id]


def test_errbacks_of_both_styles_are_told_what_they_are_called_for(scene):
    chord([scene.fail.s(), scene.fine.s()], scene.fine.s()).on_error(scene.new_error.s()).delay()
    drain(scene.app)
    assert sorted(scene.told) == [("fail", "ValueError"), ("fine", "ChordError")]


@pytest.mark.parametrize("how", ["chain", "chain of a group", "option", "whole", "nested body"])
def test_however_the_errback_is_linked(scene, how):
    fail, fine, error = scene.fail, scene.fine, scene.error.s()
    header = [fail.s(), fine.s()]
    if how == "chain":
        result = chain(group(header), fine.s()).on_error(error).delay()
    elif how == "chain of a group":
        result = (fine.s() | group(header) | fine.s() | fine.s()).on_error(error).delay()
    elif how == "option":
        result = chord(header, fine.s(), link_error=[error]).delay()
    elif how == "whole":
        result = chord(header, fine.s()).apply_async(link_error=[error])
    else:
        result = chord(header, chord([fine.s()], fine.s())).on_error(error).delay()
    drain(scene.app)
    assert len(scene.told) == 2
    assert result.id in scene.told or how in {"chain of a group", "nested body"}


def test_a_failure_before_the_header_calls_it_for_that_alone(scene):
    made = chain(scene.fail.s(), group(scene.fine.s(), scene.fine.s()), scene.fine.s())
    made.on_error(scene.error.s()).delay()
    drain(scene.app)
    assert len(scene.told) == 1


def test_members_that_are_workflows_call_it_once_each(scene):
    fail, fine = scene.fail, scene.fine
    members = [
        fine.s() | fail.s() | fine.s(),
        fail.s() | fine.s(),
        fine.s() | fine.s(),
        chord([fail.s(), fine.s()], fine.s()),  # for its member, and for its body
    ]
    chord(members, fine.s()).on_error(scene.error.s()).delay()
    drain(scene.app)
    assert len(scene.told) == 1 + 1 + 2 + 1
    assert len(set(scene.told)) == 5


def test_a_generator_is_sent_as_it_comes_all_the_same(scene, monkeypatch):
    steps = steps_of(scene.app, monkeypatch)
    many = 2 * TOGETHER
    made = []

    def members():
        for number in range(many):
            made.append(number)
            yield (scene.fail if number in {3, many - 1} else scene.fine).s()

    canvas = chord(members(), scene.fine.s()).on_error(scene.error.s())
    assert made == []
    result = canvas.delay()
    assert len(steps) > 2
    assert max(map(len, steps)) <= TOGETHER + 1
    drain(scene.app, most=2 * many)
    assert len(scene.told) == len(set(scene.told)) == 3
    assert result.id in scene.told


def test_here_too(scene):
    made = chord([scene.fail.s(), scene.fine.s(), scene.fail.s()], scene.fine.s())
    made.on_error(scene.error.s()).apply()
    assert len(scene.told) == len(set(scene.told)) == 3


def test_a_canvas_that_has_travelled_keeps_them(scene):
    made = chord([scene.fail.s()], scene.fine.s()).on_error(scene.error.s())
    signature(dict(made), app=scene.app).delay()
    drain(scene.app)
    assert len(scene.told) == 2


def test_what_is_no_signature_is_linked_nowhere(scene):
    made = chord([scene.fine.s()], scene.fine.s())
    with pytest.raises(TypeError, match="takes a signature"):
        made.link_error("error")
    assert made.header.options == made.body.options == {}


def test_what_follows_the_chord_later_is_not_theirs(scene):
    """As without the setting: the errback is the chord's, and what is joined behind is not."""
    made = chord([scene.fine.s()], scene.fine.s()).on_error(scene.error.s()) | scene.fail.s()
    assert len([each for each in plan(made).parts.values() if each.told]) == 2
    made.delay()
    drain(scene.app)
    assert scene.told == []


def test_the_setting_is_read_from_names_of_old_and_new_ways():
    app = Celeriac("x", broker="memory://names-of-errbacks", set_as_current=False)
    app.conf.update({"CELERY_TASK_ALLOW_ERROR_CB_ON_CHORD_HEADER": True})
    assert app.conf.task_allow_error_cb_on_chord_header is True
