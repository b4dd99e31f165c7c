"""Results in another store than the tasks: real workers and servers on every pair of stores."""

import contextlib
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from servers import LOOPBACK, server
from workers import DEADLINE, eventually, site

from celeriac import Celeriac, states
from celeriac.crashpoints import ENVIRONMENT
from celeriac.exceptions import (
    OperationalError,
    ResultNotFound,
    SecurityError,
    TaskFailed,
    TaskRevokedError,
)
from celeriac.stores import connect, pair

PAIRS = ["sqlite-redis", "redis-sqlite", "redis-redis", "redis-databases", "sqlite-sqlite"]


@pytest.fixture(scope="module")
def servers():
    """A Redis and a Valkey that keep what they have over a restart."""
    always = {"appendonly": "yes", "appendfsync": "always"}
    with server("redis", **always) as one, server("valkey", **always) as other:
        yield one, other


@contextlib.contextmanager
def two_stores(folder, servers, which):
    """A site whose tasks and results are in two stores."""
    for each in servers:
        each.do("FLUSHALL")
    one, other = servers
    database = f"redis://{LOOPBACK}:{one.port}"
    broker, backend = {
        "sqlite-redis": ("", other.url),
        "redis-sqlite": (one.url, f"sqlite:///{folder}/results.db"),
        "valkey-sqlite": (other.url, f"sqlite:///{folder}/results.db"),
        "redis-redis": (one.url, other.url),
        "redis-databases": (f"{database}/0", f"{database}/1"),
        "sqlite-sqlite": ("", f"sqlite:///{folder}/results.db"),
    }[which]
    with site(folder, broker=broker) as made:
        made.environment["CELERIAC_RESULT_BACKEND"] = made.backend = backend
        made.environment["CELERIAC_PUBLISH_TIMEOUT"] = "10"
        made.app = Celeriac(
            "tasks", broker=made.broker, backend=backend, set_as_current=False, publish_timeout=10
        )
        yield made
        made.app.close()


@pytest.fixture(params=PAIRS)
def place(tmp_path, servers, request):
    with two_stores(tmp_path, servers, request.param) as made:
        yield made


@pytest.fixture(params=["sqlite-redis"])
def far(tmp_path, servers, request):
    """Tasks in a file (or on a server), results on a server that can be stopped."""
    with two_stores(tmp_path, servers, request.param) as made:
        made.server = servers[1]
        yield made
        if made.server.process is None:
            made.server.start()
        else:
            made.server.resume()


@pytest.fixture
def only_woken(monkeypatch):
    """Whoever waits is woken by the store of results, or not at all."""
    monkeypatch.setattr(pair, "_NET", 2 * DEADLINE)
    monkeypatch.setattr(pair, "_NET_MOST", 2 * DEADLINE)


def kept(place, ids):
    """What the store of results has of *ids*, asked by itself."""
    return connect(place.backend, pair.backend_options(place.app.conf)).results.get_many(ids)


def brought(place, ids):
    """Wait until the store of results has all of *ids*; what it has."""

    def look():
        found = kept(place, ids)
        return found if all(each is not None for each in found) else None

    try:
        return eventually(look, "all brought", interval=0.05)
    except AssertionError as error:
        raise AssertionError("\n".join(each.text()[-3000:] for each in place.workers)) from error


def test_results_come_to_the_other_store_and_wake_who_waits(place, only_woken):
    worker = place.worker().ready()
    assert "results: " in worker.text()
    sent = [place.app.send_task("tasks.add", (n, 1)) for n in range(50)]
    assert [each.get(timeout=DEADLINE) for each in sent] == [n + 1 for n in range(50)]
    again, failed = (place.app.send_task("tasks.flaky", (fails,)) for fails in (2, 9))
    assert again.get(timeout=DEADLINE) == 2
    with pytest.raises(TaskFailed, match="not yet"):
        failed.get(timeout=DEADLINE)
    ids = [each.id for each in (*sent, again, failed)]
    assert {each.state for each in brought(place, ids)} == {states.SUCCEEDED, states.FAILED}
    eventually(lambda: not waiting(place), "nothing is left in the outbox")
    assert worker.stop() == 0


def waiting(place):
    """How many results wait in the outbox."""
    return place.app.store.inspection.counts().outbox


