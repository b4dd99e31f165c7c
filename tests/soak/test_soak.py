"""A few seconds of the soak on each store, and of each seed that has once failed.

``make soak`` (``run.py``) is the long one. Here nobody's memory is judged, so nobody is spared.
"""

from pathlib import Path

import pytest
from soak_oracle import MUST_BE_NONE
from soak_plan import kept_seeds, parse_seed
from soak_scene import STORES, soak

KEPT = kept_seeds((Path(__file__).parent / "seeds.txt").read_text())
#: Seconds in which is sent and struck.
SHORT, LONGER = 4.0, 12.0


def judge(store, seed, seconds, folder, **more):
    base, first = parse_seed(seed)
    report = soak(store, base, first, seconds, folder, steady=False, **more)
    print(dict(report.counts), dict(report.faults))
    assert report.problems == []
    assert not any(report.counts[each] for each in MUST_BE_NONE)
    # A store that is full for most of these seconds acknowledges less than is sent.
    assert report.counts["acknowledged"] + report.counts["in doubt"] > 50
    assert report.counts["acknowledged"] > 20
    assert report.faults.total() > 0


@pytest.mark.parametrize("store", STORES)
def test_a_short_soak_loses_nothing(store, tmp_path):
    judge(store, "1", SHORT, tmp_path / "soak", ahead=1)


@pytest.mark.faults
@pytest.mark.parametrize(("store", "seed"), [(store, "2") for store in STORES] + KEPT)
def test_a_seed_that_has_failed_once_does_not_again(store, seed, tmp_path):
    judge(store, seed, LONGER, tmp_path / "soak")
