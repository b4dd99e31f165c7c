"""``--autoscale=MAX,MIN``: real workers that grow while work waits and shrink when it is done."""

from pathlib import Path

import pytest
from pools import began
from workers import Site, Worker, eventually, site


@pytest.fixture
def place(tmp_path: Path):
    with site(tmp_path, "shared_pool_tasks.py") as found:
        yield found


def start(place: Site, *options: str, **environment: str) -> Worker:
    return place.worker(*options, **environment).ready()


def test_prefork_grows_while_work_waits_and_shrinks_when_idle(place: Site) -> None:
    worker = start(place, "--autoscale=4,1", KEEPALIVE="1")
    assert "prefork, 1 to 4 executor(s)" in worker.text()
    eventually(lambda: len(worker.titled("executor")) == 1, "one executor")
    gate = place.folder / "gate"
    ids = place.send("tasks.wait_for", str(gate), count=7)
    eventually(lambda: len(place.ledger("start")) == 4, "four begun")
    assert len(worker.titled("executor")) == 4
    gate.touch()
    records = place.ended(ids)
    assert {(each.state, each.attempt, each.crashes) for each in records} == {("succeeded", 1, 0)}
    eventually(lambda: len(worker.titled("executor")) == 1, "one executor again")
    (after,) = place.send("tasks.whoami")
    assert place.ended([after])[0].state == "succeeded"
    assert worker.stop() == 0
    assert place.store.inspection.workers() == []


def test_what_waits_behind_long_tasks_makes_the_pool_grow(place: Site) -> None:
    """Nor is it handed back for others to run, and leased again, without end."""
    worker = start(place, "--autoscale=8,2", KEEPALIVE="60")
    gate = place.folder / "gate"
    long = place.send("tasks.wait_for", str(gate), count=2)
    eventually(lambda: len(place.ledger("start")) == 2, "both have begun")
    (third,) = place.send("tasks.whoami")
    assert place.ended([third])[0].state == "succeeded"
    assert worker.text().count(f"[{third}] received") <= 3
    gate.touch()
    place.ended(long)


@pytest.mark.parametrize(
    ("pool", "task"), [("threads", "tasks.wait_for"), ("asyncio", "tasks.until")]
)
def test_shared_pools_grow_and_shrink_within_one_executor(
    place: Site, pool: str, task: str
) -> None:
    worker = start(place, "-P", pool, "--autoscale=10,2", KEEPALIVE="1")
    assert f"{pool}, 2 to 10 task(s) at once in one executor" in worker.text()
    gate = place.folder / "gate"
    ids = place.send(task, str(gate), count=14)
    eventually(lambda: len(place.ledger("start")) == 10, "ten begun")
    assert len(worker.titled("executor")) == 1
    gate.touch()
    place.ended(ids)
    began(place, ids)
    worker.wait_for("Autoscaling: 2 task(s) at once")
    assert place.record(ids[0]).attempt == 1


def test_a_queue_of_brief_tasks_is_worked_off(place: Site) -> None:
    start(place, "--autoscale=3,1")
    place.python("import tasks\ntasks.app.enqueue_many(tasks.add.s(1, 2) for _ in range(3000))\n")

    def ended() -> int:
        return place.store.inspection.counts().states["celery"].get("succeeded", 0)

    eventually(lambda: ended() == 3000, "3,000 tasks ended")
