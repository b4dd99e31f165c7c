"""The app: declaring tasks, settings, stores, sending by name and in bulk."""

import importlib
import os
import subprocess
import sys
import textwrap
import threading
import warnings
from datetime import UTC, datetime

import msgspec
import pytest
from inline import count, drain, make_app, stored

import celeriac
from celeriac import Celeriac, Celery, Task, current_app, current_task, shared_task
from celeriac.app import app_or_default
from celeriac.app.current import forget_app, get_current_app
from celeriac.app.place import default_broker
from celeriac.client import verify
from celeriac.exceptions import (
    AlwaysEagerIgnored,
    CeleryWarning,
    DuplicateTaskNameWarning,
    EncodeError,
    ImproperlyConfigured,
    NotInThisVersion,
    NotRegistered,
    PayloadTooLarge,
)
from celeriac.message import decode


@pytest.fixture
def app():
    return make_app()


@pytest.fixture(autouse=True)
def shared_tasks():
    """Shared tasks belong to the process: those of a test go with it, and it sees no others."""
    before = list(celeriac.app.current.shared)
    celeriac.app.current.shared.clear()
    yield
    celeriac.app.current.shared[:] = before


# -- construction --------------------------------------------------------------------------------


def test_celery_is_another_name():
    assert Celery is Celeriac is celeriac.Celery


def test_settings_are_keywords():
    app = make_app(task_default_queue="mail", result_expires=60)
    assert app.conf.task_default_queue == "mail"
    assert app.conf.result_expires == 60.0


def test_an_unknown_setting_is_refused_with_all_others_that_are_wrong():
    with pytest.raises(ImproperlyConfigured) as caught:
        make_app(task_default_queu="x", lease="soon")
    assert len(caught.value.problems) == 2
    assert "task_default_queue" in str(caught.value)


@pytest.mark.parametrize("name", ["loader", "amqp", "tasks", "fixups", "events"])
def test_arguments_of_celery_that_are_not_built_are_refused_by_name(name):
    with pytest.raises(NotInThisVersion, match=name):
        make_app(**{name: "x"})


@pytest.mark.parametrize(
    "name", ["loader", "setup_security", "add_periodic_task", "steps", "amqp", "fixups"]
)
def test_attributes_of_celery_that_are_not_built_are_refused_by_name(app, name):
    with pytest.raises(NotInThisVersion, match=name):
        getattr(app, name)
    assert not hasattr(app, name)


def test_any_other_attribute_is_unknown(app):
    with pytest.raises(AttributeError, match="no attribute 'tusks'"):
        _ = app.tusks


def test_conf_update(app):
    app.conf.update(task_always_eager=True, task_default_priority=3)
    assert app.conf.task_always_eager is True
    assert app.conf.task_default_priority == 3


def test_the_environment_goes_over_the_code(monkeypatch):
    monkeypatch.setenv("CELERIAC_TASK_DEFAULT_QUEUE", "urgent")
    assert make_app(task_default_queue="mail").conf.task_default_queue == "urgent"


def test_the_command_line_goes_over_the_environment(monkeypatch):
    monkeypatch.setenv("CELERIAC_TASK_DEFAULT_QUEUE", "urgent")
    app = make_app()
    app.configure_worker({"task_default_queue": "typed"})
    assert app.conf.task_default_queue == "typed"


# -- where the database is -----------------------------------------------------------------------


def run(program, **options):
    return subprocess.run(
        [sys.executable, *program], capture_output=True, text=True, check=True, **options
    ).stdout.strip()


SAY = "from celeriac import Celeriac\napp = Celeriac('tasks')\n"


def test_the_default_store_lies_beside_the_module(tmp_path):
    (tmp_path / "tasks.py").write_text(SAY)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import tasks; "
    found = run(["-c", program + "print(tasks.app.broker_url)"], cwd=elsewhere)
    assert found == f"sqlite:///{tmp_path}/celeriac.db"


def test_a_module_inside_a_package_uses_the_folder_that_holds_the_package(tmp_path):
    inner = tmp_path / "shop" / "jobs"
    inner.mkdir(parents=True)
    (tmp_path / "shop" / "__init__.py").touch()
    (inner / "__init__.py").write_text(SAY)
    (inner / "mail.py").write_text(SAY)
    program = (
        "import shop.jobs.mail as m, shop.jobs as j; print(m.app.broker_url, j.app.broker_url)"
    )
    url = f"sqlite:///{tmp_path}/celeriac.db"
    assert run(["-c", program], cwd=tmp_path) == f"{url} {url}"


