"""Names that programs import from modules of Celery's: built, or refused by name with the cure."""

import logging

import pytest
from inline import drain, make_app

import celeriac.app.base
import celeriac.events.state
import celeriac.utils.log
from celeriac import beat, conf, events, exceptions, result, utils, worker
from celeriac.app.log import TaskFormatter
from celeriac.exceptions import CeleryWarning, ImproperlyConfigured, NotInThisVersion
from celeriac.result import allow_join_result, denied_join_result


@pytest.fixture
def app():
    app = make_app()
    yield app
    app.close()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (exceptions, "reraise"),
        (exceptions, "CeleryCommandException"),
        (result, "assert_will_not_block"),
        (utils, "memoize"),
        (utils, "worker_direct"),
        (worker, "WorkController"),
        (beat, "BeatPidbox"),
        (events.state, "heartbeat_expires"),
        (utils.log, "set_in_sighandler"),
    ],
)
def test_a_name_that_is_not_built_is_refused_with_the_cure(module, name):
    with pytest.raises(NotInThisVersion, match=rf"{name} is not in this version\. \w"):
        getattr(module, name)
    assert not hasattr(module, "zebra")


@pytest.mark.parametrize(
    "name", ["find_option", "find_value_for_key", "maybe_warn_deprecated_settings"]
)
def test_a_member_of_celerys_settings_is_refused_with_the_cure(app, name):
    with pytest.raises(NotInThisVersion, match=rf"{name} is not in this version\. \w"):
        getattr(app.conf, name)


def test_the_app_has_its_other_name_where_it_is_defined():
    assert celeriac.app.base.Celery is celeriac.Celery is celeriac.Celeriac


def test_small_helpers(app):
    assert list(utils.chunks(iter(range(5)), 2)) == [[0, 1], [2, 3], [4]]
    assert utils.nodename("a", "b") == "a@b"
    assert utils.nodesplit("a@b") == ("a", "b")
    assert utils.nodesplit("a") == (None, "a")
    assert utils.gen_task_name(app, "f", "shop.tasks") == "shop.tasks.f"


def test_a_block_forbids_waiting_inside_one_that_allows_it(app):
    seen = []

    @app.task(name="inner")
    def inner():
        return 5

    sent = inner.delay()
    drain(app)

    @app.task(name="outer")
    def outer():
        with allow_join_result():
            seen.append(sent.get(timeout=30))
            with denied_join_result(), pytest.raises(RuntimeError, match="waits for the result"):
                sent.get(timeout=30)
            seen.append(sent.get(timeout=30))

    outer.delay()
    ((_, outcome),) = drain(app)
    assert seen == [5, 5], outcome


def test_lines_of_the_task_formatter_name_the_task(app):
    lines = []

    @app.task(name="logs")
    def logs():
        record = logging.makeLogRecord({"msg": "hello"})
        lines.append(TaskFormatter("%(task_name)s[%(task_id)s] %(message)s").format(record))

    sent = logs.delay()
    drain(app)
    assert lines == [f"logs[{sent.id}] hello"]
    outside = TaskFormatter("%(task_id)s %(message)s").format(logging.makeLogRecord({"msg": "x"}))
    assert outside == "??? x"


def test_settings_show_mappings_as_dictionaries(app):
    app.conf.task_publish_retry_policy = {"max_retries": 1}
    assert type(app.conf.without_defaults()["task_publish_retry_policy"]) is dict
    assert "mappingproxy" not in app.conf.humanize(with_defaults=True)
    assert "mappingproxy" not in str(app.conf.table(with_defaults=True))
    assert conf.describe("task_publish_retry_policy").name == "task_publish_retry_policy"


def test_settings_of_workers_that_celery_programs_hold(app):
    app.conf.worker_concurrency = "auto"
    assert app.conf.worker_concurrency is None
    with pytest.warns(CeleryWarning, match="worker_pool_restarts"):
        app.conf.worker_pool_restarts = True
    with pytest.raises(ImproperlyConfigured, match=r"beat_scheduler .*cron"):
        app.conf.beat_scheduler = "shop:Scheduler"


def test_an_app_is_told_its_store_once():
    with pytest.raises(TypeError, match="broker and broker_url are both given"):
        make_app(broker="memory://", broker_url="memory://other")
    with pytest.raises(TypeError, match="backend and result_backend are both given"):
        make_app(backend=None, result_backend="memory://")


def test_the_settings_of_an_app_are_not_replaced_by_anything_else(app):
    with pytest.raises(TypeError, match=r"app\.conf\.update"):
        app.conf = {}
    assert app.conf.task_default_queue == "celery"
