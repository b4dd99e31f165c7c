"""Signals in a real worker: when they are sent, in which process, and with what."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from workers import REDIS_LATER, Site, eventually, site_on


@pytest.fixture(params=REDIS_LATER)
def place(tmp_path: Path, request, shared) -> Iterator[Site]:
    with site_on(request.param, tmp_path, shared, "signal_tasks.py") as made:
        yield made


def heard(place: Site, prefix: str, count: int = 1, task_id: str | None = None) -> list:
    """Wait until receivers have written *count* lines that begin with *prefix*."""

    def look() -> list:
        found = [each for each in place.ledger(None, task_id) if each.event.startswith(prefix)]
        return found if len(found) >= count else []

    return eventually(look, f"{count} × {prefix} in {place.ledger_path.read_text()!r}", 30.0)


def texts(lines: list) -> list[str]:
    return [line.event for line in lines]


def test_the_life_of_a_worker(place: Site) -> None:
    names = (
        "import_modules celeryd_init worker_init celeryd_after_setup worker_before_create_process"
        " worker_process_init worker_process_shutdown worker_ready worker_shutting_down"
        " worker_shutdown heartbeat_sent"
    )
    worker = place.worker("-n", "w@here", HEARD=names).ready()
    heard(place, "heartbeat_sent", 2)
    (ready,) = heard(place, "worker_ready")
    assert ready.event == "worker_ready:w@here"
    (sent,) = place.send("tasks.model")
    (record,) = place.ended([sent])
    assert record.state == "succeeded"
    assert worker.stop() == 0
    order = [each.event.partition(":")[0] for each in place.ledger()]
    assert order[:4] == ["import_modules", "celeryd_init", "worker_init", "celeryd_after_setup"]
    # Before each executor and before the hooks process.
    assert order.count("worker_before_create_process") == 3
    assert order.count("worker_process_init") == order.count("worker_process_shutdown") == 2
    assert order[-1] == "worker_shutdown"
    assert "import_modules:True" in texts(place.ledger())
    assert "celeryd_init:w@here:w@here:['worker_concurrency']" in texts(place.ledger())
    assert "worker_init:w@here:True" in texts(place.ledger())
    assert "celeryd_after_setup:w@here:1234.0" in texts(place.ledger())
    assert "worker_shutting_down:w@here:SIGTERM:Warm:0" in texts(place.ledger())
    assert set(texts(heard(place, "worker_process_init"))) == {"worker_process_init:w@here:42"}
    assert set(texts(heard(place, "worker_process_shutdown"))) == {
        "worker_process_shutdown:None:True:0"
    }
    assert "worker_shutdown:w@here" in texts(place.ledger())
    # The set-up in one process, the executors' in theirs, the worker's life in the hooks process.
    zygote = {each.pid for each in heard(place, "worker_init")}
    hooks = {each.pid for each in heard(place, "heartbeat_sent")}
    executors = {each.pid for each in heard(place, "worker_process_init")}
    assert {each.pid for each in heard(place, "worker_shutdown")} == hooks
    assert (len(zygote), len(hooks), len(executors)) == (1, 1, 2)
    assert not zygote & hooks | zygote & executors | hooks & executors
    assert worker.pid not in zygote | hooks | executors


def test_what_receivers_of_the_set_up_did_is_there_in_tasks(place: Site) -> None:
    place.worker(HEARD="worker_init worker_process_init").ready()
    out = place.python("import tasks; print(tasks.model.delay().get(timeout=30))")
    assert out == "[42, True]\n"


def test_a_receiver_may_send_tasks(place: Site) -> None:
    place.worker(HEARD="worker_ready task_success").ready()
    (line,) = heard(place, "task_success")
    assert line.event == "task_success:3"


def test_signals_of_runs(place: Site) -> None:
    names = "task_prerun task_postrun task_success task_failure task_retry"
    worker = place.worker(HEARD=names).ready()
    (add,), (fail,), (again,), (wrong,) = (
        place.send("tasks.add", 1, 2),
        place.send("tasks.fail"),
        place.send("tasks.again"),
        place.send("tasks.add", 1),
    )
    place.ended([add, fail, again, wrong])

    def of(id: str) -> list[str]:
        return [each.event for each in place.ledger(None, id)]

    assert of(add) == ["task_prerun:True", "task_success:3", "task_postrun:SUCCESS"]
    assert of(fail) == [
        "task_prerun:True", "task_failure:tasks.fail:ValueError:True", "task_postrun:FAILURE",
    ]  # fmt: skip
    assert of(again) == [
        "task_prerun:True", "task_retry:Retry:KeyError", "task_postrun:RETRY",
        "task_prerun:True", "task_success:second", "task_postrun:SUCCESS",
    ]  # fmt: skip
    assert of(wrong) == [
        "task_prerun:True", "task_failure:tasks.add:TypeError:True", "task_postrun:FAILURE",
    ]  # fmt: skip
    assert not worker.titled("hooks")  # nothing is to be told outside the executors


def test_the_failure_of_a_task_whose_executor_died_is_told(place: Site) -> None:
    worker = place.worker(HEARD="task_failure task_postrun").ready()
    (died,) = place.send("tasks.die")
    place.ended([died])
    (line,) = heard(place, "task_failure", task_id=died)
    assert line.event == "task_failure:tasks.die:WorkerLostError:False"
    assert line.pid in {child.pid for child in worker.titled("hooks")}
    assert [each.event for each in place.ledger(None, died)] == [line.event]


def test_received_and_revoked(place: Site) -> None:
    worker = place.worker("-n", "w@here", "-c", "1", HEARD="task_received task_revoked").ready()
    (nap,) = place.send("tasks.nap", 60)
    place.wait_ledger("start", nap)
    (line,) = heard(place, "task_received", task_id=nap)
    assert line.event == f"task_received:w@here:tasks.nap:tasks.nap:(60,):{nap}"
    place.store.queue.revoke([nap], "SIGINT")
    place.store.queue.revoke([nap], "SIGKILL")
    place.ended([nap])
    (line,) = heard(place, "task_revoked", task_id=nap)
    assert line.event == f"task_revoked:tasks.nap:True:{int(signal.SIGKILL)}:False"
    assert worker.stop() == 0


def test_a_message_that_cannot_be_trusted_is_rejected(place: Site) -> None:
    place.worker(HEARD="task_rejected", CELERIAC_SECURITY_KEY="k" * 40).ready()
    (sent,) = place.send("tasks.add", 1, 2)
    (record,) = place.ended([sent])
    assert record.state == "failed"
    (line,) = heard(place, "task_rejected")
    assert line.event == "task_rejected:bytes:SecurityError"


# -- receivers that do harm --------------------------------------------------------------------

LIVES_ON = "task_received heartbeat_sent worker_ready task_failure worker_shutdown"


@pytest.mark.parametrize("how", ["raise", "exit", "hang"])
def test_receivers_outside_the_executors_change_nothing(place: Site, how: str) -> None:
    worker = place.worker(
        HEARD=LIVES_ON, HARM=" ".join(f"{name}:{how}" for name in LIVES_ON.split())
    ).ready()
    heard(place, "worker_ready")
    ids = place.send("tasks.add", 1, 2, count=20)
    (died,) = place.send("tasks.die")
    records = place.ended([*ids, died])
    assert {record.state for record in records[:20]} == {"succeeded"}
    assert records[20].state == "failed"
    assert {record.attempt for record in records} == {1}
    if how == "exit":
        worker.wait_for("exited with status 7")
        heard(place, "heartbeat_sent", 2)  # a new process hears the next one
    elif how == "raise":
        worker.wait_for("ValueError: heartbeat_sent is no good")
    (view,) = place.alive_workers()
    assert view.held == 0
    assert worker.stop() == 0


@pytest.mark.parametrize("how", ["raise"])
def test_receivers_of_runs_that_raise_change_nothing(place: Site, how: str) -> None:
    names = "task_prerun task_postrun task_failure worker_process_init worker_init"
    harmful = " ".join(f"{name}:{how}" for name in names.split())
    worker = place.worker(HEARD=names, HARM=harmful).ready()
    (add,), (fail,) = place.send("tasks.add", 1, 2), place.send("tasks.fail")
    records = place.ended([add, fail])
    assert [record.state for record in records] == ["succeeded", "failed"]
    for name in names.split():
        worker.wait_for(f"ValueError: {name} is no good")


def test_a_receiver_that_keeps_an_executor_from_starting_is_named(place: Site) -> None:
    worker = place.worker("-c", "1", HEARD="worker_process_init", HARM="worker_process_init:hang")
    worker.wait_for("A receiver of worker_process_init is still at")
    assert "this executor takes no task" in worker.text()
    assert worker.stop() == 0


def test_receivers_that_cannot_keep_up_lose_notices_and_the_worker_nothing(place: Site) -> None:
    worker = place.worker(HEARD="task_received", HARM="task_received:hang").ready()
    out = place.python(
        "import tasks\nfor _ in range(40):\n    print(tasks.add.delay('x' * 500_000, 'y').id)\n"
    )
    ids = out.split()
    assert {record.state for record in place.ended(ids)} == {"succeeded"}
    worker.wait_for("The hooks process does not keep up")
    assert worker.stop() == 0
    assert "handlers it still had are lost" in worker.text()


def test_a_receiver_of_a_run_that_hangs_is_ended_with_the_run(place: Site) -> None:
    place.worker(HEARD="task_prerun", HARM="task_prerun:hang").ready()
    (sent,) = place.send("tasks.add", 1, 2, time_limit=1)
    (record,) = place.ended([sent])
    assert (record.state, record.reason.partition(":")[0]) == ("failed", "TimeLimitExceeded")


def test_a_call_that_waits_for_its_turn_is_revoked_in_the_workers_hands(place: Site) -> None:
    place.worker("-c", "1", HEARD="task_received task_revoked").ready()
    for _ in range(10):  # on a machine that stands still for a second its turn may come first
        _, second = place.send("tasks.seldom", count=2)
        heard(place, "task_received", task_id=second)
        place.store.queue.revoke([second])
        (record,) = place.ended([second])
        if record.state == "revoked":
            break
    (line,) = heard(place, "task_revoked", task_id=second)
    assert line.event == "task_revoked:tasks.seldom:False:None:False"


def test_executors_that_are_started_anew_set_up_in_each(place: Site) -> None:
    names = "worker_init worker_process_init worker_ready task_failure"
    worker = place.worker("-c", "1", HEARD=names, START_THREAD="1").ready()
    (ready,) = heard(place, "worker_ready")
    out = place.python("import tasks; print(tasks.model.delay().get(timeout=30))")
    assert out == "[42, True]\n"
    assert ready.pid in {each.pid for each in heard(place, "worker_init", 3)}
    assert worker.stop() == 0


# -- what people write ---------------------------------------------------------------------------

METRICS = """
import os
import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from celeriac import Celery
from celeriac.signals import task_failure, task_postrun, task_prerun, worker_process_shutdown

