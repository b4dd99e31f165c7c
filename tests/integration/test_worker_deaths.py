"""Deaths of executors and workers: told with their cause, contained, charged to the right task."""

import contextlib
import os
import signal
import time
from pathlib import Path

import psutil
import pytest
from recoveries import BESIDES
from workers import CLOCKS, REDIS_LATER, Site, eventually, site_on

#: The lease of the workers of ``worker_tasks.py``, in seconds.
LEASE = 4.0
#: Who runs which task: every pool, functions and coroutines.
BY_WHOM = [
    ("prefork", "tasks.kill_self"),
    *(
        pytest.param(pool, task, marks=pytest.mark.faults)
        for pool, task in (
            ("prefork", "tasks.akill_self"),
            ("threads", "tasks.kill_self"),
            ("threads", "tasks.akill_self"),
            ("asyncio", "tasks.kill_self"),
            ("asyncio", "tasks.akill_self"),
        )
    ),
]


@pytest.fixture(params=REDIS_LATER)
def place(tmp_path: Path, request, shared):
    with site_on(request.param, tmp_path, shared, noting=True) as found:
        yield found


@pytest.mark.parametrize(("pool", "task"), BY_WHOM)
@pytest.mark.parametrize(
    ("how", "cause"),
    [
        ("SIGKILL", "SIGKILL"),
        ("SIGSEGV", "SIGSEGV"),
        ("SIGILL", "SIGILL"),
        ("abort", "SIGABRT"),
        ("exit0", "status 0"),
        ("exit3", "status 3"),
    ],
)
def test_a_task_that_kills_its_executor_is_dead_after_three_crashes(
    place: Site, tally, how: str, cause: str, pool: str, task: str
) -> None:
    worker = place.worker("-P", pool).ready()
    (victim,) = place.send(task, how)
    (record,) = tally(place, [victim], faults=3)
    assert record.state == "dead"
    assert record.crashes == 3
    assert cause in record.reason
    assert "peak memory" in record.reason
    assert len(place.ledger("start", victim)) == 3
    # Each run had an executor of its own.
    assert len({line.pid for line in place.ledger("start", victim)}) == 3
    # What the process could still say of itself is told, in the record and in the log.
    stack = f"in {task.removeprefix('tasks.')}"
    for text in (record.reason, worker.text()):
        assert (stack in text) == (how in ("SIGSEGV", "SIGILL", "abort"))


def test_innocent_tasks_around_a_killer_all_succeed_uncharged(place: Site, tally) -> None:
    innocents = place.send("tasks.traced", count=500)
    killers = [place.send("tasks.kill_self", how)[0] for how in ("SIGKILL", "SIGSEGV")]
    innocents += place.send("tasks.traced", count=500)
    place.worker().ready()
    assert {record.state for record in tally(place, killers, faults=6)} == {"dead"}
    records = tally(place, innocents)
    assert {record.state for record in records} == {"succeeded"}
    assert sum(record.crashes for record in records) == 0
    assert sum(record.losses for record in records) == 0


def test_a_task_that_crashed_once_runs_again_and_succeeds(place: Site, tally) -> None:
    place.worker().ready()
    (task_id,) = place.send("tasks.kill_once", "SIGKILL")
    (record,) = tally(place, [task_id], faults=1)
    assert (record.state, record.crashes, record.attempt) == ("succeeded", 1, 2)


@pytest.mark.parametrize("task", ["kill_once_early", "kill_no_requeue"])
def test_at_most_once_and_no_requeue_fail_at_the_first_crash(place: Site, tally, task: str) -> None:
    place.worker().ready()
    task_id, errback = place.python(
        "import tasks\n"
        "errback = tasks.traced.si().set(task_id='errback')\n"
        f"print(tasks.{task}.apply_async(link_error=errback).id, errback.id)\n"
    ).split()
    record, told = tally(place, [task_id, errback], faults=1)
    assert record.state == "failed"
    assert record.reason.startswith("WorkerLostError")
    assert len(place.ledger("start", task_id)) == 1
    # Who wants to hear of failures hears of this one, once.
    assert told.state == "succeeded"
    assert len(place.ledger("start", errback)) == 1


@pytest.mark.parametrize(("pool", "task"), BY_WHOM)
def test_sys_exit_in_a_task_is_a_failure_not_a_death(place: Site, pool: str, task: str) -> None:
    """And so is KeyboardInterrupt, which event loops, too, let through to whoever runs them."""
    worker = place.worker("-c", "1", "-P", pool).ready()
    eventually(lambda: len(worker.titled("executor")) == 1, "an executor")
    before = {child.pid for child in worker.titled("executor")}
    for how, name in (("sys.exit", "SystemExit"), ("KeyboardInterrupt", "KeyboardInterrupt")):
        (task_id,) = place.send(task, how)
        (record,) = place.ended([task_id])
        assert (record.state, record.crashes, record.attempt) == ("failed", 0, 1)
        assert record.reason.startswith(name)
        # Whoever comes next finds all in order.
        after = [*place.send("tasks.add", 1, 2), *place.send("tasks.async_add", 1, 2)]
        assert {each.state for each in place.ended(after)} == {"succeeded"}
    assert {child.pid for child in worker.titled("executor")} == before


