"""Celery's pytest plugin and its start_worker, as test suites use them."""

import importlib
import logging
import threading

import pytest

from celeriac import Celeriac, current_app, shared_task
from celeriac.app import current
from celeriac.contrib.testing.app import TestApp, Trap, set_trap, setup_default_app
from celeriac.contrib.testing.worker import (
    TestWorkController,
    start_worker,
    test_worker_started,
    test_worker_starting,
    test_worker_stopped,
)
from celeriac.exceptions import ImproperlyConfigured, NotInThisVersion
from celeriac.exceptions import TimeoutError as CeleriacTimeoutError

pytest_plugins = ("pytester",)


def run(pytester, *options):
    return pytester.runpytest_subprocess(
        "-p", "no:cacheprovider", "-W", "error", "--strict-markers", *options, timeout=110
    )


@pytest.fixture
def app():
    app = TestApp()
    with setup_default_app(app):
        yield app


# -- the pytest plugin ---------------------------------------------------------------------------


def test_the_suite_of_celerys_documentation(pytester):
    """The examples of its page on testing with pytest, with the import changed."""
    pytester.makeconftest(
        """
        import pytest

        pytest_plugins = ("celeriac.contrib.pytest",)

        @pytest.fixture(scope="session")
        def celery_config():
            return {"broker_url": "memory://", "result_backend": "cache+memory://"}

        @pytest.fixture(scope="session")
        def celery_worker_parameters():
            return {"queues": ("celery", "high-prio"), "exclude_queues": ("low-prio",)}

        @pytest.fixture(scope="session")
        def celery_includes():
            return ["shop_tasks"]

        @pytest.fixture(scope="session")
        def celery_parameters():
            return {"strict_typing": False}

        @pytest.fixture(scope="session")
        def celery_enable_logging():
            return True
        """
    )
    pytester.makepyfile(
        shop_tasks="""
        from celeriac import shared_task

        @shared_task(queue="high-prio")
        def charge(cents):
            return cents
        """
    )
    pytester.makepyfile(
        """
        import pytest
        from celeriac import current_app, shared_task

        def test_create_task(celery_app, celery_worker):
            @celery_app.task
            def mul(x, y):
                return x * y

            celery_worker.reload()
            assert mul.delay(4, 4).get(timeout=60) == 16

        def test_add_task(celery_session_app, celery_session_worker):
            @celery_session_app.task
            def add(x, y):
                return x + y

            assert add.delay(1, y=2).get(timeout=60) == 3

        def test_included(celery_session_worker):
            from shop_tasks import charge
            assert charge.delay(500).get(timeout=60) == 500
            assert celery_session_worker.queues == ("celery", "high-prio")

        def test_a_shared_task(celery_app, celery_worker):
            from shop_tasks import charge
            assert charge.delay(5).get(timeout=60) == 5
            assert celery_app.conf.strict_typing is False

        @pytest.mark.celery(task_default_queue="high-prio")
        def test_the_marker(celery_app):
            assert celery_app.conf.task_default_queue == "high-prio"
            assert celery_app.conf.result_backend == "cache+memory://"

        def test_fresh(celery_app):
            assert celery_app.conf.task_default_queue == "celery"
            assert celery_app.store.inspection.list() == []
            celery_app.send_task("left.over")

        def test_fresh_again(celery_app):
            assert celery_app.store.inspection.list() == []

        def test_current(celery_app, depends_on_current_app):
            assert current_app.main == celery_app.main == "celery.tests"

        @pytest.mark.usefixtures("celery_session_app", "celery_session_worker")
        class TestInAClass:
            def test_it(self):
                from shop_tasks import charge
                assert charge.apply_async((1,)).get(timeout=60) == 1
        """
    )
    run(pytester).assert_outcomes(passed=9)
    run(pytester, "-n", "2").assert_outcomes(passed=9)


