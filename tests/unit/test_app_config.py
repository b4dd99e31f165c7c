"""The app: where its settings come from and when, its modules, annotations, signals and names."""

import os
import sys
import threading
import warnings
from datetime import UTC
from types import SimpleNamespace

import pytest

from celeriac import Celeriac, Task, shared_task
from celeriac.app import current
from celeriac.exceptions import (
    CeleryWarning,
    DuplicateTaskNameWarning,
    ImproperlyConfigured,
    NotInThisVersion,
)


@pytest.fixture(autouse=True)
def _shared_tasks_of_this_test_alone():
    before = list(current.shared)
    yield
    current.shared[:] = before


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Write modules into a folder on the path; forget them afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(**files):
        for name, text in files.items():
            path = tmp_path.joinpath(*name.split("__")).with_suffix(".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            for folder in path.relative_to(tmp_path).parents:
                if folder.name:
                    (tmp_path / folder / "__init__.py").touch()
            path.write_text(text)
        return tmp_path

    yield write
    ours = str(tmp_path)
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(ours):
            del sys.modules[name]


def make(**settings):
    return Celeriac("shop", set_as_current=False, **{"broker": "memory://", **settings})


# -- config_from_object ------------------------------------------------------------------------


def test_a_module_by_name_is_imported_when_a_setting_is_first_read(project):
    folder = project(shopconf="task_time_limit = 30\ntimezone = 'Europe/Berlin'\n")
    app = make()
    app.config_from_object("shopconf")
    assert "shopconf" not in sys.modules
    assert app.conf.task_time_limit == 30.0
    assert app.conf.timezone == "Europe/Berlin"
    assert app.conf.origin("timezone") == "object"
    assert app.conf.place("timezone") == f"module shopconf ({folder / 'shopconf.py'})"


class Configuration:
    task_time_limit = 30
    os = os


@pytest.mark.parametrize(
    "source",
    [
        Configuration,
        Configuration(),
        {"task_time_limit": 30},
        SimpleNamespace(task_time_limit=30),
        f"{__name__}:Configuration",
        f"{__name__}.Configuration",
    ],
    ids=["class", "instance", "dict", "object", "colon", "dot"],
)
@pytest.mark.parametrize("force", [True, False])
def test_what_settings_can_be_read_from(source, force):
    app = make()
    app.config_from_object(source, force=force)
    assert app.conf.loaded is force
    assert app.conf.task_time_limit == 30.0


def test_code_goes_over_the_object_whenever_it_is_read():
    app = make(task_time_limit=10)
    app.conf.grace = 1
    app.config_from_object({"task_time_limit": 20, "grace": 2, "lease": 30, "crash_delay": 2})
    app.conf.lease = 40
    app.conf.add_defaults({"crash_delay": 1, "loss_delay": 1})
    conf = app.conf
    assert (conf.task_time_limit, conf.grace, conf.lease, conf.crash_delay) == (10, 1, 40, 2)
    assert conf.loss_delay == 1.0
    app.config_from_object({"crash_delay": 3})
    assert (conf.crash_delay, conf.lease) == (3.0, 40.0)


def test_the_environment_and_the_command_line_go_over_the_object(monkeypatch):
    monkeypatch.setenv("CELERIAC_GRACE", "7")
    app = make()
    app.config_from_object({"grace": 1, "lease": 30})
    app.conf.load_command_line({"lease": 60})
    assert (app.conf.grace, app.conf.lease) == (7.0, 60.0)
    assert app.conf.place("grace") == "environment variable CELERIAC_GRACE"
    assert app.conf.place("lease") == "command line"


def test_a_variable_replaces_a_store_that_this_version_has_not(monkeypatch):
    monkeypatch.setenv("CELERIAC_BROKER_URL", "memory://")
    assert Celeriac(broker="redis://host", set_as_current=False).broker_url == "memory://"


def test_the_object_may_name_the_store():
    app = Celeriac(set_as_current=False)
    app.config_from_object({"broker_url": "memory://", "result_backend": "memory://"})
    assert app.broker_url == "memory://"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("shopcnf", "config_from_object('shopcnf'): there is no module named 'shopcnf'; did you "),
        (
            "shopconf:Prodution",
            "shopconf.py) has no attribute 'Prodution'; did you mean Production",
        ),
        ("shop/conf.py", "is not the name of a module"),
        ("broken", "importing 'broken' failed: ModuleNotFoundError: No module named 'not_there'"),
        ("explodes", "config_from_object('explodes'): importing 'explodes' failed: ZeroDivision"),
        ("wrong", "wrong.py) is wrong:\n  - lease = 'soon': expected a number of seconds"),
    ],
)
def test_an_error_names_the_source_and_comes_at_each_use_until_it_is_mended(project, name, words):
    project(
        shopconf="class Production: pass",
        broken="import not_there",
        explodes="1 / 0",
        wrong="lease = 'soon'",
    )
    app = make()
    app.config_from_object(name)
    for _ in range(2):
        with pytest.raises(ImproperlyConfigured) as caught:
            _ = app.conf.lease
        assert words in str(caught.value)
    app.config_from_object({"lease": 20})
    assert app.conf.lease == 20.0


