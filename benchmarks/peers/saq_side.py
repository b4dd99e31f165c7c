"""SAQ with Redis: coroutines, results for an hour, or none where nobody reads them."""

import asyncio
import os

import stamps
from saq import Queue

queue = Queue.from_url(os.environ["BENCH_BROKER"])
IGNORED = ("ignored", "load")


async def noop(_, *, number):
    return await stamps.async_noop(number)


async def ignored(_, *, number):
    await stamps.async_ignored(number)


async def stamp(_, *, number):
    return await stamps.async_stamp(number)


async def load(_, *, number, text):
    await stamps.async_load(number, text)


async def wait(_, *, number):
    return await stamps.async_wait(number)


async def first(_, *, number):
    return await stamps.async_stamp(number)


settings = {
    "queue": queue,
    "functions": [noop, ignored, stamp, load, wait, first],
    "concurrency": int(os.environ.get("BENCH_CONCURRENCY", "100")),
}


async def prepare():
    """Open the connections."""
    await queue.connect()


async def send(name, arguments, queue_name=None):
    """Send one job; return what `get` waits with. There is one queue to a worker."""
    assert queue_name is None
    named = dict(zip(("number", "text"), arguments, strict=False))
    return await queue.enqueue(name, ttl=-1 if name in IGNORED else 3600, **named)


async def send_many(name, many, queue_name=None):
    """Send a job for each of *many* argument lists, a hundred at once: there is no bulk call."""
    many = list(many)
    for start in range(0, len(many), 100):
        await asyncio.gather(*[send(name, each, queue_name) for each in many[start : start + 100]])


async def ask(name, arguments):
    """Send one job and wait for its result, asked for every millisecond, not the default's 500.

    It would be told by PUBLISH as well, and misses that when the job ends before it listens.
    """
    return await queue.apply(name, timeout=60, poll_interval=0.001, number=arguments[0])
