"""RQ with its `SimpleWorker`, the fastest it has: no fork for each job."""

import os

import stamps
from redis import Redis
from rq import Queue, Retry

connection = Redis.from_url(os.environ["BENCH_BROKER"])
queues = {None: Queue("default", connection=connection)}
for _name in [f"q{index}" for index in range(8)]:
    queues[_name] = Queue(_name, connection=connection)

TASKS = {each.__name__: each for each in (
    stamps.noop, stamps.ignored, stamps.stamp, stamps.load, stamps.wait, stamps.first,
    stamps.nudge,
)}  # fmt: skip
IGNORED = ("ignored", "load", "nudge")
RETRY = Retry(max=3) if os.environ.get("BENCH_RELIABLE") else None


def send(name, arguments, queue=None):
    """Send one job; return what `get` waits with."""
    keep = 0 if name in IGNORED else 3600
    return queues[queue].enqueue(TASKS[name], args=arguments, result_ttl=keep)


def send_many(name, many, queue=None):
    """Send a job for each of *many* argument lists, a thousand to a pipeline."""
    keep = 0 if name in IGNORED else 3600
    data = [
        Queue.prepare_data(TASKS[name], args=each, result_ttl=keep, retry=RETRY) for each in many
    ]
    for start in range(0, len(data), 1000):
        queues[queue].enqueue_many(data[start : start + 1000])


def get(handle):
    """Wait for a result, which is read from a stream."""
    return handle.latest_result(timeout=60).return_value