def test_silent_passes_over_what_is_not_there_and_nothing_else(project):
    project(broken="import not_there")
    app = make()
    app.config_from_object("nothing_there", silent=True)
    assert app.conf.lease == 15.0
    with pytest.raises(ImproperlyConfigured, match="not_there"):
        app.config_from_object("broken", silent=True)


def test_a_second_object_that_is_wrong_changes_nothing():
    app = make()
    app.config_from_object({"lease": 20})
    assert app.conf.lease == 20.0
    with pytest.raises(ImproperlyConfigured):
        app.config_from_object({"lease": "x"})
    assert app.conf.lease == 20.0


@pytest.mark.parametrize("given", [None, 5, ["lease"], True])
def test_what_settings_cannot_be_read_from(given):
    with pytest.raises(TypeError, match="config_from_object"):
        make().config_from_object(given)


def test_a_doubtful_name_is_warned_about():
    app = make()
    app.config_from_object(SimpleNamespace(task_serialiser="json"))
    with pytest.warns(CeleryWarning, match="did you mean task_serializer"):
        app.conf.load()


def test_djangos_settings_with_a_prefix(project, monkeypatch):
    project(
        website__settings="SECRET_KEY = 'x'\nINSTALLED_APPS = ['polls.apps.PollsConfig', 'blog']\n"
        "CELERY_TASK_ALWAYS_EAGER = True\nCELERY_WORKER_PREFETCH_MULTIPLIER = 1\n",
        polls__apps="from django.apps import AppConfig\n"
        "class PollsConfig(AppConfig):\n    name = 'polls'\n",
        polls__tasks="from celeriac import shared_task\n@shared_task\ndef count(): pass\n",
        blog__models="",
    )
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "website.settings")
    app = make()
    app.config_from_object("django.conf:settings", namespace="CELERY")
    app.autodiscover_tasks()
    with pytest.warns(CeleryWarning, match="worker_prefetch_multiplier"):
        assert app.conf.task_always_eager
    app.import_modules()
    assert "polls.tasks.count" in app.tasks


@pytest.mark.parametrize("variable", ["CELERIAC_CONFIG_MODULE", "CELERY_CONFIG_MODULE"])
def test_the_environment_names_the_module_unless_the_program_does(project, monkeypatch, variable):
    project(shopconf="lease = 20")
    monkeypatch.setenv(variable, "shopconf")
    assert make().conf.lease == 20.0
    app = make()
    app.config_from_object({"grace": 1})
    assert (app.conf.lease, app.conf.grace) == (15.0, 1.0)


def test_config_from_envvar(project, monkeypatch):
    project(shopconf="lease = 20")
    app = make()
    monkeypatch.setenv("SHOP_CONFIG", "shopconf")
    app.config_from_envvar("SHOP_CONFIG")
    assert app.conf.lease == 20.0
    with pytest.raises(ImproperlyConfigured, match=r"'NOT_SET'.*is not set"):
        app.config_from_envvar("NOT_SET")
    app.config_from_envvar("NOT_SET", silent=True)
    assert app.conf.lease == 20.0


def test_arguments_of_the_constructor():
    app = make(config_source={"lease": 20}, changes={"grace": 1})
    assert (app.conf.lease, app.conf.grace) == (20.0, 1.0)
    assert make(config_source="not_there", config_source_silent=True).conf.lease == 15.0


# -- reading at first use ----------------------------------------------------------------------


def test_nothing_is_read_until_a_setting_is(monkeypatch):
    app = make()
    assert not app.conf.loaded
    app.conf.update(lease=20)
    app.conf["grace"] = 1
    app.task(name="x")(lambda: None)
    repr(app)
    assert not app.conf.loaded
    with pytest.raises(ImproperlyConfigured):
        app.conf.update(lease="x")
    assert not app.conf.loaded
    assert app.conf["lease"] == 20.0
    assert app.conf.loaded


