"""When each task began and ended, kept in a shared file that every task writes its own place of.

The broker is not asked, so counting costs every side the same: two stores to memory. The clock is
the one that all processes of a machine share. Place 2·n is the beginning of task n, 2·n+1 its end;
a place holds 0 until it is written.
"""

import asyncio
import mmap
import os
import time
from pathlib import Path

_places = None


def _board():
    global _places
    if _places is None:
        with Path(os.environ["BENCH_STAMPS"]).open("r+b") as file:
            _places = memoryview(mmap.mmap(file.fileno(), 0)).cast("d")
    return _places


def end(number):
    """Task *number* has done its work."""
    _board()[2 * number + 1] = time.monotonic()


def begin(number):
    """Task *number* is in its first line."""
    _board()[2 * number] = time.monotonic()


def noop(number):
    """Nothing but the stamp: what is left is the library."""
    end(number)
    return number


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
