"""Rows 27 and 29 of the fault matrix: the store is away for much longer than a lease.

It is killed, or says nothing; workers run tasks, or wait for some. Every time counts, not the
usual one. Which test shows which row stands in `support/fault_matrix.py`.
"""

import signal
import sys
import threading
import time
from pathlib import Path
from subprocess import PIPE, Popen

import pytest
from servers import server
from workers import Site, Worker, eventually, site

from celeriac import states

#: Seconds within which everything goes on once the store is back, and what a call may take.
RETURN = BUDGET = 5.0
#: What a busy machine may add to the time of one call.
SLACK = 1.5
SEND = """
import sys, time
import tasks
from celeriac.exceptions import OperationalError
print("ready", flush=True)
for line in sys.stdin:
    began = time.monotonic()
    try:
        tasks.traced.delay()
        print("sent", flush=True)
    except OperationalError:
        print(time.monotonic() - began, flush=True)
"""


@pytest.fixture(params=["redis", pytest.param("valkey", marks=pytest.mark.faults)])
def durable(request):
    """A server that keeps what it was told, whatever becomes of it."""
    with server(request.param, appendonly="yes", appendfsync="always") as made:
        yield made


@pytest.fixture
def place(tmp_path: Path, durable):
    with site(tmp_path, "fault_tasks.py", durable.url, noting=True) as made:
        made.server = durable
        yield made


def begin(place: Site, queue: str) -> Worker:
    return place.worker("-c", "2", "-Q", queue, "-n", f"{queue}@here").ready()


def refused(place: Site, seconds: float) -> list[float]:
    """Send again and again for so long, with the store away: how long each call took."""
    took = []
    with Popen(
        [sys.executable, "-c", SEND], cwd=place.folder, env=place.environment, text=True,
        stdin=PIPE, stdout=PIPE,
    ) as client:  # fmt: skip
        assert client.stdout.readline() == "ready\n"
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            client.stdin.write("send\n")
            client.stdin.flush()
            took.append(float(client.stdout.readline()))
        client.stdin.close()
    return took


@pytest.mark.faults
@pytest.mark.parametrize("how", ["gone", "silent"])
@pytest.mark.parametrize("seconds", [12, 60])
def test_work_goes_on_in_time_after_an_outage(place: Site, tally, how: str, seconds: int) -> None:
    busy, idle = (begin(place, name) for name in ("busy", "idle"))
    gates = [place.folder / "gate-0", place.folder / "gate-1"]
    ends, runs_on = (place.send("tasks.wait_for", str(gate), queue="busy")[0] for gate in gates)
    for each in (ends, runs_on):
        place.wait_ledger("start", each)
    eventually(lambda: place.record(runs_on).state == states.RUNNING, "it is told to run")
    # What is to begin once the store is back is there before: sending takes time of its own.
    (due,) = place.send("tasks.traced", queue="idle", countdown=seconds - 1)
    struck = time.monotonic()
    if how == "gone":
        place.server.stop(signal.SIGKILL)
    else:
        place.server.pause()
    gates[0].touch()
    place.wait_ledger("end", ends)
    took = refused(place, seconds - BUDGET - SLACK)
    assert took
    assert max(took) < BUDGET + SLACK, took
    threading.Event().wait(struck + seconds - time.monotonic())
    if how == "gone":
        place.server.start()
    else:
        place.server.resume()
    back = time.monotonic()

    eventually(lambda: place.record(ends).state == states.SUCCEEDED, "what ended is known")
    told = time.monotonic() - back
    begun = place.wait_ledger("start", due)[0].at - back
    (after,) = place.send("tasks.traced", queue="busy")
    place.wait_ledger("start", after)
    print(f"known after {told:.2f} s, begun after {begun:.2f} s; calls took {max(took):.2f} s")
    assert max(told, begun) < RETURN
    assert place.record(runs_on).state == states.RUNNING
    gates[1].touch()
    records = tally(place, [ends, runs_on, due, after], faults=1)
    assert {(each.state, each.attempt, each.losses) for each in records} == {
        (states.SUCCEEDED, 1, 0)
    }
    assert len(place.ledger("start")) == len(records)
    assert [each.stop() for each in (busy, idle)] == [0, 0]
