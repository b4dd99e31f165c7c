"""The application of the tests with code of old and of today on one store; copied as ``tasks.py``.
It keeps to what the first versions had."""

import os
import time
from pathlib import Path

from celeriac import Celeriac

app = Celeriac(
    "tasks", broker=os.environ["BROKER"], lease=4.0, heartbeat=0.5, lease_margin=1.0,
    loss_delay=0.2, crash_delay=0.2,
)  # fmt: skip
_ledger = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def note(event, request):
    line = f"{event} {request.id} {request.attempt} {os.getpid()} {time.monotonic()}\n"
    os.write(_ledger, line.encode())


@app.task(bind=True)
def double(self, number):
    note("start", self.request)
    note("end", self.request)
    return 2 * number


@app.task(bind=True)
def total(self, numbers):
    note("start", self.request)
    note("end", self.request)
    return sum(numbers)


@app.task(bind=True)
def again(self, number):
    """Succeeds at its second try."""
    note("start", self.request)
    if not self.request.retries:
        raise self.retry(countdown=0)
    note("end", self.request)
    return number


@app.task(bind=True)
def wait_for(self, gate):
    """Runs until there is a file of that name."""
    note("start", self.request)
    while not Path(gate).exists():
        time.sleep(0.01)
    note("end", self.request)
    return gate
