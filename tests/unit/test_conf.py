"""Settings: what is accepted, what is refused and with which words, and who goes over whom."""

import json
import re
import subprocess
import sys
from datetime import timedelta
from itertools import permutations
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from inline import make_app
from msgspec.structs import fields

import celeriac
from celeriac.checks import LONGEST
from celeriac.conf import SAME_AS_BROKER, SETTINGS, Settings, describe
from celeriac.conf.__main__ import reference
from celeriac.conf.moot import MOOT
from celeriac.conf.names import CELERY, INSTEAD
from celeriac.conf.typed import Typed
from celeriac.conf.values import judge, parse
from celeriac.exceptions import CeleryWarning, ImproperlyConfigured
from celeriac.stores.base import Options

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "settings.md"
END = "## Settings of Celery's that change nothing"
SECRET = "correct-horse-battery-staple"
EVERY_FIELD = (
    "%(asctime)s %(created)f %(filename)s %(funcName)s %(levelname)s %(levelno)d %(lineno)d "
    "%(message)s %(module)s %(msecs)d %(name)s %(pathname)s %(process)d %(processName)s "
    "%(relativeCreated)d %(thread)d %(threadName)s %(task_id)s %(task_name)s %%"
)


def problems(act, *args, **kwargs):
    with pytest.raises(ImproperlyConfigured) as caught:
        act(*args, **kwargs)
    assert caught.value.problems
    return caught.value.problems


def problem(act, *args, **kwargs):
    (only,) = problems(act, *args, **kwargs)
    return only


# -- the table ---------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=lambda setting: setting.name)
def test_every_default_is_a_value_its_setting_accepts(setting):
    assert judge(setting, setting.default) == setting.default
    assert setting.help.endswith(".")
    if setting.kind in {"seconds", "integer", "fraction"} and setting.name != (
        "task_default_priority"
    ):
        assert setting.unit
    if setting.default is None:
        assert setting.none


def test_defaults_fit_together():
    Settings().validate()


def test_type_checkers_are_told_of_every_setting():
    assert list(Typed.__annotations__) == list(SETTINGS)


def test_no_setting_is_hidden_by_a_method():
    assert [name for name in SETTINGS if hasattr(Settings, name)] == []


def test_what_is_refused_is_not_in_the_table_and_is_celerys():
    for names in (INSTEAD, MOOT):
        assert set(names) <= CELERY
        assert not set(names) & set(SETTINGS)
    assert not set(INSTEAD) & set(MOOT)


def test_stores_have_the_defaults_of_the_table():
    names = {
        "keyprefix": "global_keyprefix",
        "timeout": "publish_timeout",
        "durability": "sqlite_durability",
        "transport": "broker_transport_options",
        "ssl": "broker_use_ssl",
    }
    options = {names.get(each.name, each.name): each.name for each in fields(Options)}
    told = {name for name, setting in SETTINGS.items() if setting.where == "store"}
    # Those of a store of results, where it is another one (stores.pair.backend_options).
    results = {"redis_backend_use_ssl", "result_backend_transport_options"}
    assert told - results <= set(options)
    for setting in SETTINGS.keys() & options:
        assert getattr(Options(), options[setting]) == SETTINGS[setting].default, setting


def test_promised_defaults():
    conf = Settings()
    assert conf.task_acks_late is True
    assert conf.task_reject_on_worker_lost is True
    assert conf.worker_hijack_root_logger is False
    assert conf.result_backend == SAME_AS_BROKER
    assert (conf.lease, conf.heartbeat, conf.lease_margin) == (15.0, 3.0, 3.0)
    assert (conf.max_crashes, conf.crash_delay, conf.max_losses) == (3, 5.0, 10)
    assert (conf.payload_max, conf.publish_timeout) == (2**20, 5.0)


def test_the_reference_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == reference(), (
        "stale: run python -m celeriac.conf > docs/reference/settings.md"
    )


def test_the_command_that_writes_the_reference_prints_it():
    command = [sys.executable, "-W", "error", "-m", "celeriac.conf"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=60, check=True)
    assert done.stdout == reference()


