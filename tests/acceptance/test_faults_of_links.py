"""Rows 28 to 33, 41 and 45 of the fault matrix that no other test has: what becomes of connections.

Which test shows which row stands in `support/fault_matrix.py`.
"""

import contextlib
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from interrupts import interrupted_at
from servers import LOOPBACK, server
from wires import Proxy
from workers import DEADLINE, HERE, eventually, site, site_on

from celeriac import Celeriac, states
from celeriac.exceptions import OperationalError, ResultNotFound
from celeriac.message import Header, compose
from celeriac.outcome import Outcome
from celeriac.records import Commit, Manifest, TaskFacts, Verdict, Want
from celeriac.stores import connect
from celeriac.stores.base import Options

#: Bytes between two places where an answer is cut.
STEP = 1
MANIFEST = Manifest(tasks={"job": TaskFacts()}, hostname="host", pid=1)


def job(id: str, nonce: str = "") -> bytes:
    return compose(Header(id, "job", nonce or f"n{id}"), b"[[],{}]")


@pytest.fixture
def redis():
    with server("redis") as made:
        yield made


@pytest.fixture
def proxied(tmp_path: Path, redis):
    """A site whose client and first workers reach their server through a proxy."""
    with (
        Proxy(redis.port) as proxy,
        site(tmp_path, "fault_tasks.py", f"redis://{LOOPBACK}:{proxy.port}/0") as place,
    ):
        place.proxy = proxy
        yield place


def begin(place, url: str, name: str, lease: str = "4"):
    """A worker that reaches the store at *url*."""
    return place.worker("-c", "1", "-n", f"{name}@here", BROKER=url, LEASE=lease)


# -- an answer that is cut off ---------------------------------------------------------------------


@pytest.mark.parametrize("what", ["answers", "requests"])
def test_an_exchange_that_is_cut_after_any_byte_is_applied_once(redis, what: str) -> None:
    """It commits and leases; a request that is cut is not obeyed, an answer that is cut was."""
    left, shortest = {"answers": ("answers_left", 0), "requests": ("requests_left", 1)}[what]
    with Proxy(redis.port) as proxy:
        near, far = (
            connect(f"redis://{LOOPBACK}:{port}/0", Options(timeout=20.0))
            for port in (redis.port, proxy.port)
        )
        near.queue.register("w1", MANIFEST)
        cuts, held = 0, ()
        for number in range(shortest, 2000, STEP):
            id = f"t{number}"
            near.queue.enqueue([job(id)])
            setattr(proxy, left, number)
            commits = [Commit(each.fence, Outcome(states.SUCCEEDED, b"r")) for each in held]
            answer = far.queue.exchange("w1", 0, number + 1, commits, [], ["celery"], Want(free=1))
            # Cut before its end it was asked for again, and says ALREADY of what it had applied.
            assert set(answer.verdicts) <= {Verdict.OK, Verdict.ALREADY}
            assert [(each.id, each.attempt) for each in answer.deliveries] == [(id, 1)]
            held = answer.deliveries
            if getattr(proxy, left) is not None:
                break  # the whole of it is shorter than that
            cuts += 1
        assert cuts * STEP > 100, "it has so many bytes"
        numbers = range(shortest, shortest + cuts * STEP, STEP)
        found = near.inspection.get([f"t{number}" for number in numbers])
        assert {(each.state, each.attempt) for each in found} == {(states.SUCCEEDED, 1)}


def test_a_request_that_is_cut_after_any_byte_is_sent_again(redis) -> None:
    with Proxy(redis.port) as proxy:
        near, far = (
            connect(f"redis://{LOOPBACK}:{port}/0", Options(timeout=20.0))
            for port in (redis.port, proxy.port)
        )
        far.queue.enqueue([job("first")])
        cuts = 0
        for number in range(1, 2000, 3):
            proxy.requests_left = number
            far.queue.enqueue([job(f"t{number}")])
            if proxy.requests_left is not None:
                break
            cuts += 1
        assert cuts > 20
        found = near.inspection.get([f"t{number}" for number in range(1, 3 * cuts, 3)])
        assert {each.state for each in found} == {states.QUEUED}
        assert near.inspection.counts().states["celery"][states.QUEUED] == cuts + 2, (
            "none of them twice"
        )


# -- peers that are gone, slow or cut off ----------------------------------------------------------


@pytest.mark.faults
def test_connections_whose_peer_has_vanished_are_left_for_new_ones(proxied) -> None:
    """Nobody says that they have ended: no FIN, no RST."""
    worker = proxied.worker("-c", "1", LEASE="6").ready()
    gate = proxied.folder / "gate"
    (running,) = proxied.send("tasks.wait_for", str(gate))
    proxied.wait_ledger("start", running)
    proxied.proxy.forsake()
    gate.touch()
    after = proxied.send("tasks.traced", count=5)
    records = proxied.ended([running, *after], deadline=45)
    assert {each.state for each in records} == {"succeeded"}
    assert {line.id: 1 for line in proxied.ledger("end")} == Counter(
        line.id for line in proxied.ledger("end")
    )
    assert worker.stop() == 0


