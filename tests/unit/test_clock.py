"""The machine's clocks, and the clock that tests drive."""

import subprocess
import sys
import time

import pytest

from celeriac import clock
from celeriac.clock import SYSTEM, Clock, ManualClock


def test_wall_is_the_time_of_day():
    before = time.time()
    assert before <= SYSTEM.wall() <= time.time()


def test_monotonic_compares_between_processes():
    program = "from celeriac.clock import SYSTEM; print(SYSTEM.monotonic())"
    before = SYSTEM.monotonic()
    told = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout
    assert before < float(told) < SYSTEM.monotonic()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux names its boots")
def test_boot_id_is_the_kernels():
    assert len(SYSTEM.boot_id()) == 36
    assert Clock().boot_id() == SYSTEM.boot_id()


def test_boot_id_is_empty_where_the_kernel_gives_none(monkeypatch, tmp_path):
    monkeypatch.setattr(clock, "_BOOT_ID", tmp_path / "absent")
    clock._read_boot_id.cache_clear()
    try:
        assert SYSTEM.boot_id() == ""
    finally:
        clock._read_boot_id.cache_clear()


def test_a_manual_clock_stands_still():
    manual = ManualClock(wall=50.0, monotonic=7.0)
    assert (manual.wall(), manual.monotonic()) == (50.0, 7.0)
    assert (manual.wall(), manual.monotonic()) == (50.0, 7.0)
    assert manual.boot_id() != SYSTEM.boot_id()


def test_time_passes_on_both_clocks():
    manual = ManualClock(wall=50.0, monotonic=7.0)
    manual.advance(2.5)
    assert (manual.wall(), manual.monotonic()) == (52.5, 9.5)


def test_a_jump_moves_only_the_wall_clock():
    manual = ManualClock(wall=50.0, monotonic=7.0)
    manual.jump_wall(-20)
    assert (manual.wall(), manual.monotonic()) == (30.0, 7.0)


def test_time_does_not_run_back():
    with pytest.raises(ValueError, match="jump_wall"):
        ManualClock().advance(-1)
