"""Celeriac as it comes: prefork, JSON, every default. Its store is what `BENCH_BROKER` names."""

import os

import stamps

from celeriac import Celeriac, chain, chord

app = Celeriac("bench", broker=os.environ["BENCH_BROKER"])

TASKS = {
    "noop": app.task(stamps.noop, name="noop"),
    "ignored": app.task(stamps.ignored, name="ignored", ignore_result=True),
    "stamp": app.task(stamps.stamp, name="stamp"),
    "load": app.task(stamps.load, name="load", ignore_result=True),
    "wait": app.task(stamps.wait, name="wait"),
    "async_noop": app.task(stamps.async_noop, name="async_noop"),
    "async_wait": app.task(stamps.async_wait, name="async_wait"),
    "nap": app.task(stamps.nap, name="nap"),
    "first": app.task(stamps.first, name="first"),
    "nudge": app.task(stamps.nudge, name="nudge", ignore_result=True),
    "step": app.task(stamps.step, name="step"),
    "gather": app.task(stamps.gather, name="gather"),
    "longest": app.task(stamps.longest, name="longest"),
}


def send(name, arguments, queue=None):
    """Send one task; return what `get` waits with."""
    if queue is None:
        return TASKS[name].delay(*arguments)
    return TASKS[name].apply_async(arguments, queue=queue)


def send_many(name, many, queue=None):
    """Send a task for each of *many* argument lists, a thousand to a call."""
    task, many = TASKS[name], list(many)
    for start in range(0, len(many), 1000):
        signatures = [task.s(*each) for each in many[start : start + 1000]]
        if queue is not None:
            signatures = [each.set(queue=queue) for each in signatures]
        app.enqueue_many(signatures)


def get(handle):
    """Wait for a result."""
    return handle.get(timeout=60)


def send_chord(count):
    """Send a chord, its members from a generator; return the result of its body."""
    noop, gather = TASKS["noop"], TASKS["gather"]
    return chord(noop.s(number) for number in range(count))(gather.s())


def send_chain(count):
    """Send a chain; return the result of its last step."""
    return chain(*_steps(count)).apply_async()


def send_chains(count):
    """Send a chord of chains of ten steps, from a generator; return the result of its body."""
    return chord(chain(*_steps(10)) for _ in range(count))(TASKS["longest"].s())


def _steps(count):
    step = TASKS["step"]
    return [step.s(0, 0), *(step.s(number) for number in range(1, count))]
