"""Limits and ends of a worker: time, memory, recycling, stopping, revoking."""

import signal
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from workers import REDIS_LATER, Site, Worker, eventually, site_on

from celeriac import states
from celeriac.message import Header, compose

#: Seconds by which a limit may act late, with a machine that runs other tests, too.
LATE = 5.0


@pytest.fixture(params=REDIS_LATER)
def place(tmp_path: Path, request, shared):
    with site_on(request.param, tmp_path, shared) as found:
        yield found


def test_the_hard_limit_ends_a_loop_that_holds_the_gil(place: Site) -> None:
    worker = place.worker().ready()
    (task_id,) = place.send("tasks.over_hard")
    (begun,) = place.wait_ledger("start", task_id)
    (record,) = place.ended([task_id])
    assert time.monotonic() - begun.at < 1 + LATE
    assert record.state == "failed"
    assert record.reason.startswith("TimeLimitExceeded")
    assert record.crashes == 0
    assert "hard time limit of 1 s" in worker.text()
    (after,) = place.send("tasks.add", 1, 2)
    assert place.ended([after])[0].state == "succeeded"


def test_the_soft_limit_is_raised_in_the_task(place: Site) -> None:
    place.worker().ready()
    (task_id,) = place.send("tasks.over_soft")
    (record,) = place.ended([task_id])
    assert record.state == "succeeded"
    begun, raised = place.ledger(task_id=task_id)
    assert raised.event == "soft"
    assert raised.at - begun.at < 0.5 + LATE


def test_the_soft_limit_in_c_code_acts_as_soon_as_that_looks_at_signals(place: Site) -> None:
    """A regular expression does now and then; a sum is through first; one that never is meets the
    hard limit."""
    place.worker("-c", "1").ready()
    limits = {"soft_time_limit": 0.3, "time_limit": 120}
    (looks,) = place.send("tasks.over_soft_in_c", "regex", **limits)
    (returns,) = place.send("tasks.over_soft_in_c", "sum", **limits)
    limits["time_limit"] = 1
    (never,) = place.send("tasks.over_soft_in_c", "for ever", **limits)
    records = place.ended([looks, returns])
    assert [record.state for record in records] == ["succeeded"] * 2
    begun, raised = place.ledger(task_id=looks)
    assert (begun.event, raised.event) == ("start", "soft")
    assert raised.at - begun.at < 0.3 + LATE
    assert [line.event for line in place.ledger(task_id=returns)] == ["start", "soft"]
    (begun,) = place.wait_ledger("start", never)
    (record,) = place.ended([never])
    assert time.monotonic() - begun.at < 1 + LATE
    assert record.reason.startswith("TimeLimitExceeded")
    assert record.crashes == 0
    assert place.ledger("soft", never) == []


def test_limits_of_the_call_win_over_those_of_the_task(place: Site) -> None:
    place.worker().ready()
    (task_id,) = place.send("tasks.nap", 30, time_limit=0.5)
    (begun,) = place.wait_ledger("start", task_id)
    (record,) = place.ended([task_id])
    assert time.monotonic() - begun.at < 0.5 + LATE
    assert record.reason.startswith("TimeLimitExceeded")


def test_executors_are_recycled_after_max_tasks(place: Site) -> None:
    place.worker("-c", "1", "--max-tasks-per-child", "5").ready()
    ids = place.send("tasks.whoami", count=23)
    records = place.ended(ids)
    assert {record.state for record in records} == {"succeeded"}
    assert {record.attempt for record in records} == {1}
    per_process: dict[int, int] = {}
    for line in place.ledger("start"):
        per_process[line.pid] = per_process.get(line.pid, 0) + 1
    assert max(per_process.values()) <= 5
    assert len(per_process) >= 5


def test_an_executor_that_grew_is_replaced_when_idle(place: Site) -> None:
    worker = place.worker("-c", "1", "--max-memory-per-child", str(120 * 1024)).ready()
    (before,) = place.send("tasks.whoami")
    place.ended([before])
    (grow,) = place.send("tasks.hold_memory", 200)
    (record,) = place.ended([grow])
    assert record.state == "succeeded"
    worker.wait_for("has grown to")
    first = place.ledger("start", before)[0].pid
    eventually(
        lambda: (
            worker.titled("executor")
            and first not in {child.pid for child in worker.titled("executor")}
        ),
        "another executor",
    )
    (after,) = place.send("tasks.whoami")
    place.ended([after])
    assert place.ledger("start", after)[0].pid != first