def test_a_script_and_a_module_run_with_m_use_the_same_place(tmp_path):
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "mail.py").write_text(SAY + "print(app.broker_url)")
    (tmp_path / "main.py").write_text(SAY + "print(app.broker_url)")
    url = f"sqlite:///{tmp_path}/celeriac.db"
    assert run(["-m", "shop.mail"], cwd=tmp_path) == url
    assert run([str(tmp_path / "main.py")], cwd=package) == url


def test_code_that_was_typed_in_uses_the_working_directory(tmp_path):
    assert run(["-c", SAY + "print(app.broker_url)"], cwd=tmp_path) == (
        f"sqlite:///{tmp_path}/celeriac.db"
    )


def test_a_folder_with_odd_characters_is_quoted(tmp_path):
    folder = tmp_path / "a b#c?%"
    folder.mkdir()
    (folder / "tasks.py").write_text("")
    url = default_broker({"__name__": "tasks", "__file__": str(folder / "tasks.py")})
    assert url.endswith("/a%20b%23c%3F%25/celeriac.db")


# -- stores --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://localhost", "PostgreSQL is not in this version"),
        ("amqp://localhost", "RabbitMQ is not in this version"),
        ("db+postgresql://x", "leave the backend unset"),
    ],
)
def test_a_broker_that_is_not_built_is_refused_when_the_app_is_made(url, words):
    with pytest.raises(NotInThisVersion, match=words):
        make_app(broker=url)


def test_an_unknown_scheme_says_what_is_near():
    with pytest.raises(ImproperlyConfigured, match="Did you mean sqlite://"):
        make_app(broker="sqllite:///x.db")


@pytest.mark.parametrize(
    ("setting", "url", "error"),
    [
        ("broker_url", "amqp://localhost", NotInThisVersion),
        ("broker_url", "kafka://localhost", ImproperlyConfigured),
        ("result_backend", "amqp://localhost", NotInThisVersion),
        ("result_backend", "kafka://localhost", ImproperlyConfigured),
    ],
)
def test_a_wrong_url_that_is_set_later_is_refused_at_once(app, setting, url, error):
    before = app.conf[setting]
    with pytest.raises(error):
        app.conf.update({setting: url})
    assert app.conf[setting] == before
    app.send_task("anything")


def test_another_broker_is_used_from_the_next_call_on(tmp_path):
    app = make_app()
    app.send_task("first")
    app.conf.broker_url = f"sqlite:///{tmp_path}/other.db"
    sent = app.send_task("second")
    with make_app(broker=f"sqlite:///{tmp_path}/other.db") as reader:
        assert reader.AsyncResult(sent.id).exists()
    assert count(app) == 1
    app.close()


def test_backend_left_out_keeps_results_beside_the_tasks(app):
    assert app.keeps_results


@pytest.mark.parametrize("backend", [None, "disabled://"])
def test_no_backend_keeps_the_state_and_drops_the_result(backend):
    app = make_app(backend=backend)

    @app.task(name="answer")
    def answer():
        return 42

    result = answer.delay()
    drain(app)
    assert result.state == "SUCCESS"
    assert result.get(timeout=60) is None
    assert stored(app, result.id).body is None


def test_rpc_is_the_brokers_store_with_a_notice():
    with pytest.warns(CeleryWarning, match="rpc://"):
        app = make_app(backend="rpc://")
    assert app.keeps_results
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert app.store is app.store


def test_a_database_backend_is_refused_with_its_replacement():
    with pytest.raises(NotInThisVersion, match="replaced: leave the backend unset"):
        make_app(backend="db+sqlite:///results.db")


def test_results_in_the_memory_of_one_process_are_for_tasks_in_it(tmp_path):
    with pytest.raises(ImproperlyConfigured, match="lives inside one process") as caught:
        make_app(broker=f"sqlite:///{tmp_path}/a.db", backend="memory://me:secret@two")
    assert "memory://me:***@two" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert make_app(broker="memory://one", backend="memory://two").backend_url == "memory://two"


