"""The counts of the table of faults move when what they count happens."""

import pytest
from noting_worker import ASKED, RETURNED, Judged, Noting, beside, handed_back, noted, read
from tallies import COLUMNS, COUNTED, MUST_BE_NONE, Onlooker, count, table

from celeriac import states
from celeriac.outcome import Outcome
from celeriac.records import Commit, Exchanged, Fence, Manifest, Record, TaskFacts, Verdict, Want
from celeriac.stores import connect
from celeriac.testing.conformance import message
from celeriac.testing.ledger import Line
from celeriac.worker.pools.shared import BESIDE


class Story:
    """Two tasks that were acknowledged and went well: *a* at once, *b* after a crash."""

    def __init__(self):
        self.acknowledged = ["a", "b"]
        self.records, self.lines, self.verdicts = {}, [], []
        self.onlooker, self.more = Onlooker(), {"faults": 1}
        self.ran("a")
        self.ended("a")
        self.told("a", "w1.0.1")
        self.ran("b", whole=False)
        self.told("b", "w1.0.2", state=states.QUEUED)
        self.ran("b", attempt=2)
        self.ended("b", attempt=2, crashes=1)
        self.told("b", "w1.0.3", attempt=2)

    def ran(self, id, attempt=1, whole=True):
        for event in ("start", "end") if whole else ("start",):
            self.lines.append(Line(id, attempt, event, len(self.lines), 1))

    def ended(self, id, state=states.SUCCEEDED, attempt=1, **more):
        self.records[id] = Record(id, state, "t", "q", attempt=attempt, ended_at=9.0, **more)

    def told(self, id, nonce, attempt=1, state=states.SUCCEEDED, verdict="ok"):
        self.verdicts.append(Judged(id, attempt, nonce, state, verdict))

    def judged(self):
        return count(
            self.acknowledged,
            self.records.values(),
            self.lines,
            self.verdicts,
            onlooker=self.onlooker,
            **self.more,
        )


def test_what_went_well_is_counted_and_no_problem():
    made = Story().judged()
    assert made.problems == []
    assert {name: many for name, many in made.counts.items() if many} == {
        "faults": 1, "acknowledged": 2, "succeeded": 2, "ends that workers were told of": 2,
        "starts": 3, "extra starts explained": 1,
    }  # fmt: skip


@pytest.mark.parametrize("state", sorted(states.TERMINAL))
def test_each_way_to_end_is_counted_by_its_name(state):
    story = Story()
    story.verdicts = []
    story.ended("a", state)
    assert state in COUNTED
    before = Story().judged().counts[state]
    assert story.judged().counts[state] == before + (state != states.SUCCEEDED)
    assert story.judged().problems == []


def no_record(story):
    del story.records["a"]


def not_ended(story):
    story.records["a"] = Record("a", states.QUEUED, "t", "q")
    story.verdicts = []


def two_leases(story):
    """The second changed nothing that the record shows."""
    story.told("a", "w2.0.7")


def two_leases_and_a_resend(story):
    story.told("b", "w2.0.7", attempt=3, state=states.FAILED, verdict="already")


def ended_by_another(story):
    """The first end was taken and then forgotten."""
    story.ended("a", attempt=2, losses=1)
    story.ran("a", attempt=2)


def ended_otherwise(story):
    """A reaper has ended it again."""
    story.ended("a", states.FAILED, reason="WorkerLostError")


def seen_ended_before(story):
    """Nobody was told of the end that was seen."""
    story.onlooker.see([Record("a", states.SUCCEEDED, "t", "q", attempt=1, ended_at=5.0), None])


def unexplained(story):
    story.ran("a", attempt=2)


def same_attempt(story):
    story.ran("a")


def charged_less(story):
    story.ended("b", attempt=2)


@pytest.mark.parametrize(
    ("spoil", "counted"),
    [
        (no_record, "lost"),
        (not_ended, "lost"),
        (two_leases, "doubly committed"),
        (two_leases_and_a_resend, "doubly committed"),
        (ended_by_another, "doubly committed"),
        (ended_otherwise, "doubly committed"),
        (seen_ended_before, "doubly committed"),
        (unexplained, "extra starts unexplained"),
        (same_attempt, "extra starts unexplained"),
        (charged_less, "extra starts unexplained"),
    ],
)
def test_what_is_wrong_is_a_problem_and_counted(spoil, counted):
    story = Story()
    spoil(story)
    made = story.judged()
    assert made.problems
    assert {name: made.counts[name] for name in MUST_BE_NONE if made.counts[name]} == {counted: 1}


def test_what_is_no_second_end():
    """Resends, repeats, what was refused, and results that were too large."""
    story = Story()
    story.told("a", "w1.0.1", verdict="already")
    story.told("a", "w2.0.1", attempt=2, verdict="fenced")
    story.told("a", "w0.0.1", attempt=0, state=states.SCHEDULED)
    story.ended("b", states.FAILED, attempt=2, crashes=1, reason="ResultTooLarge: 9 bytes")
    story.onlooker.see([story.records["a"], Record("b", states.RUNNING, "t", "q")])
    assert story.judged().problems == []


