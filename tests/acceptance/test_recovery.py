"""How soon work goes on after a fault: measured, held against what is promised, and counted.

``RECOVERY_RUNS`` is how often each fault strikes (``make test-faults``: 10), with a short lease
and then once with lease and beat as a worker has them by default. What is promised holds each
time: the worst counts, not the median. In ``make test``, where it strikes once among other tests,
only that work goes on is judged, not how soon: then each gets so much more that it still fails
where the fault is not found out at all.
"""

import os
import signal
import time
from typing import NamedTuple

import pytest
import recoveries
from networks import store_on, url_on, worker_on
from servers import server
from wires import Proxy
from workers import CLOCKS, EVERY_STORE, eventually, site, site_on

from celeriac.conf import Settings


class Pace(NamedTuple):
    """Seconds of the workers of a test, and how often a fault strikes."""

    lease: float
    beat: float
    margin: float
    runs: int
    #: What the faults are called by it.
    name: str = ""


SHORT = Pace(4.0, 0.5, 1.0, recoveries.RUNS)
_DEFAULTS = Settings()
DEFAULT = Pace(
    _DEFAULTS.lease, _DEFAULTS.heartbeat, _DEFAULTS.lease_margin, 1, recoveries.BY_DEFAULT
)


@pytest.fixture(
    params=[SHORT, pytest.param(DEFAULT, marks=pytest.mark.faults)], ids=["short", "default"]
)
def pace(request):
    return request.param


def keep(pace, place):
    """Have the workers at *place* keep that pace; returns it."""
    place.environment |= {
        "LEASE": str(pace.lease), "HEARTBEAT": str(pace.beat), "LEASE_MARGIN": str(pace.margin),
    }  # fmt: skip
    return place


@pytest.fixture(params=EVERY_STORE)
def place(tmp_path, request, shared, pace):
    with site_on(request.param, tmp_path, shared, noting=True) as made:
        yield keep(pace, made)


@pytest.fixture(params=EVERY_STORE[1:])
def durable(request):
    """A server that keeps what it was told, whatever becomes of it."""
    with server(request.param, appendonly="yes", appendfsync="always") as made:
        yield made


@pytest.fixture
def within(record_property, request, pace):
    """Judge and note the seconds that a fault cost, each time."""
    named = [each for each in request.node.callspec.params.values() if isinstance(each, str)]
    (store,) = named or ["redis"]

    def judge(fault, limit, seconds):
        record_property("recovery", (store, fault + pace.name, limit, seconds))
        besides = recoveries.BESIDES if pace is SHORT else 0.0
        assert max(seconds) < limit + besides, (fault, seconds)
        assert min(seconds) > 0, "what has not been struck keeps what it has"

    return judge


def started(place, id, times):
    """When it began for the time with that number."""
    return place.wait_ledger("start", id, times)[times - 1].at


def test_an_executor_is_killed(place, pace, within, tally):
    worker = place.worker("-c", "1").ready()
    seconds, ids = [], []
    for _ in range(pace.runs):
        (id,) = place.send("tasks.nap_on")
        (line,) = place.wait_ledger("start", id)
        struck = time.monotonic()
        os.kill(line.pid, signal.SIGKILL)
        seconds.append(started(place, id, 2) - struck)
        ids.append(end(place, id, 2))
    within("an executor is killed", 1.0, seconds)
    tally(place, ids, faults=pace.runs)
    assert worker.stop() == 0


def end(place, id, times):
    """Let a task that naps on end."""
    (place.folder / f"end-{id}").touch()
    (record,) = place.ended([id])
    assert (record.state, len(place.ledger("start", id))) == ("succeeded", times)
    return id


def test_a_worker_is_killed_beside_another_on_its_host(place, pace, within, tally):
    seconds, ids = [], []
    # No lease runs out by itself within what one strike gets besides.
    long = {"LEASE": "120"} if pace is SHORT else {}
    for _ in range(pace.runs):
        doomed = place.worker("-c", "1", **long).ready()
        (id,) = place.send("tasks.nap_on")
        place.wait_ledger("start", id)
        other = place.worker("-c", "1", **long).ready()
        place.has_looked(other)
        struck = time.monotonic()
        doomed.kill()
        seconds.append(started(place, id, 2) - struck)
        ids.append(end(place, id, 2))
        assert other.stop() == 0
    within("a worker is killed, another is on its host", 2.0, seconds)
    tally(place, ids, faults=pace.runs)