#: What becomes of connections, by name.
ENDS = {
    "reset": Proxy.reset,
    "half-closed": Proxy.half_close,
    "requests vanish": lambda proxy: proxy.forsake(answers=False),
    "answers vanish": lambda proxy: proxy.forsake(requests=False),
}


@pytest.mark.faults
@pytest.mark.parametrize("how", [*ENDS])
def test_connections_that_end_in_odd_ways_lose_and_double_nothing(proxied, redis, how) -> None:
    """Five times, with tasks that run, tasks that end, and calls under way."""
    worker = proxied.worker("-c", "2", LEASE="6").ready()
    near = connect(redis.url)
    ids = []

    def send() -> None:
        app = Celeriac("sender", broker=proxied.broker, set_as_current=False)
        while not done.is_set():
            try:
                ids.append(app.send_task("tasks.traced").id)
            except OperationalError:
                continue  # nobody was told that it is stored

    done = threading.Event()
    sender = threading.Thread(target=send)
    sender.start()
    for _ in range(5):
        gate = proxied.folder / f"gate-{len(ids)}"
        running = proxied.send("tasks.wait_for", str(gate))[0]
        proxied.wait_ledger("start", running)
        before = proxied.proxy.accepted
        ENDS[how](proxied.proxy)
        gate.touch()
        eventually(lambda at=running: near.inspection.get([at])[0].state == "succeeded", "it ends")
        # Where only answers vanish it may have ended before anybody has noticed.
        eventually(lambda at=before: proxied.proxy.accepted > at, "others are opened")
    done.set()
    sender.join(DEADLINE)
    records = proxied.ended(ids, deadline=60)
    assert {(each.state, each.crashes, each.losses) for each in records} == {("succeeded", 0, 0)}
    ends = Counter(line.id for line in proxied.ledger("end"))
    assert not [id for id, times in ends.items() if times != 1]
    assert worker.stop() == 0


#: Seconds that each answer takes.
DELAYS = {"two seconds": 2.0, "up to two seconds": lambda: random.uniform(0.05, 2.0)}


@pytest.mark.faults
@pytest.mark.parametrize("delay", DELAYS)
def test_a_store_that_takes_seconds_for_each_answer_loses_nobody(proxied, redis, delay) -> None:
    worker = begin(proxied, proxied.broker, "slow", "15")
    mate = begin(proxied, redis.url, "quick", "15")
    for each in (worker, mate):
        each.ready()
    # Whoever looks on from outside is not slowed down.
    proxied.broker = proxied.environment["BROKER"] = redis.url
    proxied.proxy.delay = DELAYS[delay]
    ids = proxied.send("tasks.nap", 1.0, count=12)
    records = proxied.ended(ids, deadline=120)
    assert {(each.state, each.losses, each.crashes) for each in records} == {("succeeded", 0, 0)}
    assert Counter(line.id for line in proxied.ledger("end")) == dict.fromkeys(ids, 1)
    assert {each.worker for each in records} == {"slow@here", "quick@here"}, "both had their share"
    assert len(proxied.alive_workers()) == 2
    proxied.proxy.delay = 0.0
    assert worker.stop() == 0


def test_a_worker_that_is_cut_off_for_twice_its_lease_is_fenced(proxied, redis) -> None:
    lonely = begin(proxied, proxied.broker, "lonely").ready()
    gate = proxied.folder / "gate"
    (task_id,) = proxied.send("tasks.wait_for", str(gate))
    (begun,) = proxied.wait_ledger("start", task_id)
    cut_at = time.monotonic()
    proxied.proxy.stall()
    proxied.environment["BROKER"] = redis.url
    near = connect(redis.url)
    # They are on one host: its lock shows that it lives, so that its lease alone counts.
    mate = begin(proxied, redis.url, "mate").ready()
    again = proxied.wait_ledger("start", task_id, count=2)[1]
    assert again.at - cut_at > 2.0, "not before the lease has ended"
    assert psutil.pid_exists(lonely.pid)
    while time.monotonic() - cut_at < 8.0:
        assert lonely.process.poll() is None
        time.sleep(0.1)
    proxied.proxy.flow()
    lonely.wait_for("lease was lost")
    gate.touch()
    eventually(lambda: near.inspection.get([task_id])[0].state == states.SUCCEEDED, "it has ended")
    record = near.inspection.get([task_id])[0]
    assert (record.attempt, record.losses) == (2, 1)
    eventually(lambda: not psutil.pid_exists(begun.pid), "the first run's process is gone")
    assert mate.stop() == 0
    (later,) = proxied.send("tasks.traced")
    eventually(lambda: proxied.ledger("end", later), "the lonely one works again")
    assert lonely.stop() == 0


