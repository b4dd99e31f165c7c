"""The application of the test in which every call of every store fails; copied as ``tasks.py``."""

import os
import time
from functools import partial
from pathlib import Path

from celeriac import Celeriac
from celeriac.exceptions import OperationalError
from celeriac.testing.ledger import Ledger

app = Celeriac(
    "tasks",
    broker=os.environ["BROKER"],
    backend=os.environ["BACKEND"],
    heartbeat=0.5,
    publish_timeout=20,
    task_publish_retry_policy={"max_retries": None},
)
book = Ledger(os.environ["LEDGER"])


def insist(ask, seconds=60.0):
    """What *ask* answers, which is asked again as long as a store does not answer."""
    until = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)


def runs(body):
    """*body* as a task that writes down when it begins and ends."""

    def task(self, *args):
        book.write(self.request.id, self.request.attempt, "start")
        try:
            return body(self, *args)
        finally:
            book.write(self.request.id, self.request.attempt, "end")

    return app.task(name=body.__name__, bind=True)(task)


@runs
def same(self, value):
    return value


@runs
def total(self, values):
    return sum(values)


@runs
def shows(self):
    for number in range(5):
        # In the solo pool the task itself hears that the store did not answer.
        insist(partial(self.update_state, state=f"STEP{number}"))
        time.sleep(0.05)
    return "shown"


@runs
def sends(self, value):
    """Sends another one and waits for it, as no task should; so its executor does it, too."""
    sent = same.apply_async((value,), task_id=f"{self.request.id}-sent")
    return insist(lambda: sent.get(timeout=60, disable_sync_subtasks=False))


@runs
def fails_until(self, name):
    if not Path(name).exists():
        raise ValueError("not yet")
    return "at last"


@app.task(name="limited", bind=True, rate_limit="8/s")
def limited(self):
    book.write(self.request.id, self.request.attempt, "start")
    book.write(self.request.id, self.request.attempt, "end")


@runs
def mourns(self, *told):
    return "told"
