"""Notices to the hooks process, what is made of them there, and who hands them over."""

import logging
import selectors
import socket
import time

import pytest
from inline import make_app

from celeriac import signals, states
from celeriac.app import Celeriac
from celeriac.outcome import Outcome
from celeriac.records import Delivery
from celeriac.runner import Runner
from celeriac.worker import announce, frames, hooks
from celeriac.worker.announce import WorkerFace
from celeriac.worker.duties.notices import Notices
from celeriac.worker.executor import Station
from celeriac.worker.hooks import TOLD, Desk, HooksProcess, LocalHooks, told
from celeriac.worker.pools.attendant import Attendant
from celeriac.worker.slots import Slots
from celeriac.worker.spec import WorkerSpec

SPEC = WorkerSpec("tasks", hostname="w@here", supervisor=77, settings={"grace": 1})


def delivery(app, name="t", args=(), **kwargs):
    message = app.client.message(name, args, kwargs)
    return Delivery(message.id, 1, "o.1.1", message.encode(), "celery")


@pytest.fixture
def app():
    made = make_app()
    made.task(name="t")(lambda *args, **kwargs: None)
    return made


@pytest.fixture
def heard():
    """What receivers of the worker's signals hear, as (signal, sender, what comes along)."""
    found = []

    def hear(signal, sender, **named):
        found.append((signal.name, sender, named))

    for name in TOLD:
        getattr(signals, name).connect(hear)
    yield found
    for name in TOLD:
        getattr(signals, name).disconnect(hear)


class Line:
    """A hooks process that takes what it is given, or does not."""

    def __init__(self):
        self.open = True
        self.got = []
        self.woken = 0

    def feed(self, data):
        if self.open:
            self.got += frames.Inbox().feed(data)
        return self.open

    def wake(self):
        self.woken += 1


@pytest.fixture
def line():
    return Line()


@pytest.fixture
def notices(line):
    made = Notices(line.feed, line.wake)
    made.wanted = frozenset(["task_received", "task_revoked", "worker_ready"])
    return made


# -- notices -------------------------------------------------------------------------------------


def test_only_what_somebody_hears_of_is_noted(app, notices, line):
    notices.tell("heartbeat_sent")
    assert not notices.waiting
    assert not line.woken
    sent = delivery(app)
    notices.tell("task_received", sent)
    assert notices.waiting
    assert line.woken == 1
    notices.tick()
    assert line.got == [frames.Notice("task_received", sent, {})]
    assert not notices.waiting


def test_they_wait_until_there_is_somebody_to_take_them_in_their_order(app, notices, line):
    line.open = False
    sent = delivery(app)
    notices.tell("worker_ready")
    notices.hook(sent, Outcome(states.FAILED, reason="x"))
    notices.stop()
    notices.tick()
    assert line.got == []
    line.open = True
    notices.tick()
    assert [type(each) for each in line.got] == [frames.Notice, frames.Hook, frames.Stop]


def test_more_than_8_mib_are_dropped_and_told_once(notices, line, caplog):
    line.open = False
    big = Delivery("x", 1, "o.1.1", b"x" * (1 << 20), "celery")
    for _ in range(20):
        notices.tell("task_received", big)
    lines = [each for each in caplog.records if "does not keep up" in each.getMessage()]
    assert len(lines) == 1
    line.open = True
    notices.tick()
    assert len(line.got) == 7
    assert "13 calls were lost" in caplog.text
    notices.tell("worker_ready")
    notices.tick()
    assert len(line.got) == 8


@pytest.mark.parametrize(
    ("state", "signum", "expected"),
    [
        (states.EXPIRED, None, (False, None, True)),
        (states.CANCELLED, None, (False, None, False)),
        (states.CANCELLED, 15, (True, 15, False)),
        (states.SUCCEEDED, 15, None),
        (states.FAILED, None, None),
    ],
)
def test_what_is_told_of_an_end(app, notices, line, state, signum, expected):
    sent = delivery(app)
    if signum is not None:
        notices.ended_by(sent.id, signum)
    notices.ended(sent, Outcome(state))
    notices.tick()
    found = [
        (each.details["terminated"], each.details["signum"], each.details["expired"])
        for each in line.got
    ]
    assert found == ([] if expected is None else [expected])
    notices.ended(sent, Outcome(states.CANCELLED))
    notices.tick()
    assert line.got[-1].details["signum"] is None  # that of the first end is forgotten


# -- the desk ------------------------------------------------------------------------------------


@pytest.fixture
def desk(app):
    return Desk(Runner(app, "w@here"), WorkerFace(app, SPEC))