def test_every_fixture_of_celerys_is_there(pytester):
    pytester.makepyfile("def test_it(): pass")
    listed = run(pytester, "-p", "celeriac.contrib.pytest", "--fixtures").stdout.str()
    for name in (
        "celery_app", "celery_worker", "celery_session_app", "celery_session_worker",
        "celery_config", "celery_parameters", "celery_enable_logging", "celery_includes",
        "celery_worker_pool", "celery_worker_parameters", "use_celery_app_trap",
        "depends_on_current_app", "celery_class_tasks",
    ):  # fmt: skip
        assert f"\n{name}" in listed
    markers = run(pytester, "-p", "celeriac.contrib.pytest", "--markers").stdout
    markers.fnmatch_lines(["@pytest.mark.celery(?*overrides)*"])


def test_the_trap_class_tasks_and_pools(pytester):
    pytester.makeconftest(
        """
        import pytest
        from celeriac import Task

        pytest_plugins = ("celeriac.contrib.pytest",)

        class Double(Task):
            name = "double"

            def run(self, n):
                return n * 2

        @pytest.fixture(scope="session")
        def use_celery_app_trap():
            return True

        @pytest.fixture(scope="session")
        def celery_class_tasks():
            return [Double]

        @pytest.fixture(scope="session")
        def celery_worker_pool():
            return "threads"

        @pytest.fixture(scope="session")
        def celery_worker_parameters():
            return {"concurrency": 2}
        """
    )
    pytester.makepyfile(
        """
        import pytest
        from celeriac import current_app

        def test_trapped(celery_app):
            with pytest.raises(RuntimeError, match="Test depends on current_app"):
                current_app.main

        def test_class_tasks(celery_session_app, celery_session_worker):
            task = celery_session_app.tasks["double"]
            assert task.delay(4).get(timeout=60) == 8
            assert celery_session_worker.concurrency == 2
        """
    )
    run(pytester).assert_outcomes(passed=2)


def test_without_workers(pytester, monkeypatch):
    monkeypatch.setenv("NO_WORKER", "1")
    pytester.makepyfile(
        """
        def test_it(celery_worker, celery_session_worker):
            assert (celery_worker, celery_session_worker) == (None, None)
        """
    )
    run(pytester, "-p", "celeriac.contrib.pytest").assert_outcomes(passed=1)


# -- start_worker --------------------------------------------------------------------------------


def test_start_worker_on_an_app_of_ones_own(tmp_path):
    app = Celeriac("shop", broker=f"sqlite:///{tmp_path}/shop.db", set_as_current=False)
    seen = []

    @app.task
    def add(x, y):
        return x + y

    def starting(sender, **_):
        seen.append(("starting", sender))

    def started(sender, worker, consumer, **_):
        seen.append(("started", sender))
        assert consumer is None

    def stopped(sender, worker, **_):
        seen.append(("stopped", sender))

    test_worker_starting.connect(starting)
    test_worker_started.connect(started)
    test_worker_stopped.connect(stopped)
    try:
        with start_worker(app, concurrency=2, pool="threads", hostname="w@here") as worker:
            assert isinstance(worker, TestWorkController)
            assert (worker.app, worker.hostname) == (app, "w@here")
            assert current_app.main == "shop"
            assert add.delay(1, 2).get(timeout=60) == 3
    finally:
        test_worker_starting.disconnect(starting)
        test_worker_started.disconnect(started)
        test_worker_stopped.disconnect(stopped)
        current.forget_app(app)
    assert seen == [("starting", app), ("started", app), ("stopped", app)]
    assert app.store.inspection.workers() == []


def test_an_app_in_memory_with_celerys_result_backend():
    app = Celeriac("own", broker="memory://own", backend="cache+memory://", set_as_current=False)
    try:
        with start_worker(app):
            assert app.conf.result_backend == "cache+memory://"
    finally:
        app.close()
    with pytest.raises(ImproperlyConfigured, match="cache"):
        Celeriac("own", broker="sqlite:///x.db", backend="cache+memory://", set_as_current=False)


