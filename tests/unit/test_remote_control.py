"""Commands and events on the bus: form, signatures, freshness; the ear; what events add up to."""

import itertools
import math
import random
import threading
import zlib
from types import SimpleNamespace

import msgspec
import pytest

from celeriac import Celeriac, states
from celeriac.bodies import seal
from celeriac.clock import SYSTEM
from celeriac.control import notes, wire
from celeriac.control.connection import Connection
from celeriac.control.eventstate import State
from celeriac.control.mailbox import Answers, Mailbox, Scope
from celeriac.exceptions import (
    CeleryWarning,
    DecodeError,
    NotInThisVersion,
    NotRegistered,
    PayloadTooLarge,
    SecurityError,
)
from celeriac.message import Header, compose
from celeriac.outcome import Failure, Outcome, ResultBody
from celeriac.records import Manifest, TaskFacts, Want
from celeriac.signing import Signer
from celeriac.stores import connect
from celeriac.stores.base import Options
from celeriac.worker.duties.commands import Ear
from celeriac.worker.duties.steering import Steering
from celeriac.worker.incarnation import Incarnation

#: A memory store is shared by the whole process: each test has a namespace of its own.
NUMBERS = itertools.count()
SIGNER = Signer({"a": "a secret that is long enough"}, "celeriac")
OTHER = Signer({"a": "another secret, long enough"}, "celeriac")


def command(**changes):
    facts = {"ticket": "t1", "method": "ping", "sent": SYSTEM.wall(), **changes}
    return wire.Command(**facts)


# -- the wire ----------------------------------------------------------------------------------


@pytest.mark.parametrize("signer", [None, SIGNER])
def test_what_is_sealed_can_be_opened(signer):
    said = command(arguments={"n": 1, "ids": ["x"] * 5000}, destination=("a@x",), reply=True)
    assert wire.open_command(signer, wire.seal_command(signer, said)) == said
    reply = wire.Reply("o1", "a@x", {"ok": "pong"})
    assert wire.open_reply(signer, "t1", wire.seal_reply(signer, "t1", reply)) == reply
    events = [{"type": "task-started", "uuid": "x", "timestamp": 1.5}]
    assert wire.open_events(signer, wire.seal_events(signer, events)) == events


def test_with_a_key_only_what_it_signed_is_opened():
    for sealed in (wire.seal_command(None, command()), wire.seal_command(OTHER, command())):
        with pytest.raises(SecurityError):
            wire.open_command(SIGNER, sealed)
    assert wire.open_command(None, wire.seal_command(SIGNER, command())).method == "ping"


def test_one_kind_cannot_be_played_back_as_another():
    reply = wire.seal_reply(SIGNER, "t1", wire.Reply("o1", "a@x", []))
    with pytest.raises(SecurityError):
        wire.open_reply(SIGNER, "t2", reply)
    with pytest.raises(SecurityError):
        wire.open_command(SIGNER, reply)
    with pytest.raises(SecurityError):
        wire.open_events(SIGNER, wire.seal_command(SIGNER, command()))
    body = bytearray(wire.seal_command(SIGNER, command(arguments={"n": 1})))
    body[body.index(b"ping")] ^= 1
    with pytest.raises(SecurityError):
        wire.open_command(SIGNER, bytes(body))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"nonsense",
        msgspec.msgpack.encode([2, b"\0"]),
        msgspec.msgpack.encode([1, "text"]),
        msgspec.msgpack.encode([1, b"\7x"]),
        msgspec.msgpack.encode([1, b"\1x"]),
        msgspec.msgpack.encode([1, b"\0" + msgspec.msgpack.encode({"method": 1})]),
        msgspec.msgpack.encode([1, b"\0\xc1", "a", b"s"]),
        msgspec.msgpack.encode([1, b"\1" + zlib.compress(bytes(17 * 1024 * 1024))]),
    ],
    ids=range(10),
)
def test_what_cannot_be_read_is_refused(data):
    with pytest.raises(DecodeError):
        wire.open_command(None, data)
    with pytest.raises((DecodeError, SecurityError)):
        wire.open_command(SIGNER, data)