def test_what_has_not_ended_is_read_from_its_record(place, tmp_path):
    place.worker().ready()
    gate = tmp_path / "gate"
    result = place.app.send_task("tasks.progress", (str(gate),))
    place.wait_ledger("start", result.id)
    eventually(lambda: result.state == "PROGRESS", "its state is shown")
    assert result.info == {"done": 3}
    assert not result.ready()
    gate.touch()
    result.get(timeout=DEADLINE)
    assert result.state == "SUCCESS"
    assert place.app.AsyncResult(result.id).ready()
    nobody = place.app.AsyncResult("never-was")
    assert nobody.state == "PENDING"
    with pytest.raises(ResultNotFound):
        nobody.get(timeout=DEADLINE)


def test_every_end_comes_there(place):
    place.worker("-c", "1").ready()
    app = place.app
    purged = app.send_task("tasks.add", (1, 1), queue="elsewhere")
    revoked = app.send_task("tasks.add", (1, 1), queue="elsewhere")
    app.control.revoke(revoked.id)
    app.control.purge(["elsewhere"])
    app.control.revoke("early")
    app.send_task("tasks.add", (1, 1), task_id="early")
    expired = app.send_task("tasks.add", (1, 1), queue="elsewhere", expires=0.01)
    dead = app.send_task("tasks.kill_self", ("SIGKILL",))
    ids = [purged.id, revoked.id, "early", expired.id, dead.id]
    assert [each.state for each in brought(place, ids)] == [
        states.CANCELLED, states.CANCELLED, states.CANCELLED, states.EXPIRED, states.DEAD,
    ]  # fmt: skip
    with pytest.raises(TaskRevokedError):
        purged.get(timeout=DEADLINE)


def test_an_ignored_result_leaves_nothing_there(place):
    place.worker().ready()
    ignored = place.app.send_task("tasks.add", (1, 1), ignore_result=True)
    assert ignored.get(timeout=DEADLINE) is None
    assert ignored.state == "SUCCESS"
    other = place.app.send_task("tasks.add", (1, 1))
    brought(place, [other.id])
    eventually(lambda: not waiting(place), "nothing is left in the outbox")
    assert kept(place, [ignored.id]) == [None]


def test_forget_and_retry_are_told(place):
    place.worker().ready()
    app = place.app
    result = app.send_task("tasks.add", (1, 1))
    brought(place, [result.id])
    result.forget()
    with pytest.raises(ResultNotFound, match="forget"):
        app.AsyncResult(result.id).get(timeout=DEADLINE)
    failed = app.send_task("tasks.flaky", (9,))
    (first,) = brought(place, [failed.id])
    assert first.state == states.FAILED
    assert app.store.inspection.retry([failed.id]) == [failed.id]

    def later():
        (found,) = kept(place, [failed.id])
        return found is not None and found.ended_at > first.ended_at

    eventually(later, "its second end is there")


def test_an_id_that_is_used_again_has_its_new_result(place):
    place.worker().ready()
    app = place.app
    assert app.send_task("tasks.add", (1, 1), task_id="same").get(timeout=DEADLINE) == 2
    brought(place, ["same"])
    app.send_task("tasks.add", (2, 2), task_id="same")

    def new():
        (found,) = kept(place, ["same"])
        return found is not None and app.AsyncResult("same").get(timeout=DEADLINE) == 4

    eventually(new, "the new result is there")


@pytest.mark.parametrize("point", ["relay.read", "relay.brought", "relay.struck"])
@pytest.mark.parametrize(
    "place",
    [
        "redis-sqlite",
        "redis-redis",
        "sqlite-redis",
        pytest.param("valkey-sqlite", marks=pytest.mark.faults),
    ],
    indirect=True,
)
def test_the_supervisor_dies_while_it_brings_results(place, point):
    ids = place.send("tasks.traced", 7, count=40)
    worker = place.worker(**{ENVIRONMENT: f"{point}:2:kill"})

    def dead():
        # All may have been brought at once, and it dies when it brings the next.
        ids.append(place.app.send_task("tasks.traced", (7,)).id)
        return worker.process.poll() is not None

    eventually(dead, "it dies", interval=0.1)
    assert worker.process.returncode == -signal.SIGKILL, worker.text()
    place.worker().ready()
    place.ended(ids)
    found = brought(place, ids)
    assert {each.state for each in found} == {states.SUCCEEDED}
    assert place.app.AsyncResult(ids[0]).get(timeout=DEADLINE) == 7
    eventually(lambda: not waiting(place), "nothing is left in the outbox")


