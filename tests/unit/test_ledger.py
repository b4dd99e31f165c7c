"""The ledger keeps whole lines, and the oracle sees what it must see."""

import os
import subprocess
import sys

import pytest

from celeriac import states
from celeriac.message import Edges, Header, compose
from celeriac.records import Record
from celeriac.testing.ledger import Ledger, Line, check


def record(id, state=states.SUCCEEDED, **more):
    return Record(id=id, state=state, task="job", queue="celery", **more)


def ran(id, attempt=1):
    return [Line(id, attempt, "start", 1.0, 7), Line(id, attempt, "end", 2.0, 7)]


def test_what_is_written_is_read_in_order(tmp_path):
    ledger = Ledger(tmp_path / "ledger")
    assert ledger.read() == []
    ledger.write("a", 1, "start")
    ledger.write("a", 1, "end")
    first, second = ledger.read()
    assert (first.id, first.attempt, first.event, first.pid) == ("a", 1, "start", os.getpid())
    assert second.event == "end"
    assert second.time >= first.time


def test_many_processes_write_whole_lines(tmp_path):
    path = tmp_path / "ledger"
    program = (
        "import sys\n"
        "from celeriac.testing.ledger import Ledger\n"
        "for n in range(50): Ledger(sys.argv[1]).write(sys.argv[2] * 40, n, 'start')\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", program, path, mark]) for mark in "abc"]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    lines = Ledger(path).read()
    assert len(lines) == 150
    assert {line.id for line in lines} == {"a" * 40, "b" * 40, "c" * 40}


def test_a_line_that_is_too_long_is_refused(tmp_path):
    with pytest.raises(ValueError, match="4096"):
        Ledger(tmp_path / "ledger").write("x" * 5000, 1, "start")


def test_a_good_run_has_no_problems():
    report = check(["a", "b"], [*ran("a"), *ran("b")], [record("a"), record("b")])
    assert report.problems == ()
    assert (report.acknowledged, report.succeeded, report.lost) == (2, 2, 0)


@pytest.mark.parametrize(
    ("lines", "records", "more", "problem"),
    [
        (ran("a"), [], {}, "lost"),
        (ran("a"), [record("a", states.QUEUED)], {}, "has not ended"),
        (ran("a") + ran("a", 2), [record("a")], {}, "started 2 times"),
        (ran("a") + ran("a"), [record("a", losses=1)], {}, "attempt 1 started 2 times"),
        (
            ran("a") + ran("a", 2),
            [record("a", losses=1)],
            {"at_most_once": ["a"]},
            "at most once",
        ),
        (ran("a")[:1], [record("a")], {}, "reached its end"),
        (
            ran("a"),
            [record("a"), record("b", states.RUNNING, owner="gone")],
            {"workers": ["w"]},
            "not registered",
        ),
        (
            ran("a"),
            [
                record(
                    "a",
                    wire=compose(Header("a", "t", "n", edges=Edges(success=("b",))), b"").encode(),
                ),
                record("b", states.WAITING),
            ],
            {},
            "still waits",
        ),
        (ran("a"), [record("a", wire=b"broken")], {}, "cannot be read"),
    ],
)
def test_each_fault_is_seen(lines, records, more, problem):
    report = check(["a"], lines, records, **more)
    assert any(problem in each for each in report.problems), report.problems


@pytest.mark.parametrize("counter", ["retries", "crashes", "losses"])
def test_a_recorded_reason_explains_a_second_start(counter):
    assert check(["a"], ran("a") + ran("a", 2), [record("a", **{counter: 1})]).problems == ()


def test_an_interruption_explains_a_second_start():
    lines = ran("a") + ran("a", 2)
    assert check(["a"], lines, [record("a")], interrupted={"a": 1}).problems == ()


def test_what_ran_without_being_acknowledged_is_counted_not_blamed():
    report = check([], ran("a"), [record("a")])
    assert (report.recovered, report.problems) == (1, ())


def test_a_report_reads_as_text():
    text = str(check(["a"], [], []))
    assert "1 acknowledged" in text
    assert "a: lost" in text
