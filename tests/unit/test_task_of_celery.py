"""What programs written for Celery do with tasks: classes of their own, options as attributes."""

import asyncio
import pickle
from unittest import mock

import pytest
from inline import count, drain, make_app, stored

import celeriac
from celeriac import Celeriac, Task
from celeriac.exceptions import (
    CeleryWarning,
    ImproperlyConfigured,
    NotInThisVersion,
    OperationalError,
)


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
    assert f"<lambda> ({__file__}:" in str(caught.value)
    assert " at 0x" not in str(caught.value)


# -- options that the settings give ----------------------------------------------------------------

FROM_SETTINGS = {
    "time_limit": ("task_time_limit", 66.0),
    "soft_time_limit": ("task_soft_time_limit", 55.0),
    "rate_limit": ("task_default_rate_limit", "900/s"),
    "acks_late": ("task_acks_late", False),
    "reject_on_worker_lost": ("task_reject_on_worker_lost", False),
    "ignore_result": ("task_ignore_result", True),
    "priority": ("task_default_priority", 4),
    "serializer": ("task_serializer", "msgpack"),
    "compression": ("task_compression", "gzip"),
    "track_started": ("task_track_started", True),
    "typing": ("strict_typing", False),
    "store_errors_even_if_ignored": ("task_store_errors_even_if_ignored", True),
    "store_eager_result": ("task_store_eager_result", True),
}


@pytest.mark.parametrize("how", ["function", "class", "none", "async"])
def test_an_option_that_the_task_leaves_out_is_read_as_the_settings_say(how):
    app = make_app(accept_content=["json", "msgpack"])
    if how == "class":

        class Work(Task):
            name = "work"
            time_limit = None

            def run(self):
                pass

        task = app.register_task(Work)
    elif how == "async":

        async def work():
            pass

        task = app.task(name="work")(work)
    else:
        options = dict.fromkeys(FROM_SETTINGS) if how == "none" else {}
        task = app.task(name="work", **options)(lambda: None)
    app.conf.update(dict(FROM_SETTINGS.values()))
    for option, (setting, _) in FROM_SETTINGS.items():
        assert getattr(task, option) == app.conf[setting]
    app.conf.task_time_limit = 99
    assert task.time_limit == 99.0
    assert Task.time_limit is None
    assert Task().time_limit is None
    assert task.facts().time_limit == 99.0


def test_what_the_task_says_goes_over_the_settings_whatever_they_are():
    app = make_app(task_time_limit=66, task_ignore_result=True, task_default_priority=4)

    class Base(Task):
        time_limit = 7
        priority = 1

    task = app.task(name="t", base=Base, ignore_result=False, priority=None)(lambda: None)
    assert (task.time_limit, task.ignore_result, task.priority) == (7, False, 4)
    task.priority = 9
    assert task.priority == task.defaults.priority == 9
    task.priority = None
    assert (task.priority, task.defaults.priority) == (4, None)


def test_a_setting_that_a_task_shows_is_no_word_of_its_own_to_a_route():
    app = make_app(
        task_default_priority=4, task_serializer="json", task_routes={"t": {"priority": 8}}
    )
    task = app.task(name="t")(lambda: None)
    assert task.priority == 4
    assert stored(app, task.delay().id).priority == 8


def test_a_run_reads_the_settings_on_its_task():
    app = make_app(task_time_limit=66, task_soft_time_limit=55, task_default_rate_limit="900/s")

    @app.task(name="t", bind=True)
    def t(self):
        return [self.time_limit, self.soft_time_limit, self.rate_limit, self.acks_late]

    result = t.delay()
    drain(app)
    assert result.get(timeout=5) == [66.0, 55.0, "900/s", True]


# -- annotations -----------------------------------------------------------------------------------


def test_annotations_that_the_code_sets_are_seen_at_once():
    app = make_app(task_annotations={"*": {"max_retries": 8}, "t": {"time_limit": 5}})
    t = app.task(name="t")(lambda: None)
    assert not app.conf.loaded
    assert (t.max_retries, t.time_limit) == (8, 5.0)
    app.conf.load()
    assert (t.max_retries, t.time_limit) == (8, 5.0)


def test_annotations_that_are_imported_wait_until_the_settings_are_read():
    app = make_app(task_annotations=["no_such_module.Annotations"])
    app.task(name="t")(lambda: None)
    with pytest.raises(ImproperlyConfigured, match="no_such_module"):
        app.conf.load()


def test_a_worker_warns_of_annotations_for_tasks_that_are_not_there():
    app = make_app(task_annotations={"*": {}, "t": {"priority": 1}, "no.such.task": {}})
    app.task(name="t")(lambda: None)
    with pytest.warns(CeleryWarning, match=r"there is no task 'no\.such\.task', so"):
        app.configure_worker()


# -- wrong values, and names that are not built ----------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("after_return", 5, "it is a function"),
        ("on_failure", "mail", "it is a function"),
        ("bind", "yes", "True or False"),
        ("ignore_result", "yes", "True or False"),
        ("typing", 1, "True or False"),
    ],
)
def test_an_option_of_another_kind_is_refused(option, value, words):
    with pytest.raises(TypeError, match=f"{option} is {value!r}; .*{words}"):
        make_app().task(name="t", **{option: value})(lambda self: None)


MEMBERS = [
    "backend",
    "annotate",
    "shadow_name",
    "signature_from_request",
    "request_stack",
    "bind",
    "on_bound",
    "add_around",
    "start_strategy",
    "Request",
    "Strategy",
    "send_events",
    "from_config",
    "__header__",
]


@pytest.mark.parametrize("name", MEMBERS)
def test_a_member_of_tasks_that_is_not_built_is_refused_with_its_cure(name):
    task = make_app().task(name="t")(lambda: None)
    with pytest.raises(NotInThisVersion, match=rf"task\.{name} is not in this version\. \w"):
        getattr(task, name)
    assert not hasattr(task, name)


@pytest.mark.parametrize(
    "name", ["log", "fixups", "config_source", "Pickler", "amqp_cls", "control_cls", "log_cls"]
)
def test_a_member_of_apps_that_is_not_built_is_refused_with_its_cure(name):
    with pytest.raises(NotInThisVersion, match=rf"app\.{name} is not in this version\. \w"):
        getattr(make_app(), name)


@pytest.mark.parametrize("name", ["events", "log", "control", "fixups"])
def test_an_argument_of_apps_that_is_not_built_is_refused_with_its_cure(name):
    with pytest.raises(NotInThisVersion, match=rf"{name} .*is not in this version\. \w"):
        make_app(**{name: "x"})


def test_what_the_app_was_made_with():
    app = make_app(autofinalize=False, strict_typing=False)
    assert (app.autofinalize, app.strict_typing) == (False, False)


def test_a_child_can_be_added_to_the_trail():
    app = make_app()
    add = app.task(name="add")(lambda: None)

    @app.task(name="t", bind=True)
    def t(self):
        return self.add_trail(add.apply_async(add_to_parent=False)).id

    result = t.delay()
    drain(app)
    assert [each.id for each in result.children] == [result.get(timeout=5)]


app_of_this_module = Celeriac("here", broker="memory://here", set_as_current=False)


def test_an_app_is_pickled_as_the_name_that_its_module_has_for_it():
    assert pickle.loads(pickle.dumps(app_of_this_module)) is app_of_this_module
    with pytest.raises(pickle.PicklingError, match="cannot be pickled"):
        pickle.dumps(make_app())
