"""Every error says something, keeps what it was given, and survives copying and pickling."""

import builtins
import copy
import pickle
from datetime import UTC, datetime

import pytest

from celeriac import exceptions as ex

ERRORS = [getattr(ex, name) for name in ex.__all__]

# One example of each error that takes more than a text: what is raised, and all of its text.
EXAMPLES = [
    (
        ex.ImproperlyConfigured("Two settings are wrong.", problems=["a: no", "b: not so"]),
        "Two settings are wrong:\n  - a: no\n  - b: not so",
    ),
    (
        ex.NotInThisVersion("redis:// is for later", problems=["a: b"]),
        "redis:// is for later:\n  - a: b",
    ),
    (
        ex.EncodeError("cannot serialise a socket at args[0].peer", path="args[0].peer"),
        "cannot serialise a socket at args[0].peer",
    ),
    (
        ex.PayloadTooLarge(size=2_000_000, limit=1_048_576, task_name="tasks.resize"),
        (
            "The arguments of task 'tasks.resize' take 2,000,000 bytes and 1,048,576 are allowed. "
            "Store the data where the task can read it and pass its name."
        ),
    ),
    (
        ex.DuplicateTask("abc"),
        (
            "Task abc exists and has not ended. "
            "Send this call with another task_id, or wait for that task or revoke it."
        ),
    ),
    (ex.BackendGetMetaError("broken row", task_id="abc"), "broken row"),
    (ex.BackendStoreError("disk gone", task_id="abc", state="SUCCESS"), "disk gone"),
    (ex.Reject("no such user", requeue=True), "Rejected and put back: no such user"),
    (ex.Reject(), "Rejected"),
    (ex.Retry("later"), "later"),
    (ex.Retry(exc=ValueError("odd"), when=5), "Retry in 5s: ValueError('odd')"),
    (ex.Retry(exc="it said no"), "Retry now: it said no"),
    (
        ex.Retry(when=datetime(2026, 5, 1, 12, tzinfo=UTC)),
        "Retry at 2026-05-01 12:00:00+00:00",
    ),
    (
        ex.NotRegistered("tasks.sendmail", ["tasks.send_mail", "tasks.add"]),
        "Task 'tasks.sendmail' is not registered. Did you mean 'tasks.send_mail'?",
    ),
    (
        ex.NotRegistered("add", ["project.sums.add"]),
        "Task 'add' is not registered. Did you mean 'project.sums.add'?",
    ),
    (
        ex.NotRegistered("zzz", ["tasks.add"]),
        (
            "Task 'zzz' is not registered. Does the app include the module that defines it "
            "(include=[…], or import it before the worker starts)?"
        ),
    ),
    (ex.MaxRetriesExceededError("gave up", task_args=(1,), task_kwargs={"b": 2}), "gave up"),
    (
        ex.ResultNotFound("abc"),
        (
            "No task abc is known to this store: it was never sent here, or its record has "
            "expired. Compare the store of the sender with this one, and the setting "
            "result_expires with the age of the task."
        ),
    ),
    (
        ex.ResultTooLarge(size=2048, limit=1024, task_id="abc"),
        (
            "The result of task abc takes 2,048 bytes and 1,024 are allowed. "
            "Store the data elsewhere and return its name."
        ),
    ),
    (
        ex.ResultTooLarge(2048, 1024, "abc"),
        (
            "The result of task abc takes 2,048 bytes and 1,024 are allowed. "
            "Store the data elsewhere and return its name."
        ),
    ),
    (ex.NotInThisVersion("redis:// comes later."), "redis:// comes later."),
    (ex.NotInThisVersion("The option link", ""), "The option link is not in this version."),
    (
        ex.NotInThisVersion("The option link", "Call delay()."),
        "The option link is not in this version. Call delay().",
    ),
    (ex.TaskFailed("shop.NoStock", "none left", "Traceback …"), "shop.NoStock: none left"),
    (
        ex.UpstreamFailed("abc", "ValueError: odd"),
        "Did not run because task abc, which it depends on, did not succeed: ValueError: odd",
    ),
    (
        ex.HeaderIncomplete(join_id="j1", members=3),
        (
            "Header incomplete: 3 members of join j1 had arrived when its sender stopped. "
            "Send the chord again."
        ),
    ),
    (
        ex.HeaderIncomplete("j1", 3),
        (
            "Header incomplete: 3 members of join j1 had arrived when its sender stopped. "
            "Send the chord again."
        ),
    ),
    (ex.SoftTimeLimitExceeded(2.5), "The task ran longer than its soft time limit: 2.5 s."),
    (
        ex.TimeLimitExceeded(10),
        "The task ran longer than its time limit and was stopped: 10 s.",
    ),
    (ex.SoftTimeLimitExceeded("stop"), "stop"),
]


