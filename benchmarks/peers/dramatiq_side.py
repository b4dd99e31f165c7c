"""Dramatiq with Redis: its default middleware, AsyncIO for coroutines, Results where asked for."""

import os

import dramatiq
import stamps
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import AsyncIO
from dramatiq.results import Results
from dramatiq.results.backends.redis import RedisBackend

# A chance of 1,000,000 is certainty: dead workers are looked for with each command.
_reliable = {"heartbeat_timeout": 10_000, "maintenance_chance": 1_000_000}
broker = RedisBroker(
    url=os.environ["BENCH_BROKER"], **(_reliable if os.environ.get("BENCH_RELIABLE") else {})
)
broker.add_middleware(AsyncIO())
broker.add_middleware(Results(backend=RedisBackend(url=os.environ["BENCH_BROKER"])))
dramatiq.set_broker(broker)


def _actor(function, name, **options):
    return dramatiq.actor(function, actor_name=name, **options)


TASKS = {
    "noop": _actor(stamps.noop, "noop", store_results=True),
    "ignored": _actor(stamps.ignored, "ignored"),
    "stamp": _actor(stamps.stamp, "stamp", store_results=True),
    "load": _actor(stamps.load, "load"),
    "wait": _actor(stamps.wait, "wait", store_results=True),
    "async_noop": _actor(stamps.async_noop, "async_noop", store_results=True),
    "async_wait": _actor(stamps.async_wait, "async_wait", store_results=True),
    "nap": _actor(stamps.nap, "nap", store_results=True),
    "first": _actor(stamps.first, "first"),
    "nudge": _actor(stamps.nudge, "nudge"),
}
# A queue belongs to an actor here, so each of the eight has one.
for each in [f"q{index}" for index in range(8)]:
    TASKS["noop", each] = _actor(stamps.noop, f"noop_{each}", queue_name=each, store_results=True)


def send(name, arguments, queue=None):
    """Send one task; return what `get` waits with."""
    return TASKS[name if queue is None else (name, queue)].send(*arguments)


def send_many(name, many, queue=None):
    """Send a task for each of *many* argument lists, one by one: there is no bulk call."""
    for arguments in many:
        send(name, arguments, queue)


def get(handle):
    """Wait for a result, which is popped from a list."""
    return handle.get_result(block=True, timeout=60_000)
