"""The context of a run: what ``request`` says inside, outside, nested and in parallel."""

import asyncio
import threading

import pytest
from inline import drain, make_app

from celeriac.context import Context, current, enter, leave


@pytest.fixture
def app():
    return make_app()


@pytest.fixture
def look(app):
    @app.task(name="look", bind=True)
    def look(self, then=None):
        return self.request if then is None else (self.request, then(), self.request)

    return look


def test_outside_a_run_a_request_says_so(look):
    request = look.request
    assert request.called_directly
    assert (request.id, request.args, request.kwargs, request.retries) == (None, (), {}, 0)
    assert request.delivery_info == {
        "exchange": "", "routing_key": None, "priority": None, "redelivered": False,
    }  # fmt: skip
    assert (request.eta, request.expires, request.timelimit) == (None, None, (None, None))
    assert current() is None


def test_a_direct_call_has_its_arguments(look):
    request = look()
    assert request.called_directly
    assert not request.is_eager
    assert (request.args, request.kwargs) == ((), {})
    assert current() is None


def test_a_direct_call_that_raises_leaves_nothing_behind(app):
    @app.task(name="t")
    def t():
        raise ValueError

    with pytest.raises(ValueError):
        t()
    assert current() is None


def test_a_task_that_calls_another_keeps_its_own_request(app):
    @app.task(name="inner", bind=True)
    def inner(self):
        return self.request.called_directly, outer.request.id

    seen = []

    @app.task(name="outer", bind=True)
    def outer(self):
        before = self.request
        seen.append((*inner(), self.request is before))

    result = outer.delay()
    drain(app)
    assert seen == [(True, result.id, True)]


def test_a_task_that_calls_itself(app):
    @app.task(name="down", bind=True)
    def down(self, n):
        return [self.request.called_directly, *(down(n - 1) if n else [])]

    result = down.delay(2)
    drain(app)
    assert result.get(timeout=60) == [False, True, True]


def test_requests_of_threads_are_apart(look):
    seen = []
    token = enter(Context(id="mine", called_directly=False), look)
    try:
        thread = threading.Thread(target=lambda: seen.append(look.request.id))
        thread.start()
        thread.join(60)
        assert look.request.id == "mine"
    finally:
        leave(token)
    assert seen == [None]


def test_requests_of_coroutines_are_apart(look):
    async def one(id):
        token = enter(Context(id=id), look)
        try:
            await asyncio.sleep(0)
            return look.request.id
        finally:
            leave(token)

    async def main():
        return await asyncio.gather(*(one(str(n)) for n in range(10)))

    assert asyncio.run(main()) == [str(n) for n in range(10)]


def test_a_task_may_keep_things_on_its_request(app):
    @app.task(name="t", bind=True)
    def t(self):
        seen = getattr(self.request, "mine", None)
        self.request.mine = 1
        return seen

    results = [t.delay(), t.delay()]
    drain(app)
    assert [each.get(timeout=60) for each in results] == [None, None]


def test_get_and_repr():
    context = Context(id="x", task="t", retries=2)
    assert context.get("id") == "x"
    assert context.get("nothing", 3) == 3
    assert repr(context) == "<Context: t[x] retries=2>"


def test_times_are_iso_text_in_utc():
    context = Context(due=0.0, expiry=86400.5)
    assert context.eta == "1970-01-01T00:00:00+00:00"
    assert context.expires == "1970-01-02T00:00:00.500000+00:00"


# -- all that Celery documents ---------------------------------------------------------------------

#: Fields of Celery's request, and those that a message brings along.
CELERY = (
    "args argsrepr called_directly callbacks chain children chord correlation_id delivery_info"
    " errbacks eta expires group group_index headers hostname id ignore_result is_eager kwargs"
    " kwargsrepr lang logfile loglevel origin parent_id properties replaced_task_nesting reply_to"
    " retries root_id shadow soft_time_limit stamped_headers stamps task taskset time_limit"
    " timelimit utc"
)


def test_every_field_of_celerys_request_is_there_in_a_run_and_outside(app, look):
    assert [name for name in CELERY.split() if not hasattr(look.request, name)] == []
    seen = {}

    @app.task(name="t", bind=True)
    def t(self, x, y):
        seen.update({name: getattr(self.request, name) for name in CELERY.split()})

    sent = t.apply_async((1,), {"y": 2}, headers={"tenant": "x"}, priority=3, time_limit=9)
    drain(app)
    assert seen["id"] == seen["correlation_id"] == seen["root_id"] == sent.id
    assert (seen["args"], seen["kwargs"]) == ((1,), {"y": 2})
    assert (seen["argsrepr"], seen["kwargsrepr"]) == ("(1,)", "{'y': 2}")
    assert seen["delivery_info"] == {
        "exchange": "", "routing_key": "celery", "priority": 3, "redelivered": False,
    }  # fmt: skip
    assert seen["properties"] == {
        "correlation_id": sent.id, "reply_to": None, "priority": 3, "delivery_mode": 2,
        "content_type": "application/json",
    }  # fmt: skip
    assert (seen["timelimit"], seen["time_limit"], seen["soft_time_limit"]) == ((9, None), 9, None)
    assert (seen["headers"], seen["lang"], seen["utc"]) == ({"tenant": "x"}, "py", True)
    assert (seen["called_directly"], seen["is_eager"], seen["retries"]) == (False, False, 0)


def test_headers_are_read_as_celery_has_them(app):
    seen = []

    @app.task(name="t", bind=True)
    def t(self):
        request = self.request
        seen.append((request.tenant, request.get("tenant"), request.get("x-trace"), request.id))
        with pytest.raises(AttributeError, match="no field and no header 'nothing'"):
            request.nothing  # noqa: B018 - the look-up is the test

    sent = t.apply_async(headers={"tenant": "x", "x-trace": "1", "id": "not this"})
    drain(app)
    assert sent.state == "SUCCESS"
    assert seen == [("x", "x", "1", sent.id)]


def test_fields_may_be_given_as_dictionaries_and_changed():
    context = Context({"id": "x"}, {"task": "t"}, retries=2)
    assert (context.id, context.task, context.retries) == ("x", "t", 2)
    context.update({"retries": 3}, hostname="here")
    assert (context.retries, context.hostname) == (3, "here")
