"""The application of the golden stores: of who furnished them and of who finishes them."""

import os
import time

from celeriac import Celeriac

#: Nothing is dropped from a golden store because it has become old.
AGES = 3.2e9

app = Celeriac(
    "tasks",
    broker=os.environ["BROKER"],
    lease=4.0,
    heartbeat=0.5,
    lease_margin=1.0,
    loss_delay=0.2,
    join_seal_timeout=6.0,
    result_expires=None,
    tombstone_expires=AGES,
    revoke_expires=AGES,
    dead_expires=AGES,
)
_ledger = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def note(event, request):
    line = f"{event} {request.id} {request.attempt} {os.getpid()} {time.monotonic()}\n"
    os.write(_ledger, line.encode())


@app.task(bind=True)
def traced(self, *args):
    note("start", self.request)
    return list(args)


@app.task(bind=True)
def fails(self, *args):
    note("start", self.request)
    raise ValueError("of old")


@app.task(bind=True)
def once(self):
    note("start", self.request)


@app.task(bind=True)
def told(self, request, exc, traceback):
    note("start", self.request)
    return f"{request.id}: {exc}"


@app.task(bind=True)
def unknown_then(self):
    """Who furnished the store had a worker that did not know it."""
    note("start", self.request)
    return "known now"
