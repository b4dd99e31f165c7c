"""The oracle of the soak finds what it is there to find."""

import pytest
from chaos_oracle import Ran
from soak_oracle import DOUBLE, JOINS, LOST, MUST_BE_NONE, UNEXPLAINED, End, Receipts, Seen, Verdict
from soak_plan import MAX_CRASHES, OBEYED, STRANGER, Order, generation_of

from celeriac import states
from celeriac.message import Edges
from celeriac.records import Record
from celeriac.testing.conformance import message
from celeriac.testing.ledger import Line

OTHER = MUST_BE_NONE[-1]
ONCE = frozenset({states.SUCCEEDED, states.FAILED})
ORDERS = {
    "g0.0": Order("g0.0", "short"),
    "g0.1": Order("g0.1", "later", later=2.0),
    "g0.2": Order("g0.2", "gives up", ends=frozenset({states.FAILED}), retries=2),
    "g0.3": Order("g0.3", "poison", ends=frozenset({states.DEAD})),
    "g0.4": Order("g0.4", "revoked queued", ends=frozenset({states.CANCELLED}), starts=0),
    "g0.5": Order("g0.5", "at most once", ends=ONCE),
    "g0.6": Order("g0.6", "stranger", STRANGER, ends=frozenset(), starts=0),
    "g0.7": Order("g0.7", "hasty flow", tree={"k": "chain", "of": [{"n": 3}], "err": []}),
}
#: What is revoked while it repeats itself, or runs, beside the rest.
REVOKED = [
    Order("g0.8", "revoked repeating", ends=frozenset({states.CANCELLED}), revoke=1.0),
    Order("g0.9", "revoked long", ends=ONCE, revoke=1.0, ending="SIGTERM"),
]
#: A chord of *1* and *2* with the body *3*.
FLOW = {
    "g0.7.1": Edges(join=("J", 0), within=("J", 0)),
    "g0.7.2": Edges(join=("J", 1), within=("J", 1)),
    "g0.7.3": Edges(waits=True, gathers="J"),
}


class Story:
    """A generation with which all went well."""

    def __init__(self):
        self.time = 0.0
        self.lines, self.records, self.flow, self.values = [], {}, {}, {}
        self.interrupted = []
        self.receipts = Receipts(dict.fromkeys(ORDERS, 0.0), set(ORDERS), whole=True)
        self.ran("g0.0")
        self.ended("g0.0")
        self.time = 2.0
        self.ran("g0.1")
        self.ended("g0.1")
        for attempt in (1, 2, 3):
            self.ran("g0.2", attempt)
            self.ran("g0.3", attempt, "start")
        self.ended("g0.2", states.FAILED, "MaxRetriesExceededError", attempt=3, retries=2)
        self.ended("g0.3", states.DEAD, "DeadTaskError", attempt=3, crashes=MAX_CRASHES)
        self.ended("g0.4", states.CANCELLED, "TaskRevokedError", attempt=0)
        self.ran("g0.5")
        self.ended("g0.5")
        self.ended("g0.6", states.QUEUED, attempt=0, parked=True)
        for id in FLOW:
            self.ran(id)
            self.ended(id)
        every = [*self.records.values(), *self.flow.values()]
        self.first = {each.id: End.of(each) for each in every if each.state in states.TERMINAL}

    def ran(self, id, attempt=1, *events):
        for event in events or ("start", "end"):
            self.time += 0.1
            self.lines.append(Line(id, attempt, event, self.time, 1))

    def ended(self, id, state=states.SUCCEEDED, reason="", attempt=1, **fields):
        wire = message(id, edges=FLOW.get(id), flow="g0.7.3").encode()
        made = Record(
            id,
            state,
            "part",
            "q",
            wire=wire,
            reason=reason,
            attempt=attempt,
            ended_at=9.0,
            **fields,
        )
        (self.flow if id in FLOW else self.records)[id] = made
        if state == states.SUCCEEDED:
            self.values[id] = [id, attempt]

    def again(self, id, **charge):
        """*id* has run twice, and it was the second that ended it."""
        self.ran(id, 2)
        self.ended(id, attempt=2, **charge)
        record = self.flow.get(id) or self.records[id]
        self.first[id] = End.of(record)

    def judged(self):
        ran = Ran(self.lines)
        ran.interrupted.update(self.interrupted)
        seen = Seen(
            self.receipts, self.records, {"g0.7": list(self.flow.values())}, {}, self.values,
            self.first, ran,
        )  # fmt: skip
        more = [each for each in REVOKED if each.id in self.records]
        return Verdict([*ORDERS.values(), *more], seen)