def test_the_failure_hook_of_a_killed_task_runs_in_the_hooks_process(place: Site) -> None:
    worker = place.worker().ready()
    (task_id,) = place.send("tasks.hooked_killer")
    (record,) = place.ended([task_id])
    assert record.state == "dead"
    (line,) = place.wait_ledger("hook", task_id)
    assert line.pid in {child.pid for child in worker.titled("hooks")}


def test_executors_end_with_their_supervisor(place: Site) -> None:
    worker = place.worker(CELERIAC_LEASE="60").ready()
    eventually(lambda: len(worker.titled("executor")) == 2, "two executors")
    (task_id,) = place.send("tasks.nap", 300)
    place.wait_ledger("start", task_id)
    family = worker.children()
    worker.kill()
    began = time.monotonic()
    psutil.wait_procs(family, timeout=60)
    assert not [child for child in family if child.is_running()]
    assert time.monotonic() - began < 2.0 + BESIDES, "milliseconds; the lease is 60"


def test_a_dead_worker_is_named_in_the_log_of_its_host_mate(place: Site) -> None:
    victim = place.worker("-n", "victim@here").ready()
    mate = place.worker("-n", "mate@here").ready()
    victim.kill()
    mate.wait_for(
        f"Worker victim@here (pid {victim.pid}) died: 0 task(s) requeued, 0 failed, 0 put aside"
    )


def test_a_dead_workers_task_starts_on_a_host_mate_long_before_its_lease_ends(
    place: Site, tally
) -> None:
    first = place.worker("-c", "1", CELERIAC_LEASE="60").ready()
    (task_id,) = place.send("tasks.nap_on")
    place.wait_ledger("start", task_id)
    mate = place.worker("-c", "1", CELERIAC_LEASE="60").ready()
    place.has_looked(mate)
    killed = time.monotonic()
    first.kill()
    lines = place.wait_ledger("start", task_id, count=2)
    assert 0 < lines[1].at - killed < 2.0 + BESIDES, "one second as a rule; the lease is 60"
    (place.folder / f"end-{task_id}").touch()
    (record,) = tally(place, [task_id], faults=1)
    assert (record.state, record.losses, record.crashes) == ("succeeded", 1, 0)


def test_an_at_most_once_task_of_a_dead_worker_fails_visibly(place: Site, tally) -> None:
    first = place.worker("-c", "1").ready()
    (task_id,) = place.send("tasks.nap_once", 60)
    place.wait_ledger("start", task_id)
    place.worker("-c", "1").ready()
    first.kill()
    (record,) = tally(place, [task_id], faults=1)
    assert record.state == "failed"
    assert record.reason.startswith("WorkerLostError")
    assert len(place.ledger("start", task_id)) == 1


def test_a_worker_stopped_for_longer_than_its_lease_is_fenced(place: Site, tally) -> None:
    first = place.worker("-c", "1").ready()
    (task_id,) = place.send("tasks.nap_on")
    place.wait_ledger("start", task_id)
    family = [psutil.Process(first.pid), *first.children()]
    for process in family:
        process.suspend()
    leased_until = place.last_beat(first) + LEASE
    second = place.worker("-c", "1").ready()
    lines = place.wait_ledger("start", task_id, count=2)
    assert lines[1].at > leased_until - CLOCKS, "while its lease lived the task was its own"
    (place.folder / f"end-{task_id}").touch()
    (record,) = place.ended([task_id])
    assert (record.state, record.attempt) == ("succeeded", 2)
    for process in family:
        # The first one resumed may end the others before they are reached.
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()
    first.wait_for("lease was lost")
    # It lives on as a new incarnation and takes work again.
    second.stop()
    (later,) = place.send("tasks.add", 1, 2)
    assert place.ended([later])[0].state == "succeeded"
    assert first.stop() == 0
    (record,) = tally(place, [task_id], faults=1)
    assert (record.state, record.attempt) == ("succeeded", 2)


def test_a_dead_zygote_is_replaced_while_executors_run_on(place: Site) -> None:
    worker = place.worker("-c", "1").ready()
    (long,) = place.send("tasks.nap_on")
    (start,) = place.wait_ledger("start", long)
    (zygote,) = worker.titled("zygote")
    zygote.kill()
    worker.wait_for("a new one is started")
    eventually(lambda: zygote.pid not in {each.pid for each in worker.titled("zygote")}, "it ended")
    eventually(lambda: worker.titled("zygote"), "a new one")
    (place.folder / f"end-{long}").touch()
    (record,) = place.ended([long])
    assert (record.state, record.attempt) == ("succeeded", 1)
    os.kill(start.pid, signal.SIGKILL)
    (task_id,) = place.send("tasks.whoami")
    assert place.ended([task_id])[0].state == "succeeded"


def test_an_application_with_threads_gets_executors_by_exec(place: Site) -> None:
    worker = place.worker(START_THREAD="1").ready()
    worker.wait_for("forking from it would be unsafe")
    (task_id,) = place.send("tasks.add", 1, 2)
    assert place.ended([task_id])[0].state == "succeeded"
    (killed,) = place.send("tasks.kill_once", "SIGKILL")
    assert place.ended([killed])[0].state == "succeeded"