def test_large_answers_are_packed_and_larger_ones_refused():
    text = "the same again and again " * 20_000
    sealed = wire.seal_reply(None, "t", wire.Reply("o", "a@x", text))
    assert len(sealed) < 10_000
    assert wire.open_reply(None, "t", sealed).answer == text
    noise = random.Random(1).randbytes(200_000)
    with pytest.raises(PayloadTooLarge):
        wire.seal_reply(None, "t", wire.Reply("o", "a@x", noise))


def test_whom_a_command_concerns():
    assert command().concerns("a@x")
    assert command(destination=("a@x", "b@x")).concerns("b@x")
    assert not command(destination=("a@x",)).concerns("b@x")
    assert not command(destination=()).concerns("a@x")
    assert command(pattern="a*").concerns("a@x")
    assert not command(pattern="a*").concerns("b@x")
    assert not command(pattern="(a|b)@").concerns("b@x")  # no regular expression, to a worker
    assert Scope.of("a@x, b@x").destination == ("a@x", "b@x")
    assert Scope.of(None) == Scope.of() == Scope()
    with pytest.raises(ValueError, match="'sql'; it must be 'glob' or 'pcre'"):
        Scope.of(pattern="a*", matcher="sql")


def test_who_sends_a_regular_expression_resolves_it():
    """One that takes for ever holds up whoever wrote it, and no worker."""
    scope = Scope.of(pattern="(a|b)@", matcher="pcre")
    assert scope.covers("b@x")
    assert not scope.covers("c@x")
    assert scope.by_name(["a@x", "b@x", "c@x"]) == Scope(("a@x", "b@x"))
    assert scope.by_name([]) == Scope(())
    for plain in (Scope(), Scope.of("a@x"), Scope.of(pattern="a*")):
        assert plain.by_name(["b@x"]) == plain
    both = Scope.of("c@x", "(a|b)@", "pcre")  # whoever is named is meant
    assert both.by_name(["a@x"]) == both
    assert both.covers("c@x")


def test_lists_of_workers_of_one_name_are_put_together():
    replies = [wire.Reply("o1", "a@x", [1]), wire.Reply("o2", "a@x", [2]), wire.Reply("o3", "b", 3)]
    assert Answers(replies).by_worker() == {"a@x": [1, 2], "b": 3}


# -- the ear -----------------------------------------------------------------------------------


@pytest.fixture
def store():
    return connect("memory://", Options(namespace=f"test-{next(NUMBERS)}"))


@pytest.fixture
def app():
    with Celeriac(
        "x", broker="memory://", namespace=f"test-{next(NUMBERS)}", set_as_current=False
    ) as made:
        yield made


class Heard:
    """An ear on a store, and what it was told."""

    def __init__(self, store, signer=None, answer=None):
        self.store = store
        self.commands = []
        self.failures = []
        incarnation = Incarnation(15.0, 3.0)
        store.queue.register(incarnation.owner, Manifest({}, hostname="a@x"))

        def obey(said):
            self.commands.append(said)
            return answer(said) if answer is not None else {"ok": said.method}

        self.ear = Ear(store, incarnation, "a@x", signer, obey, self.failures.append)

    def __enter__(self):
        self.ear.start()
        return self

    def __exit__(self, *_exc):
        self.ear.stop(10)
        assert self.failures == []

    def publish(self, data):
        self.store.bus.publish(wire.COMMANDS, data)


def test_a_command_is_obeyed_once_while_it_is_fresh(store, caplog):
    mailbox = Mailbox(store, SIGNER)
    with Heard(store, SIGNER) as heard:
        again = wire.seal_command(SIGNER, command(method="shutdown"))
        heard.publish(again)
        heard.publish(again)
        heard.publish(wire.seal_command(SIGNER, command(ticket="old", sent=SYSTEM.wall() - 61)))
        heard.publish(wire.seal_command(SIGNER, command(ticket="b", destination=("b@x",))))
        heard.publish(wire.seal_command(None, command(ticket="unsigned")))
        heard.publish(b"nonsense")
        assert mailbox.ask("last", timeout=30).by_worker() == {"a@x": {"ok": "last"}}
        assert [each.method for each in heard.commands] == ["shutdown", "last"]
    assert caplog.text.count("A command was refused") == 1, "a flood cannot fill the log"