@pytest.mark.parametrize("name", ["worker_ready", "worker_shutdown", "heartbeat_sent"])
def test_signals_of_the_worker_have_it_as_their_sender(app, desk, heard, name):
    desk.send(name, None, {})
    ((found, sender, named),) = heard
    assert (found, named) == (name, {})
    assert (sender.hostname, sender.app, sender.pid) == ("w@here", app, 77)
    assert (sender.options, sender.controller, str(sender)) == ({"grace": 1}, sender, "w@here")
    with pytest.raises(AttributeError, match="task_consumer is not in this version"):
        sender.task_consumer  # noqa: B018 - the look-up is the test


def test_shutting_down_is_sent_by_name(desk, heard):
    desk.send("worker_shutting_down", None, {"sig": "SIGTERM", "how": "Warm", "exitcode": 0})
    assert heard == [
        ("worker_shutting_down", "w@here", {"sig": "SIGTERM", "how": "Warm", "exitcode": 0})
    ]


def test_a_received_call_has_its_task_and_all_of_the_request(app, desk, heard):
    sent = delivery(app, args=(1,), y=2)
    desk.send("task_received", sent, {})
    ((_, _, named),) = heard
    request = named["request"]
    assert (request.id, request.task_id) == (sent.id, sent.id)
    assert (request.name, request.task_name) == ("t", "t")
    assert request.task is app.tasks["t"]
    assert (request.args, request.kwargs, request.hostname) == ((1,), {"y": 2}, "w@here")
    assert request.delivery_info["routing_key"] == "celery"
    assert repr(request) == f"<Request: t[{sent.id}]>"


def test_a_revoked_call_is_sent_by_its_task(app, desk, heard):
    sent = delivery(app)
    desk.send("task_revoked", sent, {"terminated": True, "signum": 9, "expired": False})
    ((_, sender, named),) = heard
    assert sender is app.tasks["t"]
    assert named.pop("request").id == sent.id
    assert named == {"terminated": True, "signum": 9, "expired": False}


def test_a_rejected_message_comes_with_the_reason(app, desk, heard):
    desk.send("task_rejected", delivery(app), {"reason": "SecurityError: not signed"})
    ((_, _, named),) = heard
    assert type(named["exc"]).__name__ == "SecurityError"
    assert str(named["exc"]) == "not signed"


def test_a_call_of_a_task_that_is_not_here_is_logged(app, desk, heard, caplog):
    desk.send("task_received", delivery(app, "nobody"), {})
    assert heard == []
    assert "The signal task_received could not be sent: NotRegistered" in caplog.text


def test_what_has_receivers(heard):
    assert told() == tuple(sorted(TOLD))


def test_nothing_has_receivers_by_itself():
    assert told() == ()


# -- a worker without processes ------------------------------------------------------------------


def test_local_hooks_are_called_in_a_thread_and_ready_once(app, heard):
    local = LocalHooks(Runner(app, "w@here"), app, SPEC)
    local.tell("worker_ready")
    local.tell("worker_ready")
    local.ended(delivery(app), Outcome(states.EXPIRED))
    local.ended(delivery(app), Outcome(states.SUCCEEDED))
    local.close()
    assert [name for name, _, _ in heard] == ["worker_ready", "task_revoked", "worker_shutdown"]


def test_local_hooks_without_receivers_start_no_thread(app):
    local = LocalHooks(Runner(app, "w@here"), app, SPEC)
    local.tell("worker_ready")
    local.close()
    assert local._thread is None


# -- the attendant -------------------------------------------------------------------------------


class FakeNursery:
    """Hands out processes that are sockets."""

    def __init__(self):
        self.sock = socket.socket()
        self.spec = SPEC
        self.made = []
        self.given_back = []

    def make(self, role, title):
        from celeriac.worker.pools.nursery import Process, _crash_file

        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        process = Process(len(self.made), role, ours, _crash_file(), time.monotonic())
        self.made.append((process, theirs))
        return process

    def hear_out(self, process):
        assert process not in self.given_back, "its socket is closed"

    def give_back(self, process):
        self.given_back.append(process)
        process.close()

    def close(self):
        self.sock.close()
        for process, theirs in self.made:
            theirs.close()
            if process not in self.given_back:
                process.close()


class FakeWard:
    closing = False

    def __init__(self):
        self.died = None
        self.written = []

    def know(self, process, pid, died):
        process.pid = pid
        self.died = died

    def reap(self, pid):
        return 7 << 8, 1024  # exited with status 7

    def write(self, process, data):
        self.written.append(data)


@pytest.fixture
def nursery():
    made = FakeNursery()
    yield made
    made.close()


