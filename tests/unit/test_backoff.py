"""How long we wait before trying again."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.backoff import exponential, jittered, reconnect

retries = st.integers(0, 10_000)
seconds = st.integers(0, 100_000)
seeds = st.integers(0, 2**32).map(Random)


@pytest.mark.parametrize(
    ("made", "factor", "wait"),
    [(0, 1, 1), (1, 1, 2), (5, 1, 32), (9, 1, 512), (10, 1, 600), (3, 10, 80), (0, 0.5, 0.5)],
)
def test_the_wait_doubles_up_to_the_maximum(made, factor, wait):
    assert exponential(made, factor=factor) == wait


@given(retries, st.integers(1, 1000), seconds)
def test_it_never_shrinks_and_never_passes_the_maximum(made, factor, maximum):
    first, second = (exponential(n, factor, maximum) for n in (made, made + 1))
    assert 0 <= first <= second <= maximum


@given(retries, st.integers(1, 1000), seconds, seeds)
def test_full_jitter_is_whole_seconds_up_to_the_wait(made, factor, maximum, random):
    drawn = exponential(made, factor, maximum, full_jitter=True, random=random)
    assert isinstance(drawn, int)
    assert 0 <= drawn <= exponential(made, factor, maximum)


def test_full_jitter_reaches_both_ends():
    random = Random(1)
    drawn = {exponential(2, full_jitter=True, random=random) for _ in range(500)}
    assert drawn == {0, 1, 2, 3, 4}


@given(st.integers(0, 10_000), seeds)
def test_reconnect_stays_below_its_bound(attempt, random):
    bound = min(4.0, 0.1 * 2 ** min(attempt, 20))
    assert 0 <= reconnect(attempt, random) <= bound


def test_reconnect_uses_the_whole_of_its_range():
    random = Random(1)
    assert max(reconnect(0, random) for _ in range(500)) > 0.09
    waits = [reconnect(50, random) for _ in range(500)]
    assert min(waits) < 0.5
    assert max(waits) > 3.5


@pytest.mark.parametrize("outage", [5.0, 60.0])
def test_those_that_lost_their_store_together_come_back_spread(outage):
    """Two hundred that try again from the same moment on: when each comes after its return."""
    came = []
    for seed in range(200):
        random, at, attempt = Random(seed), 0.0, 0
        while at < outage:
            at += reconnect(attempt, random)
            attempt += 1
        came.append(at - outage)
    assert max(came) <= 4.0
    tenths = Counter(int(each * 10) for each in came)
    assert max(tenths.values()) < 20
    assert len(tenths) > 25


@given(st.floats(0, 1e6), st.floats(0, 1), seeds)
def test_jittered_stays_within_its_fraction(wait, fraction, random):
    slack = wait * 1e-9
    assert (
        wait * (1 - fraction) - slack
        <= jittered(wait, fraction, random)
        <= wait * (1 + fraction) + slack
    )


def test_jitter_without_fraction_is_none():
    assert jittered(3.0, 0.0) == 3.0


@pytest.mark.parametrize(
    "call",
    [
        lambda: exponential(-1),
        lambda: exponential(0, factor=-1),
        lambda: exponential(0, maximum=-1),
        lambda: reconnect(-1),
        lambda: jittered(-1, 0.5),
        lambda: jittered(1, 1.5),
    ],
)
def test_nonsense_is_refused(call):
    with pytest.raises(ValueError, match=r"is -?\d"):
        call()