def test_the_brokers_url_as_backend_is_the_same_store():
    app = make_app(broker="memory://same", backend="memory://same")
    assert app.keeps_results


def test_a_child_process_opens_the_store_anew(app):
    mine = app.store
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            other = app.store
            kept = app._abandoned == [mine]
            os.write(writer, b"1" if other is not mine and kept else b"0")
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        assert pipe.read() == b"1"
    os.waitpid(pid, 0)
    assert app.store is mine


def test_close_lets_go_of_the_store_and_of_being_current():
    with make_app(set_as_current=True) as app:
        assert get_current_app() is app
        _ = app.store
    assert app._held is None
    assert app not in celeriac.app.current._apps


# -- tasks ---------------------------------------------------------------------------------------


def test_a_task_with_and_without_arguments(app):
    @app.task
    def plain(): ...

    @app.task()
    def called(): ...

    @app.task(queue="mail")
    def routed(): ...

    assert [plain.queue, called.queue, routed.queue] == [None, None, "mail"]
    assert {plain.name, called.name, routed.name} == set(app.tasks)


def test_names_are_module_and_function(app):
    @app.task
    def send(): ...

    assert send.name == f"{__name__}.send"
    assert app.tasks[f"{__name__}.send"] is send


def test_main_stands_for_the_main_module():
    assert make_app("shop").gen_task_name("send", "__main__") == "shop.send"


def test_without_main_the_main_module_has_the_name_of_its_file(tmp_path):
    (tmp_path / "mail.py").write_text(
        "from celeriac import Celeriac\napp = Celeriac()\n"
        "@app.task\ndef send(): ...\nprint(send.name)"
    )
    assert run([str(tmp_path / "mail.py")]) == "mail.send"


def test_a_task_keeps_the_functions_looks(app):
    @app.task
    def send(to):
        """Send it."""

    assert send.__name__ == "send"
    assert send.__doc__ == "Send it."
    assert send.__module__ == __name__
    assert "send" in repr(send)


def test_an_unregistered_name_says_what_is_near(app):
    @app.task(name="mail.send")
    def send(): ...

    with pytest.raises(NotRegistered, match=r"Did you mean 'mail\.send'"):
        _ = app.tasks["mail.sned"]
    assert "mail.sned" not in app.tasks
    assert app.tasks.get("mail.sned") is None


def test_the_registry_can_be_changed(app):
    @app.task(name="a")
    def a(): ...

    app.tasks.unregister(a)
    with pytest.raises(NotRegistered):
        app.tasks.unregister("a")
    app.tasks.register(a)
    assert list(app.tasks) == ["a"]


def test_a_second_function_under_a_taken_name_warns_and_the_first_stays(app):
    @app.task(name="mail")
    def first():
        return 1

    with pytest.warns(DuplicateTaskNameWarning, match=r"'mail' is taken by .*first"):

        @app.task(name="mail")
        def second():
            return 2

    assert second is first
    assert app.tasks["mail"]() == 1


def test_the_same_function_twice_is_the_same_task(app):
    def send(): ...

    assert app.task(send) is app.task(send)


@pytest.mark.parametrize(
    ("option", "error", "words"),
    [
        ("max_retrys", TypeError, "did you mean max_retries"),
        ("acks_on_failure_or_timeout", NotInThisVersion, "acks_on_failure_or_timeout"),
        ("link_error", NotInThisVersion, "link_error"),
        ("zebra", TypeError, "has no option 'zebra'"),
    ],
)
def test_an_option_of_a_task_that_is_not_built_is_refused(app, option, error, words):
    with pytest.raises(error, match=words):
        app.task(name="x", **{option: 1})(lambda: None)
    assert "x" not in app.tasks


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("time_limit", 0, "more than 0"),
        ("soft_time_limit", "soon", "seconds"),
        ("priority", 10, "from 0 to 9"),
        ("max_retries", -1, "max_retries"),
        ("autoretry_for", (int,), "no class of exceptions"),
        ("retry_kwargs", {"max_retrys": 1}, "max_retrys"),
        ("retry_backoff_max", -1, "retry_backoff_max"),
        ("queue", "two words", "no name"),
        ("serializer", "xml", "xml"),
        ("expires", "later", "expires"),
    ],
)
def test_a_wrong_value_of_an_option_is_refused_when_the_task_is_made(app, option, value, words):
    with pytest.raises((TypeError, ValueError, ImproperlyConfigured), match=words):
        app.task(name="x", **{option: value})(lambda: None)


