"""Celery with Redis, set up as its guide to optimising says.

Short tasks are fetched many at a time (`worker_prefetch_multiplier`), hiredis parses the replies,
results that nobody reads are ignored per task. Acknowledged before they run, which is its default
and its fastest: a task whose worker dies is lost.
"""

import os

import stamps
from celery import Celery

app = Celery("bench", broker=os.environ["BENCH_BROKER"], backend=os.environ["BENCH_BROKER"])
app.conf.update(
    worker_prefetch_multiplier=int(os.environ.get("BENCH_PREFETCH", "4")),
    worker_send_task_events=False,
    worker_enable_remote_control=False,
    broker_connection_retry_on_startup=True,
    result_expires=3600,
)

TASKS = {
    "noop": app.task(stamps.noop, name="noop"),
    "ignored": app.task(stamps.noop, name="ignored", ignore_result=True),
    "wait": app.task(stamps.wait, name="wait"),
    "first": app.task(stamps.first, name="first"),
}


def fill(name, count):
    """Send *count* tasks, numbered from 0, over one connection."""
    task = TASKS[name]
    with app.producer_pool.acquire(block=True) as producer:
        for number in range(count):
            task.apply_async((number,), producer=producer)
