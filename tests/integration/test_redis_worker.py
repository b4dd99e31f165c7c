"""Real workers on a real Redis: work, death of everybody, restart of the server, lost scripts."""

import signal
import time

import pytest
from servers import server
from workers import eventually, site


@pytest.fixture(params=["redis", "valkey"])
def place(tmp_path, request):
    with (
        server(request.param, appendonly="yes", appendfsync="always") as found,
        site(tmp_path, broker=found.url, noting=True) as made,
    ):
        made.server = found
        yield made


def test_tasks_run_and_their_results_are_read(place):
    place.worker().ready()
    out = place.python(
        "import tasks\n"
        "results = [tasks.add.delay(n, 1) for n in range(50)]\n"
        "print(sum(each.get(timeout=50) for each in results))\n"
        "print(tasks.flaky.delay(2).get(timeout=50))\n"
    )
    assert out.split() == [str(sum(range(50)) + 50), "2"]


def test_everybody_is_killed_and_nothing_is_lost(place, tally):
    ids = place.send("tasks.nap", 0.05, count=60)
    first = place.worker()
    place.wait_ledger("start", ids[0])
    eventually(lambda: len(place.ledger("end")) >= 10, "ten have ended")
    first.kill()
    # The server, too: what it acknowledged is in its log.
    place.server.stop(signal.SIGKILL)
    place.server.start()
    place.worker().ready()
    records = tally(place, ids, faults=2)
    assert {record.state for record in records} == {"succeeded"}


def test_a_worker_goes_on_after_a_restart_of_the_server(place, tally):
    worker = place.worker().ready()
    before = place.send("tasks.traced", count=5)
    place.ended(before)
    place.server.stop()
    place.server.start()
    # None of the scripts is in the new server's cache.
    after = place.send("tasks.traced", count=5)
    records = tally(place, [*before, *after], faults=1)
    assert {record.state for record in records} == {"succeeded"}
    assert worker.process.poll() is None
    assert worker.stop() == 0


def test_a_dead_workers_tasks_run_elsewhere(place):
    first = place.worker("-c", "1").ready()
    (task_id,) = place.send("tasks.nap_on")
    place.wait_ledger("start", task_id)
    first.kill()
    begun = time.monotonic()
    place.worker("-c", "1").ready()
    place.wait_ledger("start", task_id, 2)
    (place.folder / f"end-{task_id}").touch()
    (record,) = place.ended([task_id])
    assert (record.state, record.losses, record.attempt) == ("succeeded", 1, 2)
    assert time.monotonic() - begun < 30


def test_a_graceful_stop_leaves_nothing_leased(place):
    worker = place.worker(GRACE="0.2").ready()
    ids = place.send("tasks.nap", 300, count=4)
    eventually(lambda: place.ledger("start"), "one has begun")
    assert worker.stop() == 0
    states = {place.record(each).state for each in ids}
    assert states == {"queued"}
    assert place.store.inspection.workers() == []