def test_the_reference_names_every_setting_once():
    assert re.findall(r"^\| \**`(\w+)`", reference().partition(END)[0], re.MULTILINE) == list(
        SETTINGS
    )


def test_describe():
    assert describe("lease").unit == "seconds"
    assert describe("lease").environment == "CELERIAC_LEASE"
    assert not describe("lease").celery
    assert describe("task_serializer").celery
    with pytest.raises(KeyError, match="did you mean lease"):
        describe("leese")


# -- reading -----------------------------------------------------------------------------------


def test_settings_are_attributes_and_items():
    conf = Settings(task_serializer="msgpack")
    assert conf.task_serializer == conf["task_serializer"] == "msgpack"
    assert conf.get("task_serializer") == "msgpack"
    assert "task_serializer" in conf
    assert "task_serialiser" not in conf
    assert list(conf) == list(SETTINGS)
    assert len(conf) == len(SETTINGS)


def test_reading_an_unknown_setting_names_the_nearest():
    conf = Settings()
    with pytest.raises(AttributeError, match="did you mean task_serializer"):
        _ = conf.task_serialiser
    with pytest.raises(KeyError, match="did you mean task_serializer"):
        _ = conf["task_serialiser"]
    assert not hasattr(conf, "_anything")


# -- accepted values ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "given", "kept"),
    [
        ("lease", 30, 30.0),
        ("lease", timedelta(minutes=1), 60.0),
        ("task_time_limit", None, None),
        ("result_expires", timedelta(days=2), 172_800.0),
        ("result_expires", 0, None),
        ("grace", 0, 0.0),
        ("accept_content", ["application/json", "msgpack"], ("json", "msgpack")),
        ("accept_content", {"msgpack", "json"}, ("json", "msgpack")),
        ("accept_content", "json", ("json",)),
        ("include", ["shop.tasks"], ("shop.tasks",)),
        ("imports", "shop", ("shop",)),
        ("timezone", None, "UTC"),
        ("timezone", ZoneInfo("Europe/Berlin"), "Europe/Berlin"),
        ("result_backend", None, None),
        ("global_keyprefix", "", ""),
        ("security_key", SECRET, SECRET),
        ("security_key", {"2026": SECRET}, {"2026": SECRET}),
        ("worker_max_memory_per_child", 200_000, 200_000),
        ("memory_limit_fraction", 1, 1.0),
    ],
)
def test_accepted(name, given, kept):
    value = Settings(**{name: given})[name]
    assert value == kept
    assert type(value) is type(kept) or isinstance(kept, dict)


def test_a_retry_policy_keeps_the_defaults_of_keys_left_out():
    policy = Settings(task_publish_retry_policy={"max_retries": 3}).task_publish_retry_policy
    assert dict(policy) == {
        "max_retries": 3,
        "interval_start": 0.0,
        "interval_step": 0.2,
        "interval_max": 1.0,
    }


def test_values_cannot_be_changed_behind_the_settings():
    keys = {"2026": SECRET}
    conf = Settings(security_key=keys)
    keys["2027"] = "another-secret-of-somebody"
    assert conf.security_key == {"2026": SECRET}
    with pytest.raises(TypeError):
        conf.security_key["2027"] = "x"
    with pytest.raises(TypeError):
        conf.task_publish_retry_policy["max_retries"] = 9


