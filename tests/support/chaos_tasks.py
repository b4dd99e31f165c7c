"""The application of the tests in which workflows meet faults; copied as ``tasks.py``."""

import os
import random
import signal
import time
from pathlib import Path

from random_canvases import build, mixed

from celeriac import Celeriac
from celeriac.testing.ledger import Ledger

SETTINGS = {
    "lease": 3.0,
    "heartbeat": 0.5,
    "lease_margin": 1.0,
    "crash_delay": 0.05,
    "loss_delay": 0.05,
    "max_crashes": 10_000,
    "max_losses": 10_000,
}


def linger(seconds=60):
    """Take that long, in steps: a thread is told to end between two of them."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.02)


def make(broker, ledger, limits=(0.2, 0.3), pace=0.0, **settings):
    """The application; its tasks write into *ledger*, and beside it which part each id is.

    *limits* is the soft and the hard time limit, seconds, of those tasks that have one; *pace* is
    how long a part takes at most.
    """
    app = Celeriac("tasks", broker=broker, **{**SETTINGS, **settings})
    book = Ledger(ledger)

    def note_down(kind, line):
        descriptor = os.open(f"{ledger}.{kind}", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(descriptor, f"{line}\n".encode())
        os.close(descriptor)

    def begins(request, name, number):
        note_down("parts", f"{request.id} {name} {number}")
        book.write(request.id, request.attempt, "start")

    def ends(request):
        book.write(request.id, request.attempt, "end")

    def run(self, values, n, name, do):
        request = self.request
        begins(request, name, n)
        time.sleep(pace * random.random())
        if do == "crash" and request.attempt == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if do in ("fail", "give_up", "retry"):
            ends(request)  # what it does from here on is how it ends
        if do == "mendable" and not Path(f"{ledger}.mended").exists():
            ends(request)
            raise ValueError(f"part {n} before it was mended")
        if do == "fail":
            raise ValueError(f"part {n}")
        if do == "give_up" or (do == "retry" and not request.retries):
            raise self.retry(countdown=0.05, max_retries=1)
        if do in ("soft", "hard"):
            linger()
        if do != "retry":
            ends(request)
        return mixed(n, *values)

    @app.task(name="part", bind=True)
    def part(self, *values, n, do, name):
        return run(self, values, n, name, do)

    @app.task(name="soft", bind=True, soft_time_limit=limits[0])
    def soft(self, *values, n, do, name):
        return run(self, values, n, name, do)

    @app.task(name="hard", bind=True, time_limit=limits[1])
    def hard(self, *values, n, do, name):
        return run(self, values, n, name, do)

    @app.task(name="lost", bind=True, reject_on_worker_lost=False)
    def lost(self, *values, n, do, name):
        """Fails for good with its first executor."""
        begins(self.request, name, n)
        os.kill(os.getpid(), signal.SIGKILL)

    @app.task(name="note", bind=True)
    def note(self, *values, n, name):
        return run(self, values, n, name, "ok")

    @app.task(name="mourn", bind=True)
    def mourn(self, task_id, *, n, name):
        return run(self, [task_id], n, name, "ok")

    @app.task(name="swap", bind=True)
    def swap(self, *values, n, to, name):
        note_down("swaps", f"{self.request.id} {n} {self.request.attempt}")
        begins(self.request, name, n)
        ends(self.request)
        raise self.replace(build(self.app, to, name))

    @app.task(name="grow", bind=True)
    def grow(self, *values, n, add, name):
        begins(self.request, name, n)
        for each in add:
            self.add_to_chord(build(self.app, each, name))
        ends(self.request)
        return mixed(n, *values)

    @app.task(name="mix")
    def mix(*values):
        return mixed(*values)

    return app


if "LEDGER" in os.environ:
    # Limits that a slow machine does not exceed before the body has said that it runs.
    app = make(os.environ["BROKER"], os.environ["LEDGER"], limits=(1.0, 1.5), pace=0.1)
