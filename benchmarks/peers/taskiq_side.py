"""Taskiq with Redis streams, the broker of its that acknowledges, and results that expire.

Coroutines, which it runs without its thread pool. Results are a matter of the whole broker, so
`BENCH_RESULTS` says whether they are kept. The group reads from the stream's beginning: with the
default it would not see what was sent before the first worker came.
"""

import asyncio
import os

import stamps
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

# Without a timeout of its lock, who dies while looking for what others left keeps all from it.
_reliable = {"idle_timeout": 10_000, "unacknowledged_lock_timeout": 10.0}
broker = RedisStreamBroker(
    os.environ["BENCH_BROKER"],
    consumer_id="0",
    **(_reliable if os.environ.get("BENCH_RELIABLE") else {}),
)
if os.environ.get("BENCH_RESULTS") != "ignored":
    broker = broker.with_result_backend(
        RedisAsyncResultBackend(os.environ["BENCH_BROKER"], result_ex_time=3600)
    )

TASKS = {
    "noop": broker.task(task_name="noop")(stamps.async_noop),
    "ignored": broker.task(task_name="ignored")(stamps.async_ignored),
    "stamp": broker.task(task_name="stamp")(stamps.async_stamp),
    "load": broker.task(task_name="load")(stamps.async_load),
    "wait": broker.task(task_name="wait")(stamps.async_wait),
    "first": broker.task(task_name="first")(stamps.async_stamp),
    "nudge": broker.task(task_name="nudge")(stamps.async_nudge),
}


async def prepare():
    """Open the connections."""
    await broker.startup()


async def send(name, arguments, queue=None):
    """Send one task; return what `get` waits with. There is one queue to a worker."""
    assert queue is None
    return await TASKS[name].kiq(*arguments)


async def send_many(name, many, queue=None):
    """Send a task for each of *many* argument lists, a hundred at once: there is no bulk call."""
    many = list(many)
    for start in range(0, len(many), 100):
        await asyncio.gather(*[send(name, each, queue) for each in many[start : start + 100]])


async def get(handle):
    """Wait for a result; it is asked for every millisecond, not the default's 200."""
    return (await handle.wait_result(check_interval=0.001, timeout=60)).return_value
