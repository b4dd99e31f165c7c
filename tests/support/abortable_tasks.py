"""Tasks that look whether they were told to stop; copied into a test's folder as ``tasks.py``."""

import os
import time

from celeriac import Celeriac
from celeriac.contrib.abortable import AbortableTask

app = Celeriac("tasks", broker=os.environ["BROKER"], lease=4.0, heartbeat=0.5, lease_margin=1.0)
_ledger = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND)


@app.task(bind=True, base=AbortableTask)
def export(self):
    line = f"start {self.request.id} {self.request.attempt} {os.getpid()} {time.monotonic()}\n"
    os.write(_ledger, line.encode())
    for _ in range(6000):  # ends by itself, so that a test that fails ends, too
        if self.is_aborted():
            return "stopped half-way"
        time.sleep(0.01)
    return "all of it"
