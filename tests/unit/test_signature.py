"""Signatures of a single task."""

import copy
import json
import pickle

import pytest
from inline import count, drain, make_app, stored

from celeriac import Signature, signature
from celeriac.canvas import maybe_signature, subtask
from celeriac.canvas.signature import Home
from celeriac.exceptions import ImproperlyConfigured, NotInThisVersion, NotRegistered
from celeriac.testing.worker import start_worker


@pytest.fixture
def app():
    return make_app()


@pytest.fixture
def add(app):
    @app.task(name="add")
    def add(a, b, c=0):
        return [a, b, c]

    return add


def test_a_signature_is_a_dictionary_of_plain_data(add):
    sig = add.s(1, 2, c=3).set(queue="mail")
    assert sig == {
        "task": "add", "args": (1, 2), "kwargs": {"c": 3}, "options": {"queue": "mail"},
        "subtask_type": None, "immutable": False,
    }  # fmt: skip
    assert (sig.task, sig.name, sig.args, sig.kwargs) == ("add", "add", (1, 2), {"c": 3})
    assert (sig.options, sig.immutable, sig.id) == ({"queue": "mail"}, False, None)
    assert sig.type is add
    assert repr(sig) == "add(1, 2, c=3)"


def test_a_signature_can_be_sent_called_and_applied(app, add):
    sig = add.s(1, 2)
    assert sig() == [1, 2, 0]
    assert sig.apply().get() == [1, 2, 0]
    results = [sig.delay(), sig.apply_async(), sig.apply_async(countdown=0)]
    drain(app)
    assert [each.get(timeout=5) for each in results] == [[1, 2, 0]] * 3


def test_arguments_given_later_go_before_the_stored_ones(app, add):
    sig = add.s(2, c=3)
    assert sig(1) == [1, 2, 3]
    assert sig(1, c=4) == [1, 2, 4]
    result = sig.delay(1)
    drain(app)
    assert result.get(timeout=5) == [1, 2, 3]
    assert sig.args == (2,)


def test_an_immutable_one_takes_no_more(app, add):
    sig = add.si(1, 2)
    assert sig.immutable
    assert sig(9, c=9) == [1, 2, 0]
    sig.set_immutable(False)
    assert sig.clone((0,)).args == (0, 1, 2)
    assert add.s(1).set(immutable=True).immutable


def test_options_given_later_go_over_the_stored_ones(app, add):
    sig = add.signature((1, 2), {"c": 3}, queue="a", priority=1)
    record = stored(app, sig.apply_async(queue="b").id)
    assert (record.queue, record.priority) == ("b", 1)
    assert add.signature((1,), immutable=True).immutable
    assert add.subtask((1,)).args == (1,)


def test_clone_and_replace_leave_the_first_as_it_was(add):
    sig = add.s(2)
    clone = sig.clone((1,), {"c": 3}, queue="x")
    assert (clone.args, clone.kwargs, clone.options) == ((1, 2), {"c": 3}, {"queue": "x"})
    assert sig.partial((1,)).args == (1, 2)
    other = clone.replace(args=(7,), kwargs={}, options={})
    assert (other.args, other.kwargs, other.options) == ((7,), {}, {})
    assert (sig.args, sig.kwargs, sig.options) == ((2,), {}, {})


def test_wrong_arguments_are_refused_when_it_is_sent(app, add):
    with pytest.raises(TypeError, match="missing"):
        add.s().delay()
    with pytest.raises(TypeError, match="did you mean queue"):
        add.s(1, 2).apply_async(queu="x")
    assert count(app) == 0


def test_freeze_fixes_the_id(app, add):
    sig = add.s(1, 2)
    result = sig.freeze()
    assert sig.id == result.id
    sig.delay()
    drain(app)
    assert result.get(timeout=5) == [1, 2, 0]
    assert add.s(1, 2).freeze("my-id").id == "my-id"
    assert sig.AsyncResult("x").id == "x"


def test_through_json_and_pickle_and_back(app, add):
    sig = add.s(1, [2], c={"d": 3}).set(queue="mail")
    for made in (
        Signature.from_dict(json.loads(json.dumps(sig)), app=app),
        app.signature(json.loads(json.dumps(sig))),
        pickle.loads(pickle.dumps(sig)),
    ):
        assert made == sig
        assert isinstance(made, Signature)
    made = app.signature(json.loads(json.dumps(sig)))
    assert made.type is add


def test_a_signature_is_an_argument_like_any_other_value(app, add):
    @app.task(name="run")
    def run(sig):
        return maybe_signature(sig, app).delay(0).id

    result = run.delay(add.s(1))
    drain(app)
    assert app.AsyncResult(result.get(timeout=5)).get(timeout=5) == [0, 1, 0]