app = Celery("tasks", broker=os.environ["BROKER"])

registry = CollectorRegistry()
TASKS = Counter("tasks_total", "Tasks", ["name", "state"], registry=registry)
RUNNING = Gauge("tasks_running", "Tasks that run", ["name"], registry=registry)
SECONDS = Histogram("task_seconds", "How long tasks run", ["name"], registry=registry)
FAILURES = Counter("task_failures_total", "Failures", ["name", "exception"], registry=registry)
started = {}


@task_prerun.connect
def before(sender=None, task_id=None, task=None, *args, **kwargs):
    started[task_id] = time.monotonic()
    RUNNING.labels(task.name).inc()


@task_postrun.connect
def after(sender=None, task_id=None, task=None, retval=None, state=None, **kwargs):
    SECONDS.labels(task.name).observe(time.monotonic() - started.pop(task_id))
    RUNNING.labels(task.name).dec()
    TASKS.labels(name=task.name, state=state).inc()


@task_failure.connect
def failed(sender=None, exception=None, **kwargs):
    FAILURES.labels(sender.name, type(exception).__name__).inc()


@worker_process_shutdown.connect
def write(**kwargs):
    with open("metrics", "wb") as file:
        file.write(generate_latest(registry))


@app.task
def add(x, y):
    return x + y