def test_all_that_is_wrong_with_a_task_is_told_at_once(app):
    with pytest.raises(ImproperlyConfigured) as caught:
        app.task(
            name="x", bind=True, max_retries="3", retry_backoff="x", queue="a b", priority=44,
            link=1, zebra=1, retry_kwargs=3, throws=5,
        )(lambda: None)  # fmt: skip
    words = (
        "bind=True, and its function takes no arguments", "max_retries is '3'",
        "retry_backoff is 'x'", "queue is 'a b'", "priority is 44", "The option link",
        "no option 'zebra'", "retry_kwargs is 3; it is a dictionary", "throws is 5",
    )  # fmt: skip
    problems = caught.value.problems
    assert len(problems) == len(words)
    assert all(word in problem for word, problem in zip(words, problems, strict=True))
    lines = str(caught.value).splitlines()
    assert lines[0] == "the task 'x' cannot be made, its options are wrong:"
    assert lines[1:] == [f"  - {each}" for each in problems]
    assert "x" not in app.tasks


def test_one_thing_wrong_with_a_task_is_raised_as_what_it_is(app):
    with pytest.raises(ValueError, match=r"^the task 'x': priority is 44"):
        app.task(name="x", priority=44)(lambda: None)
    with pytest.raises(TypeError, match=r"^the task 'x': base is <class 'int'>, which is not"):
        app.task(name="x", base=int)(lambda: None)
    with pytest.raises(ImproperlyConfigured, match=r"^the task 'x': .*xml"):
        app.task(name="x", serializer="xml")(lambda: None)


def test_a_soft_limit_above_the_hard_one_is_told_with_the_rest(app):
    with pytest.raises(ImproperlyConfigured) as caught:
        app.task(name="x", soft_time_limit=10, time_limit=5, priority=44)(lambda: None)
    assert [each.split()[0] for each in caught.value.problems] == ["priority", "soft_time_limit"]
    with pytest.raises(ValueError, match="never be reached"):
        app.task(name="x", soft_time_limit=10, time_limit=5)(lambda: None)


def test_retry_for_is_autoretry_for(app):
    @app.task(retry_for=[KeyError])
    def a(): ...

    assert a.autoretry_for == (KeyError,)
    with pytest.raises(TypeError, match="both"):
        app.task(name="b", retry_for=[KeyError], autoretry_for=[KeyError])(lambda: None)


@pytest.mark.parametrize("thing", [3, "tasks.add", type("Add", (), {})])
def test_only_a_function_can_become_a_task(app, thing):
    with pytest.raises(TypeError):
        app.task(thing)
    with pytest.raises(TypeError):
        app.task(queue="x")(thing)


def test_a_lambda_needs_a_name(app):
    with pytest.raises(TypeError, match="name of its own"):
        app.task(lambda: None)
    assert app.task(name="it")(lambda: 7)() == 7


def test_a_class_of_tasks_can_be_registered(app):
    class Add(celeriac.Task):
        name = "add"

        def run(self, a, b):
            return a + b

    task = app.register_task(Add())
    result = task.delay(1, 2)
    drain(app)
    assert result.get(timeout=60) == 3
    with pytest.raises(TypeError, match="missing"):
        task.delay(1)


def test_facts_are_what_a_worker_must_know(app):
    @app.task(name="a", acks_late=False, time_limit=10, soft_time_limit=5, ignore_result=True)
    def a(): ...

    @app.task(name="b", reject_on_worker_lost=False)
    def b(): ...

    facts = app.facts()
    assert not facts["a"].late
    assert (facts["a"].time_limit, facts["a"].soft_time_limit) == (10, 5)
    assert facts["a"].ignore_result
    assert facts["a"].requeue_lost
    assert facts["b"].late
    assert not facts["b"].requeue_lost
    assert facts["b"].max_crashes == 3
    assert not facts["b"].hooks


def test_facts_follow_the_settings():
    app = make_app(task_acks_late=False, task_time_limit=60, max_crashes=5)

    @app.task(name="a")
    def a(): ...

    facts = app.facts()["a"]
    assert (facts.late, facts.time_limit, facts.max_crashes) == (False, 60, 5)


# -- shared tasks, current app -------------------------------------------------------------------


