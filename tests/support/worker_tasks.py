"""The application of the worker tests; copied into each test's folder as ``tasks.py``."""

import ctypes
import itertools
import logging
import os
import re
import signal
import sys
import time
from pathlib import Path

from celeriac import Celeriac
from celeriac.exceptions import SoftTimeLimitExceeded

app = Celeriac(
    "tasks",
    broker=os.environ["BROKER"],
    lease=float(os.environ.get("LEASE", "4")),
    heartbeat=float(os.environ.get("HEARTBEAT", "0.5")),
    lease_margin=float(os.environ.get("LEASE_MARGIN", "1")),
    crash_delay=0.3,
    grace=float(os.environ.get("GRACE", "20")),
)
_ledger = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND)
logger = logging.getLogger("shop.orders")


def note(event, request):
    """Append one line; a single write with O_APPEND is atomic."""
    line = f"{event} {request.id} {request.attempt} {os.getpid()} {time.monotonic()}\n"
    os.write(_ledger, line.encode())


@app.task
def add(x, y):
    return x + y


@app.task(bind=True)
def traced(self, value=None):
    note("start", self.request)
    note("end", self.request)
    return value


@app.task(bind=True)
def nap(self, seconds):
    note("start", self.request)
    time.sleep(seconds)
    note("end", self.request)
    return seconds


@app.task(bind=True)
def nap_on(self):
    """Run until a file says that it is enough."""
    note("start", self.request)
    while not Path(f"end-{self.request.id}").exists():
        time.sleep(0.01)
    note("end", self.request)


@app.task(bind=True, acks_late=False)
def nap_once(self, seconds):
    note("start", self.request)
    time.sleep(seconds)
    note("end", self.request)


def do_harm(how):
    if how in ("SIGKILL", "SIGILL"):
        signal.raise_signal(getattr(signal, how))  # in this thread, so at once
    elif how == "SIGSEGV":
        ctypes.string_at(0)
    elif how == "exit0":
        os._exit(0)
    elif how == "exit3":
        os._exit(3)
    elif how == "abort":
        os.abort()
    elif how == "sys.exit":
        sys.exit(7)
    elif how == "KeyboardInterrupt":
        raise KeyboardInterrupt


@app.task(bind=True)
def kill_self(self, how):
    note("start", self.request)
    do_harm(how)


@app.task(bind=True)
async def akill_self(self, how):
    note("start", self.request)
    do_harm(how)


@app.task(bind=True)
def kill_once(self, how):
    note("start", self.request)
    if self.request.attempt == 1:
        os.kill(os.getpid(), getattr(signal, how))
    note("end", self.request)
    return "survived"


@app.task(bind=True, acks_late=False)
def kill_once_early(self):
    note("start", self.request)
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(bind=True, reject_on_worker_lost=False)
def kill_no_requeue(self):
    note("start", self.request)
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(bind=True, time_limit=1)
def over_hard(self):
    note("start", self.request)
    sum(itertools.repeat(1, 10**11))  # never lets go of the GIL


@app.task(bind=True, soft_time_limit=0.5, time_limit=30)
def over_soft(self):
    note("start", self.request)
    try:
        time.sleep(30)
    except SoftTimeLimitExceeded:
        note("soft", self.request)
        return "cleaned up"


C_CODE = {
    "regex": lambda: re.match("(a+)+$", "a" * 60 + "b"),
    "sum": lambda: sum(range(10**8)),
    "for ever": lambda: sum(itertools.repeat(1, 10**11)),
}


@app.task(bind=True)
def over_soft_in_c(self, what):
    note("start", self.request)
    try:
        C_CODE[what]()
        note("through", self.request)
    except SoftTimeLimitExceeded:
        note("soft", self.request)


@app.task(bind=True)
def hold_memory(self, mib):
    note("start", self.request)
    block = bytearray(mib << 20)
    self.app._kept = block
    return len(block)


@app.task(bind=True)
def whoami(self):
    note("start", self.request)
    return os.getpid()


@app.task(bind=True)
def log_line(self):
    logger.warning("a line from the shop")
    return self.request.id


@app.task(bind=True, max_retries=3)
def flaky(self, fail_times):
    note("start", self.request)
    if self.request.retries < fail_times:
        raise self.retry(countdown=0.05, exc=ValueError("not yet"))
    return self.request.retries


@app.task(bind=True)
def progress(self, gate):
    self.update_state(state="PROGRESS", meta={"done": 3})
    note("start", self.request)
    while not Path(gate).exists():
        time.sleep(0.01)
    return "done"


class Hooked(app.Task):
    def on_failure(self, exc, task_id, args, kwargs, einfo):
        line = f"hook {task_id} 0 {os.getpid()} {time.monotonic()}\n"
        os.write(_ledger, line.encode())


@app.task(bind=True, base=Hooked)
def hooked_killer(self):
    os.kill(os.getpid(), signal.SIGKILL)


@app.task
async def async_add(x, y):
    import asyncio

    await asyncio.sleep(0.01)
    return x + y


if os.environ.get("EXTRA_TASK"):

    @app.task(name="tasks.extra")
    def extra():
        return "extra"


if os.environ.get("START_THREAD"):
    import threading

    threading.Thread(target=threading.Event().wait, daemon=True).start()


@app.task(bind=True)
def grow(self, first_mib, pause):
    """Take memory, a large piece first, until somebody stops it."""
    note("start", self.request)
    kept = [bytearray(b"x") * (first_mib << 20)]
    while True:
        kept.append(bytearray(b"x") * (4 << 20))
        time.sleep(pause)