# -- refused values ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("lease", "15", "lease = '15': expected a number of seconds or a timedelta, at least 0.1"),
        ("lease", 0, "at least 0.1"),
        ("lease", float("nan"), "number of seconds"),
        ("lease", float("inf"), "number of seconds"),
        ("lease", True, "lease = True: expected a number of seconds"),
        ("lease", None, "lease = None: expected a number of seconds"),
        ("lease", timedelta(seconds=-1), "at least 0.1"),
        ("task_time_limit", "1m", "or None: no limit"),
        ("max_crashes", 0, "expected a whole number of crashes, at least 1"),
        ("max_crashes", 2.0, "expected a whole number"),
        ("max_crashes", True, "expected a whole number"),
        ("task_default_priority", 10, "at least 0 and at most 9"),
        ("payload_max", 10, "whole number of bytes, at least 1024"),
        ("task_acks_late", None, "expected True or False"),
        ("task_acks_late", 1, "expected True or False"),
        ("task_serializer", "jsom", "expected 'json' or 'msgpack'; did you mean json?"),
        ("task_serializer", "pickle", "'pickle' is not in this version (reading it runs code"),
        ("accept_content", ["json", "application/x-python-serialize"], "'pickle' is not in this"),
        ("accept_content", [], "an empty list would refuse everything"),
        ("accept_content", [1], "expected a list of 'json' or 'msgpack'"),
        ("worker_pool", "gevent", "'gevent' is not in this version; expected 'prefork' or 'thr"),
        ("worker_pool", "thread", "did you mean threads?"),
        ("worker_concurrency", 0, "expected a whole number of tasks, at least 1"),
        ("worker_concurrency", -1, "at least 1"),
        ("pool_drain_grace", -1, "seconds"),
        ("sqlite_durability", "none", "expected 'full' or 'relaxed'"),
        ("broker_url", ["a://", "b://"], "more than one URL (fail-over) is not in this version"),
        ("broker_url", "redis://a;redis://b", "more than one URL"),
        ("broker_url", "", "expected the URL of a store"),
        ("namespace", "{a}", "expected 1 to 128 letters, digits"),
        ("task_default_queue", "", "expected 1 to 128 letters, digits"),
        ("timezone", "Mars/Olympus", "time zone such as 'Europe/Berlin'; this machine knows no"),
        ("timezone", 1, "expected the name of a time zone"),
        ("include", "a b", "'a b' is none"),
        ("include", 5, "expected a list of module names"),
        ("worker_log_format", "no fields", "expected a format for logging"),
        ("worker_log_format", None, "expected a format for logging"),
        ("worker_log_format", "%(nosuch)s", "records have no field 'nosuch'"),
        ("worker_log_format", "%(mesage)s", "no field 'mesage'; did you mean message?"),
        ("worker_task_log_format", "%(message)d", "number is required, not str"),
        ("worker_task_log_format", "%(message)s %(task_idd)s", "did you mean task_id?"),
        ("memory_limit_fraction", 90, "a fraction, above 0 and at most 1"),
        ("task_publish_retry_policy", {"max_retry": 3}, "did you mean max_retries?"),
        ("task_publish_retry_policy", {"max_retries": -1}, "a whole number of 0 or more, or None"),
        ("task_publish_retry_policy", {"interval_max": "1"}, "it must be seconds or a timedelta"),
        ("task_publish_retry_policy", {"retry_errors": ()}, "retry_errors of task_publish_retry"),
        ("task_publish_retry_policy", 3, "expected a mapping"),
    ],
)
def test_refused(name, value, words):
    text = problem(Settings, **{name: value})
    assert text.startswith(f"{name} = ")
    assert words in text


@pytest.mark.parametrize("value", [60e9, 1e300, 10**400, timedelta.max, {"interval_max": 60e9}])
def test_durations_have_one_longest_and_one_message_everywhere(value):
    """In settings, in options of a task and of a call."""
    app = make_app()
    task = app.task(name="t")(lambda: None)
    if isinstance(value, dict):
        tries = [
            lambda: Settings(task_publish_retry_policy=value),
            lambda: task.apply_async(retry_policy=value),
        ]
    else:
        tries = [
            lambda: Settings(lease=value),
            lambda: app.task(name="u", default_retry_delay=value)(lambda: None),
            lambda: task.apply_async(countdown=value),
            lambda: Settings(task_publish_retry_policy={"interval_start": value}),
            lambda: task.apply_async(retry_policy={"interval_start": value}),
        ]
    for each in tries:
        with pytest.raises((ValueError, ImproperlyConfigured)) as caught:
            each()
        words = "finite number of seconds" if value == 10**400 else (
            "seconds, which is over 1,584 years; give at most 50,000,000,000"
        )  # fmt: skip
        assert words in str(caught.value)


