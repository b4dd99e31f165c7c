"""The pool ``asyncio``: real workers whose one executor runs coroutines in one loop."""

import signal
from pathlib import Path

import pytest
from pools import attempts, began, value_of
from workers import Site, Worker, eventually, site


@pytest.fixture
def place(tmp_path: Path):
    with site(tmp_path, "shared_pool_tasks.py") as found:
        yield found


def start(place: Site, *options: str, **environment: str) -> Worker:
    return place.worker("-P", "asyncio", *options, **environment).ready()


# --- running ----------------------------------------------------------------------------------
def test_ten_thousand_coroutines_sleep_at_the_same_time(place: Site) -> None:
    start(place, "-c", "10000")
    place.python("import tasks\ntasks.app.enqueue_many(tasks.doze.s(1) for _ in range(10_000))\n")

    def ended() -> int:
        return place.store.inspection.counts().states["celery"].get("succeeded", 0)

    # One by one they would take almost three hours. Three seconds on an idle machine.
    eventually(lambda: ended() == 10_000, "10,000 coroutines ended", deadline=180, interval=0.1)


def test_results_retries_functions_and_progress(place: Site) -> None:
    start(place, "-c", "20")
    gate = place.folder / "gate"
    (flaky,) = place.send("tasks.aflaky", 2)
    (function,) = place.send("tasks.add", 2, 3)
    (again,) = place.send("tasks.flaky", 1)
    (slow,) = place.send("tasks.aprogress", str(gate))
    (slow2,) = place.send("tasks.progress", str(gate))
    for task_id in (slow, slow2):
        eventually(lambda it=task_id: place.record(it).custom_state == "PROGRESS", "PROGRESS")
    gate.touch()
    place.ended([flaky, function, again, slow, slow2])
    assert value_of(place, flaky) == 2
    assert value_of(place, function) == 5
    assert value_of(place, again) == 1
    assert value_of(place, slow) == value_of(place, slow2) == "done"
    assert place.record(flaky).retries == 2


def test_a_run_that_ends_without_an_outcome_ends_its_executor(place: Site) -> None:
    """Else its place would be taken, and the task said to run, as long as the worker lives."""
    with (place.folder / "tasks.py").open("a") as source:
        source.write(
            "\n\nfrom celeriac.runner import Runner\n"
            "_begin = Runner._begin\n"
            "def begin(self, delivery):\n"
            "    if delivery.queue == 'faulty':\n"
            "        raise RuntimeError('a fault of ours')\n"
            "    return _begin(self, delivery)\n"
            "Runner._begin = begin\n"
        )
    worker = start(place, "-c", "1", "-Q", "celery,faulty")
    place.python("import tasks\ntasks.rest.apply_async((0.01,), task_id='a', queue='faulty')\n")
    eventually(lambda: place.record("a").crashes > 0, "it is charged")
    worker.wait_for("RuntimeError: a fault of ours")
    (fine,) = place.send("tasks.rest", 0.01)
    place.ended([fine])


def test_functions_run_in_threads_and_leave_the_loop_free(place: Site) -> None:
    start(place, "-c", "20")
    gate = place.folder / "gate"
    held = place.send("tasks.wait_for", str(gate), count=8)
    began(place, held)
    (free,) = place.send("tasks.rest", 0.01)
    place.ended([free])
    gate.touch()
    place.ended(held)
    (nap,) = place.send("tasks.nap", 0.01)
    place.ended([nap])
    pid, in_main_thread = value_of(place, nap)
    assert pid == value_of(place, free)
    assert not in_main_thread


def test_each_run_has_its_own_context(place: Site) -> None:
    worker = start(place, "-c", "50")
    names = [f"tenant-{number}" for number in range(20)]
    coroutines = {place.send("tasks.who", name)[0]: name for name in names[:10]}
    functions = {place.send("tasks.whose", name)[0]: name for name in names[10:]}
    runs = coroutines | functions
    place.ended(list(runs))
    for task_id, name in runs.items():
        assert value_of(place, task_id) == ["nobody", name, task_id]
        worker.wait_for(f"for {name}")


