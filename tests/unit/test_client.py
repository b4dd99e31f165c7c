"""The client: what is checked before anything is written, what a message says, sending again."""

import os
import threading
from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from inline import count, drain, make_app, stored

from celeriac.checks import LONGEST
from celeriac.client import SEND_OPTIONS, moment, verify
from celeriac.exceptions import (
    DuplicateTask,
    EncodeError,
    ImproperlyConfigured,
    NotInThisVersion,
    OperationalError,
    PayloadTooLarge,
    SecurityError,
    StoreFull,
)
from celeriac.message import decode
from celeriac.signing import Signer

KEY = "a secret of some length"


@pytest.fixture
def app():
    return make_app()


@pytest.fixture
def add(app):
    @app.task(name="add")
    def add(*args, **kwargs): ...

    return add


def header(app, id):
    return decode(stored(app, id).wire).header


# -- values --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "kwargs", "path"),
    [
        ((object(),), {}, "args[0]"),
        ((1, {"a": [0, object()]}), {}, "args[1]['a'][1]"),
        ((), {"user": {"photo": open}}, "kwargs['user']['photo']"),
        ((float("nan"),), {}, "args[0]"),
    ],
)
def test_a_value_that_cannot_be_serialised_is_named_by_its_path(app, add, args, kwargs, path):
    with pytest.raises(EncodeError) as caught:
        add.delay(*args, **kwargs)
    assert caught.value.path == path
    assert path in str(caught.value)
    assert "The call of task 'add' was not sent." in caught.value.__notes__
    assert count(app) == 0


def test_a_payload_may_be_as_large_as_the_setting_and_no_larger():
    app = make_app(payload_max=2000)

    @app.task(name="big")
    def big(text): ...

    around = len('[["' + '"],{}]')
    big.delay("x" * (2000 - around))
    with pytest.raises(PayloadTooLarge, match=r"task 'big' take 2,001 bytes and 2,000 are allowed"):
        big.delay("x" * (2001 - around))
    assert count(app) == 1


def test_the_default_limit_is_a_mebibyte(app, add):
    with pytest.raises(PayloadTooLarge, match="1,048,576 are allowed"):
        add.delay("x" * 1024 * 1024)
    assert count(app) == 0


# -- options -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "error", "words"),
    [
        ("countdwn", TypeError, "did you mean countdown"),
        ("zebra", TypeError, "it has .*countdown, eta"),
        ("link", TypeError, "link takes signatures"),
        ("link_error", TypeError, "link takes signatures"),
        ("chain", TypeError, "chain.. takes signatures"),
        ("chord", TypeError, "chord.. takes signatures"),
        ("routing_key", NotInThisVersion, "Name the queue"),
        ("exchange", NotInThisVersion, "Name the queue"),
        ("producer", NotInThisVersion, "connections"),
        ("shadow", NotInThisVersion, "headers"),
    ],
)
def test_an_unknown_option_is_refused_before_anything_is_written(app, add, option, error, words):
    with pytest.raises(error, match=words):
        add.apply_async((1,), **{option: 1})
    assert count(app) == 0


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("task_id", "has space", ValueError),
        ("task_id", 7, ValueError),
        ("task_id", "x" * 129, ValueError),
        ("queue", "{tag}", ValueError),
        ("queue", ["a"], ValueError),
        ("priority", 10, ValueError),
        ("priority", -1, ValueError),
        ("priority", "high", ValueError),
        ("priority", True, ValueError),
        ("countdown", "5", TypeError),
        ("countdown", float("nan"), ValueError),
        ("countdown", True, TypeError),
        ("eta", 60, TypeError),
        ("eta", date(2026, 1, 1), TypeError),
        ("eta", "tomorrow", ValueError),
        ("expires", [], TypeError),
        ("time_limit", 0, ValueError),
        ("soft_time_limit", -5, ValueError),
        ("headers", [1], TypeError),
        ("headers", {"a": object()}, EncodeError),
        ("headers", {"a": {1: 2}}, EncodeError),
        ("serializer", "pickle", NotInThisVersion),
        ("serializer", "xml", ImproperlyConfigured),
        ("serializer", "msgpack", ImproperlyConfigured),
        ("retry_policy", {"max_retrys": 1}, TypeError),
        ("retry_policy", {"interval_max": -1}, ValueError),
        ("retry_policy", {"interval_max": "1"}, TypeError),
        ("retry_policy", {"interval_start": 60e9}, ValueError),
        ("retry_policy", {"max_retries": 2.5}, ValueError),
        ("retry_policy", {"max_retries": "3"}, ValueError),
        ("retry_policy", {"retry_errors": ()}, NotInThisVersion),
        ("retry_policy", 3, TypeError),
    ],
)
def test_a_wrong_value_is_refused_before_anything_is_written(app, add, option, value, error):
    with pytest.raises(error, match=option if option != "serializer" else None):
        add.apply_async((1,), **{option: value})
    assert count(app) == 0


