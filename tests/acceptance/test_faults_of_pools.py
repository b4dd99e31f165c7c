"""Rows 2 to 4, 8, 9, 31 and 33 of the fault matrix in the pools beside prefork: who runs several
tasks in one process, or in the worker itself, loses no more by its death, a stop or a silent store.
"""

import os
import signal
import threading
import time
from pathlib import Path

import aftermath
import psutil
import pytest
from servers import LOOPBACK, server
from wires import Proxy
from workers import CLOCKS, REDIS_LATER, Site, Worker, eventually, gone, site, site_on

from celeriac.records import Record

SHARED = ("threads", "asyncio")
#: The lease of the workers of ``fault_tasks.py``, in seconds.
LEASE = 4.0
pytestmark = pytest.mark.faults


@pytest.fixture(params=[each if isinstance(each, str) else each.values[0] for each in REDIS_LATER])
def place(tmp_path: Path, request, shared):
    with site_on(request.param, tmp_path, shared, "fault_tasks.py", noting=True) as made:
        yield made


def worker(place: Site, pool: str, **environment: str) -> Worker:
    """A worker of that pool, which runs three tasks at once if it can."""
    width = "1" if pool == "solo" else "3"
    return place.worker("-P", pool, "-c", width, **environment)


def running(place: Site, pool: str, gate: Path) -> list[str]:
    """Tasks that fill the worker, and have begun: coroutines where the pool runs some."""
    sent = place.send("tasks.wait_for", str(gate))
    if pool != "solo":
        sent += place.send("tasks.await_for", str(gate), count=2)
    for id in sent:
        place.wait_ledger("start", id)
    return sent


def began_again(place: Site, ids: list[str], after: float = 0.0) -> None:
    for id in ids:
        lines = place.wait_ledger("start", id, count=2)
        assert lines[1].at > after, "until then it was not to be taken away"


@pytest.mark.parametrize("pool", [*SHARED, "solo"])
def test_a_worker_is_killed_and_what_it_ran_runs_elsewhere(place: Site, tally, pool: str) -> None:
    gate = place.folder / "gate"
    doomed = worker(place, pool).ready()
    ids = running(place, pool, gate)
    mate = worker(place, pool).ready()
    doomed.kill()
    began_again(place, ids)
    gate.touch()
    for record in tally(place, ids, faults=1):
        assert (record.state, record.losses, record.crashes) == ("succeeded", 1, 0)
    assert mate.stop() == 0


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("pool", SHARED)
def test_an_executor_is_killed(place: Site, tally, pool: str, alone: bool) -> None:
    """Who ran there alone is charged; of several nobody knows, and each runs again alone."""
    gate = place.folder / "gate"
    made = worker(place, pool).ready()
    ids = running(place, "solo" if alone else pool, gate)
    (executor,) = {line.pid for line in place.ledger("start")}
    os.kill(executor, signal.SIGKILL)
    began_again(place, ids)
    gate.touch()
    records = tally(place, ids, faults=1) if alone else suspects(place, ids)
    assert {each.state for each in records} == {"succeeded"}
    assert [each.crashes for each in records] == [int(alone)] * len(ids)
    later = {line.pid for id in ids for line in place.ledger("start", id)[1:]}
    assert len(later) == len(ids), "each in a process of its own"
    assert made.stop() == 0


def suspects(place: Site, ids: list[str]) -> list[Record]:
    """The records of what ran side by side in a process that died. Each runs again under the lease
    that it has, of which the tally would say that one attempt started twice."""
    records = place.ended(ids)
    for record in records:
        assert [line.attempt for line in place.ledger("start", record.id)] == [1, 1]
        assert len(place.ledger("end", record.id)) == 1
    problems = aftermath.problems(place)
    assert not problems, problems
    return records


@pytest.mark.parametrize("pool", SHARED)
def test_an_executor_that_is_stopped_is_ended(place: Site, pool: str) -> None:
    gate = place.folder / "gate"
    made = worker(place, pool).ready()
    ids = running(place, pool, gate)
    (executor,) = {line.pid for line in place.ledger("start")}
    stopped = time.monotonic()
    os.kill(executor, signal.SIGSTOP)
    began_again(place, ids, after=stopped + LEASE)
    made.wait_for("it was stopped by a signal for longer than the lease")
    gate.touch()
    for record in suspects(place, ids):
        assert (record.state, record.crashes, record.losses) == ("succeeded", 0, 0)
    eventually(lambda: gone(executor), "it has ended")
    assert made.stop() == 0


@pytest.mark.parametrize("pool", [*SHARED, "solo"])
def test_a_worker_that_wakes_after_its_lease_is_fenced_and_goes_on(
    place: Site, tally, pool: str
) -> None:
    gate = place.folder / "gate"
    first = worker(place, pool).ready()
    ids = running(place, pool, gate)
    (runner,) = {line.pid for line in place.ledger("start")}
    family = [psutil.Process(first.pid), *first.children()]
    for process in family:
        process.suspend()
    leased_until = place.last_beat(first) + LEASE
    second = worker(place, pool).ready()
    began_again(place, ids, after=leased_until - CLOCKS)
    for process in family:
        if process.pid != runner or pool == "solo":
            process.resume()
    if pool == "solo":
        gate.touch()  # it cannot end what it runs itself: that ends too, and is refused
    first.wait_for("lease was lost")
    if pool != "solo":
        eventually(lambda: gone(runner), "the old runs' process is gone")
        gate.touch()
    for record in tally(place, ids, faults=1):
        assert (record.state, record.attempt, record.losses) == ("succeeded", 2, 1)
    assert second.stop() == 0
    (later,) = place.send("tasks.traced")
    assert place.ended([later])[0].state == "succeeded"
    assert first.stop() == 0


@pytest.mark.parametrize("pool", [*SHARED, "solo"])
def test_a_worker_that_is_black_holed_is_fenced_and_goes_on(tmp_path: Path, pool: str) -> None:
    """What it says is not heard, and nothing is answered, for twice its lease."""
    with (
        server("redis") as redis,
        Proxy(redis.port) as proxy,
        site(tmp_path, "fault_tasks.py", redis.url) as place,
    ):
        gate = place.folder / "gate"
        lonely = worker(place, pool, BROKER=f"redis://{LOOPBACK}:{proxy.port}/0").ready()
        ids = running(place, pool, gate)
        (runner,) = {line.pid for line in place.ledger("start")}
        proxy.stall()
        stalled = time.monotonic()
        mate = worker(place, pool).ready()
        began_again(place, ids)
        threading.Event().wait(stalled + 2 * LEASE - time.monotonic())
        proxy.flow()
        if pool == "solo":
            gate.touch()  # it cannot end what it runs itself
        lonely.wait_for("lease was lost")
        if pool != "solo":
            eventually(lambda: gone(runner), "the old runs' process is gone")
            gate.touch()
        records = place.ended(ids)
        assert {(each.state, each.attempt, each.losses) for each in records} == {
            ("succeeded", 2, 1)
        }
        assert mate.stop() == 0
        (later,) = place.send("tasks.traced")
        assert place.ended([later])[0].state == "succeeded"
        assert lonely.stop() == 0
