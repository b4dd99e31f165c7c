"""When the main thread looks at everything, and when it only reads what executors say."""

import pytest

from celeriac.worker import rhythm
from celeriac.worker.rhythm import TICK_BUSY, TICK_IDLE, Rhythm


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(rhythm, "time", made)
    return made


def test_it_ticks_by_what_there_is_to_do(clock):
    beat = Rhythm()
    assert beat.pause(busy=False, most=None) == TICK_IDLE
    assert beat.pause(busy=True, most=None) == TICK_BUSY
    assert beat.pause(busy=True, most=0.01) == 0.01


def test_after_an_outcome_the_rest_waits_but_not_for_long(clock):
    beat = Rhythm()
    beat.looked(clock.now - 10.0)
    assert beat.may_look_later()
    pause = beat.pause(busy=False, most=None)
    assert 0 < pause < TICK_BUSY
    clock.now += pause
    assert not beat.may_look_later()
    beat.looked(clock.now)
    assert beat.pause(busy=False, most=None) == TICK_IDLE


def test_outcomes_without_end_do_not_keep_it_from_looking(clock):
    beat = Rhythm()
    beat.looked(clock.now)
    began = clock.now
    while beat.may_look_later():
        clock.now += 0.001
    assert clock.now - began == pytest.approx(TICK_BUSY, abs=0.002)
