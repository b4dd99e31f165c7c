"""Row 36 of the fault matrix on real file systems: the disk fills up under a worker at work.

For longer than a lease, so that nobody's heartbeat arrives either. Which test shows which row
stands in `support/fault_matrix.py`.
"""

import contextlib
import time
from collections import Counter
from pathlib import Path

import pytest
from disks import Disk
from servers import BINARIES, Server, folder, free_ports
from workers import Site, Worker, site

from celeriac import states

#: Seconds of these workers; a full disk lasts so much longer.
LEASE = 4.0
LASTS = 1.5 * LEASE
#: What is left on the disk for those who send, before it is full.
LEFT = 1_500_000
FILL = """
import tasks
from celeriac.exceptions import StoreFull
try:
    while True:
        print(tasks.give.apply_async(('x' * 2000,), queue='nobody').id)
except StoreFull as error:
    assert 'nothing was stored' in str(error), error
"""
REFUSED = """
import tasks
from celeriac.exceptions import StoreFull
try:
    tasks.give.delay('x' * 20_000)
except StoreFull as error:
    print('refused')
"""


def run_into_the_wall(place: Site, disk: Disk, worker: Worker, told: str) -> list[str]:
    """Two tasks run, the disk fills up, they end, a while later there is room again. Returns their
    ids and those of what was acknowledged while it filled up."""
    gate = place.folder / "gate"
    running = place.send("tasks.wait_for", str(gate), 60_000, count=2)
    for each in running:
        place.wait_ledger("start", each)
    disk.leave(LEFT)
    kept = place.python(FILL).split()
    assert len(kept) > 50
    gate.touch()
    for each in running:
        place.wait_ledger("end", each)
    worker.wait_for(told)
    full = time.monotonic()
    while time.monotonic() - full < LASTS:
        assert worker.process.poll() is None
        assert place.python(REFUSED).strip() == "refused"
        time.sleep(0.2)
    # Nothing could be written: they are what they were before.
    assert {place.record(each).state for each in running} <= {states.LEASED, states.RUNNING}
    disk.make_room()
    return [*running, *kept]


def judged(place: Site, tally, ids: list[str]) -> None:
    """The two ran once and have ended, everything else is there, and work goes on."""
    running, kept = ids[:2], ids[2:]
    records = tally(place, running, faults=1)
    assert {(each.state, each.crashes, each.losses) for each in records} == {
        (states.SUCCEEDED, 0, 0)
    }
    assert Counter(line.id for line in place.ledger("start")) == dict.fromkeys(running, 1)
    assert {each.state for each in place.store.inspection.get(kept)} == {states.QUEUED}
    (after,) = place.ended(place.send("tasks.traced"))
    assert after.state == states.SUCCEEDED


@pytest.mark.faults
def test_a_database_on_a_disk_that_is_full(tmp_path: Path, small_disk: Disk, tally) -> None:
    broker = f"sqlite:///{small_disk.path}/jobs.db"
    with site(tmp_path, "fault_tasks.py", broker, noting=True) as place:
        worker = place.worker("-c", "2").ready()
        ids = run_into_the_wall(place, small_disk, worker, "No room left for the database")
        judged(place, tally, ids)
        assert worker.stop() == 0


@pytest.mark.faults
@pytest.mark.parametrize("kind", ["redis", "valkey", "redis-6.2"])
def test_a_server_whose_disk_is_full(tmp_path: Path, small_disk: Disk, tally, kind: str) -> None:
    """It cannot write its log of commands (MISCONF), and takes nothing more until it can."""
    with contextlib.ExitStack() as stack:
        elsewhere = stack.enter_context(folder())
        (port,) = free_ports(1)
        options = {
            "appendonly": "yes", "appendfsync": "everysec", "auto-aof-rewrite-percentage": "0",
            "logfile": str(elsewhere / "log"),
        }  # fmt: skip
        server = Server(small_disk.path, BINARIES[kind](), port, options)
        stack.callback(server.stop)
        server.start()
        place = stack.enter_context(site(tmp_path, "fault_tasks.py", server.url, noting=True))
        worker = place.worker("-c", "2").ready()
        ids = run_into_the_wall(place, small_disk, worker, "It cannot write to its disk")
        judged(place, tally, ids)
        assert worker.stop() == 0
        # It is all on the disk, too.
        server.stop(9)
        server.start()
        found = place.store.inspection.get(ids)
        assert Counter(each.state for each in found) == {
            states.SUCCEEDED: 2, states.QUEUED: len(ids) - 2,
        }  # fmt: skip