def test_killed_between_the_end_and_the_other_store(far, only_woken):
    """Nobody relays: the result is read all the same, and brought by the next worker."""
    worker = far.worker(**{ENVIRONMENT: "relay.read:1:kill"})
    result = far.app.send_task("tasks.add", (1, 1))
    assert worker.process.wait(DEADLINE) == -signal.SIGKILL
    far.ended([result.id])
    assert kept(far, [result.id]) == [None]
    assert far.app.AsyncResult(result.id).get(timeout=DEADLINE) == 2
    assert waiting(far) == 1
    far.worker().ready()
    brought(far, [result.id])


@pytest.mark.parametrize("how", ["gone", "silent"])
@pytest.mark.parametrize("far", ["sqlite-redis", "redis-redis"], indirect=True)
def test_the_other_store_is_away_while_tasks_end(far, only_woken, caplog, how):
    worker = far.worker().ready()
    far.app.conf.publish_timeout = 0.5
    assert far.app.send_task("tasks.add", (1, 1)).get(timeout=DEADLINE) == 2
    gates = [far.folder / "first", far.folder / "second"]
    first = far.app.send_task("tasks.progress", (str(gates[0]),))
    with ThreadPoolExecutor(1) as pool:
        value = pool.submit(first.get, timeout=DEADLINE)
        far.wait_ledger("start", first.id)
        if how == "gone":
            far.server.stop()
        else:
            far.server.pause()
        gates[0].touch()
        sent = [far.app.send_task("tasks.add", (n, 1)) for n in range(20)]  # not needed to send
        far.ended([first.id, *(each.id for each in sent)])
        worker.wait_for("does not take them; tasks go on, and")
        # Longer than a call may take.
        eventually(lambda: "who waits for results" in caplog.text, "it is said who waits")
        assert "the store of results (result_backend)" in caplog.text
        if how == "gone":
            far.server.start()
        else:
            far.server.resume()
        value.result(DEADLINE)
    records = far.ended([first.id, *(each.id for each in sent)])
    assert {(each.attempt, each.losses, each.crashes) for each in records} == {(1, 0, 0)}
    assert [each.get(timeout=DEADLINE) for each in sent] == [n + 1 for n in range(20)]
    assert len(brought(far, [each.id for each in sent])) == 20
    worker.wait_for("takes them again")
    assert worker.stop() == 0


@pytest.mark.parametrize("far", ["sqlite-redis", "redis-redis"], indirect=True)
def test_a_worker_begins_without_the_other_store(far):
    far.server.stop()
    # Not the whole time that a call may take, which in these tests is long.
    worker = far.worker(CELERIAC_PUBLISH_TIMEOUT="1").ready()
    worker.wait_for("does not take them")
    result = far.app.send_task("tasks.traced", (3,))
    far.ended([result.id])
    assert far.server.url in worker.text()
    far.server.start()
    assert brought(far, [result.id])[0].state == states.SUCCEEDED
    assert result.get(timeout=DEADLINE) == 3


def test_a_wrong_password_of_the_other_store_ends_the_worker(far):
    url = far.server.url.replace("redis://", "redis://:hunter2@")
    worker = far.worker(CELERIAC_RESULT_BACKEND=url)
    assert worker.process.wait(DEADLINE) == 3
    assert "store of results (result_backend)" in worker.text()
    assert "hunter2" not in worker.text()


def test_errors_name_the_store_that_failed(far):
    app = Celeriac(
        "tasks", broker=far.broker, backend=far.backend, set_as_current=False, publish_timeout=0.5
    )
    far.worker().ready()
    result = app.send_task("tasks.add", (1, 1))
    brought(far, [result.id])
    far.server.stop()
    with pytest.raises(OperationalError, match=r"^the store of results \(result_backend\): "):
        app.AsyncResult(result.id).get(timeout=DEADLINE)
    app.send_task("tasks.add", (1, 1))
    app.close()


def test_where_the_store_of_tasks_cannot_be_reached(tmp_path, servers):
    with two_stores(tmp_path, servers, "redis-sqlite") as place:
        place.worker().ready()
        result = place.app.send_task("tasks.add", (1, 1))
        brought(place, [result.id])
        nowhere = f"redis://{LOOPBACK}:1/0"
        with Celeriac(
            "web", broker=nowhere, backend=place.backend, set_as_current=False, publish_timeout=0.5
        ) as web:
            assert web.AsyncResult(result.id).get(timeout=DEADLINE) == 2
            with pytest.raises(OperationalError, match=r"^the store of tasks \(broker_url\): "):
                web.AsyncResult("another").get(timeout=DEADLINE)


