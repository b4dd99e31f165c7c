"""Moments: zones, local time that the change of the clocks leaves out or holds twice."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from celeriac.moments import moment

BERLIN = ZoneInfo("Europe/Berlin")


def naive(text, **more):
    return datetime.fromisoformat(text).replace(**more)


@pytest.mark.parametrize(
    ("value", "at"),
    [
        (datetime(2026, 7, 1, 12, tzinfo=UTC), datetime(2026, 7, 1, 12, tzinfo=UTC)),
        (naive("2026-07-01T12:00"), datetime(2026, 7, 1, 10, tzinfo=UTC)),
        ("2026-01-01T12:00", datetime(2026, 1, 1, 11, tzinfo=UTC)),
        ("2026-01-01T12:00+00:00", datetime(2026, 1, 1, 12, tzinfo=UTC)),
        # Just outside the hour that comes twice, and the one that is left out.
        ("2026-10-25T01:59:59", datetime(2026, 10, 24, 23, 59, 59, tzinfo=UTC)),
        ("2026-10-25T03:00:00", datetime(2026, 10, 25, 2, tzinfo=UTC)),
        ("2026-03-29T01:59:59", datetime(2026, 3, 29, 0, 59, 59, tzinfo=UTC)),
        ("2026-03-29T03:00:00", datetime(2026, 3, 29, 1, tzinfo=UTC)),
        # Who says which of the two is meant is understood.
        (naive("2026-10-25T02:30", fold=1), datetime(2026, 10, 25, 1, 30, tzinfo=UTC)),
        (naive("2026-10-25T02:30", tzinfo=BERLIN), datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
    ],
    ids=str,
)
def test_read(value, at):
    assert moment(value, "eta", "Europe/Berlin") == at.timestamp()


@pytest.mark.parametrize("value", ["2026-10-25T02:00:00", "2026-10-25T02:59:59"])
def test_a_time_that_comes_twice_is_refused(value):
    with pytest.raises(ValueError, match="which Europe/Berlin has twice, because the clocks") as it:
        moment(value, "eta", "Europe/Berlin")
    assert "at +0200 and at +0100. Give it a time zone" in str(it.value)
    assert str(it.value).startswith("eta is 2026-10-25 02:")


@pytest.mark.parametrize("fold", [0, 1])
@pytest.mark.parametrize("value", ["2026-03-29T02:00:00", "2026-03-29T02:59:59"])
def test_a_time_that_is_left_out_is_refused(value, fold):
    with pytest.raises(ValueError, match="which Europe/Berlin does not have: the clocks are set"):
        moment(naive(value, fold=fold), "expires", "Europe/Berlin")


def test_in_utc_no_time_is_left_out_or_comes_twice():
    assert moment("2026-10-25T02:30", "eta", "UTC") == moment("2026-10-25T02:30Z", "eta", "UTC")


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        (7, TypeError, "eta is 7, a int; it must be a datetime; for seconds from now use"),
        ("tomorrow", ValueError, "eta is 'tomorrow', which is no ISO 8601 time"),
        (datetime.max.replace(tzinfo=ZoneInfo("America/New_York")), ValueError, "years 1 to 9999"),
    ],
)
def test_what_is_no_moment_is_refused(value, error, words):
    with pytest.raises(error) as caught:
        moment(value, "eta", "UTC")
    assert words in str(caught.value)
