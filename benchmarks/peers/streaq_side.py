"""streaQ: coroutines, results for an hour or none where nobody reads them, silent in the log."""

import os

import stamps
from streaq import Worker

worker = Worker(
    redis_url=os.environ["BENCH_BROKER"],
    concurrency=int(os.environ.get("BENCH_CONCURRENCY", "100")),
)


def _task(function, name, ttl=3600):
    return worker.task(name=name, silent=True, ttl=ttl)(function)


TASKS = {
    "noop": _task(stamps.async_noop, "noop"),
    "ignored": _task(stamps.async_ignored, "ignored", 0),
    "stamp": _task(stamps.async_stamp, "stamp"),
    "load": _task(stamps.async_load, "load", 0),
    "wait": _task(stamps.async_wait, "wait"),
    "first": _task(stamps.async_stamp, "first"),
}


async def prepare():
    """Open the connections."""
    await worker.__aenter__()


async def send(name, arguments, queue=None):
    """Send one task; return what `get` waits with. There are priorities, no queues."""
    assert queue is None
    return await TASKS[name].enqueue(*arguments)


async def send_many(name, many, queue=None):
    """Send a task for each of *many* argument lists, a thousand to a pipeline."""
    assert queue is None
    many = list(many)
    for start in range(0, len(many), 1000):
        tasks = [TASKS[name].enqueue(*each) for each in many[start : start + 1000]]
        await worker.enqueue_many(tasks)


async def get(task):
    """Wait for a result, told by PUBLISH."""
    return (await task.result(timeout=60)).result
