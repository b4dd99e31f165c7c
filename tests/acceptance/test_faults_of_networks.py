"""Rows 31 and 33 of the fault matrix on real networks: hosts that cannot reach each other any more.

Each host is a network namespace (``support/networks.py``): packets are lost without a word, as the
proxy of ``test_faults_of_links.py`` cannot have it, and workers of two hosts know nothing of each
other but what the store tells.
"""

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from networks import store_on, url_on, worker_on
from workers import DEADLINE, Site, eventually, site

from celeriac import states

#: Seconds of the workers here.
LEASE = 4.0
#: What a busy machine may take besides.
SLACK = 1.5


@pytest.fixture
def served(hosts, tmp_path: Path):
    """The host of a store, and a site whose workers are to be started on hosts."""
    with store_on(hosts.host("store", 1), tmp_path / "redis") as server:
        outside = f"unix://{tmp_path / 'redis' / 'socket'}?db=0"
        with site(tmp_path, "fault_tasks.py", outside) as place:
            place.server = server
            place.hosts = hosts
            place.url = url_on(hosts.host("store"))
            yield place


def begin(place: Site, name: str, slots: int = 2):
    host = place.hosts.host(name)
    return worker_on(host, place, "-c", str(slots), BROKER=place.url, LEASE=str(LEASE))


def owners(place: Site) -> dict[str, str]:
    """Host name → incarnation, of the workers that live."""
    return {each.manifest.hostname: each.owner for each in place.alive_workers()}


def value(place: Site, id: str) -> object:
    out = place.python(f"import tasks\nprint(tasks.app.AsyncResult({id!r}).get(timeout=30))\n")
    return out.strip()


@pytest.mark.faults
def test_a_worker_of_a_host_that_is_cut_off_is_fenced_and_begins_anew(served: Site) -> None:
    """For longer than its lease. One of its tasks runs until it is healed, another ends before."""
    place, lonely_host = served, served.hosts.host("lonely")
    lonely = begin(place, "lonely").ready()
    gates = [place.folder / "gate-0", place.folder / "gate-1"]
    runs_on, ends_alone = (place.send("tasks.pid_behind", str(gate))[0] for gate in gates)
    first = {id: place.wait_ledger("start", id)[0] for id in (runs_on, ends_alone)}
    mate = begin(place, "mate").ready()
    before = owners(place)["lonely@lonely"]

    lonely_host.cut_off()
    struck = time.monotonic()
    again = {id: place.wait_ledger("start", id, 2)[1] for id in first}
    for line in again.values():
        assert LEASE - 2.0 < line.at - struck < LEASE + 5.0 + SLACK
    # Twice its lease and more, so that it has long known that it may trust it no longer.
    gates[1].touch()
    assert place.ended([ends_alone])[0].state == states.SUCCEEDED
    eventually(lambda: len(place.ledger("end", ends_alone)) == 2, "both runs of it have ended")
    eventually(lambda: time.monotonic() - struck > 2 * LEASE, "it has been cut off long enough")
    assert psutil.pid_exists(first[runs_on].pid)
    assert lonely.process.poll() is None

    lonely_host.heal()
    lonely.wait_for("lease was lost")
    eventually(lambda: not psutil.pid_exists(first[runs_on].pid), "what it ran is ended")
    gates[0].touch()
    records = place.ended([runs_on, ends_alone])
    assert {(each.state, each.attempt, each.losses) for each in records} == {
        (states.SUCCEEDED, 2, 1)
    }
    # What the lonely one had to say of its run was refused, though it came last.
    assert [value(place, id) for id in again] == [str(line.pid) for line in again.values()]
    assert [each.worker for each in records] == ["mate@mate"] * 2
    eventually(lambda: owners(place).get("lonely@lonely", before) != before, "a new incarnation")
    assert mate.stop() == 0
    (later,) = place.send("tasks.traced")
    assert place.ended([later])[0].worker == "lonely@lonely"
    assert lonely.stop() == 0


WAITER = """
import tasks
print("waits", flush=True)
print(tasks.app.AsyncResult({id!r}).get(timeout=120), flush=True)
"""