def test_a_signature_by_name(app, add):
    sig = app.signature("add", (1, 2), queue="x")
    assert sig.type is add
    with pytest.raises(TypeError, match="missing"):
        app.signature("add").delay()
    unknown = app.signature("nobody.knows", (1,))
    assert stored(app, unknown.delay().id).task == "nobody.knows"
    with pytest.raises(NotRegistered):
        unknown()


def test_signature_takes_many_things():
    with make_app(set_as_current=True) as app:

        @app.task(name="add")
        def add(a): ...

        sig = signature(add, (1,))
        assert sig == signature("add", args=(1,)) == subtask("add", (1,)) == signature(dict(sig))
        assert signature(sig) is sig
        assert signature(sig, args=(0,)).args == (0, 1)
        assert signature("add").app is app
        assert maybe_signature(5) == 5
        assert maybe_signature({"a": 1}) == {"a": 1}
        assert maybe_signature(None) is None


def test_without_an_app_it_says_so(monkeypatch):
    monkeypatch.setattr(Home, "current", None)
    with pytest.raises(ImproperlyConfigured, match="belongs to no app"):
        signature("add").delay()


@pytest.mark.parametrize("name", ["election"])
def test_members_of_celerys_signature_that_are_not_built_are_refused_by_name(add, name):
    sig = add.s(1, 2)
    for look in (
        lambda: getattr(sig, name),
        lambda: getattr(Signature, name),
        lambda: setattr(sig, name, "x"),
    ):
        with pytest.raises(NotInThisVersion, match=f"^Signature.{name} is not in this version"):
            look()
    assert not hasattr(sig, name)
    assert getattr(sig, name, None) is None


def test_every_member_of_celerys_signature_is_there_or_refused_by_name():
    theirs = """
        AsyncResult TYPES app append_to_list_option apply apply_async args clone delay election
        extend_list_option flatten_links freeze from_dict id immutable kwargs link link_error name
        on_error options parent_id partial register_type replace reprcall root_id set set_immutable
        stamp stamp_links subtask_type task type
        __call__ __deepcopy__ __invert__ __json__ __or__ __ior__
    """
    found = {name for each in Signature.__mro__ for name in vars(each)}
    assert set(theirs.split()) - found == set()


def test_inverted_it_is_sent_and_waited_for(tmp_path):
    app = make_app()
    add = app.task(name="add")(lambda a, b: a + b)
    with start_worker(app):
        assert ~add.s(2, 2) == 4


def test_its_parts_can_be_set(app, add):
    sig = add.s(1)
    sig.args, sig.kwargs, sig.options = [4, 5], {"c": 6}, {"queue": "mail"}
    sig.id, sig.immutable = "fixed", True
    assert sig == {
        "task": "add", "args": (4, 5), "kwargs": {"c": 6}, "subtask_type": None,
        "options": {"queue": "mail", "task_id": "fixed"}, "immutable": True,
    }  # fmt: skip
    assert (sig.id, sig.subtask_type) == ("fixed", None)


def test_another_tasks_name_makes_it_a_call_of_that_task(app, add):
    app.task(name="multiply")(lambda a, b: a * b)
    sig = add.s(3, 4)
    sig.task = "multiply"
    clone = sig.clone()
    assert (sig(), clone(), sig.type.name) == (12, 12, "multiply")
    result = sig.delay()
    sig.task = "somebody.elses"
    assert stored(app, sig.delay().id).task == "somebody.elses"
    drain(app)
    assert result.get(timeout=5) == 12
    with pytest.raises(NotRegistered):
        sig.type  # noqa: B018 - the look is the test


def test_a_call_as_text(add):
    sig = add.s(2, c=3)
    assert sig.reprcall(1, c=4) == "add(1, 2, c=4)"
    assert (sig.reprcall(), repr(sig)) == ("add(2, c=3)", "add(2, c=3)")


def test_copies_belong_to_the_same_app_and_share_nothing_when_deep(app, add):
    sig = add.s([1], 2, c={"d": 3}).set(queue="mail")
    for made in (copy.copy(sig), copy.deepcopy(sig)):
        assert made == sig
        assert type(made) is Signature
        assert (made.app, made.type) == (app, add)
        made.options["queue"] = "other"
    assert sig.options == {"queue": "mail"}
    deep = copy.deepcopy([sig, sig])
    deep[0].args[0].append(9)
    assert sig.args == ([1], 2)
    assert deep[0] is deep[1]
    assert sig.__json__() == dict(sig)


def test_joined_in_place_the_first_stays_what_it_was(add):
    sig = first = add.s(1, 2)
    sig |= add.s(3)
    assert sig.tasks == [first, add.s(3)]
    assert first == add.s(1, 2)


def test_a_dictionary_that_was_no_signature(app):
    with pytest.raises(TypeError, match="no task name"):
        app.signature({"args": ()})