@app.task
def divide(x, y):
    return x / y
"""


def test_the_classic_prometheus_snippet(place: Site) -> None:
    (place.folder / "tasks.py").write_text(METRICS)
    worker = place.worker("-c", "1").ready()
    ids = place.send("tasks.add", 1, 2, count=3) + place.send("tasks.divide", 1, 0, count=2)
    place.ended(ids)
    assert worker.stop() == 0
    lines = (place.folder / "metrics").read_text().splitlines()
    for line in (
        'tasks_total{name="tasks.add",state="SUCCESS"} 3.0',
        'tasks_total{name="tasks.divide",state="FAILURE"} 2.0',
        'tasks_running{name="tasks.add"} 0.0',
        'task_seconds_count{name="tasks.divide"} 2.0',
        'task_failures_total{exception="ZeroDivisionError",name="tasks.divide"} 2.0',
    ):
        assert line in lines


# -- the solo pool -------------------------------------------------------------------------------


def test_the_solo_pool_sends_them_too(place: Site) -> None:
    names = (
        "worker_init worker_process_init worker_process_shutdown worker_ready worker_shutting_down"
        " worker_shutdown heartbeat_sent task_received task_postrun task_success"
    )
    worker = place.worker("-n", "w@here", "-P", "solo", "-c", "1", HEARD=names).ready()
    (sent,) = place.send("tasks.model")
    place.ended([sent])
    heard(place, "heartbeat_sent", 1)
    heard(place, "task_success:3")  # what the receiver of worker_ready sent
    assert worker.stop() == 0
    found = texts(place.ledger())
    for each in (
        "worker_init:w@here:True",
        "worker_process_init:w@here:42",
        "worker_ready:w@here",
        f"task_received:w@here:tasks.model:tasks.model:():{sent}",
        "task_success:[42,_True]",
        "worker_shutting_down:w@here:SIGTERM:Warm:0",
        "worker_shutdown:w@here",
        "worker_process_shutdown:None:True:0",
    ):
        assert each in found


def test_a_receiver_that_hangs_does_not_keep_the_solo_pool_from_working(place: Site) -> None:
    harmful = "heartbeat_sent:hang task_received:hang worker_shutdown:hang"
    names = " ".join(each.partition(":")[0] for each in harmful.split())
    worker = place.worker("-P", "solo", "-c", "1", HEARD=names, HARM=harmful).ready()
    ids = place.send("tasks.add", 1, 2, count=3)
    assert {record.state for record in place.ended(ids)} == {"succeeded"}
    assert worker.stop() == 0
    assert "A receiver of a signal has not returned" in worker.text()


@pytest.mark.parametrize("pool", ["threads", "asyncio"])
def test_shared_pools_send_them_too(place: Site, pool: str) -> None:
    names = "worker_process_init worker_process_shutdown task_prerun task_success task_postrun"
    worker = place.worker("-P", pool, "-c", "4", HEARD=names + " worker_init").ready()
    ids = place.send("tasks.add", 1, 2, count=8)
    place.ended(ids)
    for id in ids:
        assert texts(place.ledger(None, id)) == [
            "task_prerun:True", "task_success:3", "task_postrun:SUCCESS",
        ]  # fmt: skip
    assert worker.stop() == 0
    assert len(heard(place, "worker_process_init")) == 1
    assert len(heard(place, "worker_process_shutdown")) == 1
