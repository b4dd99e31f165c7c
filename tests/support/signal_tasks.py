"""The application of the tests of signals; copied into each test's folder as ``tasks.py``.

Receivers write what they hear into the ledger: event, id (or "-"), attempt 0, pid, time.
"""

import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path

from celeriac import Celeriac
from celeriac.signals import (
    celeryd_after_setup,
    celeryd_init,
    heartbeat_sent,
    import_modules,
    task_failure,
    task_postrun,
    task_prerun,
    task_received,
    task_rejected,
    task_retry,
    task_revoked,
    task_success,
    worker_before_create_process,
    worker_init,
    worker_process_init,
    worker_process_shutdown,
    worker_ready,
    worker_shutdown,
    worker_shutting_down,
)

app = Celeriac(
    "tasks",
    broker=os.environ["BROKER"],
    lease=4.0,
    heartbeat=0.5,
    lease_margin=1.0,
    crash_delay=0.3,
)
_ledger = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND)
#: Signals to be connected to, and what some of their receivers do to the process they are in.
HEARD = set(os.environ.get("HEARD", "").split())
HARM = dict(each.split(":") for each in os.environ.get("HARM", "").split())
state = Counter()


def note(event, id="-"):
    """Append one line; a single write with O_APPEND is atomic."""
    text = event.replace(" ", "_")
    os.write(_ledger, f"{text} {id} 0 {os.getpid()} {time.monotonic()}\n".encode())


def harm(name):
    how = HARM.get(name)
    if how == "raise":
        raise ValueError(f"{name} is no good")
    if how == "exit":
        os._exit(7)
    if how == "hang":
        time.sleep(10_000)


def hear(made):
    """Connect if the test wants to hear of it."""

    def connect(receiver):
        if made.name in HEARD:
            made.connect(receiver, weak=False)
        return receiver

    return connect


# -- the worker's life -------------------------------------------------------------------------


@hear(import_modules)
def on_import(sender, **kwargs):
    note(f"import_modules:{sender is app}")


@hear(celeryd_init)
def on_init(sender, instance, conf, options, **kwargs):
    conf.result_expires = 1234
    note(f"celeryd_init:{sender}:{instance.hostname}:{sorted(options)}")


@hear(worker_init)
def on_worker_init(sender, **kwargs):
    state["model"] = 42
    note(f"worker_init:{sender.hostname}:{sender.app is app}")
    harm("worker_init")


@hear(celeryd_after_setup)
def on_after_setup(sender, instance, conf, **kwargs):
    note(f"celeryd_after_setup:{sender}:{conf.result_expires}")


@hear(worker_before_create_process)
def on_before_create(sender, **kwargs):
    note("worker_before_create_process")


@hear(worker_process_init)
def on_process_init(sender, **kwargs):
    state["connection"] = os.getpid()
    note(f"worker_process_init:{sender}:{state['model']}")
    harm("worker_process_init")


@hear(worker_process_shutdown)
def on_process_shutdown(sender, pid, exitcode, **kwargs):
    note(f"worker_process_shutdown:{sender}:{pid == os.getpid()}:{exitcode}")


@hear(worker_ready)
def on_ready(sender, **kwargs):
    note(f"worker_ready:{sender.hostname}")
    harm("worker_ready")
    sender.app.send_task("tasks.add", (1, 2))


@hear(worker_shutting_down)
def on_shutting_down(sender, sig, how, exitcode, **kwargs):
    note(f"worker_shutting_down:{sender}:{sig}:{how}:{exitcode}")


@hear(worker_shutdown)
def on_shutdown(sender, **kwargs):
    note(f"worker_shutdown:{sender.hostname}")
    harm("worker_shutdown")


@hear(heartbeat_sent)
def on_heartbeat(sender, **kwargs):
    note("heartbeat_sent")
    harm("heartbeat_sent")


# -- calls -------------------------------------------------------------------------------------


@hear(task_received)
def on_received(sender, request, **kwargs):
    shown = f"{sender.hostname}:{request.name}:{request.task.name}:{request.args}:{request.id}"
    note(f"task_received:{shown}", request.id)
    harm("task_received")


@hear(task_rejected)
def on_rejected(sender, message, exc, **kwargs):
    note(f"task_rejected:{type(message).__name__}:{type(exc).__name__}")


@hear(task_revoked)
def on_revoked(sender, request, terminated, signum, expired, **kwargs):
    note(f"task_revoked:{sender.name}:{terminated}:{signum}:{expired}", request.id)
    harm("task_revoked")


# -- runs --------------------------------------------------------------------------------------


@hear(task_prerun)
def on_prerun(sender, task_id, task, args, kwargs, **rest):
    note(f"task_prerun:{sender is task}", task_id)
    harm("task_prerun")


@hear(task_postrun)
def on_postrun(sender, task_id, task, args, kwargs, retval, state, **rest):
    note(f"task_postrun:{state}", task_id)
    harm("task_postrun")


@hear(task_success)
def on_success(sender, result, runtime, **kwargs):
    note(f"task_success:{result}", sender.request.id)


@hear(task_failure)
def on_failure(sender, task_id, exception, args, kwargs, traceback, einfo, **rest):
    kind = type(einfo.exception).__name__
    note(f"task_failure:{sender.name}:{kind}:{traceback is not None}", task_id)
    harm("task_failure")


@hear(task_retry)
def on_retry(sender, request, reason, einfo, **kwargs):
    note(f"task_retry:{type(reason).__name__}:{type(einfo.exception).__name__}", request.id)


# -- tasks -------------------------------------------------------------------------------------


@app.task
def add(x, y):
    return x + y


@app.task
def model():
    return [state["model"], state["connection"] == os.getpid()]


@app.task(bind=True)
def nap(self, seconds):
    note("start", self.request.id)
    time.sleep(seconds)
    return seconds


@app.task
def fail():
    raise ValueError("as it should")


@app.task(bind=True, max_retries=1)
def again(self):
    if not self.request.retries:
        raise self.retry(exc=KeyError("first"), countdown=0)
    return "second"


@app.task(reject_on_worker_lost=False)
def die():
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(rate_limit="40/m")
def seldom():
    pass


if os.environ.get("START_THREAD"):
    threading.Thread(target=threading.Event().wait, daemon=True).start()


@app.task(bind=True)
def wait_for(self, gate):
    note("start", self.request.id)
    while not Path(gate).exists():
        time.sleep(0.01)
