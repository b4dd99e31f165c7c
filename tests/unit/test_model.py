"""The protocol keeps its promises in every order of events; without a rule it does not."""

import pytest

from celeriac.testing import timemodel
from celeriac.testing.model import FAILED, QUEUED, SUCCEEDED, Rules, explore

Times = timemodel.Times

#: Two members; retries and hand-backs are searched with one task, they would only multiply here.
JOIN = Rules(tasks=2, join=True, outcomes=(SUCCEEDED, FAILED), release=False, revoke=False)
#: With requests that come late there are many more states, so less of what multiplies them.
LATE = Rules(late=True, revoke=False, release=False)
#: An operator retries what has failed; a stamp is revoked.
OPERATOR = Rules(operator=True, release=False, outcomes=(SUCCEEDED, FAILED))
STAMPED = Rules(stamped=True, revoke=False, release=False)
BACK = Rules(goes_back=True, revoke=False, release=False, outcomes=(SUCCEEDED,))
LATE_ONCE = LATE._replace(at_most_once=True, release=True, outcomes=(SUCCEEDED, QUEUED))


@pytest.mark.parametrize(
    "rules",
    [
        Rules(),
        Rules(at_most_once=True),
        JOIN,
        JOIN._replace(grows=True),
        LATE,
        LATE_ONCE,
        OPERATOR,
        OPERATOR._replace(late=True, revoke=False),
        OPERATOR._replace(at_most_once=True),
        STAMPED,
        STAMPED._replace(at_most_once=True),
        OPERATOR._replace(stamped=True, revoke=False),
        BACK,
        BACK._replace(at_most_once=True),
    ],
    ids=[
        "at least once",
        "at most once",
        "join of two",
        "join that grows",
        "late, at least once",
        "late, at most once",
        "operator",
        "operator, late",
        "operator, at most once",
        "stamped",
        "stamped, at most once",
        "stamped, operator",
        "goes back",
        "goes back, at most once",
    ],
)
def test_every_promise_holds_in_every_state(rules):
    found = explore(rules)
    assert found.broken == {}
    assert found.states > 1000


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        (Rules(fence=False), "two terminal commits"),
        (Rules(replay=False), "held by a worker that does not know"),
        (Rules(one_commit=False), "successor of a task that did not succeed"),
        (Rules(at_most_once=True, fail_lost=False), "at-most-once started twice"),
        (JOIN._replace(join_set=False), "body before its members"),
        (JOIN._replace(join_set=False), "body never"),
        (JOIN._replace(grows=True, grow_first=False), "body before its members"),
        (LATE_ONCE._replace(nonce=False), "at-most-once started twice"),
        (Rules(refuse_old=False), "held by a worker that does not know"),
        (OPERATOR._replace(errback_first=False), "an end that no errback was called for"),
        (OPERATOR._replace(errback_first=False), "errback of a task that succeeded"),
        (OPERATOR._replace(errback_again=False), "an end that no errback was called for"),
        (OPERATOR._replace(late=True, fence=False), "two terminal commits"),
        (STAMPED._replace(learn_first=False), "begun by who came after its stamp was revoked"),
        (STAMPED._replace(revoke_met=False), "begun by whoever else"),
        (BACK._replace(compare=False), "held by a worker that does not know"),
    ],
    ids=[
        "no fence",
        "no replay",
        "two steps",
        "rerun lost",
        "counter early",
        "counter late",
        "grown late",
        "owner for nonce",
        "old exchange",
        "retried early: no call",
        "retried early: late call",
        "errback once for ever",
        "fence of an earlier generation",
        "not learned first",
        "called off by the worker alone",
        "not compared after it went back",
    ],
)
def test_without_a_rule_a_promise_breaks(rules, problem):
    assert problem in explore(rules, until=problem).broken


@pytest.mark.parametrize("served", [True, False])
@pytest.mark.parametrize("lasts", [True, False])
@pytest.mark.parametrize("delay", [True, False])
def test_every_promise_about_times_of_released_parts_holds_in_every_state(delay, lasts, served):
    found = timemodel.explore(Times(delay, lasts, served))
    # What nobody serves and nothing ends waits for a worker, as any task does.
    assert found.broken == (set() if served or lasts else {"cannot end"})
    assert found.states >= 15


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        (Times(from_release=False), "past its time before it was released"),
        (Times(in_record=False, lasts=False), "cannot end"),
        (Times(swept=False, served=False), "cannot end"),
        (Times(held_spared=False), "ends twice"),
        (Times(checked_again=False), "begins after its time"),
    ],
    ids=[
        "from sending",
        "in a worker's memory",
        "not swept",
        "swept while it runs",
        "not checked again",
    ],
)
def test_without_a_rule_about_times_a_promise_breaks(rules, problem):
    assert problem in timemodel.explore(rules).broken