@pytest.mark.parametrize(
    "read",
    [
        lambda conf: conf.lease,
        lambda conf: conf["lease"],
        lambda conf: conf.get("lease"),
        lambda conf: dict(conf)["lease"],
        lambda conf: conf.setdefault("lease", 99),
        lambda conf: conf.table()["lease"],
        lambda conf: conf.humanize(),
        lambda conf: conf.as_dict(),
        lambda conf: conf.origin("lease"),
        lambda conf: conf.settled,
        len,
        repr,
    ],
)
def test_every_way_of_reading_reads_the_object(read):
    app = make()
    app.config_from_object({"lease": 20})
    read(app.conf)
    assert vars(app.conf)["lease"] == 20.0


def test_threads_that_read_at_once_read_the_object_once():
    app = make()
    calls = []
    started = threading.Barrier(8)

    def defaults():
        calls.append(threading.get_ident())
        return {"lease": 20}

    app.add_defaults(defaults)
    seen = []

    def read():
        started.wait(30)
        seen.append(app.conf.lease)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(30)
    assert seen == [20.0] * 8
    assert len(calls) == 1


def test_signals_of_configuring():
    app = make()
    heard = []

    @app.on_configure.connect
    def before(sender, **kwargs):
        heard.append(("before", sender, sender.conf.grace))
        sender.conf.update(lease=21)

    @app.on_after_configure.connect
    def after(sender, source, **kwargs):
        heard.append(("after", sender, source.lease))

    app.config_from_object({"lease": 20, "grace": 1})
    assert heard == []
    assert app.conf.lease == 21.0
    assert app.conf.grace == 1.0
    assert heard == [("before", app, 30.0), ("after", app, 21.0)]


def test_what_a_receiver_asks_for_that_is_not_there_is_an_error():
    app = make()

    @app.on_after_configure.connect
    def periodic(sender, **kwargs):
        sender.add_periodic_task(10.0, None)

    with pytest.raises(NotInThisVersion, match="add_periodic_task"):
        app.conf.load()


def test_defaults_that_a_function_gives_are_asked_for_late():
    app = make()
    asked = []
    app.add_defaults(lambda: asked.append(1) or {"lease": 20})
    app.add_defaults({"grace": 1})
    assert asked == []
    assert (app.conf.lease, app.conf.grace) == (20.0, 1.0)
    app.add_defaults(lambda: {"crash_delay": 1})
    assert app.conf.crash_delay == 1.0
    assert app.conf.origin("crash_delay") == "add_defaults"


def test_either():
    app = make(task_default_queue="mail")
    assert app.either("task_default_queue", None, "other") == "other"
    assert app.either("task_default_queue", None) == "mail"


# -- annotations -------------------------------------------------------------------------------


def told(self, exc, task_id, args, kwargs, einfo):
    """A handler that the settings give to tasks."""


class Picky:
    def annotate(self, task):
        return {"priority": 5} if task.name.endswith("mail") else None


@pytest.mark.parametrize(
    "setting",
    [
        {"shop.mail": {"priority": 5}},
        [{"other": {"priority": 1}}, {"shop.mail": {"priority": 5}}],
        {"*": {"priority": 3}, "shop.mail": {"priority": 5}},
        Picky(),
        Picky,
        f"{__name__}.Picky",
        [f"{__name__}:Picky"],
    ],
)
@pytest.mark.parametrize("when", ["before", "after", "object", "later"])
def test_annotations_whenever_they_are_set(setting, when):
    app = make()
    if when == "before":
        app.conf.task_annotations = setting

    @app.task(name="shop.mail")
    def mail():
        pass

    if when == "object":
        app.config_from_object({"task_annotations": setting})
    if when in ("after", "later"):
        _ = when == "later" and app.conf.lease and mail.defaults
        app.conf.task_annotations = setting
    app.conf.load()
    assert mail.priority == mail.defaults.priority == 5


def test_annotations_for_all_tasks_and_those_made_later():
    app = make(task_annotations={"*": {"time_limit": 9, "on_failure": told}})
    app.conf.load()

    @app.task
    def mail():
        pass

    assert mail.time_limit == 9.0
    assert mail.on_failure.__func__ is told
    assert mail.overrides("on_failure")
    assert Task.time_limit is None