def test_an_option_that_is_none_was_not_given(app, add):
    result = add.apply_async((1,), **dict.fromkeys(SEND_OPTIONS))
    assert header(app, result.id).eta is None


def test_every_option_reaches_the_message(app, add):
    result = add.apply_async(
        (1,), {"a": 2}, task_id="it", countdown=60, expires=120, queue="mail", priority=3,
        time_limit=10, soft_time_limit=5, ignore_result=True, headers={"who": ["me", 1]},
        retry=False, retry_policy={"max_retries": 1}, serializer="json",
    )  # fmt: skip
    found = header(app, result.id)
    assert (found.id, found.queue, found.priority) == ("it", "mail", 3)
    assert (found.time_limit, found.soft_time_limit, found.ignore_result) == (10, 5, True)
    assert found.headers == {"who": ["me", 1]}
    assert found.eta - found.sent == pytest.approx(60)
    assert found.expires - found.sent == pytest.approx(120)
    assert found.origin.startswith(f"{os.getpid()}@")
    assert result.ignored


def test_the_message_of_a_plain_call(app, add):
    found = header(app, add.delay().id)
    assert (found.task, found.queue, found.priority, found.serializer) == (
        "add",
        "celery",
        0,
        "json",
    )
    assert (found.eta, found.expires, found.time_limit, found.headers) == (None, None, None, None)
    assert (found.root, found.parent, found.edges) == ("", "", None)


# -- times ---------------------------------------------------------------------------------------


def test_countdown_goes_over_eta_and_may_be_past(app, add):
    due = header(app, add.apply_async(countdown=5, eta=datetime(2099, 1, 1, tzinfo=UTC)).id)
    assert due.eta - due.sent == pytest.approx(5)
    past = add.apply_async(eta=datetime(2001, 1, 1, tzinfo=UTC))
    drain(app)
    assert past.state == "SUCCESS"


@pytest.mark.parametrize("countdown", [-60, -0.001, timedelta(seconds=-1)])
def test_a_negative_countdown_is_refused(app, add, countdown):
    with pytest.raises(ValueError, match=r"it is 0 seconds .at once. or more"):
        add.apply_async(countdown=countdown)
    assert app.store.inspection.list() == []


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("countdown", 1e12),
        ("countdown", timedelta.max),
        ("retry_policy", {"interval_step": 1e12}),
        ("expires", 1e18),
        ("expires", -1e18),
        ("expires", datetime.max.replace(tzinfo=timezone(-timedelta(hours=5)))),
        ("eta", datetime.max.replace(tzinfo=timezone(-timedelta(hours=5)))),
        ("eta", datetime.min.replace(tzinfo=timezone(timedelta(hours=5)))),
    ],
)
def test_a_moment_that_no_calendar_shows_is_refused(app, add, option, value):
    with pytest.raises(ValueError, match=rf"{option}\S* is .*years"):
        add.apply_async(**{option: value})
    assert count(app) == 0


def test_the_longest_wait_ends_in_a_moment_that_can_be_shown(app, add):
    due = header(app, add.apply_async(countdown=LONGEST).id).eta
    assert datetime.fromtimestamp(due, UTC).year > 3000
    last = datetime.max.replace(microsecond=0, tzinfo=UTC)
    due = header(app, add.apply_async(eta=last).id).eta
    assert datetime.fromtimestamp(due, UTC) == last


def test_countdown_may_be_a_timedelta(app, add):
    due = header(app, add.apply_async(countdown=timedelta(minutes=1)).id)
    assert due.eta - due.sent == pytest.approx(60)


