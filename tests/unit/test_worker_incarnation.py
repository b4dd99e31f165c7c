"""One incarnation: how long its lease is trusted, and how another follows it."""

import time

import pytest

from celeriac.worker.incarnation import Incarnation

LEASE, MARGIN = 15.0, 3.0


@pytest.fixture
def incarnation() -> Incarnation:
    found = Incarnation(LEASE, MARGIN)
    found.begin(found.candidate(), time.monotonic())
    return found


def test_nothing_is_trusted_before_the_store_has_answered():
    assert not Incarnation(LEASE, MARGIN).trusted


@pytest.mark.parametrize(("ago", "trusted"), [(0, True), (11, True), (12.5, False), (15, False)])
def test_trust_counts_from_the_start_of_the_request_less_the_margin(ago: float, trusted: bool):
    incarnation = Incarnation(LEASE, MARGIN)
    incarnation.begin(incarnation.owner, time.monotonic() - ago)
    assert incarnation.trusted is trusted


def test_a_beat_extends_trust_and_an_older_answer_that_comes_late_does_not_shorten_it(incarnation):
    now = time.monotonic()
    incarnation.extended(incarnation.owner, now)
    incarnation.extended(incarnation.owner, now - 14)
    assert incarnation.trusted


def test_the_first_candidate_is_the_first_owner():
    incarnation = Incarnation(LEASE, MARGIN)
    assert incarnation.candidate() == incarnation.owner


def test_a_lost_incarnation_is_never_trusted_again_whatever_a_late_beat_says(incarnation):
    assert incarnation.lose(incarnation.owner)
    assert incarnation.lost
    assert not incarnation.trusted
    incarnation.extended(incarnation.owner, time.monotonic())
    assert not incarnation.trusted


def test_the_new_id_takes_over_only_once_the_store_knows_it(incarnation):
    old = incarnation.owner
    incarnation.lose(old)
    new = incarnation.candidate()
    assert new != old
    assert incarnation.owner == old
    assert incarnation.candidate() == new  # the same if registering has to be repeated
    incarnation.begin(new, time.monotonic())
    assert incarnation.owner == new
    assert not incarnation.lost
    assert incarnation.trusted


def test_news_of_an_earlier_incarnation_change_nothing(incarnation):
    old = incarnation.owner
    incarnation.lose(old)
    incarnation.begin(incarnation.candidate(), time.monotonic() - 13)
    assert not incarnation.lose(old)
    assert not incarnation.lost
    incarnation.extended(old, time.monotonic())
    assert not incarnation.trusted


def test_each_loss_brings_another_id(incarnation):
    owners = {incarnation.owner}
    for _ in range(3):
        incarnation.lose(incarnation.owner)
        incarnation.begin(incarnation.candidate(), time.monotonic())
        owners.add(incarnation.owner)
    assert len(owners) == 4
