"""Dramatiq with Redis: its default middleware, AsyncIO for coroutines, Results where asked for."""

import os

import dramatiq
import stamps
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import AsyncIO
from dramatiq.results import Results
from dramatiq.results.backends.redis import RedisBackend

broker = RedisBroker(url=os.environ["BENCH_BROKER"])
broker.add_middleware(AsyncIO())
broker.add_middleware(Results(backend=RedisBackend(url=os.environ["BENCH_BROKER"])))
dramatiq.set_broker(broker)


def _actor(function, name, **options):
    return dramatiq.actor(function, actor_name=name, **options)


TASKS = {
    "noop": _actor(stamps.noop, "noop", store_results=True),
    "ignored": _actor(stamps.noop, "ignored"),
    "wait": _actor(stamps.wait, "wait", store_results=True),
    "async_noop": _actor(stamps.async_noop, "async_noop", store_results=True),
    "async_wait": _actor(stamps.async_wait, "async_wait", store_results=True),
    "nap": _actor(stamps.nap, "nap", store_results=True),
    "first": _actor(stamps.first, "first"),
}


def fill(name, count):
    """Send *count* tasks, numbered from 0."""
    task = TASKS[name]
    for number in range(count):
        task.send(number)