@pytest.mark.parametrize(
    "odd",
    [
        {"pattern": "["},
        {"sent": math.nan},
        {"sent": math.inf},
        {"sent": 4e9},
    ],
)
def test_a_command_that_makes_no_sense_ends_no_worker_and_is_not_obeyed(store, odd):
    with Heard(store, SIGNER) as heard:
        heard.publish(wire.seal_command(SIGNER, command(method="shutdown", **odd)))
        assert Mailbox(store, SIGNER).ask("last", timeout=30).by_worker()
        assert [each.method for each in heard.commands] == ["last"]
        assert len(heard.ear._heard) == 1, "nor kept in mind for ever"


def test_answers_of_others_do_not_count(store):
    def answer(said):
        forged = wire.seal_reply(OTHER, said.ticket, wire.Reply(owner, "a@x", "forged"))
        store.bus.publish(wire.reply_channel(said.ticket), forged)
        stranger = wire.seal_reply(SIGNER, said.ticket, wire.Reply("o9", "z@x", "stranger"))
        store.bus.publish(wire.reply_channel(said.ticket), stranger)
        return "mine"

    with Heard(store, SIGNER, answer):
        (view,) = store.inspection.workers()
        owner = view.owner
        assert Mailbox(store, SIGNER).ask("x", timeout=30).by_worker() == {"a@x": "mine"}


def test_an_answer_that_does_not_fit_says_so(store):
    noise = random.Random(1).randbytes(200_000)
    with Heard(store, answer=lambda _said: noise):
        (answer,) = Mailbox(store, None).ask("x", timeout=30).by_worker().values()
    assert "too many for the bus" in answer["error"]


def test_a_dead_worker_is_waited_for_until_the_timeout_and_named(app):
    app.store.queue.register("o1", Manifest({}, hostname="dead@x"))
    found = Mailbox(app.store, None).ask("ping", timeout=0.05)
    assert (found.replies, found.silent, found.asked) == ([], ["dead@x"], 1)
    inspect = app.control.inspect(timeout=0.05)
    with pytest.warns(CeleryWarning, match="dead@x"):
        assert inspect.ping() is None
    assert inspect.silent == ["dead@x"]
    with pytest.raises(ValueError, match="timeout is -1"):
        app.control.ping(timeout=-1)


# -- steering ----------------------------------------------------------------------------------


def test_a_command_that_fails_is_answered_and_ends_nothing(app, caplog):
    def stop():
        raise RuntimeError("a bug")

    manifest = Manifest({"add": TaskFacts()}, hostname="a@x", queues=("celery",))
    worker = SimpleNamespace(manifest=manifest, stop=stop, hands=list)
    steering = Steering(worker, app.conf, "memory://", None, lambda: None)

    def answer(method, **arguments):
        return steering.carry_out(command(method=method, arguments=arguments))

    assert answer("shutdown") == {"error": "shutdown: RuntimeError: a bug"}
    assert "The command shutdown failed" in caplog.text
    assert answer("ping") == {"ok": "pong"}
    assert answer("time_limit", task_name="add", soft="soon")["error"].startswith("time_limit: ")
    assert answer("query_task", ids=["x"]) == {}
    assert answer("pool_grow", n=0) == {"error": "pool_grow: n is 0; it must be 1 or more"}


