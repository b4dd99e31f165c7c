"""What the hot statements of the SQLite store cost does not grow with what is stored."""

import statistics
import time

import pytest

from celeriac.clock import ManualClock
from celeriac.message import Header, compose
from celeriac.outcome import Outcome
from celeriac.records import Commit, Manifest, TaskFacts, Want
from celeriac.stores import connect
from celeriac.stores.base import Options
from celeriac.stores.sqlite import commits, lease, owners, reap, results, waiter

MANIFEST = Manifest(tasks={"job": TaskFacts()})


def send(store, count, start=0, **header):
    for first in range(start, start + count, 1000):
        store.queue.enqueue(
            [
                compose(Header(f"{header}{n}"[-40:], "job", "n", **header), b"[[],{}]")
                for n in range(first, min(first + 1000, start + count))
            ]
        )


def rounds(store, owner, count):
    """Seconds of CPU of each exchange that commits 100 and leases 100."""
    store.queue.register(owner, MANIFEST)
    spent, held = [], ()
    for seq in range(1, count + 1):
        done = [Commit(each.fence, Outcome("succeeded", body=b"r" * 40)) for each in held]
        began = time.process_time()
        held = store.queue.exchange(owner, 0, seq, done, [], ["celery"], Want(free=100)).deliveries
        spent.append(time.process_time() - began)
        assert len(held) == 100
    return spent[1:]


@pytest.mark.slow
def test_an_exchange_costs_the_same_with_200_000_records(tmp_path):
    store = connect(f"sqlite:///{tmp_path}/jobs.db", Options(durability="relaxed"))
    send(store, 5_000)
    few = statistics.median(rounds(store, "w1", 20))
    send(store, 100_000, start=5_000)
    send(store, 50_000, queue="another")
    send(store, 50_000, queue="later", eta=time.time() + 3600)
    many = statistics.median(rounds(store, "w2", 20))
    # A scan of the table would make it hundreds of times dearer; caches that no longer hold
    # everything make it somewhat dearer.
    assert many < 4 * few, f"{few * 1000:.2f} ms with few, {many * 1000:.2f} ms with many"


@pytest.mark.slow
def test_retention_lets_writers_in_between_its_batches(tmp_path, monkeypatch):
    clock = ManualClock(wall=time.time())
    store = connect(f"sqlite:///{tmp_path}/jobs.db", Options(result_expires=10.0, clock=clock))
    send(store, 5_000)
    store.queue.purge(["celery"])
    clock.advance(11)
    batches = []
    sweep = reap._sweep_due

    def watched(step):
        found = sweep(step)
        batches.append(found[0])
        return found

    monkeypatch.setattr(reap, "_sweep_due", watched)
    swept = 0
    while swept < 5_000:
        swept += store.queue.reap().swept
    assert swept == 5_000
    assert max(batches) <= reap.BATCH


# -- query plans: no statement of the hot path may scan a table or sort


def statements():
    return {
        f"{module.__name__.rsplit('.', 1)[-1]}.{name}": getattr(module, name)
        for module, names in (
            (commits, ("_END_KEPT", "_END_SHRUNK", "_START", "_SEQS", "_RESULT")),
            (
                lease,
                ("_DUE", "_HEAD", "_PARKED_NEXT", "_PARKED_OLDEST", "_LEASE", "_WIRES", "_LEFT"),
            ),
            (owners, ("_REVOKED",)),
            (
                reap,
                ("_EXPIRED", "_DROPPED", "_NEXT_QUEUE", "_OPEN", "COUNT_ASIDE", "_OLDEST_ASIDE"),
            ),
            (results, ("_READ", "_STATES")),
            (waiter, ("_WORK", "_NEXT")),
        )
        for name in names
    }


@pytest.mark.parametrize("name", statements())
def test_the_plan_neither_scans_nor_sorts(tmp_path, name):
    store = connect(f"sqlite:///{tmp_path}/jobs.db")
    base = store.queue._database
    sql = base.sql(statements()[name])
    with base.reading() as reading:
        marks = [None] * sql.count("?")
        plan = [
            str(row[3]) for row in reading.connection.execute(f"EXPLAIN QUERY PLAN {sql}", marks)
        ]
    bad = [
        step
        for step in plan
        # A partial index that holds only what is looked for may be walked from its beginning.
        if (
            "SCAN" in step
            and "USING INDEX" not in step
            and "USING COVERING INDEX" not in step
            and "carray" not in step
            and "SCAN CONSTANT ROW" not in step
        )
        or "TEMP B-TREE" in step
    ]
    assert not bad, plan
