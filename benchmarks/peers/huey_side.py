"""Huey with Redis: results expire instead of being taken by the first reader, as with the others.

`notify_result` wakes who waits for a result instead of letting it poll; it costs a list for each
result, so it is on only where somebody waits (`BENCH_WAITING`).
"""

import os

import stamps
from huey import RedisExpireHuey

huey = RedisExpireHuey(
    "bench",
    url=os.environ["BENCH_BROKER"],
    expire_time=3600,
    notify_result=os.environ.get("BENCH_WAITING") == "1",
)


def _task(function):
    retries = 3 if os.environ.get("BENCH_RELIABLE") else 0
    return huey.task(name=function.__name__, retries=retries)(function)


TASKS = {each.__name__: _task(each) for each in (
    stamps.noop, stamps.ignored, stamps.stamp, stamps.load, stamps.wait, stamps.first,
    stamps.nudge,
)}  # fmt: skip


def send(name, arguments, queue=None):
    """Send one task; return what `get` waits with. There is one queue to a consumer."""
    assert queue is None
    return TASKS[name](*arguments)


def send_many(name, many, queue=None):
    """Send a task for each of *many* argument lists, one by one: there is no bulk call."""
    for arguments in many:
        send(name, arguments, queue)


def get(handle):
    """Wait for a result, which is told by a list."""
    return handle.get(blocking=True, timeout=60)