def test_what_no_worker_could_do_is_told_to_who_asks(app):
    control = app.control
    for call, text in (
        (lambda: control.broadcast("pign"), "there is no command 'pign'; did you mean ping"),
        (lambda: control.rate_limit("add", "5/q"), "'5/q' is no rate limit"),
        (lambda: control.time_limit("add", 5, 2), "must be shorter than the hard one"),
        (lambda: control.time_limit("add", "soon"), "'soon' is no time limit"),
        (lambda: control.add_consumer(""), "'' is no name of a queue: it takes at most 128"),
        (lambda: control.revoke("x", terminate=True, signal="SIGFOO"), "no signal 'SIGFOO'"),
        (lambda: control.revoke("x", terminate=True, signal=999), "no signal 999"),
        (lambda: control.inspect(timeout=-1), "timeout is -1"),
    ):
        with pytest.raises(ValueError, match=text):
            call()
    for call, text in (
        (lambda: control.revoke(5), "5 is no id of a task: give a text, or a list of them"),
        (lambda: control.ping(destination=5), "destination is 5; it must be a worker's name"),
        (lambda: control.inspect(5), "destination is 5"),
        (lambda: control.inspect(timeout="x"), "timeout is 'x'; it must be seconds"),
        (lambda: control.ping(timeout="x"), "timeout is 'x'; it must be seconds"),
    ):
        with pytest.raises(TypeError, match=text):
            call()
    control.rate_limit("ad", "5/s")  # nobody lives whom it could be wrong for
    app.store.queue.register("o1", Manifest({"add": TaskFacts()}, hostname="a@x"))
    with pytest.raises(NotRegistered, match="'ad'"):
        control.rate_limit("ad", "5/s")
    control.rate_limit("add", "5/s")


def test_every_command_that_is_known_is_carried_out(app):
    steering = Steering(SimpleNamespace(), app.conf, "memory://", None, lambda: None)
    assert set(steering._known) == wire.KNOWN


def test_what_a_worker_refuses_names_the_cause_and_the_cure(app):
    manifest = Manifest({"shop.add": TaskFacts()}, hostname="a@x", queues=("mail", "celery"))
    steering = Steering(
        SimpleNamespace(manifest=manifest), app.conf, "memory://", None, lambda: None
    )

    def said(method, **arguments):
        (text,) = steering.carry_out(command(method=method, arguments=arguments)).values()
        return text

    assert said("rate_limit", task_name="shop.ad", rate_limit="1/s") == (
        "rate_limit: unknown task 'shop.ad'; did you mean shop.add?"
    )
    assert said("rate_limit", task_name="zzz", rate_limit="1/s").endswith(
        "unknown task 'zzz'; `celeriac inspect registered` lists its tasks"
    )
    assert said("cancel_consumer", queue="mial") == (
        "was not consuming from mial; it reads mail, celery; did you mean mail?"
    )
    assert (
        said("add_consumer", queue="")
        == f"add_consumer: '' is no name of a queue: it takes {wire.QUEUE_RULE}"
    )
    assert said("pool_grow", n="x") == "pool_grow: n is 'x'; it must be a whole number"
    assert said("time_limit", task_name="shop.add", soft="soon").startswith(
        "time_limit: 'soon' is no time limit; give seconds above 0"
    )
    assert said("shutdwn") == "there is no command 'shutdwn'; did you mean shutdown?"
    assert said("rate_limit", task="x") == (
        "rate_limit: missing a required argument: 'task_name'; it takes task_name, rate_limit"
    )


def test_an_order_that_nobody_carries_out_is_answered_at_the_end(app):
    steering = Steering(SimpleNamespace(), app.conf, "memory://", None, lambda: None)
    steering.close()
    assert "stopping or stuck" in steering.obey(command())["error"]


def test_a_revoke_of_very_many_is_one_short_hint(app):
    ears = app.store.bus.listen(wire.COMMANDS)
    app.store.queue.register("o1", Manifest({"add": TaskFacts()}, queues=("celery",)))
    app.enqueue_many([app.signature("add") for _ in range(5000)])
    queue = app.store.queue
    taken = queue.exchange("o1", 0, 1, [], [], ["celery"], Want(free=5000)).deliveries
    met = app.control.revoke([each.id for each in taken], terminate=True)
    assert set(met.values()) == {"pending"}
    assert len(met) == len(taken) > 1000
    assert len(wire.open_command(None, ears.get(60)).arguments["task_id"]) == 100


# -- events ------------------------------------------------------------------------------------


