"""Rows 1 to 26 of the fault matrix that no other test has: what tasks and signals do to processes.

Which test shows which row stands in `support/fault_matrix.py`.
"""

import os
import signal
import time
from collections import Counter
from pathlib import Path

import noting_worker
import psutil
import pytest
from workers import (
    CLOCKS,
    DEADLINE,
    EVERY_POOL,
    EVERY_STORE,
    REDIS_LATER,
    Site,
    client_of,
    eventually,
    gone,
    site_on,
)

from celeriac import Celeriac
from celeriac.crashpoints import ENVIRONMENT

#: The lease of the workers of ``fault_tasks.py``, in seconds.
LEASE = 4.0


@pytest.fixture(params=REDIS_LATER)
def place(tmp_path: Path, request, shared):
    with site_on(request.param, tmp_path, shared, "fault_tasks.py", noting=True) as made:
        yield made


@pytest.fixture
def app(place: Site):
    with client_of(place) as made:
        yield made


def values(app: Celeriac, ids: list[str]) -> list:
    return [app.AsyncResult(id).get(timeout=60) for id in ids]


def decided(place: Site, task_id: str) -> list[str]:
    """The states in which the store was asked to end it, and did or had."""
    found = noting_worker.read(place.ledger_path)
    return [each.state for each in found if each.id == task_id and each.decides]


def test_a_worker_that_wakes_after_its_lease_kills_what_it_runs_and_goes_on(
    place: Site, tally
) -> None:
    first = place.worker("-c", "1").ready()
    gate = place.folder / "gate"
    (task_id,) = place.send("tasks.wait_for", str(gate))
    (begun,) = place.wait_ledger("start", task_id)
    runner = psutil.Process(begun.pid)
    family = [psutil.Process(first.pid), *first.children()]
    for process in family:
        process.suspend()
    leased_until = place.last_beat(first) + LEASE
    second = place.worker("-c", "1").ready()
    lines = place.wait_ledger("start", task_id, count=2)
    assert lines[1].at > leased_until - CLOCKS, "while its lease lived the task was its own"
    for process in family:
        if process != runner:
            process.resume()
    first.wait_for("lease was lost")
    # It never got to go on with what is another's now.
    eventually(lambda: not runner.is_running(), "the old run's process is gone")
    gate.touch()
    (record,) = tally(place, [task_id], faults=1)
    assert (record.state, record.attempt) == ("succeeded", 2)
    assert len(place.ledger("end", task_id)) == 1
    assert second.stop() == 0
    (later,) = place.send("tasks.traced")
    assert place.ended([later])[0].state == "succeeded"
    assert first.stop() == 0


@pytest.mark.faults
@pytest.mark.parametrize("place", EVERY_STORE, indirect=True)
def test_nothing_runs_again_because_all_workers_stood_still(place: Site, tally) -> None:
    """The first to go on is one that has not looked for lost mates before, as the other did that
    for both: it has to see by itself that it stood still."""
    gate = place.folder / "gate"
    ids = place.send("tasks.wait_for", str(gate), count=2)
    workers = []
    for number in (1, 2):
        workers.append(place.worker("-c", "1", LEASE=str(LEASE)))
        eventually(lambda n=number: len(place.ledger("start")) == n, "each runs one")
    # Before they stand still: one of them may hold the lock of the database then.
    before = {each.owner for each in place.store.inspection.workers()}
    families = [[psutil.Process(each.pid), *each.children()] for each in workers]
    for family in families:
        for process in family:
            process.suspend()
    time.sleep(2 * LEASE)
    woken = time.time()
    for family in reversed(families):
        for process in reversed(family):  # what it runs goes on before its supervisor does
            process.resume()

    def beaten() -> bool:
        return all(each.beat_at > woken + LEASE / 2 for each in place.store.inspection.workers())

    eventually(beaten, "each has beaten, and looked for lost mates, since")
    gate.touch()
    records = tally(place, ids)
    assert {each.owner for each in place.store.inspection.workers()} == before
    assert [(each.state, each.attempt, each.losses, each.crashes) for each in records] == [
        ("succeeded", 1, 0, 0)
    ] * 2
    for event in ("start", "end"):
        assert sorted(line.id for line in place.ledger(event)) == sorted(ids)
    for worker in workers:
        assert "lease was lost" not in worker.text()
        assert worker.stop() == 0


