"""The application of the tests of revoking by stamp; copied into their folders as ``tasks.py``."""

import os
import time
from pathlib import Path

from celeriac import Celeriac, chain

app = Celeriac(
    "tasks", broker=os.environ["BROKER"], lease=4.0, heartbeat=0.5, lease_margin=1.0, grace=10.0
)
_ledger = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND)


def note(event, request):
    os.write(_ledger, f"{event} {request.id} {request.attempt} {os.getpid()} 0\n".encode())


@app.task(bind=True)
def plain(self, *_):
    note("plain", self.request)
    return dict(self.request.stamps)


@app.task(bind=True)
def until_go(self):
    """Run until there is a file of this name."""
    note("until_go", self.request)
    while not Path("go").exists():
        time.sleep(0.01)


@app.task(bind=True, max_retries=None)
def again(self, countdown):
    note("again", self.request)
    raise self.retry(countdown=countdown)


@app.task(bind=True, max_retries=None)
def again_after_go(self):
    note("again_after_go", self.request)
    while not Path("go").exists():
        time.sleep(0.01)
    raise self.retry(countdown=0)


@app.task(bind=True)
def swap(self):
    note("swap", self.request)
    while not Path("go").exists():
        time.sleep(0.01)
    raise self.replace(chain(plain.si(), plain.si()))
