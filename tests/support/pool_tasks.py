"""The application of ``test_task_in_pools``; copied into each test's folder as ``tasks.py``."""

import asyncio
import contextvars
import os
import threading
import time
from pathlib import Path

from celeriac import Celeriac, Task, current_task
from celeriac.exceptions import Ignore, Reject
from celeriac.signals import task_revoked

app = Celeriac("tasks", broker=os.environ["BROKER"], lease=4.0, heartbeat=0.5, lease_margin=1.0)
_ledger = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND)


def note(event, id):
    os.write(_ledger, f"{event} {id} 0 {os.getpid()} {time.monotonic()}\n".encode())


@task_revoked.connect
def on_revoked(sender, request, terminated, signum, expired, **kwargs):
    note(f"task_revoked:{sender.name}:{terminated}:{signum}:{expired}", request.id)


class Telling(Task):
    def before_start(self, task_id, args, kwargs):
        note(f"before_start:{self.request.id == task_id}", task_id)

    def on_success(self, retval, task_id, args, kwargs):
        note(f"on_success:{self.request.id == task_id}", task_id)

    def on_failure(self, exc, task_id, args, kwargs, einfo):
        note(f"on_failure:{type(exc).__name__}:{self.request.id == task_id}", task_id)

    def on_retry(self, exc, task_id, args, kwargs, einfo):
        note(f"on_retry:{type(exc).__name__}:{self.request.id == task_id}", task_id)

    def after_return(self, status, retval, task_id, args, kwargs, einfo):
        note(f"after_return:{status}:{self.request.id == task_id}", task_id)


tenant = contextvars.ContextVar("tenant", default="nobody")


@app.task
def whose(name):
    """Set something in this context, and say what was there."""
    before = tenant.get()
    tenant.set(name)
    return [before, tenant.get()]


@app.task
async def awhose(name):
    before = tenant.get()
    tenant.set(name)
    return [before, tenant.get()]


@app.task
def helper():
    pass


@app.task(bind=True, base=Telling)
def progress(self, gate):
    self.update_state(state="PROGRESS", meta={"done": 1})
    helper.update_state(task_id=self.request.id, state="PROGRESS", meta={"done": 2})
    note("start", self.request.id)
    while not Path(gate).exists():
        time.sleep(0.01)
    return [threading.current_thread() is threading.main_thread(), current_task.name]


@app.task(bind=True, base=Telling)
async def aprogress(self, gate):
    self.update_state(state="PROGRESS", meta={"done": 2})
    note("start", self.request.id)
    while not Path(gate).exists():  # noqa: ASYNC110, ASYNC240 - another process opens it
        await asyncio.sleep(0.01)
    return [True, current_task.name]


@app.task(bind=True, base=Telling, max_retries=1)
def shaky(self):
    if not self.request.retries:
        raise self.retry(exc=KeyError("first"), countdown=0)
    raise ValueError("second")


@app.task
def ignored():
    raise Ignore


@app.task
def rejected():
    raise Reject("bad")


@app.task(bind=True)
async def forever(self):
    note("start", self.request.id)
    await asyncio.sleep(10_000)