def test_an_executor_that_is_stopped_is_ended_and_its_task_runs_again(place: Site, tally) -> None:
    worker = place.worker("-c", "1").ready()
    gate = place.folder / "gate"
    (task_id,) = place.send("tasks.wait_for", str(gate))
    (begun,) = place.wait_ledger("start", task_id)
    stopped = time.monotonic()
    os.kill(begun.pid, signal.SIGSTOP)
    lines = place.wait_ledger("start", task_id, count=2)
    assert lines[1].at - stopped > LEASE, "who is stopped for less than that may go on"
    assert "it was stopped by a signal for longer than the lease" in worker.text()
    gate.touch()
    (record,) = tally(place, [task_id], faults=1)
    assert (record.state, record.crashes, record.losses) == ("succeeded", 1, 0)
    assert not psutil.pid_exists(begun.pid)


def test_an_executor_is_killed_as_it_hands_over_its_outcome(
    place: Site, app: Celeriac, tally
) -> None:
    """A part of it is in the socket, which holds less; a part of an outcome is none."""
    size = 8_000_000
    worker = place.worker("-c", "1", LEASE="60", RESULT_MAX=str(2 * size)).ready()
    gate = place.folder / "gate"
    (task_id,) = place.send("tasks.wait_for", str(gate), size)
    (begun,) = place.wait_ledger("start", task_id)
    worker.send(signal.SIGSTOP)
    gate.touch()
    place.wait_ledger("end", task_id)

    def hands_over() -> bool:
        """It sleeps, and its stack, which it writes into the log on this signal, says where."""
        if psutil.Process(begun.pid).status() != psutil.STATUS_SLEEPING:
            return False
        os.kill(begun.pid, signal.SIGUSR1)
        return "in _send" in worker.text()

    eventually(hands_over, "the socket is full")
    os.kill(begun.pid, signal.SIGKILL)
    worker.send(signal.SIGCONT)
    (record,) = tally(place, [task_id], faults=1)
    assert (record.state, record.attempt, record.crashes) == ("succeeded", 2, 1)
    assert values(app, [task_id]) == ["x" * size]
    assert [line.attempt for line in place.ledger("end", task_id)] == [1, 2]
    assert worker.stop() == 0


@pytest.mark.parametrize("pool", [*EVERY_POOL, pytest.param("solo", marks=pytest.mark.faults)])
def test_a_child_that_a_task_forked_and_that_returns_too_is_not_believed(
    place: Site, app: Celeriac, pool: str
) -> None:
    worker = place.worker("-c", "1", "-P", pool).ready()
    (before,) = place.send("tasks.pid")
    # Before its parent, while all that it knows of the lease holds.
    ids = [*place.send("tasks.fork_first"), *place.send("tasks.afork_first")]
    assert values(app, ids) == ["parent"] * 2
    gate = place.folder / "gate"
    (task_id,) = place.send("tasks.fork", str(gate))
    place.wait_ledger("child", task_id)
    assert values(app, [task_id]) == ["parent"]
    gate.touch()
    place.wait_ledger("back", task_id)
    for id in (*ids, task_id):
        (child,) = place.ledger("child", id)
        eventually(lambda pid=child.pid: gone(pid), "the child has ended")
    after = place.send("tasks.pid", count=5)
    assert len(set(values(app, [before, *after]))) == 1, "the executor lived on"
    assert values(app, [*ids, task_id]) == ["parent"] * 3
    for id in (*ids, task_id):
        record = place.record(id)
        assert (record.state, record.attempt, record.crashes) == ("succeeded", 1, 0)
        assert decided(place, id) == ["succeeded"]
    assert worker.stop() == 0