def test_intervals_of_a_policy_may_be_timedeltas():
    conf = Settings(task_publish_retry_policy={"interval_max": timedelta(minutes=1)})
    assert conf.task_publish_retry_policy["interval_max"] == 60.0
    assert Settings(lease=LONGEST).lease == LONGEST


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("task_serialiser", "task_serialiser is not a setting; did you mean task_serializer?"),
        ("qwertyuiop", "qwertyuiop is not a setting"),
        ("security_certificate", "a setting of Celery that is not in this version"),
        ("worker_soft_shutdown_timeout", "is called grace here"),
        ("CELERY_SECURITY_CERTIFICATE", "is an old upper-case name of security_certificate, and"),
        ("CELERYBEAT_SCHEDULE", "old upper-case name of beat_schedule, and beat_schedule is"),
        ("CELERY_TASK_SERIALISER", "CELERY_TASK_SERIALISER is not a setting; did you mean"),
    ],
)
def test_unknown_names_are_refused_by_name(name, words):
    assert words in problem(Settings, **{name: 1})


def test_a_name_that_is_no_text_is_refused():
    assert "the name of a setting is text, not int" in problem(Settings().update, {1: 2})


@pytest.mark.parametrize("name", sorted(CELERY - set(SETTINGS) - set(MOOT)))
def test_each_setting_of_celery_is_accepted_or_refused_as_what_it_is(name):
    text = problem(Settings, **{name: object()})
    assert text.startswith(name)
    assert "did you mean" not in text


def test_all_problems_are_told_at_once():
    found = problems(Settings, lease="x", max_crashes=0, beat_schedule=1, leese=1, grace=5)
    assert [text.split()[0] for text in found] == ["lease", "max_crashes", "beat_schedule", "leese"]


def test_the_text_of_the_error_holds_all_problems():
    with pytest.raises(ImproperlyConfigured) as caught:
        Settings(lease="x", leese=1)
    for text in caught.value.problems:
        assert text in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda conf: conf.update({"lease": 60, "max_crashes": 0}),
        lambda conf: conf.update(lease=60, nonsense=1),
        lambda conf: conf.load_command_line({"lease": 60, "max_crashes": 0}),
        lambda conf: conf.load_environment({"CELERIAC_LEASE": "60", "CELERIAC_MAX_CRASHES": "0"}),
    ],
)
def test_a_change_that_fails_changes_nothing(change):
    conf = Settings(lease=20)
    conf.load_environment({"CELERIAC_GRACE": "7"})
    before = conf.as_dict()
    problems(change, conf)
    assert conf.as_dict() == before
    assert conf.origin("lease") == "code"
    assert conf.origin("grace") == "environment"


def test_attributes_and_items_are_judged_too():
    conf = Settings()
    conf.lease = 20
    assert conf.lease == 20.0
    conf["lease"] = timedelta(seconds=25)
    assert conf.lease == 25.0
    assert "did you mean lease" in problem(setattr, conf, "leese", 1)
    assert "number of seconds" in problem(conf.__setitem__, "lease", "1")
    assert conf.lease == 25.0


def test_update_takes_what_dict_update_takes():
    conf = Settings()
    conf.update([("lease", 20)], grace=1)
    conf.update({"max_crashes": 5})
    assert (conf.lease, conf.grace, conf.max_crashes) == (20.0, 1.0, 5)


# -- layers ------------------------------------------------------------------------------------


def test_precedence_holds_in_any_order():
    steps = {
        "code": lambda conf: conf.update(lease=21, grace=21, crash_delay=21),
        "environment": lambda conf: conf.load_environment(
            {"CELERIAC_LEASE": "22", "CELERIAC_GRACE": "22"}
        ),
        "command line": lambda conf: conf.load_command_line({"lease": 23}),
    }
    for order in permutations(steps):
        conf = Settings()
        for step in order:
            steps[step](conf)
        assert (conf.lease, conf.grace, conf.crash_delay) == (23.0, 22.0, 21.0), order
        names = ("lease", "grace", "crash_delay", "heartbeat")
        origins = ["command line", "environment", "code", "default"]
        assert [conf.origin(name) for name in names] == origins