def test_a_thousand_results_from_several_threads(place, only_woken):
    place.worker().ready()
    sent = place.app.enqueue_many(place.app.signature("tasks.add", (n, 1)) for n in range(1000))
    with ThreadPoolExecutor(8) as pool:
        values = list(pool.map(lambda each: each.get(timeout=DEADLINE), sent))
    assert values == [n + 1 for n in range(1000)]
    assert len(brought(place, [each.id for each in sent])) == 1000


def test_several_workers_bring_at_once(far):
    workers = [far.worker("-n", f"w{n}@here", "-c", "1").ready() for n in range(3)]
    sent = [far.app.send_task("tasks.add", (n, 1)) for n in range(300)]
    assert [each.get(timeout=DEADLINE) for each in sent] == [n + 1 for n in range(300)]
    eventually(lambda: not waiting(far), "nothing is left in the outbox")
    assert {each.state for each in brought(far, [each.id for each in sent])} == {states.SUCCEEDED}
    assert [each.stop() for each in workers] == [0, 0, 0]


def test_signed_results_are_verified(far):
    key = "a key of thirty-two characters or more"
    far.worker(CELERIAC_SECURITY_KEY=key).ready()
    with Celeriac(
        "tasks", broker=far.broker, backend=far.backend, set_as_current=False, security_key=key
    ) as app:
        result = app.send_task("tasks.add", (1, 1))
        assert result.get(timeout=DEADLINE) == 2
        (found,) = brought(far, [result.id])
        forged = type(found)(found.id, found.state, body=found.body[:-1] + b"?", ended_at=2e9)
        connect(far.backend).results.put_many([forged])
        with pytest.raises(SecurityError):
            app.AsyncResult(result.id).get(timeout=DEADLINE)


@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_other_pools_bring_results_too(far, pool):
    worker = far.worker("-P", pool, "-c", "1").ready()
    result = far.app.send_task("tasks.add", (1, 1))
    assert result.get(timeout=DEADLINE) == 2
    brought(far, [result.id])
    assert worker.stop() == 0


def test_a_burst_brings_everything_before_it_ends(far):
    ids = far.send("tasks.traced", count=30)
    assert far.worker("--burst").process.wait(DEADLINE) == 0
    assert {each.state for each in kept(far, ids)} == {states.SUCCEEDED}


def command(place, *words):
    """Run a command; (exit code, what it printed)."""
    done = subprocess.run(
        [sys.executable, "-m", "celeriac", "-A", "tasks", *words],
        cwd=place.folder, env={**place.environment, "CELERIAC_PUBLISH_TIMEOUT": "1"},
        capture_output=True, text=True,
        timeout=DEADLINE, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_the_command_line_tells_where_results_are(far):
    url = far.server.url
    worker = far.worker(**{ENVIRONMENT: "relay.read:1:kill"})
    id = far.app.send_task("tasks.add", (1, 1)).id
    assert worker.process.wait(DEADLINE) == -signal.SIGKILL
    far.ended([id])
    eventually(lambda: not far.alive_workers(), "nobody thinks it alive")
    code, said = command(far, "why", id)
    assert code == 0
    assert "Its result is on the way to the store of results." in said
    assert f"on its way to {url}; 1 result on the way" in said
    assert "celeriac -A tasks worker" in said
    assert command(far, "result", id, "--timeout", "0") == (0, "2\n")
    assert f"1 result is on its way to the store of results {url}." in command(far, "status")[1]
    code, said = command(far, "doctor")
    assert code == 1
    assert f"FOUND: store of results {url}: 1 result on the way there, and no worker" in said
    far.worker().ready()
    brought(far, [id])
    eventually(lambda: not waiting(far), "the outbox knows that it was brought")
    assert f"SUCCESS in {url}" in command(far, "why", id)[1]
    assert "on its way" not in command(far, "status")[1]
    code, said = command(far, "doctor")
    assert "tasks and results are in two stores" in said
    assert f"results {url}" in " ".join(said.split()), said
    far.server.stop()
    code, said = command(far, "doctor")
    assert code == 1
    assert f"FOUND: store of results {url}: " in said
    assert f"the store of results {url} does not answer" in command(far, "why", id)[1]
    code, said = command(far, "result", id)
    assert code == 3
    assert "the store of results (result_backend)" in said


def test_what_is_discarded_is_gone_from_both(far):
    far.worker("-c", "1").ready()
    failed = far.app.send_task("tasks.flaky", (9,))
    brought(far, [failed.id])
    assert command(far, "dead", "discard", failed.id)[0] == 0
    assert kept(far, [failed.id]) == [None]
    with pytest.raises(ResultNotFound):
        far.app.AsyncResult(failed.id).get(timeout=DEADLINE)