@pytest.mark.faults
def test_a_child_that_goes_on_in_the_loop_of_its_parent_takes_nothing_from_it(
    place: Site, app: Celeriac, tally
) -> None:
    """They share the socket: what the child read of it would be heard of by nobody."""
    worker = place.worker("-c", "4", "-P", "asyncio").ready()
    (task_id,) = place.send("tasks.afork", str(place.folder / "gate"))
    (child,) = place.wait_ledger("child", task_id)
    ids = place.send("tasks.traced", count=100)
    for record in tally(place, ids):
        assert (record.state, record.attempt, record.crashes) == ("succeeded", 1, 0)
    assert values(app, [task_id]) == ["parent"]
    eventually(lambda: gone(child.pid), "the child has ended")
    assert decided(place, task_id) == ["succeeded"]
    assert worker.stop() == 0


@pytest.mark.parametrize("pool", EVERY_POOL)
def test_an_executor_is_killed_while_a_child_of_its_task_holds_its_socket(
    place: Site, app: Celeriac, tally, pool: str
) -> None:
    """So that the end of its stream does not come with its own."""
    worker = place.worker("-c", "1", "-P", pool).ready()
    gate = place.folder / "gate"
    (task_id,) = place.send("tasks.fork_and_stay", str(gate))
    (begun,) = place.wait_ledger("start", task_id)
    (child,) = place.wait_ledger("child", task_id)
    os.kill(begun.pid, signal.SIGKILL)
    (record,) = tally(place, [task_id], faults=1)
    assert (record.state, record.attempt, record.crashes) == ("succeeded", 2, 1)
    assert not gone(child.pid), "it holds the socket still"
    gate.touch()
    place.wait_ledger("back", task_id)
    eventually(lambda: gone(child.pid), "the child has ended")
    (later,) = place.send("tasks.traced")
    assert place.ended([later])[0].state == "succeeded"
    assert values(app, [task_id]) == ["again"]
    assert decided(place, task_id) == ["succeeded"]
    assert not place.ledger("parent", task_id)
    assert worker.stop() == 0


@pytest.mark.faults
def test_what_tasks_leave_in_their_process_stays_there(place: Site, app: Celeriac) -> None:
    """Threads, descriptors, surroundings, handlers: the next process is as it should be."""
    worker = place.worker("-c", "1", "--max-tasks-per-child", "1").ready()
    clean, *_ = values(app, place.send("tasks.surroundings"))
    for what in ("threads", "descriptors", "surroundings", "signals", "loop", "running loop"):
        (left,) = place.send("tasks.leak", what)
        (found,) = values(app, place.send("tasks.surroundings"))
        assert found == clean, what
        state = place.record(left).state
        assert state == ("failed" if what == "descriptors" else "succeeded"), what
        assert place.record(left).crashes == 0
    assert worker.stop() == 0


def test_a_process_that_tasks_have_spoilt_goes_on_and_is_ended_with_its_worker(
    place: Site, app: Celeriac
) -> None:
    """Nobody has asked for recycling: what a task did to its process it did to the next one in
    there, too, but neither to the worker nor to limits, which do not depend on it."""
    worker = place.worker("-c", "1").ready()
    (first,) = values(app, place.send("tasks.pid"))
    leaks = [id for what in ("threads", "surroundings", "signals", "loop")
             for id in place.send("tasks.leak", what)]  # fmt: skip
    assert [each.state for each in place.ended(leaks)] == ["succeeded"] * 4
    # The loop that coroutines run in is not the one that was left.
    (coroutine,) = place.send("tasks.await_for", "/")
    assert values(app, [coroutine]) == ["/"]
    # The soft limit is a signal of which a task before wanted to hear nothing.
    (soft,) = place.send("tasks.hears_nothing")
    assert place.ended([soft])[0].reason.startswith("SoftTimeLimitExceeded")
    (full,) = place.send("tasks.leak", "descriptors")
    assert "Too many open files" in place.ended([full])[0].reason
    assert values(app, place.send("tasks.pid")) == [first]
    # SIGTERM would be no way to end it.
    (stubborn,) = place.send("tasks.nap", 300)
    place.wait_ledger("start", stubborn)
    place.store.queue.revoke([stubborn], terminate="SIGKILL")
    assert place.ended([stubborn])[0].state == "revoked"
    family = worker.children()
    assert worker.stop() == 0
    psutil.wait_procs(family, timeout=60)
    assert not [each for each in family if each.is_running()]


