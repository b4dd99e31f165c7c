"""Sends tasks and waits for results, the same way for every side, in that side's own Python.

    python drive.py SIDE WHAT OPTIONS

SIDE is a module of this folder, WHAT one of `fill`, `one`, `many`, `threads`, `latency`, `nudge`
and `workflow`, OPTIONS a JSON object. What was measured is printed as JSON. A side whose functions
are coroutines runs on one event loop (uvloop where it is installed), as a web application would use
it; "from threads" then means that many coroutines at once.
"""

import asyncio
import base64
import importlib
import inspect
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import stamps

#: What is sent before the clock starts: connections are opened, scripts are loaded.
WARM = 50


class Driver:
    """One side, its functions called in one way whether they are coroutines or not."""

    def __init__(self, module):
        self.side = importlib.import_module(module)
        self.loop = None
        if inspect.iscoroutinefunction(self.side.send):
            self.loop = _new_loop()
            self.loop.run_until_complete(self.side.prepare())

    def call(self, function, *arguments):
        if self.loop is None:
            return function(*arguments)
        return self.loop.run_until_complete(function(*arguments))

    def each(self, task, many):
        """Send one by one, each after the one before is with the broker."""
        if self.loop is None:
            for arguments in many:
                self.side.send(task, arguments)
            return

        async def all_of_them():
            for arguments in many:
                await self.side.send(task, arguments)

        self.loop.run_until_complete(all_of_them())

    def spread(self, task, shares):
        """Send each share one by one, all shares at the same time."""
        if self.loop is None:
            with ThreadPoolExecutor(len(shares)) as threads:
                list(threads.map(lambda share: self.each(task, share), shares))
            return

        async def one(share):
            for arguments in share:
                await self.side.send(task, arguments)

        async def all_of_them():
            await asyncio.gather(*[one(share) for share in shares])

        self.loop.run_until_complete(all_of_them())


def _new_loop():
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _arguments(options, count, first=0):
    """Argument lists of *count* tasks, with a text where one is asked for."""
    size = options.get("text", 0)
    if not size:
        return [[number] for number in range(first, first + count)]
    text = base64.b64encode(os.urandom(size)).decode()[:size]
    return [[number, text] for number in range(first, first + count)]


def fill(driver, options):
    """Send as many as there are to be, as fast as the library can, over as many queues."""
    many = _arguments(options, options["count"], options.get("first", 0))
    queues = options.get("queues", 0)
    if not queues:
        driver.call(driver.side.send_many, options["task"], many)
        return {}
    for index in range(queues):
        share = many[index::queues]
        driver.call(driver.side.send_many, options["task"], share, f"q{index}")
    return {}


def _rate(driver, options, send):
    driver.each(options["task"], _arguments(options, WARM))
    many = _arguments(options, options["count"])
    began = time.perf_counter()
    send(many)
    return {"rate": len(many) / (time.perf_counter() - began)}


def one(driver, options):
    """Sends per second, one by one."""
    return _rate(driver, options, lambda many: driver.each(options["task"], many))


def many(driver, options):
    """Sends per second, the library's quickest way to send many."""
    return _rate(
        driver, options, lambda many: driver.call(driver.side.send_many, options["task"], many)
    )


def threads(driver, options):
    """Sends per second, one by one, from several threads at once."""
    count = options["threads"]
    driver.spread(options["task"], [_arguments(options, 2) for _ in range(count)])
    return _rate(
        driver,
        options,
        lambda many: driver.spread(options["task"], [many[i::count] for i in range(count)]),
    )


def latency(driver, options):
    """Seconds from before the send to the task's first line and to its result, for each task."""
    side, pause = driver.side, options["pause"]
    if driver.loop is not None:
        return driver.loop.run_until_complete(_async_latency(side, options["count"], pause))
    samples = []
    for number in range(options["count"]):
        sent = time.monotonic()
        value = side.get(side.send("stamp", [number]))
        samples.append(_sample(number, sent, time.monotonic(), value))
        time.sleep(pause)
    return {"samples": samples}


async def _async_latency(side, count, pause):
    samples = []
    for number in range(count):
        sent = time.monotonic()
        if hasattr(side, "ask"):  # sends and waits in one call, where that is the library's way
            value = await side.ask("stamp", [number])
        else:
            value = await side.get(await side.send("stamp", [number]))
        samples.append(_sample(number, sent, time.monotonic(), value))
        await asyncio.sleep(pause)
    return {"samples": samples}


def _sample(number, sent, got, value):
    if value != number:
        raise SystemExit(f"the result of {number} was {value!r}")
    return stamps.begun(number) - sent, got - sent


def nudge(driver, options):
    """Send a task that does nothing, again and again, for as long as somebody wants it."""
    parent = os.getppid()
    while os.getppid() == parent:
        driver.each("nudge", [[0]])
        time.sleep(options["pause"])
    return {}


def _peak():
    """The most memory this process has needed, KiB. Not ``ru_maxrss``, which counts what the
    process that started it had needed until then."""
    told = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in told.splitlines() if line.startswith("VmHWM:"))


def workflow(driver, options):
    """Seconds until a workflow is sent, and until its result is there; the most memory, KiB."""
    side, kind, count = driver.side, options["kind"], options["count"]
    send = {"chord": side.send_chord, "chain": side.send_chain, "chains": side.send_chains}[kind]
    expected = [count, 10] if kind == "chains" else count
    side.get(send(2))  # the worker is up, connections are open, scripts are loaded
    began = time.perf_counter()
    handle = send(count)
    sent = time.perf_counter() - began
    memory = _peak()
    value = handle.get(timeout=options["patience"])
    took = time.perf_counter() - began
    if value != expected:
        raise SystemExit(f"the result of a {kind} of {count} was {value!r}")
    return {"sent": sent, "result": took, "memory": memory}


def main():
    module, what, options = sys.argv[1:]
    whats = {each.__name__: each for each in (fill, one, many, threads, latency, nudge, workflow)}
    print(json.dumps(whats[what](Driver(module), json.loads(options))))
    sys.stdout.flush()
    os._exit(0)  # connections of an event loop that no longer runs have nothing left to tell


if __name__ == "__main__":
    main()
