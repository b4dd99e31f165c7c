"""arq: coroutines, results for an hour, or none where nobody reads them.

It looks for jobs every `poll_delay`; 0.5 s is its default, 10 ms is what makes it quick.
"""

import asyncio
import os
from typing import ClassVar

import stamps
from arq import create_pool, func
from arq.connections import RedisSettings

SETTINGS = RedisSettings.from_dsn(os.environ["BENCH_BROKER"])
_pool = None


async def noop(_, number):
    return await stamps.async_noop(number)


async def ignored(_, number):
    await stamps.async_ignored(number)


async def stamp(_, number):
    return await stamps.async_stamp(number)


async def load(_, number, text):
    await stamps.async_load(number, text)


async def wait(_, number):
    return await stamps.async_wait(number)


async def first(_, number):
    return await stamps.async_stamp(number)


class WorkerSettings:
    """What the worker runs, and how."""

    functions: ClassVar = [
        noop, func(ignored, keep_result=0), stamp, func(load, keep_result=0), wait, first,
    ]  # fmt: skip
    redis_settings = SETTINGS
    max_jobs = int(os.environ.get("BENCH_CONCURRENCY", "100"))
    poll_delay = 0.01
    keep_result = 3600


async def prepare():
    """Open the connections."""
    global _pool
    _pool = await create_pool(SETTINGS)


async def send(name, arguments, queue=None):
    """Send one job; return what `get` waits with. There is one queue to a worker."""
    assert queue is None
    return await _pool.enqueue_job(name, *arguments)


async def send_many(name, many, queue=None):
    """Send a job for each of *many* argument lists, a hundred at once: there is no bulk call."""
    many = list(many)
    for start in range(0, len(many), 100):
        await asyncio.gather(*[send(name, each, queue) for each in many[start : start + 100]])


async def get(job):
    """Wait for a result; it is asked for every millisecond, not the default's 500."""
    return await job.result(timeout=60, poll_delay=0.001)