def test_executors_are_not_forked_from_an_application_whose_threads_hold_locks(
    place: Site, app: Celeriac
) -> None:
    worker = place.worker("-c", "2", "--max-tasks-per-child", "1", LOCKING_THREAD="1").ready()
    worker.wait_for("forking from it would be unsafe")
    found = values(app, [*place.send("tasks.swallows"), *place.send("tasks.pid", count=5)])
    assert found[0] == "went on"
    assert len(set(found[1:])) == 5, "each in a process of its own, none of which hung"
    assert worker.stop() == 0


@pytest.mark.parametrize("task", ["tasks.zoo", "tasks.azoo"])
@pytest.mark.parametrize("pool", EVERY_POOL)
def test_whatever_an_exception_is_it_is_the_failure_of_its_task(
    place: Site, app: Celeriac, pool: str, task: str
) -> None:
    from fault_zoo import KINDS

    worker = place.worker("-c", "1", "-P", pool).ready()
    (first,) = values(app, place.send("tasks.pid"))
    ids = {kind: place.send(task, kind)[0] for kind in KINDS}
    (big,) = place.send("tasks.too_much_memory")
    records = place.ended([*ids.values(), big])
    for kind, record in zip([*ids, "MemoryError"], records, strict=True):
        assert (record.state, record.crashes, record.attempt) == ("failed", 0, 1), kind
        assert kind.split(",")[0] in record.reason, kind
        assert len(record.reason) < 20_000, kind
        # Whoever asks is told, too, whatever the class.
        error = app.AsyncResult(record.id).result
        assert isinstance(error, Exception), kind
        assert kind.split(",")[0] in f"{type(error).__name__} {error}", kind
    assert values(app, place.send("tasks.pid")) == [first], "one process ran them all"
    assert worker.stop() == 0


def test_results_that_cannot_travel_are_failures_and_release_nothing(
    place: Site, app: Celeriac
) -> None:
    from fault_zoo import RESULTS

    place.worker("-c", "1").ready()
    sent = place.python(
        "import tasks\n"
        f"for kind in {sorted(RESULTS)!r}:\n"
        "    last = (tasks.bad_result.s(kind) | tasks.traced.s()).delay()\n"
        "    print(last.parent.id, last.id)\n"
        "last = (tasks.sized_result.s(200_000) | tasks.traced.s()).delay()\n"
        "print(last.parent.id, last.id)\n"
    ).split()
    firsts, lasts = sent[::2], sent[1::2]
    for record in place.ended(firsts):
        assert (record.state, record.crashes) == ("failed", 0)
        assert record.reason.startswith(("EncodeError", "ResultTooLarge")), record.reason
    assert place.record(firsts[-1]).reason.startswith("ResultTooLarge")
    assert {record.state for record in place.ended(lasts)} == {"failed"}
    assert place.ledger("start") == []
    # What is long, and less than is allowed, is a result (to the byte: `test_faults_of_work.py`).
    (fits,) = place.send("tasks.sized_result", 90_000)
    assert values(app, [fits]) == ["x" * 90_000]


