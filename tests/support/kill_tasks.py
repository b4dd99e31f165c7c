"""The application of the kill test: short tasks that write what they do into the ledger."""

import os
import time

from celeriac import Celeriac

app = Celeriac(
    "tasks",
    broker=os.environ["BROKER"],
    lease=3.0,
    heartbeat=0.5,
    lease_margin=1.0,
    crash_delay=0.1,
    loss_delay=0.1,
    max_crashes=1000,
    max_losses=1000,
)
_ledger = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND)


@app.task(bind=True)
def work(self, seconds):
    for event in ("start", "end"):
        # The newline comes first: a kill may tear a line that crosses a page of the file, and what
        # another process writes next must not become a part of it.
        line = (
            f"\n{event} {self.request.id} {self.request.attempt} {os.getpid()} {time.monotonic()}\n"
        )
        os.write(_ledger, line.encode())
        if event == "start":
            time.sleep(seconds)
    return self.request.id
