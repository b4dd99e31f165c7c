"""Settings as people bring them from Celery: old names, prefixes, and names without a meaning."""

import ssl
import warnings
from types import SimpleNamespace

import pytest

from celeriac.conf import SETTINGS, Settings, read_mapping, read_object
from celeriac.conf.moot import MOOT, asks_for_nothing
from celeriac.conf.names import CELERY
from celeriac.exceptions import CeleryWarning, ImproperlyConfigured
from celeriac.stores.base import Options


def problem(act, *args, **kwargs):
    with pytest.raises(ImproperlyConfigured) as caught:
        act(*args, **kwargs)
    (only,) = caught.value.problems
    return only


# -- old names ---------------------------------------------------------------------------------

OLD_NAMES = [
    ("CELERY_TASK_SERIALIZER", "task_serializer", "json"),
    ("CELERYD_CONCURRENCY", "worker_concurrency", 4),
    ("CELERYD_MAX_TASKS_PER_CHILD", "worker_max_tasks_per_child", 100),
    ("CELERYD_TASK_TIME_LIMIT", "task_time_limit", 5.0),
    ("CELERY_ALWAYS_EAGER", "task_always_eager", True),
    ("CELERY_EAGER_PROPAGATES_EXCEPTIONS", "task_eager_propagates", True),
    ("CELERY_TASK_RESULT_EXPIRES", "result_expires", 60.0),
    ("CELERY_DEFAULT_QUEUE", "task_default_queue", "mail"),
    ("CELERY_IGNORE_RESULT", "task_ignore_result", True),
    ("BROKER_URL", "broker_url", "sqlite:///x.db"),
    ("CELERY_BROKER_URL", "broker_url", "sqlite:///x.db"),
    ("CELERY_IMPORTS", "imports", ("shop",)),
    ("LEASE", "lease", 20.0),
]


@pytest.mark.parametrize(("old", "new", "value"), OLD_NAMES)
def test_old_names_are_set_and_read(old, new, value):
    conf = Settings(**{old: value})
    assert conf[new] == getattr(conf, new) == value
    assert conf[old] == getattr(conf, old) == value
    setattr(conf, old, value)
    conf[old] = value
    assert conf.get(old) == value
    assert conf.origin(new) == "code"


def test_an_old_name_is_judged_under_the_name_that_was_written():
    assert problem(Settings, CELERYD_CONCURRENCY="many").startswith("CELERYD_CONCURRENCY = 'many'")


def test_one_setting_under_two_names():
    same = {"CELERY_TASK_SERIALIZER": "json", "task_serializer": "json"}
    assert Settings(**same).task_serializer == "json"
    text = problem(Settings, CELERY_IGNORE_RESULT=True, task_ignore_result=False)
    assert text == (
        "CELERY_IGNORE_RESULT and task_ignore_result name one setting and say different things"
    )


def test_what_belongs_to_another_program_is_passed_over_in_capitals_only():
    flask = {"SECRET_KEY": "x", "DEBUG": True, "SQLALCHEMY_DATABASE_URI": "x", "BROKER_URL": None}
    assert Settings(**flask).without_defaults() == {"broker_url": None}
    assert "did you mean celery_" not in problem(Settings, CELERY_TASK_SERIALISER="json")
    assert "not a setting" in problem(Settings, secret_word="x")


# -- names without a meaning -------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(MOOT))
def test_what_has_no_meaning_is_accepted_with_its_reason(name):
    with pytest.warns(CeleryWarning, match="sets what changes nothing here") as warned:
        conf = Settings(**{name: 2})
    assert f"{name} ({MOOT[name]})" in str(warned[0].message)
    assert warned[0].filename == __file__
    assert conf[name] == getattr(conf, name) == 2
    assert name not in list(conf)
    assert conf.moot == {name: MOOT[name]}
    assert conf.moot_place(name).startswith(f"code ({__file__}:")


def test_the_notice_comes_once_and_for_all_at_once():
    with pytest.warns(CeleryWarning) as warned:
        conf = Settings(worker_prefetch_multiplier=1, broker_pool_limit=10)
    assert len(warned) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        conf.worker_prefetch_multiplier = 4
    assert conf.worker_prefetch_multiplier == 4


