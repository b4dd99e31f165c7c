"""Arguments of results that are refused by name, unless they ask for nothing."""

import pytest
from inline import drain, make_app

from celeriac.exceptions import NotInThisVersion


@pytest.fixture(params=["sent", "eager"])
def result(request):
    app = make_app(task_always_eager=request.param == "eager")

    @app.task(name="five")
    def five():
        return 5

    sent = five.delay()
    if request.param == "sent":
        drain(app)
    yield sent
    app.close()


def test_on_message_is_refused_by_name_and_none_is_accepted(result):
    assert result.get(timeout=30, on_message=None) == 5
    with pytest.raises(NotInThisVersion, match="on_message of get"):
        result.get(timeout=30, on_message=print)


@pytest.mark.parametrize(
    ("given", "name"), [((5,), "callback"), ((print, 5), "on_error"), ((None,), "callback")]
)
def test_what_is_to_be_called_once_a_result_is_there_can_be_called(result, given, name):
    with pytest.raises(TypeError, match=f"{name} is "):
        result.then(*given)