def test_a_value_equal_to_the_default_has_its_origin():
    assert Settings(lease=15).origin("lease") == "code"
    with pytest.raises(KeyError, match="did you mean"):
        Settings().origin("leese")


def test_the_environment_is_read_whole_each_time():
    conf = Settings()
    conf.load_environment({"CELERIAC_LEASE": "22"})
    conf.load_environment({"CELERIAC_GRACE": "1"})
    assert (conf.lease, conf.grace) == (15.0, 1.0)


@pytest.mark.parametrize(
    ("name", "text", "kept"),
    [
        ("task_acks_late", "No", False),
        ("task_acks_late", "on", True),
        ("worker_concurrency", "4", 4),
        ("worker_concurrency", "none", None),
        ("lease", "1.5", 1.5),
        ("include", "shop.tasks, shop.mail", ("shop.tasks", "shop.mail")),
        ("accept_content", "json,msgpack", ("json", "msgpack")),
        ("security_key", SECRET, SECRET),
        ("security_key", json.dumps({"a": SECRET}), {"a": SECRET}),
        ("global_keyprefix", "", ""),
        ("worker_log_format", "%(message)s", "%(message)s"),
        ("worker_task_log_format", EVERY_FIELD, EVERY_FIELD),
        ("broker_url", "sqlite:///x.db", "sqlite:///x.db"),
    ],
)
def test_the_environment_is_read_by_type(name, text, kept):
    conf = Settings()
    conf.load_environment({SETTINGS[name].environment: text, "PATH": "/bin"})
    assert conf[name] == kept
    assert conf.origin(name) == "environment"


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=lambda setting: setting.name)
def test_every_setting_can_be_read_from_the_environment(setting):
    value = setting.default
    if setting.kind == "retry policy":
        text = json.dumps(dict(value))
    elif setting.kind in {"tls", "transport"}:
        text, value = '{"name": "value"}', {"name": "value"}
    elif isinstance(value, tuple):
        text = ",".join(value)
        if not text:
            text, value = "one,two", ("one", "two")
    elif setting.secret:
        text = value = SECRET
    else:
        text = str(value)
    assert parse(setting, text) == value


@pytest.mark.parametrize(
    ("variable", "text", "words"),
    [
        ("CELERIAC_LEASE", "soon", "CELERIAC_LEASE = 'soon': expected a number of seconds"),
        ("CELERIAC_LEASE", "", "it is empty; expected a number of seconds"),
        ("CELERIAC_LEASE", "nan", "it must be a finite number of seconds"),
        ("CELERIAC_MAX_CRASHES", "3.5", "expected a whole number of crashes"),
        ("CELERIAC_TASK_ACKS_LATE", "maybe", "expected True or False"),
        ("CELERIAC_TASK_PUBLISH_RETRY_POLICY", "{", "expected a mapping"),
        ("CELERIAC_BEAT_SCHEDULE", "x", "CELERIAC_BEAT_SCHEDULE: beat_schedule is not in this"),
        ("CELERIAC_SECURITY_KEY", "", "CELERIAC_SECURITY_KEY = (hidden): it is empty"),
    ],
)
def test_refused_in_the_environment(variable, text, words):
    assert words in problem(Settings().load_environment, {variable: text})


def test_all_problems_of_the_environment_at_once():
    environ = {"CELERIAC_LEASE": "x", "CELERIAC_GRACE": "x", "CELERIAC_TASK_ROUTES": "x"}
    assert len(problems(Settings().load_environment, environ)) == 3


def test_a_typing_error_in_the_environment_is_warned_about():
    with pytest.warns(CeleryWarning, match="did you mean CELERIAC_TASK_TIME_LIMIT"):
        Settings().load_environment({"CELERIAC_TASK_TIME_LIMTI": "5"})


def test_other_variables_with_our_prefix_are_left_alone():
    conf = Settings()
    conf.load_environment({"CELERIAC_APP": "tasks", "CELERIAC_CRASH_POINT": "x"})
    assert conf == Settings()