# -- a server that has lost all --------------------------------------------------------------------


@pytest.mark.parametrize("how", ["restarted", pytest.param("flushed", marks=pytest.mark.faults)])
def test_a_server_that_comes_back_empty_is_lived_with(tmp_path: Path, redis, how: str) -> None:
    with (
        site(tmp_path, "fault_tasks.py", redis.url) as place,
        contextlib.ExitStack() as stack,
    ):
        worker = place.worker("-c", "2").ready()
        gate = place.folder / "gate"
        (running,) = place.send("tasks.wait_for", str(gate))
        (begun,) = place.wait_ledger("start", running)
        waiting = place.send("tasks.nap", 0, countdown=3600)
        app = Celeriac("client", broker=redis.url, set_as_current=False)
        pool = stack.enter_context(ThreadPoolExecutor(1))
        waiter = pool.submit(app.AsyncResult(waiting[0]).get, timeout=90)
        eventually(lambda: redis.do("PUBSUB", "CHANNELS", "*done:*") != [], "the wait is known")
        if how == "flushed":
            redis.do("FLUSHALL")
        else:
            redis.stop(signal.SIGKILL)
            redis.start()
        worker.wait_for("lease was lost")
        eventually(lambda: not psutil.pid_exists(begun.pid), "what nobody knows of is ended")
        gate.touch()
        after = place.send("tasks.traced", count=10)
        assert {each.state for each in place.ended(after)} == {"succeeded"}
        # Who asks about what is gone is told so, and does not wait for ever.
        with pytest.raises(ResultNotFound):
            app.AsyncResult(waiting[0]).get(timeout=30)
        with pytest.raises(ResultNotFound):
            waiter.result(100)
        assert len(place.alive_workers()) == 1
        assert worker.stop() == 0
        app.close()


# -- everybody at once -----------------------------------------------------------------------------


@pytest.mark.faults
def test_two_hundred_workers_do_not_come_back_all_at_once() -> None:
    count = 200
    with (
        server("redis", appendonly="yes") as redis,
        Proxy(redis.port) as proxy,
        contextlib.ExitStack() as stack,
    ):
        crowd = stack.enter_context(
            subprocess.Popen(
                [sys.executable, str(HERE / "idle_crowd.py"),
                 f"redis://{LOOPBACK}:{proxy.port}/0", str(count)],
                stdout=subprocess.PIPE, text=True,
            )
        )  # fmt: skip
        stack.callback(crowd.kill)
        lines = threading.Thread(target=crowd.stdout.readline)
        lines.start()
        lines.join(120)
        assert not lines.is_alive(), "the crowd is ready"
        before = proxy.accepted
        redis.stop(signal.SIGKILL)
        proxy.cut()
        threading.Event().wait(5.0)  # as an outage lasts, so that pauses have grown
        arrivals = proxy.count_arrivals()
        redis.start()
        threading.Event().wait(10.0)
        tenths = Counter(int(at * 10) for at in arrivals)
        most = max(tenths.values())
        print(f"{before} connections, {len(arrivals)} attempts in 10 s, at most {most} in 0.1 s")
        near = connect(redis.url)
        eventually(
            lambda: sum(each.alive for each in near.inspection.workers()) == count,
            "all are back",
        )
        # That the pauses are spread shows `test_backoff.py`: one process for all of them spreads
        # them by itself.
        assert most < before / 2, f"{before} connections, {sorted(tenths.items())[:60]}"


# -- a call that is interrupted --------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_calls_that_are_interrupted_at_any_step_leave_nothing_half_done(
    kind: str, tmp_path: Path, shared
) -> None:
    """No transaction stays open, and no answer is taken for that of a later call."""
    with site_on(kind, tmp_path, shared) as place:
        store = place.store
        other = connect(place.broker, Options(namespace=place.options.namespace, timeout=5.0))
        # What is read from files is read by now; Python's own opening of one is not interrupted.
        store.queue.enqueue([job("warm")])
        store.results.get_many(["warm"])
        assert store.inspection.get(["warm"])[0] is not None
        events = 0
        while True:
            events += 1
            ids = [f"{events}.{part}" for part in range(3)]
            jobs = [job(id) for id in ids]
            cut = interrupted_at(events, lambda jobs=jobs: store.queue.enqueue(jobs))
            # Somebody else can write at once: no transaction was left open.
            other.queue.enqueue([job(f"{events}.other")])
            # All of it or nothing, and each answer is that of its question.
            found = store.inspection.get([*ids, "warm"])
            assert [each.id for each in found if each] in (["warm"], [*ids, "warm"]), events
            read = interrupted_at(events, lambda ids=ids: store.results.get_many(ids))
            again = store.inspection.get(["warm", ids[0]])
            assert again[0].id == "warm"
            assert again[1] == found[0], events
            if not cut and not read:
                break
        assert events > 50
        assert found[0] is not None