def state_of(error: BaseException) -> dict[str, object]:
    """What an error holds, in a form that compares: exceptions themselves compare by identity."""
    return {key: repr(value) for key, value in vars(error).items()} | {"args": repr(error.args)}


@pytest.mark.parametrize("kind", ERRORS)
def test_raised_without_a_text_it_still_says_something(kind):
    if issubclass(kind, SystemExit | Warning):
        assert kind.__doc__
        return
    text = str(kind())
    assert len(text) >= len("Rejected")
    assert "None" not in text
    assert "()" not in text


@pytest.mark.parametrize("kind", ERRORS)
def test_a_text_given_is_a_text_shown(kind):
    assert "the one text" in str(kind("the one text"))


@pytest.mark.parametrize(("error", "text"), EXAMPLES, ids=lambda value: type(value).__name__)
def test_text(error, text):
    assert str(error) == text


@pytest.mark.parametrize(
    "error",
    [kind() for kind in ERRORS] + [error for error, _ in EXAMPLES],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize(
    "repeat", [copy.copy, lambda e: pickle.loads(pickle.dumps(e))], ids=["copy", "pickle"]
)
def test_copies_are_equal(error, repeat):
    again = repeat(error)
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert state_of(again) == state_of(error)


def test_every_example_class_and_no_other_takes_more_than_a_text():
    """An error that grows a constructor must get an example here."""
    with_constructor = {
        kind
        for kind in ERRORS
        if any(
            "__init__" in vars(parent)
            for parent in kind.__mro__
            if parent.__module__ == ex.__name__
        )
    }
    assert with_constructor == {type(error) for error, _ in EXAMPLES}


@pytest.mark.parametrize(
    ("kind", "parent"),
    [
        (ex.NotRegistered, KeyError),
        (ex.QueueNotFound, KeyError),
        (ex.ResultNotFound, LookupError),
        (ex.TimeoutError, builtins.TimeoutError),
        (ex.StoreFull, ex.OperationalError),
        (ex.StoreVersionError, ex.BackendError),
        (ex.DeadTaskError, ex.WorkerLostError),
        (ex.HeaderIncomplete, ex.ChordError),
        (ex.ContentDisallowed, ex.SecurityError),
        (ex.NotInThisVersion, ex.ImproperlyConfigured),
        (ex.WorkerShutdown, SystemExit),
        (ex.WorkerTerminate, SystemExit),
    ],
)
def test_parents_that_except_clauses_rely_on(kind, parent):
    assert issubclass(kind, parent)


def test_limits_are_not_celery_errors():
    """`except CeleryError` around a body must not swallow the order to stop."""
    for kind in (ex.SoftTimeLimitExceeded, ex.TimeLimitExceeded, ex.Terminated):
        assert not issubclass(kind, ex.CeleryError)


def test_celery_error_is_another_name_of_the_same_class():
    assert ex.CeleryError is ex.CeleriacError


def test_retry_keeps_what_celery_documents():
    reason = ValueError("odd")
    retry = ex.Retry(exc=reason, when=5)
    assert (retry.exc, retry.excs, retry.when) == (reason, "ValueError('odd')", 5)
    assert retry.humanize() == "in 5s"
    assert ex.Retry(exc="text").exc is None


def test_not_registered_names_at_most_three():
    error = ex.NotRegistered("t.a", [f"t.a{i}" for i in range(9)])
    assert len(error.near()) == 3