def test_what_has_no_meaning_and_was_not_set_says_why_it_is_not_there():
    with pytest.raises(AttributeError, match="follows measured duration"):
        _ = Settings().worker_prefetch_multiplier
    assert Settings().get("worker_prefetch_multiplier", 4) == 4


@pytest.mark.parametrize("name", ["broker_transport_options", "result_backend_transport_options"])
def test_transport_options(name):
    given = {"master_name": "main", "sentinel_kwargs": {"password": "hunter2"}}
    conf = Settings(**{name: given})
    assert conf[name] == given
    assert Settings.from_dict(conf.as_dict())[name] == given
    assert "hunter2" not in conf.humanize()
    words = problem(Settings, **{name: {"global_keyprefix": "x"}})
    assert "setting of its own" in words
    assert "expected a mapping" in problem(Settings, **{name: 1})
    environment = {f"CELERIAC_{name.upper()}": '{"master_name": "main"}'}
    conf = Settings()
    conf.load_environment(environment)
    assert conf[name] == {"master_name": "main"}


def test_a_moot_setting_with_a_value_that_makes_no_sense():
    assert "there is no protocol 3" in problem(Settings, task_protocol=3)


def test_a_moot_variable_of_the_environment():
    with pytest.warns(CeleryWarning, match="worker_prefetch_multiplier"):
        Settings().load_environment({"CELERIAC_WORKER_PREFETCH_MULTIPLIER": "1"})


# -- what is not in this version ---------------------------------------------------------------

REFUSED = sorted(CELERY - set(SETTINGS) - set(MOOT))


@pytest.mark.parametrize("name", REFUSED)
def test_a_value_that_asks_for_what_is_done_anyway_is_accepted(name):
    usual = [value for value in (None, True, False, {}, "fork") if asks_for_nothing(name, value)]
    for value in usual:
        conf = Settings(**{name: value})
        assert conf.without_defaults() == {}
    assert name in problem(Settings, **{name: ["something"]})


def test_true_is_not_one():
    assert "broker_use_ssl" in problem(Settings, broker_use_ssl=0)
    assert Settings(broker_use_ssl=False) == Settings()


def test_tls_of_the_broker():
    assert Settings(broker_use_ssl=True).broker_use_ssl is True
    given = {"ssl_cert_reqs": ssl.CERT_NONE, "ssl_ca_certs": "/ca.pem"}
    conf = Settings(broker_use_ssl=given)
    assert conf.broker_use_ssl == given
    assert Settings.from_dict(conf.as_dict()).broker_use_ssl == given
    conf = Settings()
    conf.load_environment({"CELERIAC_BROKER_USE_SSL": '{"ssl_certfile": "/c.pem"}'})
    assert conf.broker_use_ssl == {"ssl_certfile": "/c.pem"}
    conf.load_environment({"CELERIAC_BROKER_USE_SSL": "true"})
    assert conf.broker_use_ssl is True
    assert "broker_use_ssl" in problem(Settings, broker_use_ssl="yes")


def test_tls_of_results_is_that_of_the_store_unless_the_broker_has_its_own():
    conf = Settings(redis_backend_use_ssl={"ssl_ca_certs": "/r.pem"})
    assert Options.from_settings(conf).ssl == {"ssl_ca_certs": "/r.pem"}
    conf = Settings(redis_backend_use_ssl=True, broker_use_ssl={"ssl_ca_certs": "/b.pem"})
    assert Options.from_settings(conf).ssl == {"ssl_ca_certs": "/b.pem"}
    assert Options.from_settings(Settings(redis_backend_use_ssl=False)).ssl is None


def test_what_redis_settings_change_nothing_say_of_the_store_in_use():
    """Redis may be that store, so none may be said to be about another one."""
    reasons = {name: MOOT[name] for name in CELERY if name in MOOT and name.startswith("redis_")}
    assert len(reasons) == 13
    assert not [name for name, reason in reasons.items() if "not used" in reason]


