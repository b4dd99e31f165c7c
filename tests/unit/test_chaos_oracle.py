"""The oracle of workflows and faults finds what it is there to find."""

from types import SimpleNamespace

import pytest
from chaos_oracle import Graph, Ran
from random_canvases import placed
from tallies import MUST_BE_NONE

from celeriac import states
from celeriac.message import Edges
from celeriac.records import Record
from celeriac.testing.conformance import message
from celeriac.testing.ledger import Line

FAILED = "ValueError: part"
SKIPPED = "not needed: a ended without failure"
#: A chord of *a* and *b* with the body *c*, behind which is *d*; *e* is an errback of *a*.
EDGES = {
    "a": Edges(join=("J", 0), within=("J", 0), own=("e",)),
    "b": Edges(join=("J", 1), within=("J", 1)),
    "c": Edges(waits=True, gathers="J", success=("d",)),
    "d": Edges(waits=True, takes="c"),
    "e": Edges(waits=True, told="a"),
}


class Story:
    """A run of it in which all went well."""

    def __init__(self):
        self.time = 0.0
        self.lines, self.records, self.put_back = [], {}, []
        for id in "abcd":
            self.ran(id)
            self.ended(id, attempt=1)
        self.ended("e", states.SKIPPED, SKIPPED)

    def ran(self, id, attempt=1):
        for event in ("start", "end"):
            self.time += 1
            self.lines.append(Line(id, attempt, event, self.time, 1))

    def ended(self, id, state=states.SUCCEEDED, reason="", **fields):
        wire = message(id, edges=EDGES[id], flow="d").encode()
        self.records[id] = Record(id, state, "part", "q", wire=wire, reason=reason, **fields)

    def never(self, *ids):
        """These did not run: *a* has failed."""
        self.lines = [each for each in self.lines if each.id not in ids]
        for id in ids:
            reason = "ChordError: member 0 (a) ended failed" if id == "c" else "UpstreamFailed: c"
            self.ended(id, states.FAILED, reason, cause="a")

    def judged(self):
        ran = Ran(self.lines)
        ran.put_back.update(self.put_back)
        return Graph("g", self.records.values(), ran)


def failing():
    story = Story()
    story.ended("a", states.FAILED, FAILED, attempt=1)
    story.never("c", "d")
    story.ran("e")
    story.ended("e", attempt=1)
    return story


@pytest.mark.parametrize("make", [Story, failing])
def test_what_is_right_is_found_right(make):
    graph = make().judged()
    assert graph.problems == []
    assert (graph.counts["joins"], graph.counts["errbacks"], graph.counts["acknowledged"]) == (
        1,
        1,
        5,
    )
    assert not any(graph.counts[each] for each in MUST_BE_NONE)


@pytest.mark.parametrize("charge", ["retries", "crashes", "losses"])
def test_a_second_run_is_explained_by_what_the_record_says(charge):
    story = Story()
    story.ran("d", attempt=2)
    story.ended("d", attempt=2, **{charge: 1})
    graph = story.judged()
    assert (graph.problems, graph.counts["extra starts explained"]) == ([], 1)


def test_a_run_that_was_put_back_before_it_began_is_none():
    story = Story()
    story.ended("c", attempt=2)
    story.put_back = ["c"]
    assert story.judged().problems == []


def unended(story):
    story.ended("d", states.WAITING)


def unexplained(story):
    story.ran("a", attempt=2)
    story.ended("a", attempt=2)


def same_attempt(story):
    story.ran("b", attempt=1)


def body_twice(story):
    story.ran("c", attempt=2)
    story.ended("c", attempt=2)


def body_reopened(story):
    story.ended("c", attempt=1, generation=1)


def body_never(story):
    story.lines = [each for each in story.lines if each.id != "c"]


def body_ran_without(story):
    story.ended("b", states.FAILED, FAILED, attempt=1)


def errback_for_nothing(story):
    story.ran("e")
    story.ended("e", attempt=1)


@pytest.mark.parametrize(
    ("spoil", "count"),
    [
        (unended, "lost"),
        (unexplained, "extra starts unexplained"),
        (same_attempt, "extra starts unexplained"),
        (body_twice, "joins fired other than once"),
        (body_reopened, "joins fired other than once"),
        (body_never, "joins fired other than once"),
        (body_ran_without, "joins fired other than once"),
        (errback_for_nothing, "errbacks run other than once"),
    ],
)
def test_what_is_wrong_is_found_and_counted(spoil, count):
    story = Story()
    spoil(story)
    graph = story.judged()
    assert graph.problems
    assert graph.counts[count] == 1


@pytest.mark.parametrize("times", [0, 2])
def test_an_errback_that_did_not_run_once_is_counted(times):
    story = failing()
    story.lines = [each for each in story.lines if each.id != "e"]
    for attempt in range(1, times + 1):
        story.ran("e", attempt)
    story.ended("e", attempt=times)
    assert story.judged().counts["errbacks run other than once"] == 1


@pytest.mark.parametrize("late", ["a", "c"])
def test_what_began_too_early_is_found(late):
    story = Story()
    story.time = 100
    story.lines = [each for each in story.lines if each.id != late]
    story.ran(late)
    (found,) = story.judged().problems
    assert "began before" in found


def test_who_takes_the_place_of_another_has_its_id():
    def part(n):
        return {"k": "part", "n": n}

    tree = {"k": "chain", "of": [
        part(1),
        {"k": "swap", "n": 2, "to": {"k": "swap", "n": 3, "to": {"k": "chain", "of": [
            part(4), part(5),
        ]}}},
        {"k": "swap", "n": 6, "to": {"k": "chord", "of": [part(7)], "add": [part(8)],
                                     "body": part(9)}},
    ]}  # fmt: skip
    found = {each["n"]: id for each, id in placed(tree, "g")}
    assert found == {1: "g.1", 4: "g.4", 5: "g.2", 7: "g.7", 8: "g.8", 9: "g.6"}


def test_what_died_before_it_was_written_that_it_ran_is_no_part_that_did_not_run():
    """As when it has taken the place of another: the record has the id of that one."""
    tree = {"k": "chain", "of": [{"k": "swap", "n": 1, "to": {"k": "part", "n": 2, "do": "lost",
            "imm": False, "link": [], "err": []}, "err": []}], "err": []}  # fmt: skip
    failed = SimpleNamespace(state="FAILURE")
    for attempt, problems in ((2, []), (1, ["g: did not run: {2}; did: set()"])):
        record = Record("g.1", states.FAILED, "part", "q", wire=message("g.1").encode(),
                        reason="WorkerLostError: gone", attempt=attempt)  # fmt: skip
        ran = Ran([])
        ran.swaps["g.1"].add(1)
        ran.parts["g", 1].add("g.1")
        graph = Graph("g", [record], ran)
        graph.as_the_tree_says(tree, failed)
        assert graph.problems == problems