def test_annotations_of_shared_and_of_class_tasks():
    @shared_task(name="shared.annotated")
    def work():
        pass

    class Mail(Task):
        name = "class.annotated"

        def run(self):
            pass

    app = make(task_annotations={"*": {"priority": 4}})
    app.register_task(Mail)
    assert app.tasks["shared.annotated"].priority == 4
    assert app.tasks["class.annotated"].priority == 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"priority": 99}, "priority"),
        ({"prioritee": 1}, "prioritee"),
        ({"name": "x"}, "'name' is no option of a task that exists"),
        ({"@__call__": print}, "'@__call__' is no option"),
    ],
)
def test_annotations_that_are_wrong(options, words):
    app = make()

    @app.task(name="shop.mail")
    def mail():
        pass

    app.conf.task_annotations = {"shop.mail": options}
    with pytest.raises(ImproperlyConfigured, match="task_annotations") as caught:
        app.conf.load()
    assert words in str(caught.value)


@pytest.mark.parametrize("wrong", [5, {"x": 5}, {5: {}}, [object()]])
def test_annotations_that_are_no_annotations(wrong):
    with pytest.raises(ImproperlyConfigured, match="task_annotations"):
        make(task_annotations=wrong)


def test_annotations_that_are_wrong_later_change_nothing():
    app = make(task_annotations={"*": {"priority": 1}})
    task = app.task(name="x")(lambda: None)
    app.conf.load()
    with pytest.raises(ImproperlyConfigured, match="prioritee"):
        app.conf.update(task_annotations={"x": {"prioritee": 1}}, lease=99)
    assert app.conf.lease == 15.0
    assert app.conf.task_annotations == {"*": {"priority": 1}}
    assert task.priority == 1


# -- modules -----------------------------------------------------------------------------------

TASKS = "from celeriac import shared_task\n@shared_task\ndef work(): pass\n"


@pytest.mark.parametrize("packages", [["mail", "bills"], lambda: ["mail", "bills"]])
def test_autodiscover_imports_late_what_is_there(project, packages):
    project(mail__tasks=TASKS, bills__models="")
    app = make()
    app.autodiscover_tasks(packages)
    assert "mail" not in sys.modules
    app.import_modules()
    assert "mail.tasks" in sys.modules
    assert "bills" in sys.modules


def test_autodiscover_at_once_and_other_names(project):
    project(mail__jobs=TASKS, bills__tasks=TASKS)
    app = make()
    app.autodiscover_tasks(["mail"], related_name="jobs", force=True)
    assert "mail.jobs" in sys.modules
    app.autodiscover_tasks(["bills.tasks"], related_name=None, force=True)
    assert "bills.tasks" in sys.modules


def test_an_import_that_fails_inside_a_discovered_module_is_raised(project):
    project(mail__tasks="import not_there\n", bills__tasks="from mail import nothing\n")
    with pytest.raises(ModuleNotFoundError, match="not_there"):
        make().autodiscover_tasks(["mail"], force=True)
    with pytest.raises(ImportError, match="nothing"):
        make().autodiscover_tasks(["bills"], force=True)


def test_a_package_that_is_not_there_is_an_error(project):
    project(mail__tasks=TASKS)
    with pytest.raises(ImproperlyConfigured, match=r"autodiscover_tasks.*'mial', which is not"):
        make().autodiscover_tasks(["mial"], force=True)
    with pytest.raises(ImproperlyConfigured, match=r"'mail\.inner', which is not there"):
        make().autodiscover_tasks(["mail.inner"], force=True)


def test_autodiscover_without_packages_needs_django(monkeypatch):
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    with pytest.raises(ImproperlyConfigured, match="Name the packages"):
        make().autodiscover_tasks(force=True)
    with pytest.raises(TypeError, match="names of packages"):
        make().autodiscover_tasks([5], force=True)


# -- tasks -------------------------------------------------------------------------------------


class Connected(Task):
    opened = 0
    _connection = None

    @property
    def connection(self):
        if self._connection is None:
            type(self).opened += 1
            self._connection = object()
        return self._connection


def test_a_base_class_keeps_its_state_once_for_each_task():
    app = make(task_always_eager=True)

    @app.task(base=Connected, bind=True, name="a")
    def first(self):
        return id(self.connection)

    @app.task(base=Connected, bind=True, name="b")
    def second(self):
        return id(self.connection)

    seen = {first.delay().get(), first.delay().get(), second.delay().get()}
    assert len(seen) == 2


def test_register_task_takes_a_class_an_instance_and_options():
    app = make(task_always_eager=True)

    class Add(Task):
        name = "add"
        queue = "fast"

        def run(self, x, y):
            return x + y

    task = app.register_task(Add, priority=3)
    assert app.tasks["add"] is task
    assert (task.queue, task.priority, task.app) == ("fast", 3, app)
    assert task.delay(1, 2).get() == 3
    assert app.register_task(Add()) is not None

    class Unnamed(app.Task):
        def run(self):
            pass

    assert app.register_task(Unnamed()).name == f"{__name__}.Unnamed"


