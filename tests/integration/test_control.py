"""Remote control: real workers are asked and steered over the store's bus."""

import importlib.util
import signal
import sys
import time

import pytest
from workers import DEADLINE, eventually, site

from celeriac.exceptions import CeleryWarning, NotInThisVersion, NotRegistered, TaskRevokedError


@pytest.fixture
def place(tmp_path):
    with site(tmp_path) as made:
        # Nobody here dies: on a machine that stands still no lease is to lapse.
        made.environment["CELERIAC_LEASE"] = "60"
        yield made


def load(place, monkeypatch):
    """The application as a client process would import it."""
    for name in ("BROKER", "LEDGER"):
        monkeypatch.setenv(name, place.environment[name])
    spec = importlib.util.spec_from_file_location("tasks", place.folder / "tasks.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "tasks", module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tasks(place, monkeypatch):
    module = load(place, monkeypatch)
    yield module
    module.app.close()


@pytest.fixture
def control(tasks):
    return tasks.app.control


def ok(text, *names):
    return sorted([{name: {"ok": text}} for name in names], key=str)


def replies(found):
    return sorted(found, key=str)


def held_pid(found, name):
    (item,) = found[name]
    return item["worker_pid"]


# -- who answers -------------------------------------------------------------------------------


def test_without_a_worker_there_is_no_answer_and_no_waiting(control):
    begun = time.monotonic()
    assert control.ping(timeout=30) == []
    inspect = control.inspect(timeout=30)
    for name in ("ping", "active", "reserved", "scheduled", "registered", "stats", "active_queues"):
        assert getattr(inspect, name)() is None
    assert time.monotonic() - begun < 20


def test_who_lives_answers_at_once_and_who_is_stopped_is_named(place, control):
    first, second = place.worker("-n", "a@x"), place.worker("-n", "b@x")
    first.ready(), second.ready()
    begun = time.monotonic()
    assert replies(control.ping(timeout=DEADLINE)) == ok("pong", "a@x", "b@x")
    assert time.monotonic() - begun < DEADLINE / 2, (
        "the answer came with the last worker's, not later"
    )

    assert control.ping("b@x", DEADLINE) == ok("pong", "b@x")
    assert control.ping(["nobody@x"], DEADLINE) == []
    assert control.inspect("a@x", DEADLINE).ping() == {"ok": "pong"}
    assert control.inspect(["a@x"], DEADLINE).ping() == {"a@x": {"ok": "pong"}}
    assert list(control.inspect(pattern="b*", timeout=DEADLINE).ping()) == ["b@x"]
    assert list(control.inspect(pattern="a|c", matcher="pcre", timeout=DEADLINE).ping()) == ["a@x"]
    heard = []
    control.broadcast("ping", reply=True, timeout=DEADLINE, callback=heard.append)
    assert replies(heard) == ok("pong", "a@x", "b@x")
    assert len(control.broadcast("ping", reply=True, timeout=DEADLINE, limit=1)) == 1

    second.send(signal.SIGSTOP)
    # The store answers for those that are stuck, as long as they have their lease.
    assert sorted(control.inspect(timeout=DEADLINE).registered()) == ["a@x", "b@x"]
    begun = time.monotonic()
    with pytest.warns(CeleryWarning, match=r"ping: no answer within 5 s from b@x\."):
        assert control.ping(timeout=5) == ok("pong", "a@x")
    assert 5 <= time.monotonic() - begun < 60
    # Who is not asked is not waited for.
    assert control.ping("a@x", DEADLINE) == ok("pong", "a@x")
    second.send(signal.SIGCONT)
    assert replies(control.ping(timeout=DEADLINE)) == ok("pong", "a@x", "b@x")


def test_a_deaf_worker_works_and_hears_of_revokes(place, tasks):
    place.worker("-n", "deaf@x", CELERIAC_WORKER_ENABLE_REMOTE_CONTROL="0").ready()
    with pytest.warns(CeleryWarning, match="deaf@x"):
        assert tasks.app.control.ping(timeout=0.2) == []
    nap = tasks.nap.delay(60)
    place.wait_ledger("start", nap.id)
    nap.revoke(terminate=True)
    place.ended([nap.id])
    assert nap.state == "REVOKED"


# -- questions ---------------------------------------------------------------------------------


def test_questions_are_answered_in_celerys_shapes(place, tasks, control):
    limits = ("--soft-time-limit", "50", "--time-limit", "90")
    place.worker("-n", "a@x", "-c", "1", *limits).ready()
    running = tasks.nap.delay(60)
    place.wait_ledger("start", running.id)
    waiting = tasks.add.apply_async((1, 2), countdown=600, priority=3)
    off = tasks.add.apply_async((1, 2), countdown=600)
    off.revoke()
    inspect = control.inspect(timeout=DEADLINE)

    (active,) = inspect.active()["a@x"]
    pid = active.pop("worker_pid")
    assert abs(active.pop("time_start") - time.time()) < 60
    request = {
        "id": running.id,
        "name": "tasks.nap",
        "args": [60],
        "kwargs": {},
        "type": "tasks.nap",
        "hostname": "a@x",
        "acknowledged": False,
        "delivery_info": {
            "exchange": "",
            "routing_key": "celery",
            "priority": 0,
            "redelivered": False,
        },
    }
    assert active == request
    assert inspect.reserved() == {"a@x": []}
    assert inspect.query_task(running.id, [waiting.id])["a@x"][running.id][0] == "active"
    assert list(inspect.query_task(waiting.id)["a@x"]) == []

    (scheduled,) = inspect.scheduled()["a@x"]
    assert scheduled["priority"] == 3
    assert scheduled["eta"].startswith("20")
    assert scheduled["request"]["id"] == waiting.id
    assert scheduled["request"]["time_start"] is None

    assert "tasks.nap" in inspect.registered()["a@x"]
    assert "tasks.over_hard [time_limit=1.0]" in inspect.registered("time_limit")["a@x"]
    assert [each["name"] for each in inspect.active_queues()["a@x"]] == ["celery"]
    assert inspect.revoked() == {"a@x": [off.id]}
    assert inspect.conf()["a@x"]["lease"] == 60.0
    assert "worker_pool" in inspect.conf(with_defaults=True)["a@x"]
    assert "software" in inspect.report()["a@x"]["ok"]

    stats = inspect.stats()["a@x"]
    assert stats["total"] == {"tasks.nap": 1}
    assert stats["pid"] == place.workers[0].pid
    assert stats["pool"]["max-concurrency"] == 1
    assert stats["pool"]["processes"] == [pid]
    assert stats["pool"]["timeouts"] == [50, 90]
    assert stats["broker"]["transport"] == "sqlite"
    assert stats["rusage"]["maxrss"] > 0
    assert stats["uptime"] >= 0


def test_what_is_not_answered_is_refused_by_name(place, control):
    for name in ("clock", "memdump", "objgraph", "hello"):
        with pytest.raises(NotInThisVersion, match=name):
            getattr(control.inspect(timeout=DEADLINE), name)
    with pytest.raises(NotInThisVersion, match="destination of revoke"):
        control.revoke("x", destination=["a@x"])
    with pytest.raises(NotInThisVersion, match="exchange"):
        control.add_consumer("mail", exchange="other")
    with pytest.raises(TypeError, match="no argument 'replay'"):
        control.shutdown(replay=True)
    place.worker("-n", "a@x").ready()
    with pytest.raises(NotInThisVersion, match="The command clock"):
        control.broadcast("clock")
    with pytest.raises(ValueError, match="there is no command 'shutdwn'; did you mean shutdown"):
        control.broadcast("shutdwn")
    (answer,) = control.broadcast("ping", {"x": 1}, reply=True, timeout=DEADLINE)
    said = "ping: got an unexpected keyword argument 'x'; it takes no arguments"
    assert answer == {"a@x": {"error": said}}
    with pytest.raises(NotRegistered, match=r"tasks\.ad"):
        control.rate_limit("tasks.ad", "1/s")


# -- tasks -------------------------------------------------------------------------------------


def test_a_revoke_reaches_a_running_task_long_before_the_next_beat(place, tasks, control):
    place.worker("-c", "1", CELERIAC_HEARTBEAT="300", CELERIAC_LEASE="1000").ready()
    nap = tasks.nap.delay(600)
    place.wait_ledger("start", nap.id)
    eventually(lambda: nap.state == "STARTED", "the start is known")
    assert control.revoke(nap.id, terminate=True, signal="SIGKILL") == {nap.id: "pending"}
    with pytest.raises(TaskRevokedError):
        nap.get(timeout=60)
    assert place.ledger("end", nap.id) == []


def test_a_revoke_can_be_waited_for(place, tasks, control):
    place.worker("-n", "a@x", "-c", "1").ready()
    nap = tasks.nap.delay(600)
    place.wait_ledger("start", nap.id)
    (answer,) = control.terminate([nap.id, "other"], reply=True, timeout=DEADLINE)
    assert answer == {"a@x": {"ok": f"tasks {nap.id}, other flagged as revoked"}}
    place.ended([nap.id])


# -- workers -----------------------------------------------------------------------------------


def test_queues_are_added_and_cancelled(place, tasks, control):
    place.worker("-n", "a@x").ready()
    other = tasks.add.apply_async((1, 2), queue="other")
    assert control.add_consumer("other", reply=True, timeout=DEADLINE) == ok(
        "add consumer other", "a@x"
    )
    assert other.get(timeout=60) == 3, "what lay in the queue is taken"
    assert tasks.add.apply_async((3, 4), queue="other").get(timeout=60) == 7
    (view,) = place.alive_workers()
    assert view.manifest.queues == ("celery", "other")

    assert control.cancel_consumer("other", reply=True, timeout=DEADLINE) == ok(
        "no longer consuming from other", "a@x"
    )
    assert [each["name"] for each in control.inspect(timeout=DEADLINE).active_queues()["a@x"]] == [
        "celery"
    ]
    left = tasks.add.apply_async((1, 2), queue="other")
    assert tasks.add.delay(5, 6).get(timeout=60) == 11
    assert place.record(left.id).state == "queued"

    assert control.cancel_consumer("celery", reply=True, timeout=DEADLINE) == ok(
        "no longer consuming from celery", "a@x"
    )
    for queue in ("no such name!", ""):
        with pytest.raises(ValueError, match="is no name of a queue: it takes at most 128"):
            control.add_consumer(queue)
    (answer,) = control.cancel_consumer("nosuch", reply=True, timeout=DEADLINE)
    assert answer == {"a@x": {"ok": "was not consuming from nosuch; it reads no queue"}}
    control.add_consumer("other", reply=True, timeout=DEADLINE)
    assert left.get(timeout=60) == 3


def test_time_limits_hold_for_runs_to_come(place, tasks, control):
    place.worker("-n", "a@x", "-c", "1").ready()
    assert tasks.add.delay(1, 2).get(timeout=60) == 3, "the executor is there before the limit"
    done = control.time_limit("tasks.nap", soft=0.2, hard=30, reply=True, timeout=DEADLINE)
    assert done == ok("time limits set successfully", "a@x")
    (record,) = place.ended([tasks.nap.delay(600).id])
    assert record.reason.startswith("SoftTimeLimitExceeded")
    control.time_limit("tasks.nap", hard=0.3, reply=True, timeout=DEADLINE)
    (record,) = place.ended([tasks.nap.delay(600).id])
    assert record.reason.startswith("TimeLimitExceeded")
    control.pool_restart(reply=True, timeout=DEADLINE)
    control.time_limit("tasks.nap", soft=0.2, hard=30, reply=True, timeout=DEADLINE)
    (record,) = place.ended([tasks.nap.delay(600).id])
    assert record.reason.startswith("SoftTimeLimitExceeded"), "a new executor knows it, too"
    found = control.inspect(timeout=DEADLINE).registered("soft_time_limit", "time_limit")["a@x"]
    assert "tasks.nap [soft_time_limit=0.2 time_limit=30.0]" in found
    (answer,) = control.time_limit("tasks.nope", soft=1, reply=True, timeout=DEADLINE)
    assert answer == {
        "a@x": {"error": "time_limit: unknown task 'tasks.nope'; did you mean tasks.nap?"}
    }
    with pytest.raises(ValueError, match="must be shorter than the hard one"):
        control.time_limit("tasks.nap", soft=2, hard=1, reply=True, timeout=DEADLINE)


def test_a_rate_limit_is_set_and_taken_away(place, tasks, control):
    place.worker("-n", "a@x").ready()
    assert control.rate_limit("tasks.add", "1/h", reply=True, timeout=DEADLINE) == ok(
        "new rate limit set successfully", "a@x"
    )
    results = [tasks.add.delay(n, n) for n in range(3)]
    eventually(lambda: any(each.ready() for each in results), "the first is let through")
    assert "tasks.add [rate_limit=1/h]" in control.inspect(timeout=DEADLINE).registered()["a@x"]
    assert tasks.traced.delay(5).get(timeout=60) == 5, "others are not held up"
    assert sum(each.ready() for each in results) == 1
    control.rate_limit("tasks.add", 0, reply=True, timeout=DEADLINE)
    assert tasks.add.delay(9, 9).get(timeout=60) == 18
    with pytest.raises(ValueError, match="'many' is no rate limit"):
        control.rate_limit("tasks.add", "many", reply=True, timeout=DEADLINE)


def test_the_pool_grows_shrinks_and_restarts(place, tasks, control):
    worker = place.worker("-n", "a@x", "-c", "1").ready()
    naps = [tasks.nap.delay(600) for _ in range(3)]
    place.wait_ledger("start", naps[0].id)
    assert control.pool_grow(2, reply=True, timeout=DEADLINE) == ok("pool will grow", "a@x")
    for nap in naps:
        place.wait_ledger("start", nap.id)
    eventually(lambda: len(control.inspect(timeout=DEADLINE).active()["a@x"]) == 3, "three run")
    (view,) = place.alive_workers()
    assert view.manifest.concurrency == 3
    (answer,) = control.pool_shrink(3, reply=True, timeout=DEADLINE)
    assert "one must stay" in answer["a@x"]["error"]
    (answer,) = control.pool_grow(1100, reply=True, timeout=DEADLINE)
    assert "1103 is more than one worker" in answer["a@x"]["error"]
    assert control.pool_shrink(2, reply=True, timeout=DEADLINE) == ok("pool will shrink", "a@x")
    control.terminate([each.id for each in naps])
    eventually(lambda: len(worker.titled("executor")) == 1, "one executor is left")
    before = tasks.whoami.delay().get(timeout=60)
    assert control.pool_restart(reply=True, timeout=DEADLINE) == ok("reload started", "a@x")
    eventually(lambda: tasks.whoami.delay().get(timeout=60) != before, "a new executor")
    (answer,) = control.autoscale(3, 1, reply=True, timeout=DEADLINE)
    assert "--autoscale" in answer["a@x"]["error"]


def test_bounds_of_autoscaling_are_changed(place, tasks, control):
    place.worker("-n", "a@x", "--autoscale=1,1").ready()
    naps = [tasks.nap.delay(600) for _ in range(2)]
    place.wait_ledger("start", naps[0].id)
    assert control.autoscale(2, 1, reply=True, timeout=DEADLINE) == ok(
        "autoscale now max=2 min=1", "a@x"
    )
    place.wait_ledger("start", naps[1].id)
    (answer,) = control.autoscale(5000, 1, reply=True, timeout=DEADLINE)
    assert "5000 is more than one worker" in answer["a@x"]["error"]
    assert control.inspect(timeout=DEADLINE).stats()["a@x"]["pool"]["autoscale"] == [2, 1]
    (answer,) = control.pool_grow(reply=True, timeout=DEADLINE)
    assert "scales itself" in answer["a@x"]["error"]


@pytest.mark.parametrize("pool", ["threads", "asyncio"])
def test_shared_pools_tell_what_runs(place, tasks, control, pool):
    place.worker("-n", "a@x", "-P", pool, "-c", "4").ready()
    naps = {tasks.nap.delay(600).id for _ in range(2)}
    eventually(
        lambda: {each["id"] for each in control.inspect(timeout=DEADLINE).active()["a@x"]} == naps,
        "both",
    )
    (pid,) = {each["worker_pid"] for each in control.inspect(timeout=DEADLINE).active()["a@x"]}
    assert control.pool_restart(reply=True, timeout=DEADLINE) == ok("reload started", "a@x")
    eventually(lambda: tasks.whoami.delay().get(timeout=60) != pid, "a new executor beside it")
    (answer,) = control.pool_grow(reply=True, timeout=DEADLINE)
    assert "not in this version" in answer["a@x"]["error"]
    control.terminate(list(naps), signal="SIGKILL")
    place.ended(list(naps))


def test_a_shutdown_lets_running_tasks_end(place, tasks, control):
    first, second = place.worker("-n", "a@x", "-c", "1"), place.worker("-n", "b@x", "-c", "1")
    first.ready(), second.ready()
    naps = [tasks.nap.delay(1) for _ in range(2)]
    for nap in naps:
        place.wait_ledger("start", nap.id)
    assert control.shutdown("a@x", reply=True, timeout=DEADLINE) == ok("shutting down", "a@x")
    assert first.process.wait(60) == 0
    assert [nap.get(timeout=60) for nap in naps] == [1, 1]
    assert control.ping(timeout=DEADLINE) == ok("pong", "b@x")
    control.shutdown()
    assert second.process.wait(60) == 0


def test_a_solo_worker_answers_while_its_task_runs(place, tasks, control):
    worker = place.worker("-n", "a@x", "-P", "solo").ready()
    nap = tasks.nap_on.delay()
    place.wait_ledger("start", nap.id)
    assert held_pid(control.inspect(timeout=DEADLINE).active(), "a@x") == worker.pid
    assert control.ping(timeout=DEADLINE) == ok("pong", "a@x")
    (answer,) = control.pool_grow(reply=True, timeout=DEADLINE)
    assert "solo worker" in answer["a@x"]["error"]
    assert control.add_consumer("other", reply=True, timeout=DEADLINE) == ok(
        "add consumer other", "a@x"
    )
    (place.folder / f"end-{nap.id}").touch()
    assert tasks.add.apply_async((1, 2), queue="other").get(timeout=60) == 3
    control.shutdown()
    assert worker.process.wait(60) == 0


# -- signatures --------------------------------------------------------------------------------


def test_an_unsigned_command_is_refused_where_a_key_is_set(place, tasks, control):
    key = "a secret that is long enough"
    worker = place.worker("-n", "a@x", CELERIAC_SECURITY_KEY=key).ready()
    with pytest.warns(CeleryWarning, match="no answer"):
        assert control.ping(timeout=0.5) == []
    worker.wait_for("A command was refused: this command carries no signature")
    control.shutdown()
    tasks.app.conf.security_key = "another secret, long enough"
    with pytest.warns(CeleryWarning, match="no answer"):
        assert control.ping(timeout=0.5) == []
    tasks.app.conf.security_key = key
    assert control.ping(timeout=30) == ok("pong", "a@x")
    assert worker.process.poll() is None