@pytest.mark.faults
def test_connections_to_a_host_that_has_vanished_are_given_up_in_time(served: Site) -> None:
    """The store's host dies and comes back, and the ends of the old connections are told nothing
    meanwhile: those of a worker that runs a task, of one that waits for work, of a client."""
    place, store = served, served.hosts.host("store")
    busy = begin(place, "busy", slots=1).ready()
    gate = place.folder / "gate"
    (running,) = place.send("tasks.pid_behind", str(gate))
    (begun,) = place.wait_ledger("start", running)
    idle = begin(place, "idle", slots=1).ready()
    app = place.hosts.host("app")
    waiter = subprocess.Popen(
        [*app.on, sys.executable, "-c", WAITER.format(id=running)],
        cwd=place.folder, env={**place.environment, "BROKER": place.url},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert waiter.stdout is not None
        assert waiter.stdout.readline() == "waits\n"
        listening = ("PUBSUB", "CHANNELS", f"*done:{running}")
        eventually(lambda: place.server.do(*listening), "it waits")

        store.cut_off()
        struck = time.monotonic()
        place.server.stop(9)
        place.hosts.destroy(store)
        gate.touch()  # what came of it has nowhere to go yet
        for worker in (busy, idle):
            worker.wait_for("No heartbeat")
        assert time.monotonic() - struck < 5.0 + LEASE / 8 + SLACK
        busy.wait_for("The store does not answer; outcomes are held and retried")

        place.hosts.host("store", 1)
        place.server.start()
        back = time.monotonic()
        (after,) = place.send("tasks.traced")
        place.wait_ledger("start", after)
        assert time.monotonic() - back < 5.0 + 2 * SLACK
        records = place.ended([running, after])
        assert {each.state for each in records} == {states.SUCCEEDED}
        assert waiter.wait(DEADLINE) == 0
        # Whoever ran it last, the client got what the store has.
        assert waiter.stdout.read().strip() == value(place, running)
        assert len(place.ledger("end", running)) <= records[0].attempt
        assert begun.attempt == 1
        assert [worker.stop() for worker in (busy, idle)] == [0, 0]
    finally:
        waiter.kill()
        waiter.wait()
        waiter.stdout.close()


SENDER = """
import sys, time
import tasks
from celeriac.exceptions import OperationalError

if sys.argv[1] == "warm":
    print(tasks.traced.delay().id, flush=True)
    sys.stdin.readline()
for _ in range(2):
    began = time.monotonic()
    try:
        tasks.traced.delay()
        print("sent", flush=True)
    except OperationalError as error:
        print(f"{time.monotonic() - began:.2f}", error, flush=True)
if sys.argv[1] == "warm":
    sys.stdin.readline()
    print(tasks.traced.delay().id, flush=True)
"""


def sender(place: Site, how: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*place.hosts.host("app").on, sys.executable, "-c", SENDER, how],
        cwd=place.folder, env={**place.environment, "BROKER": place.url},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_who_sends_while_its_host_is_cut_off_is_told_within_its_budget(served: Site) -> None:
    """One whose connection was good, and one that comes when there is none to be had."""
    place, app = served, served.hosts.host("app")
    warm = sender(place, "warm")
    cold = None
    try:
        sent = [warm.stdout.readline().strip()]
        app.cut_off()
        cold = sender(place, "cold")
        warm.stdin.write("go on\n")
        warm.stdin.flush()
        for each in (warm, cold):
            for _ in range(2):
                seconds, _, told = each.stdout.readline().partition(" ")
                assert float(seconds) < 5.0 + SLACK / 3, told
                assert told.strip()
        app.heal()
        warm.stdin.write("go on\n")
        warm.stdin.flush()
        sent.append(warm.stdout.readline().strip())
        assert [each.wait(DEADLINE) for each in (warm, cold)] == [0, 0]
        assert {each.state for each in place.store.inspection.get(sent)} == {states.QUEUED}
    finally:
        for each in (warm, cold):
            if each is not None:
                each.kill()
                each.wait()
                each.stdin.close()
                each.stdout.close()