def test_celerys_variables_stand_in_with_one_warning():
    conf = Settings(broker_url="sqlite:///code.db")
    with pytest.warns(CeleryWarning, match="CELERY_BROKER_URL and CELERY_RESULT") as warned:
        conf.load_environment(
            {"CELERY_BROKER_URL": "sqlite:///a.db", "CELERY_RESULT_BACKEND": "sqlite:///b.db"}
        )
    assert len(warned) == 1
    assert warned[0].filename == __file__
    assert (conf.broker_url, conf.result_backend) == ("sqlite:///a.db", "sqlite:///b.db")
    assert conf.origin("broker_url") == "environment"


def test_our_variables_go_over_celerys_without_a_warning():
    conf = Settings()
    conf.load_environment(
        {"CELERY_BROKER_URL": "redis://x", "CELERIAC_BROKER_URL": "sqlite:///a.db"}
    )
    assert conf.broker_url == "sqlite:///a.db"


def test_an_empty_variable_of_celerys_is_none():
    conf = Settings()
    conf.load_environment({"CELERY_BROKER_URL": ""})
    assert conf.origin("broker_url") == "default"


def test_a_problem_in_celerys_variable_names_that_variable():
    with pytest.warns(CeleryWarning):
        text = problem(Settings().load_environment, {"CELERY_BROKER_URL": "a://b;c://d"})
    assert text.startswith("CELERY_BROKER_URL = ")


# -- together ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"heartbeat": 5}, "heartbeat = 5.0 (code), lease = 15.0 (default)"),
        ({"lease_margin": 14}, "three heartbeats must fit"),
        ({"task_soft_time_limit": 10, "task_time_limit": 5}, "soft limit must be shorter"),
        ({"task_serializer": "msgpack"}, "add it to accept_content"),
        (
            {"result_serializer": "msgpack", "result_accept_content": ["json"]},
            "add it to result_accept_content",
        ),
        ({"enable_utc": False}, "local time needs its zone by name"),
        ({"task_publish_retry_policy": {"max_retries": 100}}, "waits of the policy are longer"),
        ({"memory_limit_fraction": 0.99}, "before they reach their limit"),
        ({"tombstone_expires": 10}, "must outlast lease and publish_timeout"),
        ({"join_seal_timeout": 1}, "must not be shorter"),
    ],
)
def test_contradictions(values, words):
    conf = Settings(**values)
    assert words in problem(conf.validate)


@pytest.mark.parametrize(
    "values",
    [
        {"lease": 1, "heartbeat": 0.2, "lease_margin": 0.2},
        {"task_soft_time_limit": 4, "task_time_limit": 5},
        {"task_soft_time_limit": 5},
        {"task_serializer": "msgpack", "accept_content": ["json", "msgpack"]},
        {"result_serializer": "msgpack", "result_accept_content": ["msgpack"]},
        {"enable_utc": False, "timezone": "Europe/Berlin"},
        {"task_publish_retry_policy": {"max_retries": 3}},
        {"task_publish_retry_policy": {"max_retries": 10**12, "interval_step": 0}},
        {"task_publish_retry_policy": {"max_retries": 100}, "task_publish_retry": False},
    ],
)
def test_no_contradiction(values):
    Settings(**values).validate()


def test_a_policy_of_very_many_tries_is_judged_at_once():
    conf = Settings(task_publish_retry_policy={"max_retries": 10**12})
    assert "waits of the policy" in problem(conf.validate)


def test_all_contradictions_at_once():
    conf = Settings(heartbeat=5, task_soft_time_limit=10, task_time_limit=5, enable_utc=False)
    assert len(problems(conf.validate)) == 3


def test_two_steps_may_pass_through_a_contradiction():
    conf = Settings()
    conf.lease = 5
    conf.heartbeat = 0.5
    conf.validate()


# -- showing and sending -----------------------------------------------------------------------


