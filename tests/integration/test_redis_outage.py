"""Real workers and clients on a Redis that is away, full, locked or badly set up."""

import asyncio
import contextlib
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import servers
from servers import LOOPBACK, free_ports, server
from workers import LENIENCE, eventually, site

from celeriac import Celeriac
from celeriac.clock import SYSTEM, Clock
from celeriac.exceptions import OperationalError
from celeriac.stores import connect
from celeriac.stores.base import Options
from celeriac.waits import Wait

#: Within so many seconds a worker goes on after its server's return.
RETURN = 5.0 * LENIENCE


@pytest.fixture
def durable():
    with server(appendonly="yes", appendfsync="always") as made:
        yield made


def test_a_worker_waits_for_its_server_and_begins_soon_after_it(durable, tmp_path):
    durable.stop()
    with site(tmp_path, broker=durable.url) as place:
        worker = place.worker()
        worker.wait_for("The store is not there; this worker begins when it is")
        assert "connection refused" in worker.text()
        durable.start()
        began = SYSTEM.monotonic()
        worker.ready()
        # The time it takes a worker to start, besides.
        assert SYSTEM.monotonic() - began < RETURN + 5
        assert "The store answers now" in worker.text()
        (one,) = place.ended(place.send("tasks.add", 1, 2))
        assert one.state == "succeeded"
        assert worker.stop() == 0


def test_a_worker_goes_on_within_seconds_of_its_servers_return(durable, tmp_path):
    with site(tmp_path, broker=durable.url) as place:
        worker = place.worker().ready()
        ids = place.send("tasks.nap", 0.3, count=20)
        place.wait_ledger("start", ids[0])
        durable.stop(9)
        # Long enough for every pause between attempts to have grown to its longest.
        worker.wait_for("The store does not answer; outcomes are held and retried")
        worker.wait_for("No heartbeat")
        threading.Event().wait(12)
        durable.start()
        began = SYSTEM.monotonic()
        worker.wait_for("The store answers again")
        assert SYSTEM.monotonic() - began < RETURN
        records = place.ended(ids)
        assert {(each.state, each.attempt) for each in records} == {("succeeded", 1)}
        assert len(place.ledger("start")) == len(ids)
        assert worker.stop() == 0


def test_sending_to_a_server_that_is_away_fails_in_time_and_says_what_to_do(tmp_path):
    (port,) = free_ports(1)
    with site(tmp_path, broker=f"redis://:hunter2@{LOOPBACK}:{port}/0") as place:
        said = place.python(
            "import time, tasks\n"
            "began = time.monotonic()\n"
            "try:\n"
            "    tasks.add.delay(1, 2)\n"
            "except tasks.add.OperationalError as error:\n"
            "    print(time.monotonic() - began, error)\n"
        )
    took, _, text = said.partition(" ")
    assert float(took) < 5 + 10
    assert f"Cannot connect to {LOOPBACK}:{port}: connection refused" in text
    assert "hunter2" not in text


