"""``raise Retry(…)`` without ``self.retry()``, and what policies do with what is no time."""

from datetime import UTC, datetime, timedelta

import pytest
from inline import make_app

from celeriac import Task, states
from celeriac.exceptions import MaxRetriesExceededError, Retry
from celeriac.records import Delivery
from celeriac.runner import Runner


@pytest.fixture
def app():
    return make_app(timezone="Europe/Berlin")


def run(app, body, retries=0, **options):
    """The outcome of one run of a task with this body."""
    app.task(name="t", bind=True, **options)(body)
    message = app.client.message("t", (), {})
    runner = Runner(app, "worker@here")
    sent = Delivery(message.id, retries + 1, "owner.1.1", message.encode(), "celery", retries)
    return runner.run(sent)


def raising(error):
    def body(self):
        raise error

    return body


@pytest.mark.parametrize(
    ("when", "delay"), [(5, 5.0), (-1, 0.0), (timedelta(seconds=90), 90.0), (None, 180.0)]
)
def test_it_waits_as_it_says_else_as_long_as_the_task_says(app, when, delay):
    outcome = run(app, raising(Retry("m", when=when)))
    assert (outcome.state, outcome.delay) == (states.SCHEDULED, delay)
    assert (outcome.charge, outcome.reason) == ("retry", "m")


@pytest.mark.parametrize(
    "when", [datetime.fromisoformat("2030-01-01T13:00"), datetime(2030, 1, 1, 12, 0, tzinfo=UTC)]
)
def test_a_moment_without_a_zone_is_in_the_timezone_of_the_settings(app, when):
    outcome = run(app, raising(Retry("m", when=when)))
    assert outcome.eta == datetime(2030, 1, 1, 12, 0, tzinfo=UTC).timestamp()


def test_it_ends_when_no_repeats_are_left(app):
    assert run(app, raising(Retry("m")), retries=2).state == states.SCHEDULED
    outcome = run(app, raising(Retry("m")), retries=3)
    assert outcome.state == states.FAILED
    assert outcome.reason.startswith("MaxRetriesExceededError: Cannot retry t[")


def test_it_ends_with_its_reason_if_it_names_one(app):
    outcome = run(app, raising(Retry("m", exc=ValueError("odd"))), retries=1, max_retries=1)
    assert (outcome.state, outcome.reason) == (states.FAILED, "ValueError: odd")


def test_it_is_not_counted_twice_where_autoretry_names_everything(app):
    outcome = run(app, raising(Retry("m")), retries=3, autoretry_for=(Exception,))
    assert outcome.reason.startswith("MaxRetriesExceededError: ")


def test_what_self_retry_settled_stands(app):
    def body(self):
        raise self.retry(countdown=2, max_retries=9)

    outcome = run(app, body, retries=7)
    assert (outcome.state, outcome.delay) == (states.SCHEDULED, 2)


@pytest.mark.parametrize(
    ("when", "told"),
    [
        ("2030", "TypeError: Retry(when='2030'): when is a str; it must be seconds, a timedelta"),
        (True, "TypeError: Retry(when=True): when is a bool"),
        (float("nan"), "ValueError: when is nan; it must be a finite number of seconds"),
        (
            datetime.fromisoformat("2030-03-31T02:30"),
            "ValueError: when is 2030-03-31 02:30:00 without a zone",
        ),
    ],
)
def test_a_when_that_is_no_time_is_the_failure_of_the_task(app, when, told):
    outcome = run(app, raising(Retry("m", when=when)))
    assert outcome.state == states.FAILED
    assert outcome.reason.startswith(told)


def test_what_a_policy_raises_is_the_failure_and_handlers_hear_of_it(app):
    heard = []

    class Unfit(type):
        def __instancecheck__(cls, other):
            raise SystemExit("no")

    class Odd(Exception, metaclass=Unfit):
        pass

    class Base(Task):
        def on_failure(self, exc, *rest):
            heard.append(exc)

    outcome = run(app, raising(KeyError("own")), base=Base, autoretry_for=(Odd,))
    assert outcome.state == states.FAILED
    assert outcome.reason.startswith("SystemExit: no")
    assert [type(each) for each in heard] == [SystemExit]


def test_an_eager_run_ends_with_what_the_policy_raised(app):
    task = app.task(name="t", bind=True)(raising(Retry("m", when="soon")))
    result = task.apply()
    assert result.state == "FAILURE"
    with pytest.raises(TypeError, match="when is a str"):
        result.get()


def test_an_eager_run_ends_when_no_repeats_are_left(app):
    task = app.task(name="t", bind=True, max_retries=2)(raising(Retry("m")))
    with pytest.raises(MaxRetriesExceededError):
        task.apply(throw=True)
