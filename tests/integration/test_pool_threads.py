"""The pool ``threads``: real workers whose one executor runs tasks in threads."""

import signal
import time
from pathlib import Path

import pytest
from pools import attempts, began, value_of
from workers import REDIS_LATER, Site, Worker, eventually, site_on


@pytest.fixture(params=REDIS_LATER)
def place(tmp_path: Path, request, shared):
    with site_on(request.param, tmp_path, shared, "shared_pool_tasks.py") as found:
        yield found


def start(place: Site, *options: str, **environment: str) -> Worker:
    return place.worker("-P", "threads", *options, **environment).ready()


# --- running ----------------------------------------------------------------------------------
def test_threads_of_one_process_run_at_the_same_time(place: Site) -> None:
    worker = start(place, "-c", "20")
    gate = place.folder / "gate"
    ids = place.send("tasks.wait_for", str(gate), count=20)
    began(place, ids)
    gate.touch()
    place.ended(ids)
    assert len({line.pid for line in place.ledger()}) == 1
    assert len(worker.titled("executor")) == 1
    (nap,) = place.send("tasks.nap", 0)
    place.ended([nap])
    assert value_of(place, nap)[1] is False  # not in the main thread


def test_no_more_than_asked_run_at_a_time(place: Site) -> None:
    start(place, "-c", "3")
    ids = place.send("tasks.nap", 0.2, count=12)
    place.ended(ids)
    moments = [(line.at, 1 if line.event == "start" else -1) for line in place.ledger()]
    running = most = 0
    for _, step in sorted(moments):
        running += step
        most = max(most, running)
    assert most == 3


def test_results_retries_coroutines_and_progress(place: Site) -> None:
    start(place, "-c", "8")
    gate = place.folder / "gate"
    (flaky,) = place.send("tasks.flaky", 2)
    coroutines = place.send("tasks.aflaky", 1, count=6)
    (plain,) = place.send("tasks.add", 2, 3)
    (slow,) = place.send("tasks.progress", str(gate))
    eventually(lambda: place.record(slow).custom_state == "PROGRESS", "PROGRESS")
    gate.touch()
    place.ended([flaky, plain, slow, *coroutines])
    assert [value_of(place, task_id) for task_id in (flaky, plain, slow)] == [2, 5, "done"]
    assert [value_of(place, task_id) for task_id in coroutines] == [1] * 6


def test_many_brief_tasks_are_all_done_once(place: Site) -> None:
    start(place, "-c", "4")
    ids = place.python(
        "import tasks\n"
        "for each in tasks.app.enqueue_many(tasks.whoami.s() for _ in range(2000)):\n"
        "    print(each.id)\n"
    ).split()
    records = place.ended(ids)
    assert {(each.state, each.attempt) for each in records} == {("succeeded", 1)}
    assert len(place.ledger("start")) == 2000


def test_each_run_has_its_own_context(place: Site) -> None:
    worker = start(place, "-c", "4")
    runs = {place.send("tasks.whose", f"tenant-{n}")[0]: f"tenant-{n}" for n in range(10)}
    place.ended(list(runs))
    for task_id, name in runs.items():
        assert value_of(place, task_id) == ["nobody", name, task_id]
        worker.wait_for(f"for {name}")


def test_a_busy_thread_never_starves_the_heartbeat(place: Site) -> None:
    """Longer than the lease (4 s), and nobody takes the task for lost."""
    worker = start(place, "-c", "4")
    ids = place.send("tasks.busy", 6, count=2)
    began(place, ids)
    (other,) = place.send("tasks.add", 1, 2)
    assert place.ended([other])[0].state == "succeeded"
    records = place.ended(ids)
    assert [(each.state, each.attempt, each.losses) for each in records] == [
        ("succeeded", 1, 0)
    ] * 2
    assert "lease was lost" not in worker.text()


def test_long_runs_keep_nothing_behind_them(place: Site) -> None:
    """What was sent ahead of two long runs goes to another worker."""
    start(place, "-c", "2")
    place.ended(place.send("tasks.add", 1, 2, count=50))  # measured: brief
    gate = place.folder / "gate"
    held = place.send("tasks.wait_for", str(gate), count=2)
    began(place, held)
    brief = place.send("tasks.add", 1, 2, count=20)
    place.worker("-P", "threads", "-c", "2").ready()
    place.ended(brief)
    gate.touch()
    place.ended(held)


# --- limits and revokes -----------------------------------------------------------------------
def test_the_soft_limit_is_raised_in_its_thread_alone(place: Site) -> None:
    start(place, "-c", "6")
    (beside,) = place.send("tasks.busy", 1)
    ids = place.send("tasks.soft", count=3)
    records = place.ended([*ids, beside])
    assert {record.state for record in records} == {"succeeded"}
    for task_id in ids:
        assert "0.3" in value_of(place, task_id)
        assert len(place.ledger("soft", task_id)) == 1
    assert value_of(place, beside) == "done"


