"""Live events: what real workers tell while somebody listens, and that they are silent else."""

import json
import subprocess
import sys
import threading
import time

import pytest
from workers import DEADLINE, eventually, site

from celeriac import Celeriac
from celeriac.control.wire import EVENTS, open_events
from celeriac.testing.worker import start_worker


@pytest.fixture
def place(tmp_path):
    with site(tmp_path) as made:
        yield made


@pytest.fixture
def app(place):
    with Celeriac("tasks", broker=place.environment["BROKER"], set_as_current=False) as made:
        yield made


class Listener:
    """Receives in a thread until it is told to stop."""

    def __init__(self, app, **handlers):
        self.events = []
        self.receiver = app.events.Receiver(
            app.connection(), handlers={"*": self.events.append, **handlers}
        )
        self.thread = threading.Thread(target=self.receiver.capture, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_exc):
        self.receiver.should_stop = True
        self.thread.join(DEADLINE)

    def of(self, id):
        return [each for each in self.events if each.get("uuid") == id]

    def types(self, id):
        return [each["type"] for each in self.of(id)]

    def wait(self, id, kind, count=1):
        def look():
            return self.types(id).count(kind) >= count

        eventually(look, f"{count} × {kind} of {id}; there were {self.types(id)}")
        return next(each for each in reversed(self.of(id)) if each["type"] == kind)

    def alive(self, hostname):
        def look():
            return any(
                each["type"] == "worker-heartbeat" and each["hostname"] == hostname
                for each in self.events
            )

        eventually(look, f"heartbeat of {hostname}")


COMMON = {"type", "timestamp", "utcoffset", "pid", "clock", "hostname", "local_received"}


def test_a_task_is_told_from_beginning_to_end(place, app):
    worker = place.worker("-n", "a@x").ready()
    with Listener(app) as heard:
        heard.alive("a@x")
        done = app.send_task("tasks.add", (1, 2))
        event = heard.wait(done.id, "task-succeeded")
        assert heard.types(done.id) == ["task-received", "task-started", "task-succeeded"]
        assert set(event) == COMMON | {"uuid", "result", "runtime"}
        assert (event["result"], event["hostname"], event["pid"]) == ("3", "a@x", worker.pid)
        assert 0 < event["runtime"] < 60
        assert app.AsyncResult(done.id).ready(), "told when the store has it"
        received, started, _ = heard.of(done.id)
        assert set(received) == COMMON | {
            *("uuid", "name", "args", "kwargs", "root_id", "parent_id", "retries", "eta", "expires")
        }
        assert (received["name"], received["args"], received["kwargs"]) == (
            "tasks.add", "(1, 2)", "{}",
        )  # fmt: skip
        assert set(started) == COMMON | {"uuid"}
        assert received["timestamp"] <= started["timestamp"] + 0.1
        assert received["clock"] < started["clock"] < event["clock"]

        failed = app.send_task("tasks.add", ("x", 2))
        event = heard.wait(failed.id, "task-failed")
        assert event["exception"].startswith("TypeError(")
        assert "Traceback" in event["traceback"]

        again = app.send_task("tasks.flaky", (1,))
        heard.wait(again.id, "task-succeeded")
        assert heard.types(again.id) == [
            *("task-received", "task-started", "task-retried"),
            *("task-received", "task-started", "task-succeeded"),
        ]
        assert heard.wait(again.id, "task-retried")["exception"] == "ValueError('not yet')"
        assert heard.of(again.id)[3]["retries"] == 1

        killer = app.send_task("tasks.kill_no_requeue", ("SIGKILL",))
        killer = app.send_task("tasks.kill_no_requeue")
        assert "WorkerLostError" in heard.wait(killer.id, "task-failed")["exception"]

        nap = app.send_task("tasks.nap", (600,))
        heard.wait(nap.id, "task-started")
        app.control.terminate(nap.id, signal="SIGKILL")
        event = heard.wait(nap.id, "task-revoked")
        assert (event["terminated"], event["signum"], event["expired"]) == (True, 9, False)
        heard_of = [each for each in heard.events if each["type"] == "worker-heartbeat"][-1]
        assert set(heard_of) == COMMON | {
            *("freq", "active", "processed", "loadavg", "sw_ident", "sw_ver", "sw_sys")
        }
        app.control.shutdown()
        eventually(
            lambda: any(each["type"] == "worker-offline" for each in heard.events), "offline"
        )


