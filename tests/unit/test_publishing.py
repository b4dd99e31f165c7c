"""The signals around the sending of a call."""

import logging

import pytest
from inline import drain, make_app, stored

from celeriac import signals
from celeriac.exceptions import EncodeError, OperationalError
from celeriac.message import decode


@pytest.fixture
def app():
    return make_app()


@pytest.fixture
def add(app):
    @app.task(name="add")
    def add(x, y):
        return x + y

    return add


@pytest.fixture
def connect():
    """Connect receivers for the length of a test."""
    made = []

    def on(signal, receiver, **options):
        signal.connect(receiver, weak=False, **options)
        made.append((signal, receiver, options.get("sender")))

    yield on
    for signal, receiver, sender in made:
        assert signal.disconnect(receiver, sender=sender)


def message_of(app, id):
    return decode(stored(app, id).wire)


def test_before_and_after_have_celerys_shapes(app, add, connect):
    heard = []
    for signal in (signals.before_task_publish, signals.after_task_publish, signals.task_sent):
        connect(signal, lambda signal, **named: heard.append((signal.name, named)))
    sent = add.apply_async((1,), {"y": 2}, headers={"tenant": "x"}, priority=3, time_limit=9)
    (_, before), (_, after), (_, old) = heard
    assert [name for name, _ in heard] == ["before_task_publish", "after_task_publish", "task_sent"]
    assert before["sender"] == after["sender"] == old["sender"] == "add"
    embed = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    assert before["body"] == after["body"] == ((1,), {"y": 2}, embed)
    assert (before["exchange"], before["routing_key"]) == ("", "celery")
    assert (after["exchange"], after["routing_key"]) == ("", "celery")
    assert before["headers"] is after["headers"]
    shown = dict(before["headers"])
    assert shown.pop("origin")
    assert shown == {
        "lang": "py", "task": "add", "id": sent.id, "shadow": None, "eta": None, "expires": None,
        "group": None, "group_index": None, "retries": 0, "timelimit": [9.0, None],
        "root_id": sent.id, "parent_id": None, "argsrepr": "(1,)", "kwargsrepr": "{'y': 2}",
        "ignore_result": False, "replaced_task_nesting": 0, "stamped_headers": None, "stamps": {},
        "tenant": "x",
    }  # fmt: skip
    assert before["properties"]["correlation_id"] == sent.id
    assert before["properties"]["priority"] == 3
    assert before["retry_policy"]["interval_max"] > 0
    assert before["declare"] == []
    assert (old["task_id"], old["task"], old["args"], old["kwargs"]) == (
        sent.id, "add", (1,), {"y": 2},
    )  # fmt: skip


def test_headers_body_and_priority_may_be_changed(app, add, connect):
    def change(headers, body, properties, **kwargs):
        headers["correlation"] = "abc"
        body[1]["y"] = 41
        properties["priority"] = 7

    connect(signals.before_task_publish, change, sender="add")
    sent = add.delay(1, y=1)
    header = message_of(app, sent.id).header
    assert header.headers == {"correlation": "abc"}
    assert header.priority == 7
    drain(app)
    assert sent.get(timeout=5) == 42


def test_what_was_changed_is_signed(connect):
    app = make_app(security_key="k" * 40)
    add = app.task(name="add")(lambda x: x)

    def change(headers, **kwargs):
        headers["trace"] = "1"

    connect(signals.before_task_publish, change)
    sent = add.delay(1)
    message = message_of(app, sent.id)
    app.signer.verify("message", message.block, message.payload, message.key_id, message.signature)
    assert message.header.headers == {"trace": "1"}


def test_a_header_of_ours_that_is_changed_has_no_effect_and_is_told(app, add, connect, caplog):
    def change(headers, **kwargs):
        headers["id"] = "another"

    connect(signals.before_task_publish, change)
    with caplog.at_level(logging.ERROR, "celeriac"):
        sent = add.delay(1, 2)
    assert message_of(app, sent.id).header.id == sent.id
    assert "changed the header 'id' of task add" in caplog.text


def test_a_header_that_is_no_plain_data_is_refused_before_anything_is_sent(app, add, connect):
    def change(headers, **kwargs):
        headers["what"] = object()

    connect(signals.before_task_publish, change)
    with pytest.raises(EncodeError, match="what"):
        add.delay(1, 2)


def test_a_receiver_that_raises_keeps_nothing_from_being_sent(app, add, connect):
    def bad(**kwargs):
        raise ValueError("no")

    connect(signals.before_task_publish, bad)
    connect(signals.after_task_publish, bad)
    sent = add.delay(1, 2)
    drain(app)
    assert sent.get(timeout=5) == 3


def test_headers_that_a_receiver_put_in_reach_the_task_as_celerys_do(app, connect):
    seen = []

    @app.task(name="t", bind=True)
    def t(self):
        seen.append((self.request.get("correlation-id"), self.request.headers, self.request.tenant))

    def transfer(headers, **kwargs):
        headers["correlation-id"] = "abc"
        headers["tenant"] = "x"

    connect(signals.before_task_publish, transfer)
    t.delay()
    drain(app)
    assert seen == [("abc", {"correlation-id": "abc", "tenant": "x"}, "x")]


def test_every_way_of_sending_is_told(app, add, connect):
    heard = []
    connect(signals.after_task_publish, lambda headers, **kwargs: heard.append(headers["id"]))
    sent = [
        add.delay(1, 2),
        add.s(1, 2).apply_async(),
        app.send_task("elsewhere", (1,)),
        *app.enqueue_many(add.s(n, n) for n in range(3)),
    ]
    assert heard == [each.id for each in sent]


def test_what_was_not_sent_is_not_told_as_sent(app, add, connect, monkeypatch):
    heard = []
    connect(signals.before_task_publish, lambda **kwargs: heard.append("before"))
    connect(signals.after_task_publish, lambda **kwargs: heard.append("after"))

    def away(messages):
        raise OperationalError("away")

    monkeypatch.setattr(app.store.queue, "enqueue", away)
    with pytest.raises(OperationalError):
        add.apply_async((1, 2), retry=False)
    assert heard == ["before"]


def test_eager_runs_send_nothing(connect):
    app = make_app(task_always_eager=True)
    add = app.task(name="add")(lambda x: x)
    heard = []
    connect(signals.before_task_publish, lambda **kwargs: heard.append(kwargs))
    assert add.delay(1).get() == 1
    assert heard == []


def test_arguments_that_a_task_hides_are_hidden_in_the_headers_too(app, connect):
    secret = app.task(name="secret", sensitive=("password",))(lambda user, password: None)
    heard = []
    connect(signals.after_task_publish, lambda headers, **kwargs: heard.append(headers))
    secret.delay("me", password="hunter2")
    assert "hunter2" not in repr(heard)
    assert heard[0]["kwargsrepr"] == "{'password': ***}"