def test_humanize_shows_what_was_changed_and_from_where():
    conf = Settings(lease=20, task_serializer="json")
    conf.load_environment({"CELERIAC_GRACE": "1"})
    lines = conf.humanize().splitlines()
    assert lines[:2] == ["task_serializer: 'json' (code)", "lease: 20.0 (code)"]
    assert lines[2:] == ["grace: 1.0 (environment)"]
    assert len(conf.humanize(with_defaults=True).splitlines()) == len(SETTINGS)


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hunter2@host/0",
        "amqp://joe:hunter2@host//",
        "amqp://joe:hunt/er2@hunter2@host//",
        "postgresql://host/db?password=hunter2&x=1",
    ],
)
def test_secrets_are_never_shown(url):
    conf = Settings(security_key={"2026": SECRET}, broker_url=url)
    for text in (conf.humanize(), conf.humanize(with_defaults=True), repr(conf)):
        assert SECRET not in text
        assert "hunter2" not in text
        assert "(hidden)" in text
        assert "host" in text


@pytest.mark.parametrize(
    "value",
    [
        "tiny-secret",
        "/etc/keys/tiny-secret",
        ["tiny-secret"],
        b"tiny-secret",
        {"a": "tiny-secret"},
        {"a": b"tiny-secret"},
        {"a": 1, "b": "tiny-secret"},
        {},
    ],
)
def test_errors_do_not_show_secrets(value):
    text = problem(Settings, security_key=value)
    assert text.startswith("security_key = (hidden): ")
    assert "tiny-secret" not in text


def test_errors_of_the_environment_do_not_show_secrets():
    for written in ("tiny-secret", '{"a": "tiny-secret', '{"a": "tiny-secret"}'):
        text = problem(Settings().load_environment, {"CELERIAC_SECURITY_KEY": written})
        assert "tiny-secret" not in text


def test_contradictions_and_url_errors_mask_passwords():
    assert "hunter2" not in problem(Settings, broker_url=["redis://:hunter2@a", "redis://b"])


def test_long_values_are_cut_in_errors():
    assert len(problem(Settings, lease="x" * 10_000)) < 300


def test_the_manifest_goes_through_json_and_comes_back_whole():
    conf = Settings(
        security_key={"b": SECRET, "a": SECRET + "2"},
        include=["shop"],
        result_backend=None,
        task_publish_retry_policy={"max_retries": 3},
        task_time_limit=timedelta(minutes=5),
    )
    conf.load_environment({"CELERIAC_LEASE": "20"})
    back = Settings.from_dict(json.loads(json.dumps(conf.as_dict())))
    assert back.as_dict() == conf.as_dict()
    assert dict(back) == dict(conf)
    assert list(back.security_key) == ["b", "a"]  # the first signs
    assert back.origin("lease") == "manifest"


def test_nothing_goes_over_a_manifest():
    back = Settings.from_dict(Settings(lease=20).as_dict())
    back.load_environment({"CELERIAC_LEASE": "30"})
    back.load_command_line({"lease": 40})
    assert back.lease == 20.0


def test_as_dict_is_a_copy():
    conf = Settings()
    conf.as_dict()["task_publish_retry_policy"]["max_retries"] = 99
    assert conf.task_publish_retry_policy["max_retries"] is None


def test_settings_load_nothing_heavy():
    code = (
        "import sys, celeriac.conf; celeriac.conf.Settings().validate();"
        "print(*{'asyncio', 'click', 'logging', 'apsw', 'zoneinfo'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", timeout=60, check=True
    )
    assert done.stdout.strip() == ""


#: Settings that nothing outside the settings reads, each with the reason it may be set.
UNREAD = {
    "enable_utc": "judged together with timezone, which is read",
    "task_track_started": "changes nothing, and says so: what it asks for is always done",
}


def test_no_setting_is_accepted_and_ignored():
    root = Path(celeriac.__file__).parent
    text = "\n".join(
        each.read_text() for each in root.rglob("*.py") if each.parent != root / "conf"
    )
    read = {
        name
        for name in SETTINGS
        if re.search(rf"(?:\b|_)(?:conf|settings)(?:\.{name}\b|\[[\"']{name}[\"']\])", text)
    }
    assert set(SETTINGS) - read == set(UNREAD)


def test_processes_is_celerys_other_name_of_prefork():
    assert Settings(worker_pool="processes").worker_pool == "prefork"