def test_a_graceful_stop_finishes_what_runs_and_leaves_nothing_leased(place: Site) -> None:
    """What it was sent ahead and has not begun goes back as if it had never been leased."""
    worker = place.worker("-c", "3", LEASE="60").ready()
    place.ended(place.send("tasks.traced", count=100))  # measured: brief, so it goes ahead
    (running,) = place.send("tasks.nap_on")
    place.wait_ledger("start", running)
    sent, ahead = stand_still_with_work_ahead(place, worker)
    worker.send(signal.SIGTERM)
    worker.send(signal.SIGCONT)

    def returned() -> bool:
        """All but what the two idle executors were about to begin."""
        records = place.store.inspection.get(ahead)
        back = [each for each in records if each and each.state == states.QUEUED]
        assert {each.attempt for each in back} <= {0}
        return len(back) >= len(ahead) - 2

    eventually(returned, "what has not begun is handed back")
    for executor in worker.titled("executor"):
        executor.resume()
    (place.folder / f"end-{running}").touch()
    assert worker.process.wait(60) == 0
    assert place.record(running).state == "succeeded"
    begun = Counter(line.id for line in place.ledger("start"))
    for record in place.store.inspection.get(sent):
        assert (record.crashes, record.losses) == (0, 0)
        assert (record.state, record.attempt) in {("queued", 0), ("succeeded", 1)}
        assert begun[record.id] == record.attempt
    assert place.store.inspection.workers() == []


def stand_still_with_work_ahead(place: Site, worker: Worker) -> tuple[list[str], list[str]]:
    """Stop *worker* and its executors while it holds brief tasks that have not begun. Returns all
    that were sent, and those."""
    supervisor = psutil.Process(worker.pid)
    for turn in range(20):  # on a machine that stands still for a second all may have run
        ids = [f"brief-{turn}-{number}" for number in range(3000)]
        calls = [compose(Header(id, "tasks.traced", f"n{id}"), b"[[],{}]") for id in ids]
        for first in range(0, len(calls), 500):
            place.store.queue.enqueue(calls[first : first + 500])
        place.wait_ledger("start", ids[0])
        family = [supervisor, *worker.titled("executor")]
        for process in family:
            process.suspend()
        begun = {line.id for line in place.ledger("start")}
        held = {each.id for each in place.store.inspection.get(ids) if each.state in states.HELD}
        if len(held - begun) > 5:
            return ids, sorted(held - begun)
        for process in family:
            process.resume()
        place.ended(ids)
    raise AssertionError("nothing was sent ahead")


def test_a_second_signal_stops_now_and_requeues_without_a_charge(place: Site) -> None:
    worker = place.worker().ready()
    (task_id,) = place.send("tasks.nap", 300)
    place.wait_ledger("start", task_id)
    worker.send(signal.SIGTERM)
    worker.wait_for("have 20 s to finish")
    time.sleep(0.3)  # as long as a person takes; what comes sooner is the same signal
    began = time.monotonic()
    assert worker.stop() == 0
    assert time.monotonic() - began < 15
    record = place.record(task_id)
    assert (record.state, record.crashes, record.losses) == ("queued", 0, 0)
    assert place.store.inspection.workers() == []


def test_a_signal_that_comes_twice_at_once_is_one(place: Site) -> None:
    """timeout(1) sends its signal to the process and to its group."""
    worker = place.worker("-c", "1").ready()
    (task_id,) = place.send("tasks.nap", 1.0)
    place.wait_ledger("start", task_id)
    for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGINT, signal.SIGCONT):
        worker.send(number)
    assert worker.process.wait(60) == 0
    assert place.record(task_id).state == "succeeded"
    assert "stopping now" not in worker.text()


def test_a_terminal_that_goes_away_is_a_stop_with_grace(place: Site) -> None:
    worker = place.worker("-c", "1").ready()
    (task_id,) = place.send("tasks.nap", 1.0)
    place.wait_ledger("start", task_id)
    worker.send(signal.SIGHUP)
    assert worker.process.wait(60) == 0
    assert "SIGHUP: stopping; running tasks have" in worker.text()
    assert place.record(task_id).state == "succeeded"