def test_several_sentinels_are_one_url():
    url = "sentinel://:p@a:26379;sentinel://b:26379;sentinel://c"
    assert Settings(broker_url=url).broker_url == url
    assert "more than one URL" in problem(Settings, broker_url="redis://a;redis://b")
    assert "more than one URL" in problem(Settings, broker_url="sentinel://a;redis://b")


# -- objects -----------------------------------------------------------------------------------


def read(**names):
    return read_object(SimpleNamespace(**names), "shop")


def test_an_object_may_hold_other_things():
    reading = read(task_time_limit=5, os=warnings, helper=1, BASE_DIR="/", include=["a"], _x=1)
    assert reading.values == {"task_time_limit": 5.0, "include": ("a",)}
    assert not reading.problems
    assert not reading.doubts


def test_a_name_that_is_like_a_setting_is_doubted():
    (doubt,) = read(task_serialiser="json").doubts
    assert doubt == "task_serialiser is not a setting; did you mean task_serializer?"


def test_all_that_is_wrong_in_an_object_is_told_at_once():
    found = read(lease="x", max_crashes=0, beat_schedule={"a": 1}).problems
    assert sorted(text.split()[0] for text in found) == ["beat_schedule", "lease", "max_crashes"]


def test_old_and_new_names_in_one_object_are_refused_with_the_list():
    found = read(
        task_time_limit=5, timezone="UTC", CELERYD_CONCURRENCY=1, CELERY_IMPORTS=()
    ).problems
    assert found == [
        "CELERYD_CONCURRENCY is an old name among new ones; write worker_concurrency",
        "CELERY_IMPORTS is an old name among new ones; write imports",
    ]


def test_a_new_name_among_many_old_ones():
    (found,) = read(task_time_limit=5, CELERYD_CONCURRENCY=1, CELERY_IMPORTS=()).problems
    assert found.startswith("task_time_limit is a new name among old ones (CELERYD_CONCURRENCY")


def test_a_setting_given_under_both_names_is_no_mixture():
    reading = read(task_ignore_result=True, CELERY_IGNORE_RESULT=True)
    assert (reading.values, reading.problems) == ({"task_ignore_result": True}, [])


@pytest.mark.parametrize("namespace", ["CELERY", "CELERY_"])
def test_a_namespace_as_django_projects_write_it(namespace):
    source = SimpleNamespace(
        CELERY_TASK_TIME_LIMIT=30,
        CELERY_LEASE=20,
        CELERY_TASK_ALWAYS_EAGER=True,
        CELERYD_CONCURRENCY=2,
        TIME_ZONE="Mars",
        INCLUDE="not ours",
        DATABASES={},
    )
    reading = read_object(source, "django", namespace)
    assert reading.values == {
        "task_time_limit": 30.0,
        "lease": 20.0,
        "task_always_eager": True,
        "worker_concurrency": 2,
    }
    assert not reading.problems


def test_a_namespace_in_lower_case_and_a_mapping():
    reading = read_object({"app_lease": 20, "APP_GRACE": 1}, "x", "app", mapping=True)
    assert reading.values == {"lease": 20.0}


def test_names_of_a_namespace_are_doubted_or_wrong_under_the_name_that_was_written():
    source = SimpleNamespace(CELERY_TASK_SERIALISER="json", CELERY_LEASE="x", CELERY_ONCE={})
    reading = read_object(source, "django", "CELERY")
    assert reading.doubts == [
        "CELERY_TASK_SERIALISER is not a setting; did you mean CELERY_TASK_SERIALIZER?"
    ]
    (wrong,) = reading.problems
    assert wrong.startswith("CELERY_LEASE = 'x'")


def test_only_what_is_a_setting_is_read_off_an_object():
    class Source:
        lease = 20

        @property
        def expensive(self):
            raise AssertionError("nobody asked for it")

    assert read_object(Source(), "x").values == {"lease": 20.0}


def test_a_mapping_is_strict():
    assert "leese is not a setting" in read_mapping({"leese": 1}, "x").problems[0]