def test_ends_are_told_in_celerys_words():
    def end(state, body=None, reason="", **more):
        sealed = None if body is None else seal(body, "x", SIGNER)
        return notes.end_of("x", Outcome(state, sealed, reason=reason, **more), 1.5, 9)

    value = ResultBody("json", b'{"a": 1}')
    assert end(states.SUCCEEDED, value) == {
        "type": "task-succeeded", "result": "{'a': 1}", "runtime": 1.5,
    }  # fmt: skip
    long = ResultBody("json", msgspec.json.encode("x" * 5000))
    assert len(end(states.SUCCEEDED, long)["result"]) == notes.LONGEST
    huge = ResultBody("json", msgspec.json.encode("x" * 70_000))
    assert end(states.SUCCEEDED, huge)["result"] == "(of 70002 bytes)"
    assert end(states.SUCCEEDED, ResultBody("json", b"{"))["result"] == "(cannot be read here)"
    failure = ResultBody(failure=Failure("shop.errors.Sold", "out", traceback="Traceback …"))
    assert end(states.FAILED, failure) == {
        "type": "task-failed", "exception": "Sold('out')", "traceback": "Traceback …",
    }  # fmt: skip
    assert end(states.DEAD, reason="WorkerLostError: died\nlast stack") == {
        "type": "task-failed", "exception": "WorkerLostError: died", "traceback": "last stack",
    }  # fmt: skip
    retried = end(states.SCHEDULED, reason="Retry in 3s: ValueError('no')", charge="retry")
    assert retried == {"type": "task-retried", "exception": "ValueError('no')", "traceback": ""}
    revoked = end(states.CANCELLED, reason="TaskRevokedError: terminated")
    assert revoked == {
        "type": "task-revoked", "terminated": True, "signum": 9, "expired": False,
    }  # fmt: skip
    assert end(states.EXPIRED)["expired"] is True
    assert end(states.REFUSED) == {"type": "task-rejected", "requeue": False}
    assert end(states.QUEUED, charge="crash") == {"type": "task-rejected", "requeue": True}
    assert end(states.SKIPPED) is None


def test_arguments_are_told_as_text_and_cut():
    header = Header("x", "add", "n", eta=0.0)
    told = notes.received(compose(header, b'[[1,"a"],{"k":null}]'), 2)
    assert (told["args"], told["kwargs"], told["retries"]) == ("(1, 'a')", "{'k': None}", 2)
    assert told["eta"] == "1970-01-01T00:00:00+00:00"
    assert notes.received(compose(header, b"nonsense"), 0)["args"] == "(cannot be read here)"
    large = compose(header, b'[["' + b"x" * 70_000 + b'"],{}]')
    assert notes.received(large, 0)["args"] == f"(of {70_000 + 9} bytes)"
    shown = Header("x", "login", "n", argsrepr="('***',)", kwargsrepr="{}")
    assert notes.sent(compose(shown, b'[["secret"],{}]'))["args"] == "('***',)"


def event(kind, at, **fields):
    return {"type": kind, "timestamp": at, "hostname": "a@x", **fields}


def test_state_takes_events_out_of_order():
    now = SYSTEM.wall()
    seen = []
    state = State(callback=lambda which, what: seen.append((which, what["type"])))
    state.event(event("task-succeeded", now, uuid="x", result="3", runtime=0.5))
    state.event(event("task-received", now - 2, uuid="x", name="add", args="(1, 2)"))
    state.event(event("task-started", now - 1, uuid="x"))
    task = state.tasks["x"]
    assert (task.state, task.name, task.result) == ("SUCCESS", "add", "3")
    assert (task.received, task.started, task.succeeded) == (now - 2, now - 1, now)
    assert task.info() == {"args": "(1, 2)", "result": "3", "runtime": 0.5}
    assert task.info(["name"], ["clock"]) == {"name": "add"}
    assert task.ready
    assert task.as_dict()["worker"] == "a@x"
    assert seen == [(state, f"task-{each}") for each in ("succeeded", "received", "started")]
    # A retry reopens it: newer, though less final.
    state.event(event("task-retried", now + 1, uuid="x", exception="E()"))
    assert task.state == "RETRY"
    assert (state.event_count, state.task_count) == (4, 1)