def test_sigterm_can_be_made_a_stop_at_once(place: Site) -> None:
    worker = place.worker("-c", "1", REMAP_SIGTERM="SIGQUIT").ready()
    (task_id,) = place.send("tasks.nap", 300)
    place.wait_ledger("start", task_id)
    assert worker.stop() == 0
    assert "SIGQUIT: stopping now" in worker.text()
    record = place.record(task_id)
    assert (record.state, record.crashes, record.losses) == ("queued", 0, 0)
    assert place.store.inspection.workers() == []


def test_stacks_are_shown_on_request_and_nothing_ends(place: Site) -> None:
    worker = place.worker("-c", "1").ready()
    worker.send(signal.SIGUSR1)
    worker.wait_for("most recent call first")
    (task_id,) = place.send("tasks.nap", 0.01)
    place.ended([task_id])
    assert worker.stop() == 0


def test_the_grace_runs_out(place: Site) -> None:
    worker = place.worker(GRACE="0.5").ready()
    (task_id,) = place.send("tasks.nap", 300)
    (once,) = place.send("tasks.nap_once", 300)
    place.wait_ledger("start", task_id)
    place.wait_ledger("start", once)
    assert worker.stop() == 0
    record = place.record(task_id)
    assert (record.state, record.crashes, record.losses) == ("queued", 0, 0)
    record = place.record(once)
    assert (record.state, record.crashes, record.losses) == ("failed", 0, 0)
    assert record.reason.startswith("WorkerLostError")
    assert place.store.inspection.workers() == []


def test_long_tasks_never_queue_behind_each_other(place: Site) -> None:
    place.worker("-c", "2").ready()
    place.ended(place.send("tasks.nap", 0, count=50))  # measured: brief
    ids = place.send("tasks.nap", 5.0, count=2)
    place.ended(ids)
    starts = sorted(place.ledger("start", task_id)[0].at for task_id in ids)
    assert starts[1] - starts[0] < 4.5


def test_a_queued_task_is_revoked_before_it_runs(place: Site) -> None:
    (task_id,) = place.send("tasks.traced")
    place.store.queue.revoke([task_id])
    place.worker().ready()
    (other,) = place.send("tasks.traced")
    place.ended([other])
    assert place.record(task_id).state == "revoked"
    assert place.ledger("start", task_id) == []


def test_terminate_ends_the_running_task_and_only_that(place: Site) -> None:
    place.worker().ready()
    ids = place.send("tasks.nap_on", count=2)
    for task_id in ids:
        place.wait_ledger("start", task_id)
    place.store.queue.revoke([ids[0]], terminate="SIGTERM")
    place.ended(ids[:1])
    (place.folder / f"end-{ids[1]}").touch()
    records = place.ended(ids)
    assert [record.state for record in records] == ["revoked", "succeeded"]
    assert len(place.ledger("start")) == 2


def test_an_unknown_task_waits_for_a_worker_that_knows_it(place: Site) -> None:
    worker = place.worker().ready()
    (task_id,) = place.send("tasks.extra")
    (known,) = place.send("tasks.add", 1, 2)
    place.ended([known])
    eventually(lambda: place.record(task_id).parked, "parked")
    place.worker(EXTRA_TASK="1").ready()
    assert place.ended([task_id])[0].state == "succeeded"
    assert worker.stop() == 0


def test_progress_reaches_the_record_while_the_task_runs(place: Site) -> None:
    place.worker().ready()
    gate = place.folder / "gate"
    (task_id,) = place.send("tasks.progress", str(gate))
    eventually(lambda: place.record(task_id).custom_state == "PROGRESS", "PROGRESS")
    gate.touch()
    assert place.ended([task_id])[0].state == "succeeded"


def test_retries_async_tasks_and_log_records(place: Site) -> None:
    worker = place.worker("-l", "INFO").ready()
    (flaky,) = place.send("tasks.flaky", 2)
    (coroutine,) = place.send("tasks.async_add", 2, 3)
    assert [record.state for record in place.ended([flaky, coroutine])] == ["succeeded"] * 2
    assert place.record(flaky).retries == 2
    text = worker.text()
    assert f"Task tasks.flaky[{flaky}] received" in text
    assert f"Task tasks.flaky[{flaky}] retry: Retry in" in text
    assert f"Task tasks.flaky[{flaky}] succeeded in" in text