@pytest.fixture
def ward():
    return FakeWard()


@pytest.fixture
def attendant(nursery, ward):
    with selectors.DefaultSelector() as selector:
        made = Attendant(nursery, selector, ward, lambda: None)
        made.notices.wanted = TOLD
        yield made


def test_the_process_is_made_when_there_is_something_to_say(attendant, nursery, ward):
    attendant.flush()
    attendant.end()
    assert not nursery.made
    assert not attendant.alive
    attendant.notices.tell("worker_ready")
    attendant.flush()
    ((process, _),) = nursery.made
    assert attendant.alive
    assert len(ward.written) == 1
    assert not attendant.forked(process.index + 1, 5)
    assert attendant.forked(process.index, 5)
    assert attendant.pid == 5


def test_between_two_zygotes_notices_wait(attendant, nursery, ward):
    sock, nursery.sock = nursery.sock, None
    attendant.notices.tell("worker_ready")
    attendant.flush()
    assert attendant.notices.waiting
    nursery.sock = sock
    attendant.flush()
    assert len(ward.written) == 1


def test_one_that_dies_young_is_made_anew_after_a_pause(attendant, nursery, ward, caplog):
    with caplog.at_level(logging.ERROR):
        attendant.notices.tell("worker_ready")
        attendant.flush()
        attendant.forked(0, 5)
        ward.died()
    assert "hooks process 5 exited with status 7" in caplog.text
    assert not attendant.alive
    attendant.notices.tell("worker_ready")
    attendant.flush()
    assert len(nursery.made) == 1  # not yet
    deadline = time.monotonic() + 30
    while len(nursery.made) == 1 and time.monotonic() < deadline:
        attendant.flush()
    assert len(nursery.made) == 2


def test_after_the_stop_a_new_one_is_told_what_comes(attendant, nursery, ward):
    attendant.notices.tell("worker_ready")
    attendant.end()
    attendant.flush()
    assert ward.written[-1] == frames.encode(frames.Stop())
    attendant.notices.tell("heartbeat_sent")
    attendant.flush()
    assert len(ward.written) == 2
    attendant.forked(0, 5)
    ward.died()
    attendant.flush()
    assert len(nursery.made) == 2
    assert len(ward.written) == 3


def test_what_the_zygote_did_not_fork_is_given_up(attendant, nursery, caplog):
    attendant.notices.tell("worker_ready")
    attendant.flush()
    attendant.zygote_died()
    assert not attendant.alive
    assert nursery.given_back
    assert "The hooks process could not be made" in caplog.text


# -- set-up --------------------------------------------------------------------------------------


def test_receivers_of_the_set_up_may_change_settings(app):
    def init(sender, instance, conf, options, **kwargs):
        assert (sender, instance.hostname, options) == ("w@here", "w@here", {"grace": 1})
        conf.grace = 3

    signals.celeryd_init.connect(init, weak=False)
    try:
        announce.set_up_begins(app, SPEC)
    finally:
        signals.celeryd_init.disconnect(init)
    assert app.conf.grace == 3


def test_nothing_is_made_for_signals_that_nobody_hears(monkeypatch):
    app = Celeriac("x", broker="memory://notices", set_as_current=False)
    monkeypatch.setattr(announce.signal, "setitimer", None)
    announce.set_up_begins(app, SPEC)
    announce.set_up_ends(app, SPEC)
    announce.fork_is_near(app, SPEC)
    announce.process_begins("w@here")
    announce.process_ends(0)


# -- its loop ------------------------------------------------------------------------------------


def test_a_call_that_takes_too_long_is_stopped_and_the_next_is_made(
    app, heard, monkeypatch, caplog
):
    monkeypatch.setattr(hooks, "CALL_SECONDS", 0.2)

    def slow(**kwargs):
        time.sleep(60)

    signals.heartbeat_sent.connect(slow)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        spec = Station(SPEC, theirs, Slots.create(1), 0)
        ours.sendall(frames.encode(frames.Notice("heartbeat_sent", None, {})))
        ours.sendall(frames.encode(frames.Notice("worker_ready", None, {})))
        ours.sendall(frames.encode(frames.Hook(delivery(app), Outcome(states.FAILED, reason="x"))))
        ours.sendall(frames.encode(frames.Stop()))
        HooksProcess(app, spec).serve()
        assert isinstance(frames.receive(ours), frames.Ready)
    assert [name for name, _, _ in heard] == ["heartbeat_sent", "worker_ready"]
    assert "SoftTimeLimitExceeded" in caplog.text
    signals.heartbeat_sent.disconnect(slow)
