"""How many tasks a worker should be able to run at once: the decision alone, on a given clock."""

import hypothesis.strategies as st
from hypothesis import given

from celeriac.worker.pools.autoscale import PRESSED_SECONDS, Autoscale


def test_it_begins_with_the_fewest() -> None:
    assert Autoscale(2, 10, 30.0).size == 2


def test_work_that_waits_makes_room_for_itself_at_once() -> None:
    scale = Autoscale(1, 10, 30.0)
    assert scale.decide(0.0, busy=1, waiting=1, pressed=False) == 2
    assert scale.decide(0.1, busy=2, waiting=2, pressed=False) == 4
    assert scale.decide(0.2, busy=4, waiting=50, pressed=False) == 10


def test_it_asks_for_as_much_again_as_it_has_and_never_for_more_than_may_be() -> None:
    scale = Autoscale(1, 10, 30.0)
    seen = []
    while scale.spare:
        seen.append(scale.spare)
        scale.decide(0.0, busy=scale.size, waiting=scale.spare, pressed=False)
    assert seen == [1, 2, 4, 2]


def test_it_keeps_what_was_needed_for_the_time_asked_and_gives_the_rest_up() -> None:
    scale = Autoscale(1, 10, 30.0)
    scale.decide(0.0, busy=6, waiting=0, pressed=False)
    assert scale.decide(10.0, busy=2, waiting=0, pressed=False) == 6
    assert scale.decide(20.0, busy=3, waiting=0, pressed=False) == 6
    assert scale.decide(29.9, busy=0, waiting=0, pressed=False) == 6
    assert scale.decide(30.0, busy=0, waiting=0, pressed=False) == 3  # the most of that time
    assert scale.decide(59.9, busy=0, waiting=0, pressed=False) == 3
    assert scale.decide(60.0, busy=0, waiting=0, pressed=False) == 1


def test_full_use_starts_the_time_anew() -> None:
    scale = Autoscale(1, 10, 30.0)
    scale.decide(0.0, busy=4, waiting=0, pressed=False)
    assert scale.decide(29.0, busy=4, waiting=0, pressed=False) == 4
    assert scale.decide(58.0, busy=0, waiting=0, pressed=False) == 4
    assert scale.decide(59.0, busy=0, waiting=0, pressed=False) == 1


def test_brief_work_that_never_waits_grows_it_one_by_one() -> None:
    scale = Autoscale(1, 3, 30.0)
    assert scale.decide(0.0, busy=1, waiting=0, pressed=True) == 1
    assert scale.decide(PRESSED_SECONDS / 2, busy=1, waiting=0, pressed=True) == 1
    assert scale.decide(PRESSED_SECONDS, busy=1, waiting=0, pressed=True) == 2
    assert scale.decide(PRESSED_SECONDS * 1.5, busy=2, waiting=0, pressed=False) == 2
    assert scale.decide(PRESSED_SECONDS * 9, busy=2, waiting=0, pressed=True) == 2


def test_what_waits_makes_room_for_all_of_itself_under_pressure_too() -> None:
    scale = Autoscale(1, 10, 30.0)
    assert scale.decide(0.0, busy=1, waiting=0, pressed=True) == 1
    assert scale.decide(PRESSED_SECONDS, busy=1, waiting=5, pressed=True) == 6


@given(
    st.integers(1, 5),
    st.integers(0, 50),
    st.lists(
        st.tuples(st.floats(0, 20), st.integers(0, 80), st.integers(0, 80), st.booleans()),
        max_size=30,
    ),
)
def test_it_stays_within_its_bounds_and_never_below_what_is_in_use(
    least: int, more: int, steps: list[tuple[float, int, int, bool]]
) -> None:
    scale, now = Autoscale(least, least + more, 5.0), 0.0
    for passed, busy, waiting, pressed in steps:
        now += passed
        size = scale.decide(now, busy, waiting, pressed)
        assert least <= size <= scale.most
        assert size >= min(busy, scale.most)
        assert 0 <= scale.spare <= scale.most - size
