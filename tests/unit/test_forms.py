"""Forms: what calls of a task have in common is worked out once, and anew when it changes."""

import msgspec
import pytest
from inline import count, drain, make_app, stored

from celeriac.client import verify
from celeriac.exceptions import (
    EncodeError,
    ImproperlyConfigured,
    PayloadTooLarge,
    QueueNotFound,
    SecurityError,
)
from celeriac.message import Alike, decode


@pytest.fixture
def app():
    return make_app()


@pytest.fixture
def add(app):
    @app.task(name="add")
    def add(a, b=0):
        return a + b

    return add


def sent(app, result):
    return decode(stored(app, result.id).wire)


def each_way(task):
    """The three ways to a plain call, and the way of a call with options that ask for nothing."""
    yield task.delay
    yield lambda *args: task.apply_async(args)
    yield lambda *args: task.app.enqueue_many([task.s(*args)])[0]
    yield lambda *args: task.apply_async(args, priority=None)


def test_all_ways_send_the_same(app, add):
    apart = {"id", "nonce", "sent"}
    found = [sent(app, send(1, 2)) for send in each_way(add)]
    headers = [msgspec.to_builtins(each.header) for each in found]
    assert len({each.payload for each in found}) == 1
    first, *rest = ({k: v for k, v in each.items() if k not in apart} for each in headers)
    assert all(each == first for each in rest)
    assert len({each["id"] for each in headers} | {each["nonce"] for each in headers}) == 8


def test_a_form_holds_until_settings_or_task_change(app, add):
    add.delay(1)
    form = add.plain_form()
    assert form is not None
    assert add.plain_form() is form
    app.conf.task_default_queue = "other"
    assert [sent(app, send(1)).header.queue for send in each_way(add)] == ["other"] * 4
    add.queue = "own"
    assert [sent(app, send(1)).header.queue for send in each_way(add)] == ["own"] * 4
    add.ignore_result = True
    assert all(send(1).ignored for send in each_way(add))
    app.conf.task_default_priority = 7
    assert [sent(app, send(1)).header.priority for send in each_way(add)] == [7] * 4
    add.typing = False
    assert all(send(1, 2, 3) for send in each_way(add))


def test_a_key_that_is_set_later_signs(app, add):
    add.delay(1)
    app.conf.security_key = "a secret of some length"
    for send in each_way(add):
        verify(sent(app, send(1)), app.signer)
    message = sent(app, add.delay(1))
    with pytest.raises(SecurityError):
        verify(msgspec.structs.replace(message, payload=b"[[2],{}]"), app.signer)


def test_what_is_wrong_with_a_call_is_told_before_it_is_sent(app, add):
    app.conf.payload_max = 1024
    for send in each_way(add):
        with pytest.raises(TypeError, match=r"add\(\) takes from 1 to 2 positional arguments"):
            send(1, 2, 3)
        with pytest.raises(EncodeError, match=r"args\[1\]") as caught:
            send(1, object())
        assert caught.value.__notes__ == ["The call of task 'add' was not sent."]
        with pytest.raises(PayloadTooLarge, match="add"):
            send("x" * 2000)
    app.conf.update(task_create_missing_queues=False, task_queues=["some"])
    for send in each_way(add):
        with pytest.raises(QueueNotFound, match="celery"):
            send(1)
    assert count(app) == 0


def test_eager_and_a_send_task_of_ones_own_are_asked_each_time(app, add):
    add.delay(1)
    app.conf.task_always_eager = True
    assert add.delay(1, 2).get() == 3
    app.conf.task_always_eager = False
    asked = []
    app.send_task = lambda name, args, kwargs, **options: asked.append((name, args))
    add.delay(4)
    assert asked == [("add", (4,))]
    assert count(app) == 1


@pytest.mark.parametrize(
    "options",
    [{"expires": 60}, {"sensitive": ["a"]}, {"compression": "gzip"}],
)
def test_what_no_form_holds_for_is_sent_as_it_must(app, options):
    @app.task(name="one", **options)
    def one(a): ...

    for send in each_way(one):
        header = sent(app, send("secret")).header
        assert (header.expires is not None) == ("expires" in options)
        assert ("***" in header.argsrepr) == ("sensitive" in options)
        assert header.compression == options.get("compression", "")
    assert one.plain_form() is None


def test_a_serializer_that_is_not_accepted_is_refused_until_it_is(app):
    @app.task(name="one", serializer="msgpack")
    def one(a): ...

    for send in each_way(one):
        with pytest.raises(ImproperlyConfigured, match="accept_content"):
            send(1)
    app.conf.accept_content = ["json", "msgpack"]
    assert [sent(app, send(1)).header.serializer for send in each_way(one)] == ["msgpack"] * 4
    assert one.plain_form() is not None


def test_a_call_from_within_a_run_is_its_child(app, add):
    @app.task(name="outer", bind=True, priority=3)
    def outer(self):
        return [send(1).id for send in each_way(add)]

    app.conf.task_inherit_parent_priority = True
    result = outer.delay()
    drain(app)
    ids = result.get(timeout=5)
    assert [each.id for each in result.children] == ids
    for id in ids:
        header = decode(stored(app, id).wire).header
        assert (header.root, header.parent, header.priority) == (result.id, result.id, 3)


def test_calls_of_one_task_go_to_the_store_alike(app, add):
    queue, seen = app.store.queue, []
    enqueue = queue.enqueue
    queue.enqueue = lambda messages, join=None: seen.append(messages) or enqueue(messages, join)
    app.enqueue_many(add.s(n) for n in range(3))
    app.enqueue_many([add.s(1), add.s(2).set(priority=3), add.s(3)])
    assert [type(each) for each in seen] == [Alike, list]
    assert [len(each) for each in seen] == [3, 3]
    drain(app)