def test_a_blocked_loop_never_starves_the_heartbeat(place: Site) -> None:
    """Longer than the lease (4 s), and nobody takes the task for lost."""
    worker = start(place, "-c", "5")
    ids = place.send("tasks.block", 6)
    began(place, ids)
    (other,) = place.send("tasks.rest", 0.1)
    (record,) = place.ended(ids)
    assert (record.state, record.attempt, record.losses) == ("succeeded", 1, 0)
    assert place.ended([other])[0].state == "succeeded"
    assert "lease was lost" not in worker.text()
    assert "blocks the event loop" in worker.text()
    assert "It runs tasks.block (1)" in worker.text()


# --- limits and revokes -----------------------------------------------------------------------
def test_the_soft_limit_is_raised_where_the_coroutine_waits(place: Site) -> None:
    start(place, "-c", "5")
    (task_id,) = place.send("tasks.asoft")
    (function,) = place.send("tasks.soft")
    place.ended([task_id, function])
    assert "0.3" in value_of(place, task_id)
    assert len(place.ledger("soft", task_id)) == 1
    assert len(place.ledger("soft", function)) == 1


def test_a_coroutine_past_its_hard_limit_is_cancelled_and_its_executor_lives(place: Site) -> None:
    start(place, "-c", "5")
    gate = place.folder / "gate"
    (beside,) = place.send("tasks.until", str(gate))
    began(place, [beside])
    (over,) = place.send("tasks.ahard")
    (record,) = place.ended([over])
    assert (record.state, record.crashes) == ("failed", 0)
    assert record.reason.startswith("TimeLimitExceeded")
    (after,) = place.send("tasks.whoami")
    place.ended([after])
    gate.touch()
    (record,) = place.ended([beside])
    assert record.attempt == 1
    assert attempts(place, beside) == attempts(place, after)


@pytest.mark.parametrize("task", ["tasks.stubborn", "tasks.holds_the_gil", "tasks.hard"])
def test_what_cannot_be_cancelled_costs_the_executor_and_neighbours_may_finish(
    place: Site, task: str
) -> None:
    worker = start(place, "-c", "5", DRAIN="5")
    gate = place.folder / "gate"
    (long,) = place.send("tasks.until", str(gate))
    at_once = task == "tasks.holds_the_gil"
    (short,) = place.send("tasks.until", str(gate)) if at_once else place.send("tasks.rest", 3)
    began(place, [short, long])
    (over,) = place.send(task)
    (record,) = place.ended([over])
    assert (record.state, record.crashes) == ("failed", 0)
    assert record.reason.startswith("TimeLimitExceeded")
    (after,) = place.send("tasks.whoami")
    place.ended([after])
    assert attempts(place, after) != attempts(place, over)
    eventually(lambda: len(attempts(place, long)) == 2, "the neighbour began elsewhere")
    gate.touch()
    records = place.ended([short, long])
    assert [(each.state, each.crashes, each.losses) for each in records] == [
        ("succeeded", 0, 0)
    ] * 2
    # An executor that answers gives its neighbours time; one that does not is ended at once.
    assert len(attempts(place, short)) == (2 if at_once else 1)
    assert "is replaced (hard time limit of 0.5 s)" in worker.text()


def test_a_blocked_loop_is_ended_at_the_hard_limit(place: Site) -> None:
    start(place, "-c", "5")
    (beside,) = place.send("tasks.rest", 1)
    began(place, [beside])
    (over,) = place.send("tasks.blocks_the_loop")
    (record,) = place.ended([over])
    assert record.reason.startswith("TimeLimitExceeded")
    (record,) = place.ended([beside])
    assert (record.state, record.crashes) == ("succeeded", 0)