def test_annotations_for_a_shared_task_that_came_last_are_met(recwarn):
    app = make_app(task_annotations={"shared.late": {"priority": 4}})
    assert "shared.late" not in app.tasks  # looked at before the shared task is declared

    @shared_task(name="shared.late")
    def late():
        pass

    app.configure_worker()
    assert app.tasks["shared.late"].priority == 4
    assert not [each for each in recwarn if "there is no task" in str(each.message)]


def test_a_shared_task_belongs_to_every_app():
    before = make_app("before")

    @shared_task(name="shared.double")
    def double(n):
        return 2 * n

    after = make_app("after")
    assert before.tasks["shared.double"].app is before
    assert after.tasks["shared.double"].app is after
    assert after.tasks["shared.double"](4) == 8


def test_a_shared_task_is_sent_by_the_current_app():
    @shared_task(name="shared.half", queue="maths")
    def half(n):
        return n / 2

    with make_app(set_as_current=True) as app:
        assert half.name == "shared.half"
        assert isinstance(half, celeriac.Task)
        result = half.delay(8)
        assert half(8) == 4
        drain(app, ["maths"])
        assert result.get(timeout=60) == 4


def test_a_shared_task_without_an_app_says_so():
    @shared_task(name="shared.lonely")
    def lonely(): ...

    kept = list(celeriac.app.current._apps)
    for each in kept:
        forget_app(each)
    try:
        with pytest.raises(ImproperlyConfigured, match="no app in this process"):
            lonely.delay()
        assert "no app yet" in repr(lonely)
    finally:
        celeriac.app.current._apps[:] = kept


def test_a_shared_task_with_wrong_options_is_refused_at_once():
    with pytest.raises(TypeError, match="one function"):
        shared_task("name")
    with pytest.raises(TypeError, match="did you mean queue"):
        shared_task(name="shared.wrong", queu="x")(lambda: None)
    assert "shared.wrong" not in make_app().tasks


def test_the_current_app_is_found_by_every_thread():
    with make_app(set_as_current=True) as app:
        found = []
        thread = threading.Thread(target=lambda: found.append(current_app._get_current_object()))
        thread.start()
        thread.join(60)
        assert found == [app]
        assert current_app.main == app.main
        assert current_app == app
        assert app_or_default() is app
        assert app_or_default(None) is app


def test_the_current_task():
    app = make_app()
    seen = []

    @app.task(name="look")
    def look():
        seen.append((current_task.name, current_task.request.id))

    assert not current_task
    result = look.delay()
    drain(app)
    assert seen == [("look", result.id)]


# -- sending by name, in bulk --------------------------------------------------------------------


def test_send_task_needs_no_task(app):
    result = app.send_task("elsewhere.add", (1, 2), {"c": 3}, queue="other", priority=5)
    record = stored(app, result.id)
    assert (record.task, record.queue, record.priority) == ("elsewhere.add", "other", 5)
    assert (result.args, result.kwargs) == ([1, 2], {"c": 3})


def test_send_task_checks_its_options(app):
    with pytest.raises(TypeError, match="did you mean countdown"):
        app.send_task("a", countdwn=1)
    with pytest.raises(TypeError, match="name of a task"):
        app.send_task(None)
    assert count(app) == 0


def test_send_task_sends_even_if_tasks_are_eager():
    app = make_app(task_always_eager=True)
    with pytest.warns(AlwaysEagerIgnored):
        app.send_task("a")
    assert count(app) == 1


def test_enqueue_many_sends_all_in_one_step(app):
    calls = []

    @app.task(name="add")
    def add(a, b=0):
        return a + b

    real = app.store.queue
    enqueue = real.enqueue
    real.enqueue = lambda messages, join=None: calls.append(len(messages)) or enqueue(messages)
    results = app.enqueue_many(add.s(n, b=1) for n in range(50))
    drain(app)
    assert calls == [50]
    assert [each.get(timeout=60) for each in results] == list(range(1, 51))
    assert app.enqueue_many([]) == []


