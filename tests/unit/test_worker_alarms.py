"""Soft limits in threads: raised in the thread that is due, and nowhere else."""

import subprocess
import sys
import threading
import time

import pytest

from celeriac.exceptions import SoftTimeLimitExceeded
from celeriac.worker.alarms import Alarms

LONG = 30.0


def spin(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def in_threads(*bodies) -> None:
    threads = [threading.Thread(target=body) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
        assert not thread.is_alive()


def test_it_is_raised_in_the_block_and_names_its_seconds() -> None:
    alarms = Alarms()
    with pytest.raises(SoftTimeLimitExceeded, match=r"0\.05 s") as caught, alarms.limit(0.05):
        spin(LONG)
    assert caught.value.args == (0.05,)
    assert str(caught.value) == str(SoftTimeLimitExceeded(0.05))
    assert type(caught.value).__qualname__ == "SoftTimeLimitExceeded"
    assert type(caught.value).__module__ == "celeriac.exceptions"


def test_each_thread_has_its_own_limit() -> None:
    alarms = Alarms()
    ends: dict[str, float] = {}

    def limited(name: str, seconds: float) -> None:
        began = time.monotonic()
        try:
            with alarms.limit(seconds):
                spin(LONG)
        except SoftTimeLimitExceeded:
            ends[name] = time.monotonic() - began

    def free() -> None:
        spin(0.4)
        ends["free"] = 0.0

    in_threads(lambda: limited("late", 0.3), lambda: limited("soon", 0.1), free)
    assert set(ends) == {"late", "soon", "free"}
    assert ends["soon"] >= 0.1
    assert ends["late"] >= 0.3


def test_a_block_that_ends_in_time_leaves_nothing_behind() -> None:
    alarms = Alarms()
    with alarms.limit(0.1):
        pass
    spin(0.3)


@pytest.fixture
def quick_turns():
    """Let threads take turns so often that every order of steps comes up."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("quick_turns")
def test_one_that_rings_while_the_block_ends_never_lands_behind_it() -> None:
    """Blocks that end as their limit is reached, again and again: whichever comes first, what
    follows the block runs to its end."""
    alarms = Alarms()
    raised = passed = 0
    for number in range(400):
        try:
            with alarms.limit(0.001):
                spin(0.0008 + number % 20 * 0.00005 + (0.01 if number % 20 == 0 else 0))
            passed += 1
        except SoftTimeLimitExceeded:
            raised += 1
        spin(0.0003)  # it would land here
    assert raised + passed == 400
    assert raised >= 20


def test_it_is_raised_once() -> None:
    alarms = Alarms()
    caught = 0
    with alarms.limit(0.05):
        for _ in range(2):
            try:
                spin(0.3)
            except SoftTimeLimitExceeded:
                caught += 1
    assert caught == 1


AFTERWARDS = """
import sys, threading
from celeriac.exceptions import SoftTimeLimitExceeded
{how}

def body():
    try:
        with limit(0.01):
            while True:
                pass
    except SoftTimeLimitExceeded:
        print("raised")
    with limit(60):
        pass

thread = threading.Thread(target=body)
thread.start()
thread.join()
sys.settrace(lambda *event: None)
(lambda: print("traced"))()
"""


@pytest.mark.parametrize(
    "how",
    [
        "from celeriac.worker.alarms import Alarms; limit = Alarms().limit",
        "from celeriac.interrupt import soft_limit as limit",
    ],
    ids=["executors", "apply"],
)
def test_functions_can_be_traced_after_one_that_rang(how: str) -> None:
    """With the interpreter's mark left behind, Python 3.11 would not come back from this."""
    done = subprocess.run(
        [sys.executable, "-c", AFTERWARDS.format(how=how)],
        capture_output=True, text=True, timeout=LONG,
    )  # fmt: skip
    assert done.stdout.split() == ["raised", "traced"], done.stderr