def test_the_ping_and_doing_without_it(app):
    with start_worker(app) as worker:
        assert "celery.ping" in app.tasks
    with start_worker(app, perform_ping_check=False, queues="a, b", exclude_queues="b") as worker:
        assert worker.queues == ("a",)
    begun, free = threading.Event(), threading.Event()

    @app.task
    def stuck():
        begun.set()
        free.wait(300)

    def wait_for_it(**_):
        assert begun.wait(60)

    stuck.delay()  # the ping comes behind it
    late = start_worker(app, ping_task_timeout=0.05, shutdown_timeout=0.05)
    test_worker_started.connect(wait_for_it)
    try:
        with pytest.raises(RuntimeError, match="still runs a task") as caught, late:
            pass
    finally:
        test_worker_started.disconnect(wait_for_it)
        free.set()
    assert isinstance(caught.value.__context__, CeleriacTimeoutError)


def test_options_are_checked(app):
    with pytest.raises(ImproperlyConfigured, match="runs tasks in threads"):
        start_worker(app, pool="prefork").__enter__()
    with pytest.raises(ImproperlyConfigured, match="pass pool='threads'"):
        start_worker(app, concurrency=2).__enter__()
    with pytest.raises(TypeError, match="did you mean queues"):
        start_worker(app, queue="x").__enter__()
    with start_worker(app, without_heartbeat=True, without_mingle=True, without_gossip=True):
        pass


def test_a_task_that_does_not_end_is_told(app):
    begun, free = threading.Event(), threading.Event()

    @app.task
    def stuck():
        begun.set()
        free.wait(300)

    worker = start_worker(app, shutdown_timeout=0.05)
    worker.__enter__()
    stuck.delay()
    assert begun.wait(60)
    with pytest.raises(RuntimeError, match="still runs a task"):
        worker.__exit__(None, None, None)
    free.set()


def test_the_log_is_set_for_the_length_of_the_block(tmp_path, app):
    logger = logging.getLogger("celeriac")
    before = logger.level
    with start_worker(app, loglevel="critical", perform_ping_check=False):
        assert logger.level == before  # a test app leaves logging alone
    loud = TestApp(enable_logging=True)
    with (
        setup_default_app(loud),
        start_worker(loud, loglevel="info", logfile=str(tmp_path / "log")),
    ):
        assert logger.level == logging.INFO
    assert logger.level == before
    assert "celery.ping" in (tmp_path / "log").read_text("utf-8")


# -- apps ----------------------------------------------------------------------------------------


def test_test_apps_share_nothing():
    first, second = TestApp("a"), TestApp(broker="memory://", config={"result_expires": 60})
    assert (first.main, second.conf.result_expires) == ("a", 60)
    first.send_task("x")
    assert second.store.inspection.list() == []
    assert first.store is first.store
    assert TestApp.__test__ is False


def test_the_current_app_is_what_it_was_before():
    outer = TestApp(set_as_current=True)
    try:
        inner = TestApp()
        with setup_default_app(inner):
            inner.set_current()
            assert current.get_current_app() is inner
        assert current.get_current_app() is outer
        with setup_default_app(outer), set_trap(outer):
            assert isinstance(current.get_current_app(), Trap)
            with pytest.raises(RuntimeError, match="depends on current_app"):
                shared_task(name="lonely")(print).delay()
        assert current.get_current_app() is outer
    finally:
        current.shared[:] = [each for each in current.shared if each[1].get("name") != "lonely"]
        current.forget_app(outer)


@pytest.mark.parametrize("module", ["manager", "mocks"])
def test_what_is_not_built_is_refused_by_name(module):
    with pytest.raises(NotInThisVersion, match=rf"celeriac\.contrib\.testing\.{module}"):
        importlib.import_module(f"celeriac.contrib.testing.{module}")
    with pytest.raises(NotInThisVersion, match="UnitLogging"):
        exec("from celeriac.contrib.testing.app import UnitLogging")
