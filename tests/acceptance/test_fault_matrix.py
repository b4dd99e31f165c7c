"""The fault matrix is whole: every row is there for both stores, every test it names exists."""

import ast
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fault_matrix import (
    AMID,
    AMID_ELSEWHERE,
    ASKED,
    CRASHES,
    LEFT_OUT,
    ON_VALKEY,
    REAPS,
    ROWS,
    STORES,
    all_tests,
    named,
)

from celeriac.crashpoints import POINTS

ROOT = Path(__file__).parents[2]
#: Prints each collected test, its parameters and what would keep it from running.
PLUGIN = """
import json, sys
import pytest

class Told:
    def pytest_collection_finish(self, session):
        found = []
        for item in session.items:
            parameters = item.callspec.params if hasattr(item, "callspec") else {}
            marks = {mark.name for mark in item.iter_markers()}
            words = [value for value in parameters.values() if isinstance(value, str)]
            unfit = sorted(marks & {"skip", "skipif", "xfail"})
            found.append([item.nodeid, words, unfit, "faults" in marks])
        with open(sys.argv[1], "w") as file:
            json.dump(found, file)

sys.exit(pytest.main(["--collect-only", "-q", "-p", "no:xdist", *sys.argv[2:]], [Told()]))
"""


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    """Each case of each test of the suite: its id, the names among its parameters, what would keep
    it from running, whether it is left to `make test-faults`."""
    base = tmp_path_factory.getbasetemp()
    # All processes that share the tests ask once.
    told = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "suite.json"
    with told.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not told.exists():
            done = subprocess.run(
                [sys.executable, "-c", PLUGIN, str(told)],
                cwd=ROOT, capture_output=True, text=True, timeout=200, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads(told.read_text())


@pytest.fixture(scope="module")
def collected(suite):
    """Of each test: the names among the parameters of each of its cases, and marks."""
    found: dict[str, list[tuple[list[str], list[str]]]] = {}
    for node, words, marks, _ in suite:
        found.setdefault(node.partition("[")[0], []).append((words, marks))
    return found


def test_every_row_is_there_with_what_must_hold() -> None:
    assert sorted(ROWS) == ASKED
    assert not set(LEFT_OUT) & set(ASKED)
    for number, row in ROWS.items():
        assert row.title, number
        assert row.must, number


@pytest.mark.parametrize("store", STORES)
def test_every_row_is_shown_on_each_store_or_says_why_not(store: str) -> None:
    for number, row in ROWS.items():
        own = getattr(row, store)
        if isinstance(own, str):
            assert len(own) > 10, number
            assert not row.both, number
        else:
            assert named(row, store), number


def test_every_test_that_is_named_exists_and_is_not_skipped(collected) -> None:
    for test in all_tests():
        assert test in collected, test
        assert not [marks for _, marks in collected[test] if marks], test


def test_what_make_test_leaves_out_is_run_by_make_test_faults(suite) -> None:
    """Else nobody would run it."""
    run = set(all_tests())
    left_out = {node.partition("[")[0] for node, _, _, left_out in suite if left_out}
    assert left_out, "the mark has another name"
    assert not {each for each in left_out - run if not each.startswith("tests/soak/")}


@pytest.mark.parametrize("store", STORES)
def test_what_is_named_for_both_stores_runs_on_each(collected, store: str) -> None:
    for number, row in ROWS.items():
        for test in row.both:
            assert any(store in words for words, _ in collected[test]), (number, test)


def test_what_is_named_for_valkey_runs_there(collected) -> None:
    for test in ON_VALKEY:
        assert any("valkey" in words for words, _ in collected[test]), test


def test_no_test_that_is_named_gives_up_by_itself() -> None:
    """``pytest.skip`` inside of one would not be seen in the collection."""
    bodies = {}
    folders = {test.partition("::")[0] for test in all_tests()}
    suite = (ROOT / "src/celeriac/testing/conformance").glob("*.py")
    for file in [*(ROOT / each for each in folders), *suite]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef):
                bodies.setdefault(node.name, []).append(node)
    for test in all_tests():
        for body in bodies[test.rpartition("::")[2]]:
            words = {node.attr for node in ast.walk(body) if isinstance(node, ast.Attribute)}
            assert not words & {"skip", "xfail", "importorskip"}, test


@pytest.mark.parametrize("store", [*STORES, "valkey"])
def test_somebody_dies_at_every_crash_point_of_each_store(collected, store: str) -> None:
    """Each of these tests passes only if the process was killed there."""
    hit = {
        word
        for test in CRASHES
        for words, _ in collected[test]
        if store in [each.partition("-")[0] for each in words]
        for word in words
        if word in POINTS
    }
    assert any(store in words for words, _ in collected[REAPS[0]])
    assert hit | {"reap.applied"} == set(POINTS)


@pytest.mark.parametrize("store", [*STORES, "valkey"])
def test_somebody_dies_amid_workflows_at_every_crash_point_that_can_be_met_there(
    collected, store: str
) -> None:
    hit = {word for test in AMID for words, _ in collected[test] if store in words
           for word in words if word in POINTS}  # fmt: skip
    assert hit | AMID_ELSEWHERE == set(POINTS)
