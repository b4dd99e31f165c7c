"""Rate limits with real workers: the rate is kept, and nobody else is held up."""

import time
from pathlib import Path

import pytest
from workers import DEADLINE, Site, eventually, site

from celeriac import Celeriac
from celeriac.testing.worker import start_worker


@pytest.fixture
def place(tmp_path: Path):
    with site(tmp_path, "routing_tasks.py") as found:
        yield found


def send(place: Site, *calls: tuple[str, int]) -> list[list[str]]:
    """Send calls of tasks, each so often, in one step."""
    out = place.python(
        "from tasks import *\n"
        f"calls = {list(calls)!r}\n"
        "all = [app.tasks[f'tasks.{name}'].s() for name, count in calls for _ in range(count)]\n"
        "for each in app.enqueue_many(all):\n"
        "    print(each.id)\n"
    ).split()
    ids = iter(out)
    return [[next(ids) for _ in range(count)] for _, count in calls]


def test_the_rate_is_kept_while_others_run_at_full_speed(place: Site) -> None:
    slow, quick = send(place, ("slow", 40), ("quick", 1000))
    before = time.monotonic()
    place.worker("-c", "2").ready()
    place.ended(quick)
    place.ended(slow)
    began = sorted(line.at for line in place.ledger("slow"))
    fast = sorted(line.at for line in place.ledger("quick"))
    assert len(began) == 40
    # Ten a second: none begins before its turn. When it begins after it is the machine's affair,
    # so that nothing can be said of two of them.
    assert all(at - before > number / 10 - 0.2 for number, at in enumerate(began))
    # The others stood behind all forty in the queue, and did not wait for them.
    assert fast[0] < began[-1]
    assert len(fast) == 1000


def test_many_that_wait_go_out_of_the_way(place: Site) -> None:
    """Three hundred of a task that may begin twice an hour are in nobody's way."""
    rare, quick = send(place, ("rare", 300), ("quick", 20))
    worker = place.worker("-c", "1").ready()
    place.ended(quick)
    assert len(place.ledger("rare")) == 1

    def put_back() -> bool:
        found = place.store.inspection.get(rare)
        states = [each.state for each in found if each is not None]
        return states.count("scheduled") >= 290

    eventually(put_back, "the rest is back in the store")
    (waiting,) = place.store.inspection.list(["scheduled"], limit=1)
    out = place.python(
        "import subprocess, sys\n"
        f"subprocess.run([sys.executable, '-m', 'celeriac', '-A', 'tasks', 'why', {waiting.id!r}])"
    )
    assert "Held back by its rate limit" in out
    assert "begins at most 2/h of tasks.rare. It is offered" in out
    assert worker.stop() == 0
    found = [each for each in place.store.inspection.get(rare) if each is not None]
    assert {each.state for each in found} <= {"succeeded", "scheduled", "queued"}
    assert {each.attempt for each in found if each.state != "succeeded"} == {0}
    assert {each.losses + each.crashes for each in found} == {0}


def test_at_most_once_tasks_are_limited_and_not_lost(place: Site) -> None:
    once, quick = send(place, ("slow_once", 30), ("quick", 20))
    before = time.monotonic()
    place.worker("-c", "2").ready()
    assert {each.state for each in place.ended([*once, *quick])} == {"succeeded"}
    began = sorted(line.at for line in place.ledger("once"))
    assert len(began) == 30
    assert began[-1] - before > 2.7


def test_a_burst_ends_when_limited_tasks_have_ended(place: Site) -> None:
    (slow,) = send(place, ("slow", 45))
    worker = place.worker("--burst")
    assert worker.process.wait(DEADLINE) == 0
    assert {place.record(id).state for id in slow} == {"succeeded"}


def test_a_default_for_all_tasks_and_a_switch(place: Site) -> None:
    (quick,) = send(place, ("quick", 60))
    before = time.monotonic()
    worker = place.worker(CELERIAC_TASK_DEFAULT_RATE_LIMIT="10/s").ready()
    place.ended(quick)
    began = sorted(line.at for line in place.ledger("quick"))
    assert began[-1] - before > 5.8
    assert worker.stop() == 0
    (slow,) = send(place, ("slow", 60))
    place.worker(CELERIAC_WORKER_DISABLE_RATE_LIMITS="true").ready()
    place.ended(slow)
    began = sorted(line.at for line in place.ledger("slow"))
    assert began[-1] - began[0] < 5.8


def test_a_limit_can_be_changed_while_the_worker_runs(place: Site) -> None:
    (rare,) = send(place, ("rare", 20))
    place.worker("-c", "1").ready()
    place.wait_ledger("rare", place.ended(rare[:1])[0].id)
    assert len(place.ledger("rare")) == 1
    place.python("from tasks import *; app.control.rate_limit('tasks.rare', '200/s')")
    # The command is told, not waited for.
    eventually(
        lambda: place.alive_workers()[0].manifest.tasks["tasks.rare"].rate_limit == "200/s",
        "the worker says so",
    )
    place.ended(rare)  # what was put back is due again within half a minute
    assert len(place.ledger("rare")) == 20


@pytest.mark.parametrize("url", ["memory://", "sqlite"])
def test_a_worker_that_runs_one_at_a_time_keeps_limits_too(tmp_path: Path, url: str) -> None:
    import time

    broker = f"sqlite:///{tmp_path}/solo.db" if url == "sqlite" else f"memory://{tmp_path.name}"
    app = Celeriac("solo-rates", broker=broker)
    began: list[tuple[str, float]] = []

    @app.task(rate_limit="5/s")
    def slow() -> None:
        began.append(("slow", time.monotonic()))

    @app.task
    def quick() -> None:
        began.append(("quick", time.monotonic()))

    results = app.enqueue_many([slow.s()] * 6 + [quick.s()] * 6)
    with start_worker(app):
        for each in results:
            each.get(timeout=30)
    at = [when for name, when in began if name == "slow"]
    assert len(at) == 6
    assert at[-1] - at[0] > 0.9
    assert max(when for name, when in began if name == "quick") < at[-1]