def test_one_that_was_not_begun_is_told_by_who_revoked_it(app):
    app.conf.task_send_sent_event = True
    with Listener(app) as heard:
        eventually(lambda: (app.send_task("tasks.add"), heard.events)[1], "it listens")
        waiting = app.send_task("tasks.add", (1,), {"y": 2}, queue="mail", countdown=600)
        event = heard.wait(waiting.id, "task-sent")
        assert set(event) == COMMON | {
            *("uuid", "name", "args", "kwargs", "root_id", "parent_id", "retries", "eta"),
            *("expires", "queue", "exchange", "routing_key"),
        }
        assert (event["queue"], event["args"], event["kwargs"]) == ("mail", "(1,)", "{'y': 2}")
        waiting.revoke()
        assert heard.wait(waiting.id, "task-revoked")["terminated"] is False


def test_events_of_tasks_are_sent_only_while_somebody_listens(place, app):
    ears = app.store.bus.listen(EVENTS)
    try:
        place.worker("-n", "a@x").ready()
        _ids(ears, until="worker-online")
        assert app.send_task("tasks.add", (1, 2)).get(timeout=60) == 3
        assert ears.get(0.5) is None, "nobody had said that they listen"
        app.control.enable_events(reply=True, timeout=30)
        done = app.send_task("tasks.add", (1, 2))
        assert done.get(timeout=60) == 3
        assert done.id in _ids(ears, until="task-succeeded")
        app.control.disable_events(reply=True, timeout=30)
        while ears.get(3.0) is not None:
            continue
        assert app.send_task("tasks.add", (1, 2)).get(timeout=60) == 3
        assert ears.get(0.5) is None
    finally:
        ears.close()


def _ids(ears, until):
    found, deadline = set(), time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        data = ears.get(1.0)
        for event in open_events(None, data) if data else []:
            found.add(event.get("uuid"))
            if event["type"] == until:
                return found
    raise AssertionError(f"no {until}; heard of {found}")


def test_a_worker_started_with_e_tells_in_any_case(place, app):
    ears = app.store.bus.listen(EVENTS)
    try:
        place.worker("-n", "a@x", "-E").ready()
        done = app.send_task("tasks.add", (1, 2))
        assert done.get(timeout=60) == 3
        assert done.id in _ids(ears, until="task-succeeded")
    finally:
        ears.close()


def test_a_worker_that_starts_later_learns_that_somebody_listens(place, app):
    with Listener(app) as heard:
        place.worker("-n", "late@x").ready()
        eventually(
            lambda: any(each["type"] == "worker-online" for each in heard.events), "it is there"
        )
        heard.alive("late@x")
        done = app.send_task("tasks.add", (1, 2))
        heard.wait(done.id, "task-succeeded")


def test_state_adds_events_up_as_the_documentation_of_celery_does_it(place, app):
    place.worker("-n", "a@x").ready()
    state, failed = app.events.State(), []

    def announce_failed_tasks(event):
        state.event(event)
        # The name is sent only with task-received; the state keeps track of it.
        failed.append(state.tasks.get(event["uuid"]))

    with app.connection() as connection:
        recv = app.events.Receiver(
            connection, handlers={"task-failed": announce_failed_tasks, "*": state.event}
        )
        thread = threading.Thread(
            target=lambda: recv.capture(limit=None, timeout=None, wakeup=True), daemon=True
        )
        thread.start()
        eventually(state.alive_workers, "the worker is seen")
        wrong = app.send_task("tasks.add", ("x", 2))
        eventually(lambda: failed, "the failure is announced")
        recv.should_stop = True
        thread.join(DEADLINE)
    (task,) = failed
    assert (task.name, task.uuid, task.state) == ("tasks.add", wrong.id, "FAILURE")
    assert task.info()["args"] == "('x', 2)"
    assert task.worker.hostname == "a@x"
    assert task.worker.alive
    assert [each.hostname for each in state.alive_workers()] == ["a@x"]
    assert state.task_types() == ["tasks.add"]
    assert [uuid for uuid, _ in state.tasks_by_type("tasks.add")] == [wrong.id]
    assert [uuid for uuid, _ in state.tasks_by_worker("a@x")] == [wrong.id]


