"""Deploys: a worker that is told to stop, and workers that are replaced one by one under load.

``DEPLOY_GRACE`` is the grace in seconds of the first; ``make test-faults`` gives it 25.
"""

import os
import signal
import subprocess
import sys
import time

import pytest
from workers import DEADLINE, EVERY_POOL, EVERY_STORE, eventually, site_on

GRACE = float(os.environ.get("DEPLOY_GRACE", "5"))
#: Seconds after a worker's end by which what it had to leave runs elsewhere; on a machine that runs
#: other tests, too, the fourfold.
SOON = 5.0 if "DEPLOY_GRACE" in os.environ else 20.0
#: Sends until a file says that it is enough, and writes down what was acknowledged.
SENDER = """
import itertools, os, tasks, time
sent = open("sent", "w", buffering=1)
for number in itertools.count():
    if os.path.exists("enough"):
        break
    print(tasks.nap.delay((0.0, 0.02, 0.1)[number % 3]).id, file=sent)
    time.sleep(0.01)
"""


@pytest.fixture(params=EVERY_STORE)
def place(tmp_path, request, shared):
    with site_on(request.param, tmp_path, shared, noting=True) as made:
        yield made


@pytest.mark.parametrize("pool", EVERY_POOL)
def test_short_tasks_are_done_and_long_ones_run_elsewhere(place, tally, pool):
    """The short ones all run when the worker says that it stops, and end within its grace."""
    leaving = place.worker("-P", pool, "-c", "20", GRACE=str(GRACE)).ready()
    short = place.send("tasks.nap_on", count=10)
    long = place.send("tasks.nap", 600, count=10)
    for id in (*short, *long):
        place.wait_ledger("start", id)
    staying = place.worker("-P", pool, "-c", "20").ready()
    told = time.monotonic()
    leaving.send(signal.SIGTERM)
    leaving.wait_for(f"SIGTERM: stopping; running tasks have {GRACE:g} s to finish")
    assert not place.ledger("end")
    for id in short:
        (place.folder / f"end-{id}").touch()
    assert leaving.process.wait(GRACE + DEADLINE) == 0, leaving.text()
    left = time.monotonic()
    assert GRACE <= left - told < GRACE + SOON, "the long ones had all of the grace, no more"
    for record in tally(place, short, faults=1):
        assert (record.state, record.attempt) == ("succeeded", 1)
        assert len(place.ledger("start", record.id)) == 1
    theirs = {child.pid for child in staying.titled("executor")}
    for id in long:
        first, second = place.wait_ledger("start", id, 2)
        assert first.pid not in theirs
        assert second.pid in theirs
        assert second.at - left < SOON
        record = place.record(id)
        assert (record.crashes, record.losses, record.retries) == (0, 0, 0)
    (view,) = place.alive_workers()  # and the other has left
    assert view.held == 10
    place.store.queue.revoke(long, terminate="SIGKILL")
    ended = tally(place, long, interrupted=dict.fromkeys(long, 1))
    assert {each.state for each in ended} == {"revoked"}


@pytest.mark.parametrize("pool", EVERY_POOL)
def test_workers_are_replaced_one_by_one_under_load(place, tally, pool):
    options = ("-P", pool, "-c", "2")
    workers = [place.worker(*options, "-n", f"w{n}@here").ready() for n in range(3)]
    with (place.folder / "sender.log").open("wb") as log:
        sender = subprocess.Popen(
            [sys.executable, "-c", SENDER],
            cwd=place.folder, env=place.environment, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        for number, old in enumerate(workers):
            begins_something(place, old)
            assert old.stop(signal.SIGTERM) == 0, old.text()
            begins_something(place, place.worker(*options, "-n", f"w{number}@here").ready())
        assert sender.poll() is None, "there was load all the time"
        sent = place.folder / "sent"
        eventually(lambda: sent.read_text().count("\n") > 150, "enough has been sent")
        (place.folder / "enough").touch()
        assert sender.wait(DEADLINE) == 0, (place.folder / "sender.log").read_text()
    finally:
        sender.kill()
        sender.wait(DEADLINE)
    ids = (place.folder / "sent").read_text().split()
    lost = [each.id for each in tally(place, ids, faults=3) if each.state != "succeeded"]
    assert not lost
    starts = [line.id for line in place.ledger("start")]
    assert sorted(starts) == sorted(ids)  # none ran twice


def begins_something(place, worker):
    """Wait until a task begins in *worker* that has not begun by now."""
    before = len(place.ledger("start"))

    def begun():
        own = {child.pid for child in worker.titled("executor")}
        return any(line.pid in own for line in place.ledger("start")[before:])

    eventually(begun, "a task begins there")
