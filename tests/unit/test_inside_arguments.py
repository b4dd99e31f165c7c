"""What a task may say of itself while it runs: wrong arguments are told by name, at once."""

import uuid

import pytest
from inline import drain, make_app, stored

from celeriac import states


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