@pytest.mark.parametrize("stall", ["silent", "gone"])
def test_sending_while_an_outage_lasts_fails_within_the_budget(durable, tmp_path, stall):
    with site(tmp_path, broker=durable.url) as place:
        code = (
            "import sys, time, tasks\n"
            "tasks.add.delay(1, 2)\n"
            "print('sent', flush=True)\n"
            "sys.stdin.readline()\n"
            "began = time.monotonic()\n"
            "try:\n"
            "    tasks.add.delay(1, 2)\n"
            "except tasks.add.OperationalError as error:\n"
            "    print(time.monotonic() - began, error)\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code], cwd=place.folder, env=place.environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        ) as client:  # fmt: skip
            assert client.stdout.readline() == "sent\n"
            if stall == "silent":
                durable.pause()
            else:
                durable.stop(9)
            said, _ = client.communicate("go\n", timeout=60)
        assert 4 < float(said.split()[0]) < 5 + 10, said


COMMANDS = [
    ("doctor",), ("doctor", "--json"), ("status",), ("status", "--json"), ("report",),
    ("report", "--json"), ("list", "queues"), ("list", "workers", "--json"),
    ("inspect", "conf", "-t", "60"), ("inspect", "stats", "--json", "-t", "60"),
    ("inspect", "report", "-t", "60"), ("settings",), ("settings", "--json"),
]  # fmt: skip


def test_a_password_is_shown_nowhere(tmp_path):
    with server(requirepass="hunter2", appendonly="yes") as made:
        broker = f"redis://:hunter2@{LOOPBACK}:{made.port}/0"
        with site(tmp_path, broker=broker) as place:
            worker = place.worker("-l", "DEBUG").ready()
            (id,) = place.send("tasks.add", 1, 2)
            place.ended([id])
            assert f"redis://:***@{LOOPBACK}:{made.port}/0" in worker.text()
            told = [worker.text(), repr(place.store), repr(vars(place.store.queue))]
            told += [run(place, *command) for command in COMMANDS]
            told.append(run(place, "why", id))
            worker.stop()
            told.append(worker.text())
            made.stop()
            told.append(run(place, "doctor", code=3))
            told.append(run(place, "status", code=3))
    assert not [text for text in told if "hunter2" in text]


def run(place, *command, code=0):
    """What a command line says, on both its ways."""
    done = subprocess.run(
        [sys.executable, "-m", "celeriac", "-A", "tasks", *command],
        cwd=place.folder, env=place.environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == code, (command, done.stdout + done.stderr)
    return done.stdout + done.stderr


def test_a_wrong_password_ends_the_worker_with_the_reason(tmp_path):
    with server(requirepass="hunter2") as made:
        broker = f"redis://:wrong@{LOOPBACK}:{made.port}/0"
        with site(tmp_path, broker=broker) as place:
            worker = place.worker()
            assert worker.process.wait(60) == 3
            assert "refuses the password of the default user" in worker.text()
            assert "wrong@" not in worker.text()


def test_traps_are_told_at_a_workers_start_and_by_doctor(tmp_path):
    bad = {"maxmemory": "20mb", "maxmemory_policy": "allkeys-lru"}
    with server(**bad) as made, site(tmp_path, broker=made.url) as place:
        worker = place.worker().ready()
        told, found = worker.text(), run(place, "doctor", code=1)
        for text in (told, found):
            assert "appendonly is off: a restart of the server loses every task" in text
            assert "CONFIG SET appendonly yes" in text
            assert "maxmemory-policy is allkeys-lru: when memory is full the server throws" in text
            assert "CONFIG SET maxmemory-policy noeviction" in text
        assert re.search("durability: *nothing survives a restart of the server", told)
        worker.stop()


class Off(Clock):
    """A machine whose clock is a minute behind."""

    def wall(self):
        return super().wall() - 60


def test_a_clock_that_differs_is_told(durable):
    (trap,) = connect(durable.url, Options(clock=Off())).inspection.traps()
    assert trap.code == "clock"
    assert trap.what == "its clock is 60 s ahead of this machine's"


def test_a_good_server_has_nothing_to_tell(durable, tmp_path):
    with site(tmp_path, broker=durable.url) as place:
        worker = place.worker().ready()
        assert "WARNING" not in worker.text()
        found = run(place, "doctor")
        assert "store redis" not in found
        assert "AOF, synced before each reply" in found
        worker.stop()


@pytest.mark.parametrize("kind", ["redis", "valkey", "redis-6.2"])
def test_a_full_server_refuses_what_is_sent_and_is_drained(kind, tmp_path):
    with server(kind) as made, site(tmp_path, broker=made.url) as place:
        ids = place.send("tasks.traced", count=200)
        made.do("CONFIG", "SET", "maxmemory", "1")
        said = place.python(
            "import tasks\n"
            "from celeriac.exceptions import StoreFull\n"
            "try:\n"
            "    tasks.add.delay(1, 2)\n"
            "except StoreFull as error:\n"
            "    print('full:', error)\n"
        )
        assert "has no room: nothing was stored" in said
        worker = place.worker(CELERIAC_LEASE="60").ready()
        assert {each.state for each in place.ended(ids)} == {"succeeded"}
        # It can be stopped meanwhile, and need not wait for the longest sleep of its bell (10 s).
        began = SYSTEM.monotonic()
        assert worker.stop() == 0
        assert SYSTEM.monotonic() - began < 8.0
        made.do("CONFIG", "SET", "maxmemory", "0")
        place.worker().ready()
        (one,) = place.ended(place.send("tasks.add", 1, 2))
        assert one.state == "succeeded"
        assert len(place.ledger("end")) == 200


def test_results_are_waited_for_across_a_restart(durable, tmp_path):
    with site(tmp_path, broker=durable.url) as place:
        worker = place.worker().ready()
        (id,) = place.send("tasks.nap_on")
        place.wait_ledger("start", id)
        store = connect(durable.url, Options(timeout=20.0))
        answer = []
        waiting = threading.Thread(
            target=lambda: answer.append(store.results.wait([id], servers.DEADLINE))
        )
        waiting.start()
        eventually(lambda: durable.do("PUBSUB", "CHANNELS", "*done:*") != [], "the wait is known")
        durable.stop(9)
        durable.start()
        (place.folder / f"end-{id}").touch()
        waiting.join(60)
        assert answer[0][id].state == "succeeded"
        worker.stop()


@contextlib.contextmanager
def waiting_clients(place, durable, publish_timeout=0.5):
    """Threads and coroutines that wait in ``get()`` for one task, none of them with a worker."""
    app = Celeriac("clients", broker=durable.url, publish_timeout=publish_timeout)
    (id,) = place.send("tasks.add", 1, 2)
    result = app.AsyncResult(id)
    calls = {
        "for ever": result.get,
        "with a timeout": lambda: app.AsyncResult(id).get(timeout=120),
        "with a callback": lambda: app.AsyncResult(id).get(interval=0.1, on_interval=lambda: None),
        "in a loop": lambda: asyncio.run(gather(app, id)),
    }
    with ThreadPoolExecutor() as threads:
        found = {name: threads.submit(call) for name, call in calls.items()}
        eventually(lambda: durable.do("PUBSUB", "CHANNELS", "*done:*") != [], "the wait is known")
        yield found


async def gather(app, id):
    """Two coroutines of one loop."""
    first, second = app.AsyncResult(id), app.AsyncResult(id)
    return await asyncio.gather(first, second.aget(timeout=120))


def test_who_waits_in_get_waits_through_an_outage(durable, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(Wait, "_told", float("-inf"))
    with (
        site(tmp_path, broker=durable.url) as place,
        waiting_clients(place, durable) as waiting,
    ):
        durable.stop(9)
        # It is said only once the budget of a call is over.
        eventually(lambda: "The store does not answer; who waits" in caplog.text, "it is said")
        assert not [name for name, each in waiting.items() if each.done()]
        durable.start()
        worker = place.worker().ready()
        values = {name: each.result(60) for name, each in waiting.items()}
        worker.stop()
    assert values == {**dict.fromkeys(waiting, 3), "in a loop": [3, 3]}
    told = [each for each in caplog.messages if "The store does not answer; who waits" in each]
    assert len(told) == 1, "not by each"
    assert "connection refused" in told[0] or "broke off" in told[0]


def test_a_timeout_of_get_holds_in_an_outage_and_names_it(durable, tmp_path):
    with site(tmp_path, broker=durable.url) as place:
        (id,) = place.send("tasks.add", 1, 2)
        app = Celeriac("client", broker=durable.url, publish_timeout=2.0)
        assert app.AsyncResult(id).state == "PENDING"
        durable.stop(9)
        for wait in (
            lambda: app.AsyncResult(id).get(timeout=3.0),
            lambda: asyncio.run(app.AsyncResult(id).aget(timeout=3.0)),
        ):
            began = SYSTEM.monotonic()
            with pytest.raises(TimeoutError, match=f"{id} had not ended after 3 s") as raised:
                wait()
            # A call that is under way at the end takes as long as any.
            assert 3.0 <= SYSTEM.monotonic() - began < 3.0 + 2.0 + servers.DEADLINE
            assert "connection refused" in str(raised.value)
            assert isinstance(raised.value.__cause__, OperationalError)


def test_who_waits_at_a_server_that_never_was_there_is_told_so():
    (port,) = free_ports(1)
    app = Celeriac("client", broker=f"redis://{LOOPBACK}:{port}", publish_timeout=1.0)
    with pytest.raises(OperationalError, match="connection refused"):
        app.AsyncResult("a").get()


def test_newer_schema_is_told_to_worker_and_client(durable, tmp_path):
    durable.do("SET", "{celeriac}:schema", "99")
    with site(tmp_path, broker=durable.url) as place:
        worker = place.worker()
        assert worker.process.wait(60) != 0
        assert "later version of Celeriac" in worker.text()
        assert "Traceback" not in worker.text()
        assert "later version of Celeriac" in run(place, "status", code=3)


def test_an_unreachable_server_is_an_operational_error_of_the_seam():
    (port,) = free_ports(1)
    with pytest.raises(OperationalError):
        connect(f"redis://{LOOPBACK}:{port}", Options(timeout=1.0)).results.get_many(["a"])
