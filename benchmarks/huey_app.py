"""The Huey side of the benchmarks: SQLite, and the same durability (fsync at every commit)."""

import os
import time

from huey import SqliteHuey

huey = SqliteHuey("bench", filename=os.environ["BENCH_BROKER"], fsync=True)


@huey.task()
def noop(value):
    """Do nothing; the result is stored."""
    return value


@huey.task()
def stamp():
    """Return when the first line ran, by the clock all processes share."""
    return time.monotonic()