def test_a_naive_time_is_in_the_timezone_of_the_settings():
    app = make_app(timezone="America/New_York")

    @app.task(name="t")
    def t(): ...

    naive = datetime(2099, 7, 1, 12, 0)  # noqa: DTZ001 - that is the point
    result = t.apply_async(eta=naive)
    aware = datetime(2099, 7, 1, 12, 0, tzinfo=ZoneInfo("America/New_York"))
    assert header(app, result.id).eta == aware.timestamp()
    assert moment(aware.astimezone(timezone(timedelta(hours=3))), "eta", "UTC") == aware.timestamp()
    assert moment("2099-07-01T12:00:00", "eta", "America/New_York") == aware.timestamp()


def test_expires_takes_seconds_a_moment_or_a_timedelta(app, add):
    later = datetime.now(UTC) + timedelta(hours=1)
    for value in (3600, timedelta(hours=1), later, later.isoformat()):
        found = header(app, add.apply_async(expires=value).id)
        assert found.expires == pytest.approx(later.timestamp(), abs=60)


def test_eta_after_expires_is_refused(app, add):
    with pytest.raises(ValueError, match="it could never run"):
        add.apply_async(countdown=60, expires=30)
    with pytest.raises(ValueError, match="it could never run"):
        add.apply_async(
            eta=datetime(2099, 1, 1, tzinfo=UTC), expires=datetime(2098, 1, 1, tzinfo=UTC)
        )
    assert count(app) == 0


def test_an_expiry_in_the_past_ends_as_expired_without_an_error(app, add):
    result = add.apply_async(expires=-1)
    drain(app)
    assert result.state == "REVOKED"
    assert stored(app, result.id).state == "expired"


@pytest.mark.parametrize(
    ("task", "call"),
    [
        ({}, {"soft_time_limit": 10, "time_limit": 5}),
        ({"time_limit": 5}, {"soft_time_limit": 10}),
        ({"soft_time_limit": 10}, {"time_limit": 5}),
    ],
)
def test_a_soft_limit_above_the_hard_one_is_refused(app, task, call):
    @app.task(name="t", **task)
    def t(): ...

    with pytest.raises(ValueError, match="would never be reached"):
        t.apply_async(**call)
    assert count(app) == 0


def test_limits_of_a_task_that_contradict_each_other_are_refused(app):
    @app.task(name="t", time_limit=5)
    def t(): ...

    t.soft_time_limit = 10
    with pytest.raises(ValueError, match="the task 't' has a soft_time_limit of 10 s "):
        t.delay()
    with pytest.raises(ValueError, match="the task 't'"):
        app.facts()


# -- ids -----------------------------------------------------------------------------------------


def test_ids_are_new_and_two_calls_differ(app, add):
    ids = {add.delay().id for _ in range(100)}
    assert len(ids) == 100
    assert len({header(app, each).nonce for each in ids}) == 100


def test_an_id_that_is_in_use_is_refused(app, add):
    add.apply_async(task_id="once")
    with pytest.raises(DuplicateTask, match="once exists and has not ended"):
        add.apply_async(task_id="once")


# -- signing -------------------------------------------------------------------------------------


def test_messages_are_signed_once_there_is_a_key():
    app = make_app(security_key=KEY)

    @app.task(name="t")
    def t(n): ...

    message = decode(stored(app, t.delay(1).id).wire)
    verify(message, app.signer)
    verify(message, Signer.from_setting(KEY, "celeriac"))
    with pytest.raises(SecurityError):
        verify(message, Signer.from_setting("another secret, long too", "celeriac"))
    with pytest.raises(SecurityError, match="namespace"):
        verify(message, Signer.from_setting(KEY, "other"))


def test_an_unsigned_message_is_refused_by_who_has_a_key(app, add):
    message = decode(stored(app, add.delay().id).wire)
    verify(message, None)
    with pytest.raises(SecurityError, match="carries no signature"):
        verify(message, Signer.from_setting(KEY, "celeriac"))


def test_a_retry_with_other_arguments_is_signed():
    app = make_app(security_key=KEY)

    @app.task(name="t", bind=True)
    def t(self, n):
        if n == 0:
            raise self.retry(args=(1,), countdown=0)
        return n

    result = t.delay(0)
    (_, first), _ = drain(app)
    verify(decode(first.message), app.signer)
    assert decode(first.message).id == result.id
    assert result.get(timeout=5) == 1


def test_a_new_key_is_used_at_once():
    app = make_app(security_key=KEY)
    first = app.signer
    assert app.signer is first
    app.conf.security_key = "a second secret of some length"
    assert app.signer.key_id != first.key_id
    app.conf.security_key = None
    assert app.signer is None


# -- sending again -------------------------------------------------------------------------------