def test_state_knows_who_lives_and_forgets_the_oldest():
    now = SYSTEM.wall()
    state = State(max_tasks_in_memory=2)
    state.event(event("worker-heartbeat", now, freq=2.0, active=1, loadavg=[1, 2, 3], pid=7))
    (worker,) = state.alive_workers()
    assert (worker.id, worker.loadavg, worker.status_string) == ("a@x.7", (1, 2, 3), "ONLINE")
    state.event(event("worker-offline", now))
    assert state.alive_workers() == []
    state.event(event("worker-heartbeat", now - 100))
    assert not worker.alive, "it was heard of too long ago"
    for id in ("1", "2", "3"):
        state.event(event("task-received", now + int(id), uuid=id, name="add"))
    assert list(state.tasks) == ["2", "3"]
    assert [uuid for uuid, _ in state.tasks_by_time()] == ["3", "2"]
    state.event(event("task-failed", now, uuid="2"))
    state.clear(ready=False)
    assert list(state.tasks) == ["3"]
    state.clear()
    assert not state.tasks
    state.event({"type": "nonsense"})


# -- doors -------------------------------------------------------------------------------------


def test_a_connection_is_the_apps_own(app):
    with app.connection() as connection:
        assert connection.ensure_connection() is connection
        assert connection.as_uri() == "memory://"
    assert isinstance(app.connection_for_write(), Connection)
    with pytest.raises(NotInThisVersion, match="set broker_url"):
        app.connection("redis://elsewhere")
    with pytest.raises(NotInThisVersion, match=r"connection\.channel"):
        _ = connection.channel
    for call in (
        lambda: app.events.Receiver(object()),
        lambda: app.events.Dispatcher(object()),
        lambda: app.control.inspect(connection=object()),
        lambda: app.control.broadcast("ping", connection=object()),
    ):
        with pytest.raises(NotInThisVersion, match="argument connection"):
            call()
    with pytest.raises(NotInThisVersion, match=r"app\.events\.state_cls"):
        _ = app.events.state_cls


def test_a_dispatcher_can_be_turned_off(app):
    ears = app.store.bus.listen(wire.EVENTS)
    with app.events.Dispatcher(app.connection(), hostname="me", enabled=False) as dispatcher:
        dispatcher.send("task-mine", uuid="1")
        dispatcher.enable()
        dispatcher.send("task-mine", uuid="2")
        dispatcher.disable()
        dispatcher.send("task-mine", uuid="3")
    (told,) = wire.open_events(None, ears.get(60))
    assert (told["uuid"], told["hostname"]) == ("2", "me")
    assert ears.get(0) is None


def test_own_commands_are_refused_by_name():
    import celeriac.worker.control as module

    for name in ("control_command", "inspect_command", "Panel"):
        with pytest.raises(NotInThisVersion, match="runs no user code"):
            getattr(module, name)
    with pytest.raises(AttributeError):
        _ = module.nonsense


def test_celerys_modules_lead_to_the_same(app):
    from celeriac import events
    from celeriac.app import control
    from celeriac.app.events import Events
    from celeriac.events.state import State as SameState

    assert isinstance(app.events, Events)
    assert isinstance(app.control, control.Control)
    assert isinstance(app.control.inspect(), control.Inspect)
    assert SameState is State
    assert control.flatten_reply([{"a": 1}, {"b": 2}]) == {"a": 1, "b": 2}
    assert events.group_from("task-sent") == "task"
    assert events.Event("task-sent", {"a": 1}, b=2, timestamp=3) == {
        "type": "task-sent", "a": 1, "b": 2, "timestamp": 3,
    }  # fmt: skip
    heard = []
    receiver = events.EventReceiver(app.connection(), handlers={"*": heard.append})
    sender = events.EventDispatcher(app=app, hostname="me")
    thread = threading.Thread(target=receiver.capture, kwargs={"limit": 1, "timeout": 60})
    thread.start()
    while thread.is_alive():
        sender.send("task-mine")
        thread.join(0.01)
    assert heard[0]["hostname"] == "me"
    with pytest.raises(NotInThisVersion, match="there are no exchanges"):
        _ = events.event_exchange
