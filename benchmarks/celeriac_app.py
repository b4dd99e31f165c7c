"""The Celeriac side of the benchmarks."""

import os
import time

from celeriac import Celeriac

app = Celeriac("bench", broker=os.environ["BENCH_BROKER"])


@app.task
def noop(value):
    """Do nothing; the result is stored."""
    return value


@app.task
def stamp():
    """Return when the first line ran, by the clock all processes share."""
    return time.monotonic()
