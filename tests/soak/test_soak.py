"""A few seconds of the soak on each store, and of each seed that has once failed.

``make soak`` (``run.py``) is the long one. Here nobody's memory is judged, so nobody is spared.
"""

import subprocess
import sys
from pathlib import Path

import pytest
from soak_oracle import MUST_BE_NONE, Receipts
from soak_plan import kept_seeds, parse_seed
from soak_play import STORES, soak
from workers import HERE, site

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


def test_a_client_whose_call_hangs_ends_by_itself_and_says_where(tmp_path):
    """As a soak takes it, a client that ends is wrong."""
    program = (
        "import soak_client, time; from pathlib import Path\n"
        "def hang(app, order): time.sleep(600)\n"
        "soak_client.HUNG, soak_client.call = 0.5, hang\n"
        "soak_client.Client('1', Path('.')).send(0)\n"
    )
    with site(tmp_path, "soak_tasks.py") as place:
        ended = subprocess.run(
            [sys.executable, "-c", program], cwd=place.folder, capture_output=True, text=True,
            env={**place.environment, "PYTHONPATH": str(HERE)}, check=False, timeout=120,
        )  # fmt: skip
    assert ended.returncode == 1
    assert "Timeout" in ended.stderr
    assert "in hang" in ended.stderr
    receipts = Receipts.read((tmp_path / "receipts-0").read_text())
    assert (len(receipts.tried), receipts.acknowledged, receipts.whole) == (1, set(), False)