@pytest.mark.parametrize("key", [None, "a secret of some length"])
def test_enqueue_many_sends_what_apply_async_would(app, key):
    @app.task(name="add", queue="sums", priority=4, serializer="msgpack")
    def add(*args, **kwargs): ...

    @app.task(name="late", expires=60, ignore_result=True)
    def late(*args, **kwargs): ...

    app.conf.update(security_key=key, accept_content=["json", "msgpack"])
    calls = [
        add.s(1, 2.5, "three", None),
        add.s((1, [2]), b={"c": 4}),
        add.si(datetime(2026, 1, 31, tzinfo=UTC), {1, 2}),
        late.s(),
        add.s(1).set(priority=7, ignore_result=True),
        app.signature("not.here", (1,)),
    ]
    single = [call.apply_async() for call in calls]
    many = app.enqueue_many(calls)
    assert [each.ignored for each in many[:-1]] == [each.ignored for each in single[:-1]]
    assert [each.id for each in many[:3]] == sorted(each.id for each in many[:3])
    for one, other in zip(single, many, strict=True):
        first, second = (decode(stored(app, each.id).wire) for each in (one, other))
        assert first.payload == second.payload
        assert bool(first.signature) is bool(second.signature) is (key is not None)
        verify(second, app.signer)
        apart = {"id", "nonce", "sent", "expires"}
        facts = [msgspec.to_builtins(each.header) for each in (first, second)]
        assert {k: v for k, v in facts[0].items() if k not in apart} == {
            k: v for k, v in facts[1].items() if k not in apart
        }
        assert (first.header.expires is None) == (second.header.expires is None)
        assert first.header.nonce != second.header.nonce != second.header.id


def test_enqueue_many_writes_arguments_when_it_reads_them(app):
    @app.task(name="add")
    def add(*args): ...

    shared = []

    def calls():
        for n in range(3):
            shared.append(n)
            yield add.s(shared)

    found = [decode(stored(app, each.id).wire).payload for each in app.enqueue_many(calls())]
    assert found == [b"[[[0]],{}]", b"[[[0,1]],{}]", b"[[[0,1,2]],{}]"]


def test_enqueue_many_checks_each_call_as_apply_async_does(app):
    @app.task(name="add")
    def add(*args): ...

    app.conf.payload_max = 1024
    with pytest.raises(PayloadTooLarge, match="add"):
        app.enqueue_many([add.s(1), add.s("x" * 2000)])
    with pytest.raises(EncodeError, match=r"args\[0\]") as caught:
        app.enqueue_many([add.s(1), add.s(object())])
    assert caught.value.__notes__ == ["The call of task 'add' was not sent."]
    app.conf.accept_content = ["msgpack"]
    with pytest.raises(ImproperlyConfigured, match="accept_content"):
        app.enqueue_many([add.s(1)])


def test_enqueue_many_sends_nothing_if_one_is_wrong(app):
    @app.task(name="add")
    def add(a): ...

    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        app.enqueue_many([add.s(1), add.s()])
    with pytest.raises(TypeError, match="takes signatures"):
        app.enqueue_many([add.s(1), (add, (1,))])
    assert count(app) == 0


def test_enqueue_many_keeps_the_options_of_each(app):
    @app.task(name="a", ignore_result=True)
    def a(): ...

    known, unknown = app.enqueue_many(
        [a.s().set(queue="x", task_id="known"), app.signature("nobody.knows", priority=4)]
    )
    assert stored(app, "known").queue == "x"
    assert known.ignored
    assert stored(app, unknown.id).priority == 4


# -- modules -------------------------------------------------------------------------------------


def test_import_modules(tmp_path, monkeypatch):
    (tmp_path / "celeriac_test_one.py").write_text("LOADED = True")
    monkeypatch.syspath_prepend(str(tmp_path))
    app = make_app(include=["celeriac_test_one"])
    app.import_modules()
    assert sys.modules["celeriac_test_one"].LOADED


def test_a_module_that_is_included_and_not_there_is_named():
    app = make_app(include="celeriac_test_nowhere")
    with pytest.raises(ImproperlyConfigured, match="includes the module 'celeriac_test_nowhere'"):
        app.import_modules()


def test_an_included_module_that_fails_shows_its_own_error(tmp_path, monkeypatch):
    (tmp_path / "celeriac_test_broken.py").write_text("import celeriac_test_missing_dependency")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="missing_dependency"):
        make_app(include=["celeriac_test_broken"]).import_modules()