def test_a_receiver_ends_by_limit_and_by_timeout(app):
    with pytest.raises(TimeoutError, match=r"no event came within 0\.2 s"):
        app.events.Receiver(app.connection()).capture(timeout=0.2)
    heard = []
    receiver = app.events.Receiver(handlers={"task-mine": heard.append}, routing_key="task.#")
    thread = threading.Thread(target=receiver.capture, kwargs={"limit": 2, "timeout": DEADLINE})
    thread.start()

    def say():
        app.events.default_dispatcher().send("worker-mine")
        app.events.default_dispatcher().send("task-mine", uuid="x", extra=[1])
        return not thread.is_alive()

    eventually(say, "two came")
    assert [each["extra"] for each in heard] == [[1], [1]]


def test_with_a_key_only_signed_events_are_believed(app, caplog):
    other = Celeriac("tasks", broker=app.broker_url, set_as_current=False)
    app.conf.security_key = "a secret that is long enough"
    with Listener(app) as heard, other:

        def refused():
            other.events.default_dispatcher().send("task-forged", uuid="x")
            return "Events were refused" in caplog.text

        eventually(refused, "the forged one is refused")
        app.events.default_dispatcher().send("task-true", uuid="y")
        heard.wait("y", "task-true")
        assert heard.of("x") == []


def test_the_command_prints_json_lines(place, app):
    place.worker("-n", "a@x").ready()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "celeriac", "-A", "tasks", "events", "--dump"),
            *("--type", "task-succeeded,worker-heartbeat", "--limit", "4"),
        ],
        cwd=place.folder, env=place.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:
        first = json.loads(process.stdout.readline())
        assert first["type"] == "worker-heartbeat"
        done = app.send_task("tasks.add", (1, 2))
        # Not communicate(): it would lose what was read along with the first line.
        out = process.stdout.read()
        assert process.wait(DEADLINE) == 0
        assert process.stderr.read() == "Listening; end with Ctrl-C.\n"
    finally:
        process.kill()
        process.communicate()
    told = [json.loads(line) for line in out.splitlines()]
    assert len(told) == 3
    assert {each["type"] for each in told} <= {"task-succeeded", "worker-heartbeat"}
    assert done.get(timeout=60) == 3


def test_a_worker_in_the_tests_own_process_tells_too():
    with Celeriac("shop", broker="memory://", set_as_current=False) as app:

        @app.task(name="double")
        def double(number):
            return 2 * number

        @app.task(name="halfway", bind=True)
        def halfway(self):
            self.send_event("task-halfway", part=1)

        with start_worker(app, hostname="here@x"), Listener(app) as heard:
            heard.alive("here@x")
            assert app.control.ping(timeout=DEADLINE) == [{"here@x": {"ok": "pong"}}]
            done = double.delay(4)
            assert heard.wait(done.id, "task-succeeded")["result"] == "8"
            assert heard.types(done.id) == ["task-received", "task-started", "task-succeeded"]
            assert app.control.inspect(timeout=DEADLINE).stats()["here@x"]["total"] == {"double": 1}
            mine = halfway.delay()
            assert heard.wait(mine.id, "task-halfway")["part"] == 1
            assert heard.of(mine.id)[-1]["hostname"] == "here@x"