@pytest.mark.parametrize("task", ["tasks.hard", "tasks.holds_the_gil"])
def test_the_hard_limit_costs_the_executor_and_neighbours_may_finish(
    place: Site, task: str
) -> None:
    worker = start(place, "-c", "5", DRAIN="2")
    gate = place.folder / "gate"
    (long,) = place.send("tasks.wait_for", str(gate))
    (once,) = place.send("tasks.nap_once", 60)
    (short,) = place.send("tasks.nap", 2)
    began(place, [short, long, once])
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
    assert len(attempts(place, over)) == 1
    # What must not run twice and was interrupted has failed.
    assert place.ended([once])[0].reason.startswith("WorkerLostError")
    assert "is replaced (hard time limit of 0.5 s)" in worker.text()


def test_terminate_ends_the_run_and_neighbours_go_on(place: Site) -> None:
    start(place, "-c", "5", DRAIN="1")
    gate = place.folder / "gate"
    revoked, left, beside = place.send("tasks.wait_for", str(gate), count=3)
    began(place, [revoked, left, beside])
    place.store.queue.revoke([left])  # without: it ends as it ends
    place.store.queue.revoke([revoked], terminate="SIGTERM")
    assert place.ended([revoked])[0].state == "revoked"
    eventually(lambda: len(attempts(place, beside)) == 2, "the neighbour began elsewhere")
    gate.touch()
    (record,) = place.ended([beside])
    assert (record.state, record.crashes) == ("succeeded", 0)
    assert len(attempts(place, revoked)) == 1
    # Interrupted while its revoke was pending: never repeated.
    assert place.ended([left])[0].state == "revoked"


# --- deaths and ends --------------------------------------------------------------------------
def test_who_ran_in_an_executor_that_died_runs_again_alone(place: Site) -> None:
    start(place, "-c", "20")
    gate, other = place.folder / "gate", place.folder / "other"
    beside = place.send("tasks.wait_for", str(other), count=4)
    (killer,) = place.send("tasks.kill", str(gate))
    began(place, [*beside, killer])
    gate.touch()
    eventually(lambda: all(len(attempts(place, id)) == 2 for id in beside), "run again")
    (fresh,) = place.send("tasks.whoami")
    place.ended([fresh])
    other.touch()
    records = place.ended(beside)
    assert [(each.state, each.crashes) for each in records] == [("succeeded", 0)] * 4
    second = [attempts(place, task_id)[1] for task_id in beside]
    assert len({*second, *attempts(place, fresh)}) == 5, "each alone in a process of its own"
    (record,) = place.ended([killer])
    assert (record.state, record.crashes) == ("dead", 3)


def test_an_executor_is_recycled_after_max_tasks(place: Site) -> None:
    start(place, "-c", "4", "--max-tasks-per-child", "10")
    ids = place.send("tasks.nap", 0.02, count=60)
    records = place.ended(ids)
    assert {(each.state, each.attempt, each.crashes) for each in records} == {("succeeded", 1, 0)}
    runs: dict[int, int] = {}
    for line in place.ledger("start"):
        runs[line.pid] = runs.get(line.pid, 0) + 1
    assert max(runs.values()) <= 10
    assert len(runs) >= 6


def test_an_executor_that_grew_is_replaced_while_its_tasks_end(place: Site) -> None:
    worker = start(place, "-c", "4", "--max-memory-per-child", str(150 * 1024))
    gate = place.folder / "gate"
    (held,) = place.send("tasks.wait_for", str(gate))
    began(place, [held])
    (grow,) = place.send("tasks.hold_memory", 200)
    place.ended([grow])
    worker.wait_for("has grown to")
    eventually(lambda: len(worker.titled("executor")) == 2, "its successor beside it")
    (after,) = place.send("tasks.whoami")
    place.ended([after])
    assert attempts(place, after) != attempts(place, held)
    gate.touch()
    (record,) = place.ended([held])
    assert (record.state, record.attempt) == ("succeeded", 1)
    eventually(lambda: len(worker.titled("executor")) == 1, "it ended")


def test_a_graceful_stop_waits_and_leaves_nothing_leased(place: Site) -> None:
    worker = start(place, "-c", "10")
    running = place.send("tasks.nap", 1, count=5)
    began(place, running)
    began_at = time.monotonic()
    assert worker.stop() == 0
    assert time.monotonic() - began_at < 15
    assert {place.record(task_id).state for task_id in running} == {"succeeded"}
    assert place.store.inspection.workers() == []


def test_an_immediate_stop_hands_everything_back(place: Site) -> None:
    worker = start(place, "-c", "5")
    ids = place.send("tasks.nap", 300, count=12)
    (once,) = place.send("tasks.nap_once", 300)
    eventually(lambda: len(place.ledger("start")) == 5, "five begun")
    assert worker.stop(signal.SIGQUIT) == 0
    for task_id in ids:
        record = place.record(task_id)
        assert (record.state, record.crashes, record.losses) == ("queued", 0, 0)
    assert place.record(once).state == "queued"
    assert place.store.inspection.workers() == []
