"""Tasks with ``pydantic=True``: arguments validated, results dumped."""

import sys
from datetime import UTC, date, datetime

import pytest
from inline import drain, make_app
from pydantic import BaseModel, ValidationError, field_validator

from celeriac.exceptions import ImproperlyConfigured


class Order(BaseModel):
    id: int
    due: date | None = None


class Receipt(BaseModel):
    order: int
    at: datetime


@pytest.fixture
def app():
    return make_app()


def ran(app, sent):
    drain(app)
    return sent.get(timeout=5)


def test_a_dictionary_becomes_a_model_and_a_model_plain_data(app):
    seen = []

    @app.task(name="t", pydantic=True)
    def t(order: Order, note: str = "") -> Receipt:
        seen.append((order, note))
        return Receipt(order=order.id, at=datetime(2026, 1, 2, tzinfo=UTC))

    assert ran(app, t.delay({"id": "7"}, note="x")) == {"order": 7, "at": "2026-01-02T00:00:00Z"}
    assert seen == [(Order(id=7), "x")]
    assert ran(app, t.delay(Order(id=8)))["order"] == 8  # a model of the caller's
    assert t({"id": 9})["order"] == 9  # called like any function
    assert t.apply(({"id": 10},)).get()["order"] == 10


def test_what_does_not_fit_fails_the_task(app):
    @app.task(name="t", pydantic=True)
    def t(order: Order): ...

    sent = t.delay({"id": "seven"})
    drain(app)
    assert sent.state == "FAILURE"
    assert "valid integer" in str(sent.result)
    with pytest.raises(ValidationError, match="valid integer"):
        t({"id": "seven"})


def test_strict_converts_nothing(app):
    @app.task(name="t", pydantic=True, pydantic_strict=True)
    def t(order: Order):
        return order.id

    assert ran(app, t.delay({"id": 7})) == 7
    sent = t.delay({"id": "7"})
    drain(app)
    assert sent.state == "FAILURE"


def test_context_has_app_and_task_and_what_the_task_names(app):
    seen = []

    class Looking(BaseModel):
        id: int

        @field_validator("id")
        @classmethod
        def look(cls, value, info):
            seen.append(info.context)
            return value

    @app.task(name="t", pydantic=True, pydantic_context={"mine": 1})
    def t(it: Looking): ...

    ran(app, t.delay({"id": 1}))
    assert seen == [{"mine": 1, "celery_app": app, "celery_task_name": "t"}]


def test_dump_options(app):
    @app.task(
        name="t", pydantic=True, pydantic_dump_kwargs={"exclude_none": True, "mode": "python"}
    )
    def t() -> Order:
        return Order(id=1)

    assert ran(app, t.delay()) == {"id": 1}


def test_optional_models_and_defaults(app):
    @app.task(name="t", pydantic=True)
    def t(order: Order | None = None, other: Order | None = None) -> Order | None:
        return order or other

    assert ran(app, t.delay()) is None
    assert ran(app, t.delay(None, other={"id": 3})) == {"id": 3, "due": None}


def test_bound_and_async_tasks(app):
    @app.task(name="b", bind=True, pydantic=True)
    def b(self, order: Order):
        return self.request.task, order.id

    @app.task(name="a", pydantic=True)
    async def a(order: Order) -> Order:
        return order

    assert ran(app, b.delay({"id": 1})) == ["b", 1]
    assert ran(app, a.delay({"id": 2})) == {"id": 2, "due": None}
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'order'"):
        b.delay()


def test_a_model_that_the_annotation_does_not_name_is_left_to_the_serializer(app):
    @app.task(name="t", pydantic=True)
    def t(order: Order):
        return order

    result = t({"id": 1})
    assert result == Order(id=1)


def test_without_the_option_nothing_is_dumped(app):
    @app.task(name="t")
    def t(order: Order) -> Order:
        return order

    assert t(Order(id=1)) == Order(id=1)


def test_without_pydantic_the_line_to_install_it_is_told(app, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydantic", None)
    with pytest.raises(ImproperlyConfigured, match=r'pip install "celeriac\[pydantic\]"'):
        app.task(name="t", pydantic=True)(lambda order: None)


@pytest.mark.parametrize("option", ["pydantic_context", "pydantic_dump_kwargs"])
def test_options_that_are_no_dictionary_are_refused(app, option):
    with pytest.raises(TypeError, match=f"{option} is 3; it is a dictionary"):
        app.task(name="t", pydantic=True, **{option: 3})(lambda order: None)
