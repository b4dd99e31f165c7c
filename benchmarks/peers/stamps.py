"""When each task began and ended and how often it ran, kept in a shared file (the board) that every
task writes its own places of.

The broker is not asked, so counting costs every side the same: three stores to memory. The clock is
the one that all processes of a machine share. For a board of N tasks, place 2·n (eight bytes) is
the beginning of task n, 2·n+1 its end; a place holds 0 until it is written. N bytes follow, one for
each task: how often it came to its end, counted up to 255.
"""

import asyncio
import mmap
import os
import time
from pathlib import Path

#: Bytes of the board for each task.
WIDTH = 17

_board = None


def _open():
    global _board
    with Path(os.environ["BENCH_STAMPS"]).open("r+b") as file:
        whole = memoryview(mmap.mmap(file.fileno(), 0))
    tasks = len(whole) // WIDTH
    _board = (whole[: 16 * tasks].cast("d"), whole[16 * tasks :])
    return _board


def end(number):
    """Task *number* has done its work."""
    places, runs = _board or _open()
    places[2 * number + 1] = time.monotonic()
    if runs[number] < 255:
        runs[number] += 1


def begin(number):
    """Task *number* is in its first line."""
    places, _ = _board or _open()
    places[2 * number] = time.monotonic()


def begun(number):
    """When task *number* was in its first line; 0 if it never was."""
    places, _ = _board or _open()
    return places[2 * number]


def noop(number):
    """Nothing but the stamp: what is left is the library."""
    end(number)
    return number


def ignored(number):
    """Nothing but the stamp, and nothing to keep either."""
    end(number)


def stamp(number):
    """Say when its first line ran; the result is what somebody waits for."""
    begin(number)
    end(number)
    return number


def load(number, text):
    """Nothing but the stamp; the argument had to be carried here."""
    end(number)
    return len(text)


def wait(number):
    """Wait 50 ms as a library that blocks does."""
    begin(number)
    time.sleep(0.05)
    end(number)
    return number


async def async_noop(number):
    """Nothing but the stamp, in a coroutine."""
    end(number)
    return number


async def async_ignored(number):
    """Nothing but the stamp, in a coroutine, and nothing to keep either."""
    end(number)


async def async_stamp(number):
    """Say when its first line ran, in a coroutine; the result is what somebody waits for."""
    begin(number)
    end(number)
    return number


async def async_load(number, text):
    """Nothing but the stamp, in a coroutine; the argument had to be carried here."""
    end(number)
    return len(text)


async def async_wait(number):
    """Wait 50 ms without holding a thread."""
    begin(number)
    await asyncio.sleep(0.05)
    end(number)
    return number


async def nap(number):
    """Sleep one second without holding a thread."""
    begin(number)
    await asyncio.sleep(1.0)
    end(number)
    return number


def first(number):
    """Say when its first line ran."""
    begin(number)
    end(number)
    return number


def nudge(number):
    """Nothing: it is sent so that a worker has something new."""


async def async_nudge(number):
    """Nothing, in a coroutine."""


def step(before, number):
    """A step of a chain: one more than the step before it returned."""
    return before + 1


def gather(values):
    """The body of a chord: how many values there are, if they are those of the members in order."""
    return len(values) if values == list(range(len(values))) else -1


def longest(values):
    """The body of a chord of chains: how many values there are, and the last one."""
    return [len(values), values[-1]]