def test_a_start_that_was_handed_back_is_explained_and_others_do_not_count():
    story = Story()
    story.ran("a", attempt=2)
    story.ended("a", attempt=2)
    story.verdicts = []
    story.more["interrupted"] = {"a": 1}
    story.ran("not acknowledged")
    made = story.judged()
    assert made.problems == []
    assert made.counts["extra starts explained"] == 2
    assert made.counts["starts"] == 4


def test_the_table_shows_each_store_and_what_must_be_none():
    lines = list(table({"valkey": {"faults": 5000, "lost": 2}, "sqlite": {"faults": 7}}))
    assert lines[:3] == ["| | sqlite | valkey |", "|---|---|---|", "| faults | 7 | 5,000 |"]
    assert "| **lost** (0) | 0 | 2 |" in lines
    assert len(lines) == 2 + len(COUNTED)
    assert set(COLUMNS.values()) == {"sqlite", "redis", "valkey"}


# -- how verdicts are noted ------------------------------------------------------------------------


def test_the_verdicts_of_a_store_are_noted(tmp_path):
    """On a real store: a retry, an end, the same again, and an end that comes too late."""
    ledger = tmp_path / "ledger"
    assert read(ledger) == []
    queue = noted(connect, beside(ledger))(f"sqlite:///{tmp_path}/celeriac.db").queue
    queue.enqueue([message("a")])
    queue.register("w", Manifest(tasks={"job": TaskFacts()}))
    (first,) = queue.exchange("w", 0, 1, [], [], ["celery"], Want(free=1)).deliveries
    again = Commit(first.fence, Outcome(states.QUEUED, charge="retry"))
    (second,) = queue.exchange("w", 0, 2, [again], [], ["celery"], Want(free=1)).deliveries
    late = Commit(first.fence, Outcome(states.FAILED))
    end = Commit(second.fence, Outcome(states.SUCCEEDED))
    for seq in (3, 4):
        queue.exchange("w", 0, seq, [late, end], [], ["celery"], Want())
    found = read(ledger)
    assert [(each.attempt, each.state, each.verdict, each.decides) for each in found] == [
        (1, "queued", "ok", False),
        (1, "failed", "fenced", False),
        (2, "succeeded", "ok", True),
        (1, "failed", "fenced", False),
        (2, "succeeded", "already", True),
    ]
    nonces = [first.nonce, first.nonce, second.nonce, first.nonce, second.nonce]
    assert [each.nonce for each in found] == nonces


def test_what_was_handed_back_may_read_fenced_if_another_had_it_meanwhile():
    """Its first call was applied and its answer lost; the second one came after a later fence."""
    asked = Judged("a", 1, "w.1", RETURNED, ASKED)
    fenced = Judged("a", 1, "w.1", RETURNED, "fenced")
    crashed = Judged("a", 2, "v.1", states.QUEUED, "ok")
    assert handed_back([asked, crashed, fenced]) == {"a": {1}}
    assert handed_back([asked, fenced, crashed]) == {}
    assert handed_back([asked, Judged("b", 2, "v.2", states.QUEUED, "ok"), fenced]) == {}
    assert handed_back([asked, fenced]) == {}
    assert handed_back([asked, asked]) == {"a": {1}}


def test_what_is_handed_back_though_it_had_begun_is_noted_before_and_after(tmp_path):
    fence = Fence("a", 1, "w.0.1")

    class Queue:
        def release(self, owner, fences, started, delay):
            assert read(tmp_path / "ledger") == (
                [Judged("a", 1, "w.0.1", RETURNED, ASKED)] * started
            )
            return [Verdict.OK]

        def exchange(self, *given):
            return Exchanged((Verdict.FENCED,))

    queue = Noting(Queue(), beside(tmp_path / "ledger"))
    queue.release("w", [fence])
    assert read(tmp_path / "ledger") == []
    queue.release("w", [fence], started=True)
    assert [each.verdict for each in read(tmp_path / "ledger")] == [ASKED, "ok"]
    assert handed_back(read(tmp_path / "ledger")) == {"a": {1}}
    suspect = Outcome(states.SCHEDULED, reason=f"{BESIDE}, and so on")
    commits = [Commit(Fence("b", 1, "w.0.1"), suspect)]
    queue.exchange("w", 0, 1, commits, [], [], Want())
    assert [each.verdict for each in read(tmp_path / "ledger")][2:] == [ASKED, "fenced"]
    assert handed_back(read(tmp_path / "ledger")) == {"a": {1}}


def test_half_a_line_is_left_out(tmp_path):
    class Queue:
        def exchange(self, *given):
            return Exchanged((Verdict.OK,))

    path = beside(tmp_path / "ledger")
    commit = Commit(Fence("a", 1, "w.0.1"), Outcome(states.SUCCEEDED))
    for cut in (0, 3, 20):
        Noting(Queue(), path).exchange("w", 0, 1, [commit], [], [], Want())
        if cut:
            path.write_bytes(path.read_bytes()[:-cut])
    Noting(Queue(), path).exchange("w", 0, 1, [commit], [], [], Want())
    assert read(tmp_path / "ledger") == [Judged("a", 1, "w.0.1", "succeeded", "ok")] * 2