def test_terminate_cancels_the_coroutine_and_only_that(place: Site) -> None:
    start(place, "-c", "5")
    gate = place.folder / "gate"
    ids = place.send("tasks.until", str(gate), count=3)
    began(place, ids)
    place.store.queue.revoke([ids[0]], terminate="SIGTERM")
    assert place.ended(ids[:1])[0].state == "revoked"
    place.store.queue.revoke([ids[1]])  # without: it ends as it ends
    gate.touch()
    records = place.ended(ids)
    assert [record.state for record in records] == ["revoked", "succeeded", "succeeded"]
    assert len(place.ledger("start")) == 3
    assert len({line.pid for line in place.ledger()}) == 1


def test_terminate_of_a_function_costs_the_executor(place: Site) -> None:
    start(place, "-c", "5", DRAIN="1")
    gate = place.folder / "gate"
    (function,) = place.send("tasks.wait_for", str(gate))
    (beside,) = place.send("tasks.until", str(gate))
    began(place, [function, beside])
    place.store.queue.revoke([function], terminate="SIGTERM")
    assert place.ended([function])[0].state == "revoked"
    eventually(lambda: len(attempts(place, beside)) == 2, "the neighbour began elsewhere")
    gate.touch()
    (record,) = place.ended([beside])
    assert (record.state, record.crashes) == ("succeeded", 0)


# --- deaths and ends --------------------------------------------------------------------------
def test_who_ran_in_an_executor_that_died_runs_again_alone(place: Site) -> None:
    start(place, "-c", "50")
    gate, other = place.folder / "gate", place.folder / "other"
    beside = place.send("tasks.until", str(other), count=5)
    (once,) = place.send("tasks.rest_once", 60)
    (killer,) = place.send("tasks.akill", str(gate))
    began(place, [*beside, once, killer])
    gate.touch()
    eventually(lambda: all(len(attempts(place, id)) == 2 for id in beside), "run again")
    other.touch()
    records = place.ended(beside)
    assert [(each.state, each.crashes) for each in records] == [("succeeded", 0)] * 5
    second = [attempts(place, task_id)[1] for task_id in beside]
    assert len(set(second)) == 5, "each alone in a process of its own"
    (record,) = place.ended([killer])
    assert (record.state, record.crashes) == ("dead", 3)
    assert len(attempts(place, killer)) == 4  # one as a suspect, three that were charged
    (record,) = place.ended([once])
    assert record.reason.startswith("WorkerLostError")
    assert len(attempts(place, once)) == 1


def test_an_executor_is_recycled_and_nothing_is_lost_or_charged(place: Site) -> None:
    start(place, "-c", "4", "--max-tasks-per-child", "10")
    ids = place.send("tasks.rest", 0.02, count=60)
    records = place.ended(ids)
    assert {(each.state, each.attempt, each.crashes) for each in records} == {("succeeded", 1, 0)}
    runs: dict[int, int] = {}
    for line in place.ledger("start"):
        runs[line.pid] = runs.get(line.pid, 0) + 1
    assert max(runs.values()) <= 10
    assert len(runs) >= 6


def test_a_graceful_stop_waits_and_leaves_nothing_leased(place: Site) -> None:
    worker = start(place, "-c", "10")
    running = place.send("tasks.rest", 1, count=5)
    began(place, running)
    assert worker.stop() == 0
    assert {place.record(task_id).state for task_id in running} == {"succeeded"}
    assert place.store.inspection.workers() == []


def test_an_immediate_stop_hands_everything_back(place: Site) -> None:
    worker = start(place, "-c", "10")
    running = place.send("tasks.rest", 300, count=5)
    functions = place.send("tasks.nap", 300, count=40)  # more than there are places
    began(place, running)
    assert worker.stop(signal.SIGQUIT) == 0
    for task_id in running + functions:
        record = place.record(task_id)
        assert (record.state, record.crashes, record.losses) == ("queued", 0, 0)
    assert place.store.inspection.workers() == []