def test_register_exception_takes_classes_of_exceptions(app):
    with pytest.raises(TypeError, match="class of exceptions"):
        app.register_exception(int)
    with pytest.raises(TypeError, match="class of exceptions"):
        app.register_exception(SystemExit)


def test_nothing_is_opened_until_it_is_needed(tmp_path):
    program = textwrap.dedent(
        """
        import sys, threading
        from celeriac import Celeriac
        app = Celeriac("tasks", broker="sqlite:///jobs.db")
        @app.task
        def add(a, b): return a + b
        add(1, 2), add.s(1, 2)
        import os
        print(os.listdir("."), "apsw" in sys.modules, "asyncio" in sys.modules,
              threading.active_count())
        """
    )
    assert run(["-c", program], cwd=tmp_path) == "[] False False 1"


@pytest.mark.parametrize("name", ["election", "mailbox"])
def test_commands_that_are_not_built_are_refused_by_name(app, name):
    with pytest.raises(NotInThisVersion, match=f"app.control.{name}"):
        getattr(app.control, name)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("schedules", "crontab"),
        ("signals", "eventlet_pool_apply"),
        ("beat", "Scheduler"),
        ("contrib", "rdb"),
        ("result", "ResultBase"),
    ],
)
def test_names_of_modules_that_are_not_built_are_refused_by_name(module, name):
    with pytest.raises(NotInThisVersion, match=f"celeriac.{module}.{name}"):
        getattr(importlib.import_module(f"celeriac.{module}"), name)
    with pytest.raises(AttributeError, match="nonsense"):
        importlib.import_module(f"celeriac.{module}").nonsense  # noqa: B018 - the look is the test


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("batches", "its argument is a list"),
        ("django", "transaction.on_commit"),
        ("django.task", "transaction.on_commit"),
        ("migrate", "workers of the old broker"),
        ("rdb", "breakpoint"),
        ("sphinx", "like its function"),
    ],
)
def test_modules_of_contrib_that_are_not_built_are_refused_by_name(module, words):
    first = f"celeriac.contrib.{module.partition('.')[0]} is not in this version"
    for _ in range(2):  # a second import is refused, too
        with pytest.raises(NotInThisVersion, match=first) as caught:
            importlib.import_module(f"celeriac.contrib.{module}")
        assert words in str(caught.value)


def test_a_module_of_contrib_that_never_was_is_unknown():
    with pytest.raises(ModuleNotFoundError, match="nonsense"):
        importlib.import_module("celeriac.contrib.nonsense")
    from celeriac.contrib import abortable

    assert abortable.ABORTED == "ABORTED"


def test_bind_needs_a_parameter_for_the_task(app):
    with pytest.raises(TypeError, match="takes no arguments: give it a first parameter"):
        app.task(name="t", bind=True)(lambda *, key=1: None)
    app.task(name="t", bind=True)(lambda *args: None)


def test_the_name_of_an_app_is_text():
    with pytest.raises(TypeError, match="not 5"):
        Celeriac(5, set_as_current=False)


def test_update_state_without_a_worker_warns(app):
    task = app.task(name="t", bind=True)(lambda self: self.update_state(state="HALF"))
    with pytest.warns(CeleryWarning, match="update_state"):
        task()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *((name, None) for name in ("filter", "link", "shadow_name", "Request", "aliases")),
        ("lazy", True),
        ("shared", False),
        ("delivery_mode", 2),
        ("send_events", True),
        ("acks_on_failure_or_timeout", True),
    ],
)
def test_an_option_of_a_task_that_asks_for_nothing_is_accepted(app, option, value):
    task = app.task(name="x", **{option: value})(lambda: 5)
    assert task.apply().get() == 5


@pytest.mark.parametrize(("option", "value"), [("filter", print), ("delivery_mode", 1)])
def test_the_same_option_of_a_task_is_refused_where_it_asks_for_something(app, option, value):
    with pytest.raises(NotInThisVersion, match=option):
        app.task(name="x", **{option: value})(lambda: None)


def test_an_attribute_of_ones_own_is_refused_with_the_cure_and_set_on_a_base_class(app):
    with pytest.raises(TypeError, match=r"no option 'my_attr'.*class Base\(Task\): my_attr = None"):
        app.task(name="x", my_attr=5)(lambda: None)

    class Base(Task):
        my_attr = None

    assert app.task(name="x", base=Base, my_attr=5)(lambda: None).my_attr == 5