def kept(place, worker, pace, id):
    """Have it that the task *id* begins once more only when the lease of *worker* has run out,
    which is not heard any more."""
    until = place.last_beat(worker) + pace.lease
    assert started(place, id, 2) > until - CLOCKS, "its lease had not run out"


def test_a_worker_goes_silent(place, pace, within, tally):
    """Its lock is held on, as it seems to be from another host: its lease has to run out."""
    seconds, ids = [], []
    for _ in range(pace.runs):
        silent = place.worker("-c", "1").ready()
        (id,) = place.send("tasks.nap_on")
        place.wait_ledger("start", id)
        other = place.worker("-c", "1").ready()
        struck = time.monotonic()
        for each in (silent.pid, *(child.pid for child in silent.children())):
            os.kill(each, signal.SIGSTOP)
        kept(place, silent, pace, id)
        seconds.append(started(place, id, 2) - struck)
        ids.append(end(place, id, 2))
        for each in (*(child.pid for child in silent.children()), silent.pid):
            os.kill(each, signal.SIGCONT)
        assert silent.stop() == 0
        assert other.stop() == 0
    within("a worker of another host goes silent", pace.lease + 5.0, seconds)
    tally(place, ids, faults=pace.runs)


@pytest.mark.faults
def test_a_worker_of_another_host_is_cut_off(hosts, tmp_path, pace, within, tally):
    """Really another host (a network namespace), and nobody is told that it cannot be reached."""
    seconds, ids = [], []
    broker = f"unix://{tmp_path / 'redis' / 'socket'}?db=0"
    with (
        store_on(hosts.host("store"), tmp_path / "redis"),
        site(tmp_path, broker=broker, noting=True) as place,
    ):
        keep(pace, place)
        url = url_on(hosts.host("store"))
        lonely = worker_on(hosts.host("lonely"), place, "-c", "1", BROKER=url).ready()
        for _ in range(pace.runs):
            (id,) = place.send("tasks.nap_on")
            place.wait_ledger("start", id)
            other = worker_on(hosts.host("other"), place, "-c", "1", BROKER=url).ready()
            struck = time.monotonic()
            hosts.host("lonely").cut_off()
            kept(place, lonely, pace, id)
            seconds.append(started(place, id, 2) - struck)
            ids.append(end(place, id, 2))
            assert other.stop() == 0
            lost = lonely.text().count("lease was lost")
            hosts.host("lonely").heal()
            eventually(lambda n=lost: lonely.text().count("lease was lost") > n, "it is fenced")
            eventually(lambda: len(place.alive_workers()) == 1, "it has begun anew")
        assert lonely.stop() == 0
        tally(place, ids, faults=pace.runs)
    within("a worker of another host is cut off by the network", pace.lease + 5.0, seconds)


def test_the_store_is_restarted(durable, tmp_path, pace, within, tally):
    seconds, ids = [], []
    with site(tmp_path, broker=durable.url, noting=True) as place:
        worker = keep(pace, place).worker("-c", "1").ready()
        for _ in range(pace.runs):
            before, after = place.send("tasks.nap_on", count=2)
            place.wait_ledger("start", before)
            durable.stop(signal.SIGKILL)
            time.sleep(2)  # so long it is away
            durable.start()
            back = time.monotonic()
            (place.folder / f"end-{before}").touch()
            seconds.append(started(place, after, 1) - back)
            ids += [end(place, after, 1), end(place, before, 1)]
        assert worker.stop() == 0
        tally(place, ids, faults=pace.runs)
    within("the store is killed and started again", 5.0, seconds)


def test_connections_are_black_holed(durable, tmp_path, pace, within, tally):
    """What is sent on those that there are is swallowed and never answered."""
    seconds, ids = [], []
    with Proxy(durable.port) as proxy, site(tmp_path, broker=durable.url, noting=True) as place:
        through = durable.url.replace(f":{durable.port}", f":{proxy.port}")
        worker = keep(pace, place).worker("-c", "1", BROKER=through).ready()
        for _ in range(pace.runs):
            (first,) = place.send("tasks.nap_on")
            place.wait_ledger("start", first)
            ids.append(end(place, first, 1))
            struck, before = time.monotonic(), proxy.accepted
            proxy.forsake()
            (id,) = place.send("tasks.nap_on")
            seconds.append(started(place, id, 1) - struck)
            assert proxy.accepted > before, "it was struck: the worker opened others"
            ids.append(end(place, id, 1))
        assert worker.stop() == 0
        tally(place, ids, faults=pace.runs)
    within("all connections are black-holed", pace.lease, seconds)