def test_a_soft_limit_that_is_swallowed_or_comes_in_a_call_to_the_store(
    place: Site, app: Celeriac
) -> None:
    worker = place.worker("-c", "1").ready()
    went_on, for_ever, peer = (place.send(f"tasks.{name}")[0] for name in
                               ("swallows", "swallows_for_ever", "hears_nothing"))  # fmt: skip
    (never,) = place.send("tasks.nap", 0, countdown=3600)
    (after,) = place.send("tasks.give", "mine")
    # In turn: who is interrupted as it waits there or asks, and who asks next on that connection.
    # So often that some are interrupted between a question and its answer.
    sent = place.python(
        "import tasks\n"
        "for number in range(20):\n"
        f"    ask = tasks.asks_the_store.s({never!r}, number == 0).set(soft_time_limit=0.2)\n"
        f"    print(ask.delay().id, tasks.reads.delay({after!r}).id)\n"
    ).split()
    stores, readers = sent[::2], sent[1::2]
    records = place.ended([went_on, for_ever, peer, *stores, after])
    assert [each.state for each in records] == ["succeeded", *["failed"] * 22, "succeeded"]
    assert records[1].reason.startswith("TimeLimitExceeded")
    assert {each.reason.partition(":")[0].partition("(")[0] for each in records[2:-1]} == {
        "SoftTimeLimitExceeded"
    }
    assert {each.crashes for each in records} == {0}
    assert values(app, [went_on, after]) == ["went on", "mine"]
    assert values(app, readers) == [["SUCCESS", "mine"]] * 20
    # A limit of a fifth of a second may be over before a run has said that it began.
    begun = [line for line in place.ledger("start") if line.id in {*stores, *readers}]
    assert len(begun) >= 30
    assert len({line.pid for line in begun}) == 1, "one process, and so one connection"
    assert worker.stop() == 0


@pytest.mark.parametrize(
    "count", [60, pytest.param(3000, marks=[pytest.mark.faults, pytest.mark.timeout(500)])]
)
def test_an_executor_for_each_task_runs_each_once(place: Site, tally, count: int) -> None:
    worker = place.worker("-c", "2", "--max-tasks-per-child", "1").ready()
    ids = place.send("tasks.traced", count=count)
    records = tally(place, ids, deadline=400)
    assert Counter(each.state for each in records) == {"succeeded": count}
    assert {(each.attempt, each.crashes, each.losses) for each in records} == {(1, 0, 0)}
    for event in ("start", "end"):
        assert Counter(line.id for line in place.ledger(event)) == dict.fromkeys(ids, 1)
    assert len({line.pid for line in place.ledger("start")}) > count * 0.9  # numbers come again
    assert worker.stop() == 0


@pytest.mark.parametrize(
    ("point", "hit"), [("delivery.received", 3), ("outcome.received", 2), ("beat.applied", 16)]
)
def test_a_worker_with_a_bug_of_its_own_ends_and_says_so(
    place: Site, tally, point: str, hit: int
) -> None:
    """In its threads as in its main one: what is not understood is not lived with."""
    worker = place.worker(**{ENVIRONMENT: f"{point}:{hit}:raise"}).ready()
    gate = place.folder / "gate"
    ids = place.send("tasks.wait_for", str(gate))
    place.wait_ledger("start", ids[0])
    eventually(lambda: len(worker.titled("executor")) == 2, "two executors")
    family = worker.children()
    assert worker.process.poll() is None
    ids += place.send("tasks.traced", count=20)
    eventually(lambda: worker.process.poll() is not None, "it has ended")
    assert worker.process.returncode > 0
    assert "CrashpointReached" in worker.text()
    _, left = psutil.wait_procs(family, timeout=5)
    assert not left, "who runs a task ends with it, too"
    gate.touch()
    began = time.monotonic()
    place.worker().ready()
    assert {each.state for each in tally(place, ids, faults=1)} == {"succeeded"}
    assert time.monotonic() - began < DEADLINE