def test_what_is_right_is_found_right():
    verdict = Story().judged()
    assert verdict.problems == []
    assert not any(verdict.counts[each] for each in MUST_BE_NONE)
    assert verdict.counts["acknowledged"] == 7 + 3
    assert (verdict.counts["workflows"], verdict.counts["joins"]) == (1, 1)
    assert (verdict.counts["parked"], verdict.counts[states.DEAD]) == (1, 1)
    assert verdict.counts["extra starts explained"] == 4


@pytest.mark.parametrize("charge", ["crashes", "losses"])
def test_a_second_run_is_explained_by_what_the_record_says(charge):
    story = Story()
    story.again("g0.0", **{charge: 1})
    verdict = story.judged()
    assert (verdict.problems, verdict.counts["extra starts explained"]) == ([], 5)


@pytest.mark.parametrize("id", ["g0.0", "g0.7.3"])
def test_a_second_run_is_explained_by_a_worker_that_was_told_to_stop(id):
    story = Story()
    story.again(id)
    story.interrupted = [id]
    assert story.judged().problems == []


def test_what_was_in_doubt_need_not_be_there_and_what_is_there_is_judged():
    story = Story()
    story.receipts.acknowledged -= {"g0.0", "g0.1"}
    del story.records["g0.0"]
    verdict = story.judged()
    assert (verdict.problems, verdict.counts["in doubt"]) == ([], 2)
    story.ended("g0.1", states.QUEUED)
    assert story.judged().counts[LOST] == 1


def test_a_client_that_does_not_get_through_is_found():
    """A call hangs, and what would have come after it is neither sent nor missed."""
    story = Story()
    story.receipts.whole = False
    for id in ("g0.0", "g0.1", "g0.7"):
        story.receipts.acknowledged.discard(id)
    for id in ("g0.1", "g0.7"):
        del story.receipts.tried[id]
    for id in ("g0.0", "g0.1"):
        del story.records[id]
    story.flow.clear()
    story.lines = [each for each in story.lines if each.id in story.records]
    verdict = story.judged()
    assert verdict.problems == [
        "g0: the client is stuck: it has tried 6 of 8 orders, 5 were acknowledged"
    ]
    assert (verdict.counts[OTHER], generation_of("g0")) == (1, 0)


def test_what_was_killed_as_often_as_a_task_may_be_is_put_aside():
    story = Story()
    for attempt in (2, 3):
        story.ran("g0.0", attempt, "start")
    story.ended("g0.0", states.DEAD, "DeadTaskError", attempt=3, crashes=MAX_CRASHES)
    story.first["g0.0"] = End.of(story.records["g0.0"])
    assert story.judged().problems == []


def client_stuck(story):
    story.receipts.whole = False


def gone(story):
    del story.records["g0.0"]


def unended(story):
    story.ended("g0.0", states.RUNNING)


def stranger_gone(story):
    del story.records["g0.6"]


def stranger_out_of_sight(story):
    story.ended("g0.6", states.QUEUED, attempt=0)


def flow_gone(story):
    story.flow.clear()


def part_unended(story):
    story.ended("g0.7.3", states.WAITING)


def committed_twice(story):
    story.ended("g0.0", states.FAILED, "ValueError")
    story.first["g0.0"] = End(states.SUCCEEDED, 1, 0, 9.0)


def committed_by_another(story):
    story.again("g0.0", losses=1)
    story.values["g0.0"] = ["g0.0", 1]


def part_committed_twice(story):
    story.first["g0.7.1"] = End(states.SUCCEEDED, 1, 0, 8.0)


def started_for_nothing(story):
    story.again("g0.0")


def started_after_its_end(story):
    story.ran("g0.0", 2, "start")


