"""The application of the tests of shared pools; copied into each test's folder as ``tasks.py``."""

import asyncio
import contextvars
import itertools
import logging
import os
import signal
import threading
import time
from pathlib import Path

from celeriac import Celeriac
from celeriac.exceptions import SoftTimeLimitExceeded

app = Celeriac(
    "tasks",
    broker=os.environ["BROKER"],
    lease=4.0,
    heartbeat=0.5,
    lease_margin=1.0,
    crash_delay=0.3,
    grace=float(os.environ.get("GRACE", "20")),
    pool_drain_grace=float(os.environ.get("DRAIN", "10")),
    autoscale_keepalive=float(os.environ.get("KEEPALIVE", "30")),
)
_ledger = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND)
logger = logging.getLogger("shop.orders")
tenant = contextvars.ContextVar("tenant", default="nobody")


def note(event, request):
    """Append one line; a single write with O_APPEND is atomic."""
    line = f"{event} {request.id} {request.attempt} {os.getpid()} {time.monotonic()}\n"
    os.write(_ledger, line.encode())


# --- coroutines -------------------------------------------------------------------------------
async def opened(gate):
    """Wait until the test has made the file *gate*."""
    while not Path(gate).exists():  # noqa: ASYNC110, ASYNC240 - another process opens it
        await asyncio.sleep(0.02)


@app.task
async def doze(seconds):
    await asyncio.sleep(seconds)


@app.task(bind=True)
async def rest(self, seconds):
    note("start", self.request)
    await asyncio.sleep(seconds)
    note("end", self.request)
    return os.getpid()


@app.task(bind=True, acks_late=False)
async def rest_once(self, seconds):
    note("start", self.request)
    await asyncio.sleep(seconds)
    note("end", self.request)


@app.task(bind=True)
async def until(self, gate):
    note("start", self.request)
    await opened(gate)
    note("end", self.request)
    return os.getpid()


@app.task(bind=True, max_retries=3)
async def aflaky(self, fail_times):
    note("start", self.request)
    if self.request.retries < fail_times:
        raise self.retry(countdown=0.05, exc=ValueError("not yet"))
    return self.request.retries


@app.task(bind=True)
async def who(self, name):
    """Set something in this context, let others run, and see that it is still ours."""
    before = tenant.get()
    tenant.set(name)
    await asyncio.sleep(0.05)
    logger.warning("for %s", name)
    return [before, tenant.get(), self.request.id]


@app.task(bind=True, soft_time_limit=0.3)
async def asoft(self):
    try:
        await asyncio.sleep(30)
    except SoftTimeLimitExceeded as error:
        note("soft", self.request)
        return str(error)


@app.task(bind=True, time_limit=0.5)
async def ahard(self):
    note("start", self.request)
    await asyncio.sleep(30)


@app.task(bind=True, time_limit=0.5)
async def stubborn(self):
    """Does not heed its cancellation."""
    note("start", self.request)
    while True:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            note("cancelled", self.request)


@app.task(bind=True, time_limit=0.5)
async def blocks_the_loop(self):
    note("start", self.request)
    sum(itertools.repeat(1, 10**11))


@app.task(bind=True)
async def block(self, seconds):
    """Keeps the loop from turning."""
    note("start", self.request)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return "done"


@app.task(bind=True)
async def aprogress(self, gate):
    self.update_state(state="PROGRESS", meta={"done": 3})
    await opened(gate)
    return "done"


@app.task(bind=True)
async def akill(self, gate):
    note("start", self.request)
    await opened(gate)
    os.kill(os.getpid(), signal.SIGKILL)


# --- functions --------------------------------------------------------------------------------
@app.task
def add(x, y):
    return x + y


@app.task(bind=True)
def nap(self, seconds):
    note("start", self.request)
    time.sleep(seconds)
    note("end", self.request)
    return [os.getpid(), threading.current_thread() is threading.main_thread()]


@app.task(bind=True, acks_late=False)
def nap_once(self, seconds):
    note("start", self.request)
    time.sleep(seconds)
    note("end", self.request)


@app.task(bind=True)
def wait_for(self, gate):
    note("start", self.request)
    while not Path(gate).exists():
        time.sleep(0.02)
    note("end", self.request)
    return os.getpid()


@app.task(bind=True)
def whoami(self):
    note("start", self.request)
    return os.getpid()


@app.task(bind=True, max_retries=3)
def flaky(self, fail_times):
    note("start", self.request)
    if self.request.retries < fail_times:
        raise self.retry(countdown=0.05, exc=ValueError("not yet"))
    return self.request.retries


@app.task(bind=True)
def whose(self, name):
    before = tenant.get()
    tenant.set(name)
    time.sleep(0.02)
    logger.warning("for %s", name)
    return [before, tenant.get(), self.request.id]


@app.task(bind=True, soft_time_limit=0.3)
def soft(self):
    try:
        while True:
            time.sleep(0.01)
    except SoftTimeLimitExceeded as error:
        note("soft", self.request)
        return str(error)


@app.task(bind=True, time_limit=0.5)
def hard(self):
    note("start", self.request)
    while True:
        time.sleep(0.05)


@app.task(bind=True, time_limit=0.5)
def holds_the_gil(self):
    note("start", self.request)
    sum(itertools.repeat(1, 10**11))


@app.task(bind=True)
def busy(self, seconds):
    note("start", self.request)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return "done"


@app.task(bind=True)
def progress(self, gate):
    self.update_state(state="PROGRESS", meta={"done": 3})
    while not Path(gate).exists():
        time.sleep(0.01)
    return "done"


@app.task(bind=True)
def kill(self, gate):
    note("start", self.request)
    while not Path(gate).exists():
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(bind=True)
def hold_memory(self, mib):
    note("start", self.request)
    self.app._kept = bytearray(mib << 20)
    return os.getpid()
