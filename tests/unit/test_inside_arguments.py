"""What a task may say of itself while it runs: wrong arguments are told by name, at once."""

import uuid

import pytest
from inline import drain, make_app, stored

from celeriac import states
from celeriac.exceptions import Reject


@pytest.fixture
def app():
    return make_app()


def reason(app, body):
    """Why a task with this body failed."""
    task = app.task(name="t", bind=True)(body)
    sent = task.delay()
    drain(app)
    record = stored(app, sent.id)
    assert record.state == states.FAILED
    return record.reason


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"state": 5}, "TypeError: update_state(): state is 5, of type int; it must be text"),
        ({"state": b"X"}, "TypeError: update_state(): state is b'X', of type bytes"),
        ({"state": ["a"]}, "TypeError: update_state(): state is ['a'], of type list"),
        ({"task_id": uuid.UUID(int=1)}, "TypeError: update_state(): task_id is UUID("),
        ({"task_id": "no id", "state": "P"}, "ValueError: task_id is 'no id'; it is text of 1 to"),
    ],
)
def test_update_state_names_the_argument_that_is_wrong(app, arguments, told):
    assert reason(app, lambda self: self.update_state(**arguments)).startswith(told)


@pytest.mark.parametrize(("given", "kind"), [("x", "str"), (True, "bool"), ([1], "list")])
def test_retry_names_max_retries_if_it_is_no_number(app, given, kind):
    told = f"TypeError: retry(): max_retries is {given!r}, of type {kind}; it must be a whole"
    assert reason(app, lambda self: self.retry(max_retries=given)).startswith(told)


@pytest.mark.parametrize(
    ("arguments", "fields", "told"),
    [
        (["task-x"], {"uuid": "o"}, "TypeError: send_event() sets the field uuid itself"),
        (["task-x"], {"type": "o"}, "TypeError: send_event() sets the field type itself"),
        ([5], {}, "TypeError: the type of an event is 5; it must be text"),
        (["x" * 3000], {}, "ValueError: the type of an event has 3000 characters; it must have 1"),
        ([""], {}, "ValueError: the type of an event has 0 characters"),
    ],
)
def test_send_event_says_what_is_wrong(app, arguments, fields, told):
    assert reason(app, lambda self: self.send_event(*arguments, **fields)).startswith(told)


def test_an_event_of_the_longest_type_is_sent(app):
    task = app.task(name="t", bind=True)(lambda self: self.send_event("x" * 128, done=1))
    sent = task.delay()
    drain(app)
    assert stored(app, sent.id).state == states.SUCCEEDED


@pytest.mark.parametrize("requeue", ["b", 1, None])
def test_a_second_reason_does_not_put_a_call_back_for_ever(app, requeue):
    def body(self):
        raise Reject("a", requeue)

    assert reason(app, body).startswith(f"TypeError: Reject(): requeue is {requeue!r}, of type")