class Away:
    """A store whose queue raises so many times, then works."""

    def __init__(self, store, error, times, *, apply=False):
        self.queue = self
        self.calls = 0
        self._store, self._error, self._times, self._apply = store, error, times, apply

    def enqueue(self, messages, join=None):
        self.calls += 1
        if self.calls <= self._times:
            if self._apply:
                self._store.queue.enqueue(messages, join)
            raise self._error
        self._store.queue.enqueue(messages, join)


def put_away(app, times, error=None, **options):
    real = app.store
    away = Away(real, error or OperationalError("the store is away"), times, **options)
    app._held = (os.getpid(), app.conf.broker_url, app.conf.result_backend, away)
    return real, away


def test_sending_is_tried_again(app, add):
    real, away = put_away(app, 3)
    result = add.delay(1)
    assert away.calls == 4
    assert real.inspection.get([result.id])[0] is not None


def test_a_send_that_was_applied_and_lost_is_not_doubled(app, add):
    real, away = put_away(app, 1, apply=True)
    add.delay(1)
    assert away.calls == 2
    assert len(real.inspection.list()) == 1


def test_sending_ends_with_an_error_after_its_budget():
    app = make_app(publish_timeout=2.0, join_seal_timeout=60)

    @app.task(name="t")
    def t(): ...

    _, away = put_away(app, 10_000)
    with pytest.raises(
        OperationalError, match=r"task t\[.*\] not acknowledged .* the store is away"
    ):
        t.delay()
    assert away.calls >= 2


@pytest.mark.parametrize(
    ("options", "calls"),
    [
        ({"retry": False}, 1),
        ({"retry_policy": {"max_retries": 2, "interval_start": 0, "interval_step": 0}}, 3),
        ({"retry_policy": {"max_retries": 0}}, 1),
        ({"retry_policy": {"max_retries": 1, "interval_start": timedelta(milliseconds=1)}}, 2),
    ],
)
def test_a_call_can_say_how_often_it_is_tried(app, add, options, calls):
    _, away = put_away(app, 10_000)
    with pytest.raises(OperationalError, match="once" if calls == 1 else f"tried {calls} times"):
        add.apply_async(**options)
    assert away.calls == calls


def test_the_setting_can_switch_trying_off():
    app = make_app(task_publish_retry=False)

    @app.task(name="t")
    def t(): ...

    _, away = put_away(app, 10_000)
    with pytest.raises(OperationalError):
        t.delay()
    assert away.calls == 1


def test_a_full_store_is_told_at_once(app, add):
    _, away = put_away(app, 10_000, StoreFull("no room"))
    with pytest.raises(StoreFull):
        add.delay()
    assert away.calls == 1


def test_many_threads_send_through_one_app(app, add):
    def send():
        for _ in range(50):
            add.delay()

    threads = [threading.Thread(target=send) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert count(app) == 400


# -- options that ask for nothing --------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *((name, None) for name in ("link", "chord", "producer", "connection", "publisher")),
        *((name, None) for name in ("shadow", "stamped_headers", "reply_to", "router")),
        ("link", []),
        ("link_error", ()),
        ("chain", []),
        ("delivery_mode", 2),
        ("delivery_mode", "persistent"),
        ("mandatory", False),
        ("retries", 0),
    ],
)
def test_an_option_that_asks_for_nothing_is_accepted(app, add, option, value):
    add.apply_async((1,), **{option: value})
    app.send_task(add.name, (1,), **{option: value})
    assert count(app) == 2
    assert add.apply((1,), **{option: value}).successful()


@pytest.mark.parametrize(
    ("option", "value"),
    [("delivery_mode", 1), ("mandatory", True), ("retries", 1), ("retries", False)],
)
def test_the_same_option_is_refused_where_it_asks_for_something(app, add, option, value):
    with pytest.raises(NotInThisVersion, match=option):
        add.apply_async((1,), **{option: value})
    assert count(app) == 0


def test_the_own_connection_of_the_app_is_accepted_and_no_other(app, add):
    with add.app.connection() as connection:
        app.send_task(add.name, (1,), connection=connection)
        add.apply_async((1,), producer=connection)
    assert count(app) == 2
    other = make_app()
    for wrong in (other.connection(), object()):
        with pytest.raises(NotInThisVersion, match="connection"):
            app.send_task(add.name, (1,), connection=wrong)
    other.close()
    assert count(app) == 2
