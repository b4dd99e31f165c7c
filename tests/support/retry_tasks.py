"""The application of the tests of retries in workflows; copied into their folders as ``tasks.py``.

What is *broken* fails as long as there is a file of that name in the folder.
"""

import os
import signal
import time
from datetime import date
from pathlib import Path

from celeriac import Celeriac, chain

app = Celeriac(
    "tasks", broker=os.environ["BROKER"], lease=4.0, heartbeat=0.5, lease_margin=1.0,
    crash_delay=0.05,
)  # fmt: skip
_ledger = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND)


def note(event, request):
    os.write(_ledger, f"{event} {request.id} {request.attempt} {os.getpid()} 0\n".encode())


def stands(name):
    """Raise if *name* is broken."""
    if name and Path(name).exists():
        raise ValueError(f"{name} is broken")


@app.task(bind=True)
def add(self, before, value, needs=""):
    note("add", self.request)
    stands(needs)
    return before + value


@app.task(bind=True)
def member(self, value, needs=""):
    note(f"member:{value}", self.request)
    stands(needs)
    return value


@app.task(bind=True)
def body(self, results):
    note("body", self.request)
    return results


@app.task(bind=True)
def on_error(self, request, exc, traceback):
    note(f"error:{type(exc).__name__}", self.request)


@app.task(bind=True)
def slow_error(self, task_id):
    """An errback that runs until there is a file ``go``."""
    note("slow_error", self.request)
    while not Path("go").exists():
        time.sleep(0.01)


@app.task(bind=True)
def split(self, value, needs):
    note("split", self.request)
    raise self.replace(chain(member.s(value), add.s(1, needs), add.s(10)))


@app.task(bind=True)
def grow(self, value, needs=""):
    """Add a member to the chord, then fail or not."""
    note("grow", self.request)
    self.add_to_chord(member.s(value * 100))
    stands(needs)
    return value


@app.task(bind=True)
def grow_and_replace(self, value, needs):
    note("grow_and_replace", self.request)
    self.add_to_chord(member.s(value * 100))
    raise self.replace(member.s(value, needs))


@app.task(bind=True)
def grow_more(self, value):
    self.add_to_chord(member.s(value * 200))
    return value


@app.task(bind=True)
def grow_again(self, value):
    """Add a member and be replaced by this task, until there is nothing more to add."""
    if not value:
        return value
    self.add_to_chord(member.s(value * 100))
    raise self.replace(grow_again.s(value - 1))


@app.task
def kill():
    os.kill(os.getpid(), signal.SIGKILL)


@app.task
def on_day(day: date):
    stands(day.isoformat())
    return day.isoformat()


@app.task
def wait_for_go(value):
    """Run until there is a file of this name."""
    while not Path("go").exists():
        time.sleep(0.01)
    return value


@app.task(sensitive=["token"])
def secret(token, value):
    raise ValueError(f"not with {token}")