def test_register_task_refuses_what_is_no_task():
    class Empty(Task):
        pass

    class Wrong(Task):
        time_limit = "soon"

        def run(self):
            pass

    app = make()
    with pytest.raises(TypeError, match="derived from Task"):
        app.register_task(print)
    with pytest.raises(TypeError, match="Empty defines no run"):
        app.register_task(Empty)
    with pytest.raises((TypeError, ValueError), match="time_limit"):
        app.register_task(Wrong)


def test_two_tasks_of_one_name_name_both_places():
    app = make()

    @app.task(name="work")
    def first():
        pass

    with pytest.warns(DuplicateTaskNameWarning) as warned:

        @app.task(name="work")
        def second():
            pass

    text = str(warned[0].message)
    for fun in ("first", "second"):
        assert f"<locals>.{fun} ({__file__}:" in text
    assert app.tasks["work"] is first is second

    class Other(Task):
        name = "work"

        def run(self):
            pass

    with pytest.warns(DuplicateTaskNameWarning, match=r"first .*stays; .*Other \("):
        assert app.register_task(Other) is first


def test_a_module_that_runs_as_main_and_is_imported_makes_one_task(project):
    """`python -m shop` makes `work` in `__main__`; its import makes it once more."""
    code = compile("@app.task(name='work')\ndef work(): pass\n", "shop.py", "exec")
    app = make()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("__main__", "shop"):
            exec(code, {"app": app, "__name__": name})
    assert "work" in app.tasks


def test_all_tasks_derive_from_task_cls():
    class Base(Task):
        kept = 1

    for given in (Base, f"{__name__}:Connected"):
        app = make(task_cls=given)
        task = app.task(name="x")(lambda: None)
        assert isinstance(task, Base if given is Base else Connected)
        assert issubclass(app.Task, Base if given is Base else Connected)

    class App(Celeriac):
        task_cls = Base

    assert isinstance(App(broker="memory://", set_as_current=False).task(name="x")(print), Base)


# -- life --------------------------------------------------------------------------------------


def test_finalize_is_told_once():
    app = make()
    heard = []
    app.on_after_finalize.connect(lambda sender, **kw: heard.append(sender), weak=False)
    assert not app.finalized
    assert len(app.tasks) == len(app.tasks)
    assert app.finalized
    app.finalize()
    assert heard == [app]


def test_an_app_that_does_not_finalize_itself():
    app = make(autofinalize=False)
    with pytest.raises(RuntimeError, match=r"before app.finalize\(\)"):
        _ = app.tasks
    app.finalize()
    assert app.tasks is not None


def test_time():
    assert make().now().tzinfo is UTC
    app = make(timezone="Europe/Berlin")
    assert str(app.timezone) == "Europe/Berlin"
    assert app.now().tzinfo is app.timezone
    assert not app.uses_utc_timezone()
    assert make().uses_utc_timezone()


def test_on_init_and_current_task():
    class App(Celeriac):
        def on_init(self):
            self.made = self.conf

    app = App(broker="memory://", task_always_eager=True, set_as_current=False)
    assert app.made is app.conf

    @app.task
    def which():
        return app.current_task.name

    assert app.current_task is None
    assert which.delay().get() == which.name


def test_on_after_fork_is_sent_in_a_child():
    import multiprocessing

    app = make()
    reader, writer = os.pipe()
    app.on_after_fork.connect(
        lambda sender, **kw: os.write(writer, b"told" if sender is app else b"no"), weak=False
    )
    context = multiprocessing.get_context("fork")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other tests have left threads
        child = context.Process(target=int)
        child.start()
    child.join(30)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        assert pipe.read() == b"told"


def test_worker_main_wants_the_command():
    with pytest.raises(ValueError, match=r"app\.worker_main\(\['worker'"):
        make().worker_main(["--loglevel=INFO"])


def test_options_of_a_worker_that_a_command_line_could_not_say():
    with pytest.raises(TypeError, match=r"Worker\(pool="):
        make().Worker(pool=object())


def test_start_runs_the_command_line(capsys):
    assert make().start(["-A", "nowhere_at_all", "status"]) == 2
    assert "nowhere_at_all" in capsys.readouterr().err
    with pytest.raises(ImproperlyConfigured, match="no attribute of the module"):
        make().start(["status"])
