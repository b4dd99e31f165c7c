"""Row 35 of the fault matrix: a failover to a replica that lacks the last writes.

Copying is stopped, the primary acknowledges more, and then the replica takes its place: the store
is as it was a while ago, and workers and clients know better. Which test shows which row stands in
`support/fault_matrix.py`.
"""

import contextlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import noting_worker
import psutil
import pytest
import servers
from servers import LOOPBACK
from wires import Proxy
from workers import Site, eventually, gone, site

from celeriac import Celeriac, states
from celeriac.exceptions import ResultNotFound


@pytest.fixture(params=["redis", pytest.param("valkey", marks=pytest.mark.faults)])
def place(tmp_path: Path, request):
    """A site that reaches primary or replica by one address; ``place.fail_over()`` switches it."""
    with (
        servers.copied(request.param) as group,
        Proxy(group.primary.port) as proxy,
        site(tmp_path, "fault_tasks.py", f"redis://{LOOPBACK}:{proxy.port}/0", noting=True) as made,
    ):

        def fail_over() -> None:
            group.promote()
            proxy.target = group.replica.port
            proxy.cut()

        made.group, made.fail_over = group, fail_over
        yield made


def part(place: Site) -> None:
    """From here on the replica knows nothing."""
    assert servers.caught_up(place.group)
    place.group.part()


def test_workers_go_on_from_what_the_new_primary_has(place: Site) -> None:
    worker = place.worker("-c", "3").ready()
    names = ("ends", "once", "on", "begins", "new")
    gates = {name: place.folder / f"gate-{name}" for name in names}
    (ends,) = place.send("tasks.wait_for", str(gates["ends"]))
    (once,) = place.send("tasks.wait_once_for", str(gates["once"]))
    (runs_on,) = place.send("tasks.wait_for", str(gates["on"]))
    for each in (ends, once, runs_on):
        place.wait_ledger("start", each)
    (begins,) = place.send("tasks.wait_for", str(gates["begins"]))
    eventually(lambda: place.record(runs_on).state == states.RUNNING, "it is told to run")
    (owner,) = [each.owner for each in place.alive_workers()]

    part(place)
    for name in ("ends", "once"):
        gates[name].touch()
    assert {each.state for each in place.ended([ends, once])} == {states.SUCCEEDED}
    (vanishes,) = place.send("tasks.wait_for", str(gates["new"]))
    doomed = [place.wait_ledger("start", each)[0].pid for each in (begins, vanishes)]
    before = len(noting_worker.read(place.ledger_path))
    app = Celeriac("client", broker=place.broker, set_as_current=False)
    with contextlib.closing(app), ThreadPoolExecutor(1) as pool:
        waiter = pool.submit(app.AsyncResult(vanishes).get, timeout=90)
        eventually(lambda: place.group.primary.do("PUBSUB", "CHANNELS", "*done:*"), "it waits")
        place.fail_over()
        # Whoever asks for what is gone is told so.
        with pytest.raises(ResultNotFound):
            waiter.result(100)

    # What ended in the meantime runs again, unless it must not; what runs on is left alone.
    records = dict(zip(("ends", "once"), place.ended([ends, once]), strict=True))
    assert records["ends"].state == states.SUCCEEDED
    assert len(place.ledger("start", ends)) == 2
    assert records["once"].state == states.FAILED
    assert "WorkerLostError" in records["once"].reason
    assert len(place.ledger("start", once)) == 1
    # What began in the meantime begins once more, and its first run is ended, as is that of what
    # nobody knows any more.
    again = place.wait_ledger("start", begins, 2)[1]
    for pid in doomed:
        eventually(lambda pid=pid: gone(pid), "what is not ours is ended")
    assert psutil.pid_exists(again.pid)
    for name in ("on", "begins"):
        gates[name].touch()
    later, earlier = place.ended([begins, runs_on])
    assert {later.state, earlier.state} == {states.SUCCEEDED}
    assert (earlier.attempt, earlier.losses) == (1, 0)
    assert len(place.ledger("start", runs_on)) == 1
    assert place.store.inspection.get([vanishes]) == [None]

    # It works on, as the same worker, and holds nothing; nothing was decided twice since.
    more = place.send("tasks.traced", count=20)
    assert {each.state for each in place.ended(more)} == {states.SUCCEEDED}
    eventually(lambda: [each.held for each in place.alive_workers()] == [0], "it holds nothing")
    assert [each.owner for each in place.alive_workers()] == [owner]
    decided = Counter(
        each.id for each in noting_worker.read(place.ledger_path)[before:] if each.decides
    )
    assert set(decided.values()) == {1}
    assert vanishes not in decided
    assert worker.stop() == 0
