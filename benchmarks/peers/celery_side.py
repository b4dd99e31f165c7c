"""Celery with Redis, set up as its guide to optimising says.

Short tasks are fetched many at a time (`worker_prefetch_multiplier`), hiredis parses the replies,
results that nobody reads are ignored per task. Acknowledged before they run, which is its default
and its fastest: a task whose worker dies is lost.
"""

import os

import stamps
from celery import Celery, chain, chord

app = Celery("bench", broker=os.environ["BENCH_BROKER"], backend=os.environ["BENCH_BROKER"])
app.conf.update(
    worker_prefetch_multiplier=int(os.environ.get("BENCH_PREFETCH", "4")),
    worker_send_task_events=False,
    worker_enable_remote_control=False,
    broker_connection_retry_on_startup=True,
    result_expires=3600,
)
if os.environ.get("BENCH_RELIABLE"):
    app.conf.update(
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        # Kombu looks for what is overdue every interval × throttle seconds, 100 if not told.
        broker_transport_options={
            "visibility_timeout": 10,
            "unacked_restore_interval": 2,
            "unacked_restore_throttle": 1,
        },
    )

TASKS = {
    "noop": app.task(stamps.noop, name="noop"),
    "ignored": app.task(stamps.ignored, name="ignored", ignore_result=True),
    "stamp": app.task(stamps.stamp, name="stamp"),
    "load": app.task(stamps.load, name="load", ignore_result=True),
    "wait": app.task(stamps.wait, name="wait"),
    "first": app.task(stamps.first, name="first"),
    "nudge": app.task(stamps.nudge, name="nudge", ignore_result=True),
    "step": app.task(stamps.step, name="step"),
    "gather": app.task(stamps.gather, name="gather"),
    "longest": app.task(stamps.longest, name="longest"),
}


def send(name, arguments, queue=None):
    """Send one task; return what `get` waits with."""
    return TASKS[name].apply_async(arguments, queue=queue)


def send_many(name, many, queue=None):
    """Send a task for each of *many* argument lists, over one connection: there is no bulk call."""
    task = TASKS[name]
    with app.producer_pool.acquire(block=True) as producer:
        for arguments in many:
            task.apply_async(arguments, producer=producer, queue=queue)


def get(handle):
    """Wait for a result, which arrives by PUBLISH."""
    return handle.get(timeout=60)


def send_chord(count):
    """Send a chord; return the result of its body. Its members are a list: of 4,000 from a
    generator the result took nearly twice as long."""
    noop, gather = TASKS["noop"], TASKS["gather"]
    return chord([noop.s(number) for number in range(count)])(gather.s())


def send_chain(count):
    """Send a chain; return the result of its last step."""
    return chain(*_steps(count)).apply_async()


def send_chains(count):
    """Send a chord of chains of ten steps, from a generator; return the result of its body."""
    return chord(chain(*_steps(10)) for _ in range(count))(TASKS["longest"].s())


def _steps(count):
    step = TASKS["step"]
    return [step.s(0, 0), *(step.s(number) for number in range(1, count))]