def started_twice_in_one_attempt(story):
    story.ran("g0.0", 1)


def started_more_than_once(story):
    story.again("g0.5", crashes=1)


def revoked_and_ran(story):
    story.ran("g0.4")


def body_twice(story):
    story.again("g0.7.3")


def body_never(story):
    story.lines = [each for each in story.lines if each.id != "g0.7.3"]


def body_though_a_member_failed(story):
    story.ended("g0.7.1", states.FAILED, "ValueError")
    story.first["g0.7.1"] = End.of(story.flow["g0.7.1"])


def never_ran(story):
    story.lines = [each for each in story.lines if each.id != "g0.1"]


def too_early(story):
    story.receipts.tried["g0.1"] = 1.0


def failed_by_itself(story):
    story.ended("g0.5", states.FAILED, "ValueError: out of nothing")
    story.first["g0.5"] = End.of(story.records["g0.5"])


def leased_late(story):
    story.ended("g0.0", expires=5.0, leased_at=5.5)
    story.first["g0.0"] = End.of(story.records["g0.0"])


def part_leased_late(story):
    story.ended("g0.7.1", expires=5.0, leased_at=5.5)


def began_long_after_its_revoke(story):
    story.ran("g0.8", 1, "start")
    story.time += OBEYED + 1
    story.ran("g0.8", 2, "start")
    story.ended("g0.8", states.CANCELLED, "TaskRevokedError", attempt=2, retries=1)
    story.receipts.revoked["g0.8"] = story.lines[-2].time


def ended_long_after_its_revoke(story):
    story.ran("g0.9", 1, "start")
    story.time += OBEYED + 1
    story.ran("g0.9", 1, "end")
    story.ended("g0.9")
    story.receipts.revoked["g0.9"] = story.lines[-2].time


def wrong_end(story):
    story.ended("g0.2", states.SUCCEEDED, attempt=3, retries=2)
    story.first["g0.2"] = End.of(story.records["g0.2"])


def retried_too_often(story):
    story.ended("g0.2", states.FAILED, "MaxRetriesExceededError", attempt=3, retries=3)


def dead_too_soon(story):
    story.ended("g0.3", states.DEAD, "DeadTaskError", attempt=3, crashes=2)


@pytest.mark.parametrize(
    ("spoil", "count"),
    [
        (client_stuck, OTHER),
        (gone, LOST),
        (unended, LOST),
        (stranger_gone, LOST),
        (stranger_out_of_sight, LOST),
        (flow_gone, LOST),
        (part_unended, LOST),
        (committed_twice, DOUBLE),
        (committed_by_another, DOUBLE),
        (part_committed_twice, DOUBLE),
        (started_for_nothing, UNEXPLAINED),
        (started_after_its_end, UNEXPLAINED),
        (started_twice_in_one_attempt, UNEXPLAINED),
        (started_more_than_once, UNEXPLAINED),
        (revoked_and_ran, UNEXPLAINED),
        (body_twice, JOINS),
        (body_never, JOINS),
        (body_though_a_member_failed, JOINS),
        (never_ran, OTHER),
        (too_early, OTHER),
        (failed_by_itself, OTHER),
        (leased_late, OTHER),
        (part_leased_late, OTHER),
        (began_long_after_its_revoke, OTHER),
        (ended_long_after_its_revoke, OTHER),
        (wrong_end, OTHER),
        (retried_too_often, OTHER),
        (dead_too_soon, OTHER),
    ],
)
def test_what_is_wrong_is_found_and_counted(spoil, count):
    story = Story()
    spoil(story)
    verdict = story.judged()
    assert verdict.problems
    assert verdict.counts[count] >= 1


def test_receipts_are_read_whole_or_not_at_all():
    text = "\ntry g0.0 1.5 .\nok g0.0 .\ntry g0.1 2.5 .\nok g0.1\nrevoked g0.0 3.5 .\nall 0"
    read = Receipts.read(text)
    assert read == Receipts({"g0.0": 1.5, "g0.1": 2.5}, {"g0.0"}, {"g0.0": 3.5}, whole=False)
    assert Receipts.read(text + " .").whole
