"""What programs written for Celery do with tasks: classes of their own, options as attributes."""

import asyncio
from unittest import mock

import pytest
from inline import count, drain, make_app, stored

import celeriac
from celeriac import Celeriac, Task
from celeriac.exceptions import ImproperlyConfigured, OperationalError


class Marked(Task):
    """A class whose calls carry a header."""

    def apply_async(self, args=None, kwargs=None, **options):
        return super().apply_async(args, kwargs, headers={"tenant": "blue"}, **options)


def tenant(app, result):
    return celeriac.message.decode(stored(app, result.id).wire).header.headers["tenant"]


# -- an apply_async of one's own -------------------------------------------------------------------


@pytest.mark.parametrize("how", ["base", "task_cls", "app.Task", "register_task"])
def test_delay_asks_an_apply_async_of_ones_own(how):
    app = make_app(**({"task_cls": Marked} if how == "task_cls" else {}))
    if how == "app.Task":
        app.Task = Marked
    if how == "register_task":

        class Add(Marked):
            name = "add"

            def run(self, a, b):
                return a + b

        add = app.register_task(Add())
    else:
        options = {"base": Marked} if how == "base" else {}
        add = app.task(name="add", **options)(lambda a, b: a + b)
    result = add.delay(1, b=2)
    assert tenant(app, result) == "blue"
    assert tenant(app, asyncio.run(add.adelay(1, 2))) == "blue"
    drain(app)
    assert result.get(timeout=5) == 3


def test_delay_asks_what_a_test_puts_in_the_place_of_apply_async():
    app = make_app()
    add = app.task(name="add")(lambda a, b=0: a + b)
    with mock.patch.object(add, "apply_async") as stand_in:
        add.delay(1, b=2)
    stand_in.assert_called_once_with((1,), {"b": 2})
    with mock.patch.object(Task, "apply_async") as stand_in:
        add.delay(3)
    stand_in.assert_called_once_with((3,), {})
    assert count(app) == 0
    add.delay(1)
    assert count(app) == 1


def test_eager_calls_ask_an_apply_async_of_ones_own():
    app = make_app(task_always_eager=True)
    seen = []

    class Counted(Task):
        def apply_async(self, args=None, kwargs=None, **options):
            seen.append(args)
            return super().apply_async(args, kwargs, **options)

    add = app.task(name="add", base=Counted)(lambda a, b: a + b)
    assert add.delay(1, 2).get() == 3
    assert asyncio.run(add.adelay(3, 4)).get() == 7
    assert seen == [(1, 2), (3, 4)]


# -- an app of one's own ---------------------------------------------------------------------------


def test_delay_asks_a_send_task_of_ones_own():
    seen = []

    class Ours(Celeriac):
        def send_task(self, name, args=None, kwargs=None, **options):
            seen.append((name, args, kwargs, options))
            return super().send_task(name, args, kwargs, **options)

    app = Ours("ours", broker="memory://own-send-task", set_as_current=False)
    add = app.task(name="add", ignore_result=True)(lambda a, b: a + b)
    result = add.delay(1, b=2)
    add.apply_async((1, 2), countdown=5)
    assert seen == [
        ("add", (1,), {"b": 2}, {}),
        ("add", (1, 2), {}, {"countdown": 5}),
    ]
    assert result.ignored
    assert count(app) == 2


def test_delay_asks_what_a_test_puts_in_the_place_of_send_task():
    app = make_app()
    add = app.task(name="add")(lambda a: a)
    with mock.patch.object(app, "send_task") as stand_in:
        add.delay(1)
    with mock.patch.object(Celeriac, "send_task") as other:
        add.delay(2)
    stand_in.assert_called_once_with("add", (1,), {})
    other.assert_called_once_with("add", (2,), {})
    assert count(app) == 0


def test_the_base_class_of_an_apps_tasks_can_be_set():
    app = make_app()
    before = app.task(name="before")(lambda: None)

    class Ours(app.Task):
        def hello(self):
            return self.name

    app.Task = Ours
    assert app.Task is Ours
    assert app.task(name="after")(lambda: None).hello() == "after"
    assert not hasattr(before, "hello")

    class Plain(Task):
        pass

    app.Task = Plain
    assert issubclass(app.Task, Plain)
    with pytest.raises(TypeError, match=r"app\.Task is 5, which is not derived from Task"):
        app.Task = 5


def test_the_error_of_a_store_that_is_away_is_on_the_task():
    add = make_app().task(name="add")(lambda a: a)
    assert add.OperationalError is OperationalError


# -- what is wrong with a task ---------------------------------------------------------------------


def test_a_function_without_a_name_does_not_hide_a_wrong_option():
    with pytest.raises(ImproperlyConfigured) as caught:
        celeriac.shared_task(nope=1)(lambda: 1)
    assert "has no name of its own" in str(caught.value)
    assert "no option 'nope'" in str(caught.value)
