"""Celeriac: the SQLite file, fsync at every commit, as it comes."""

import os

import stamps

from celeriac import Celeriac

app = Celeriac("bench", broker=os.environ["BENCH_BROKER"])

TASKS = {
    "noop": app.task(stamps.noop, name="noop"),
    "ignored": app.task(stamps.noop, name="ignored", ignore_result=True),
    "wait": app.task(stamps.wait, name="wait"),
    "async_noop": app.task(stamps.async_noop, name="async_noop"),
    "async_wait": app.task(stamps.async_wait, name="async_wait"),
    "nap": app.task(stamps.nap, name="nap"),
    "first": app.task(stamps.first, name="first"),
}


def fill(name, count):
    """Send *count* tasks, numbered from 0."""
    task = TASKS[name]
    for start in range(0, count, 1000):
        numbers = range(start, min(count, start + 1000))
        app.enqueue_many(task.s(number) for number in numbers)
