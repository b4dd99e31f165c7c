"""The figures on the page of faults come from a run of `make test-faults`, not from a hand.

How they are gathered and drawn, and what is refused, is tried with figures that are made up here.
"""

import copy
import json
import sys
from types import SimpleNamespace

import fault_page
import pytest
from recoveries import BY_DEFAULT
from source_tree import ROOT
from tallies import COUNTED, MUST_BE_NONE

FAULT = "an executor is killed"
FAILED = "tests/test_y.py::test_y[redis]"


def test_the_page_has_what_was_published():
    raw = ROOT / fault_page.RAW
    text = (ROOT / fault_page.PAGE).read_text("utf-8")
    kept = json.loads(raw.read_text("utf-8")) if raw.exists() else None
    assert fault_page.page(text, kept) == text, "make faults-publish writes it"
    if kept is not None:
        assert fault_page.dump(kept) == raw.read_text("utf-8")
        assert fault_page.refused(kept) == []


def report(outcome="passed", when="call", **noted):
    return SimpleNamespace(
        when=when, outcome=outcome, user_properties=list(noted.items()), nodeid="test_x"
    )


@pytest.fixture
def kept(tmp_path):
    """What a whole run leaves; the numbers are made up."""
    counts = {"faults": 3, "workflows": 500, "acknowledged": 2000, "succeeded": 1999}
    reports = [report(tally=(store, counts)) for store in ("valkey", "redis", "sqlite")]
    seconds = [0.5, 0.25, 0.12345] * 4
    for fault, stores in fault_page.KINDS.items():
        limit = 1.0 if fault == FAULT else 2.0
        reports += [report(recovery=(store, fault, limit, seconds)) for store in stores]
        slow = fault + BY_DEFAULT
        reports += [report(recovery=(store, slow, 16.0, [15.5])) for store in stores]
    # An execnet channel makes lists of tuples and dicts of counters.
    reports += [report(tally=["redis", {"faults": 1, "dead": 1}]), SimpleNamespace(), report("")]
    fault_page.save(fault_page.gather(reports), tmp_path / "new" / "faults.json")
    made = json.loads((tmp_path / "new" / "faults.json").read_text("utf-8"))
    measured = 2 * sum(map(len, fault_page.KINDS.values()))
    assert made["tests"] == {"passed": 3 + measured + 1, "failed": []}
    made["run"]["commit"], made["tests"]["passed"] = "abc1234", 1057
    return made


def test_the_counts_of_a_store_are_added_up(kept):
    assert list(kept["stores"]) == ["sqlite", "redis", "valkey"]
    assert list(kept["stores"]["redis"]) == list(COUNTED)
    assert (kept["stores"]["redis"]["faults"], kept["stores"]["redis"]["dead"]) == (4, 1)
    assert (kept["stores"]["valkey"]["faults"], kept["stores"]["valkey"]["dead"]) == (3, 0)
    assert kept["recoveries"][0] == ["sqlite", FAULT, 1.0, [0.5, 0.25, 0.123] * 4]
    assert set(kept["run"]) == {"date", "commit", "machine"}


def test_a_test_that_failed_counts_for_what_it_had_found():
    found = fault_page.gather(
        [report("failed", tally=("redis", {"lost": 2})), report("failed", when="setup")]
    )
    assert found["tests"] == {"passed": 0, "failed": ["test_x", "test_x"]}
    assert found["stores"]["redis"]["lost"] == 2


def test_there_is_no_table_of_nothing():
    assert fault_page.tables(fault_page.gather([])) == {}


def test_the_page_is_drawn_between_its_marks_and_again_the_same(kept):
    text = f"before\n{fault_page.BEGIN}\nsomething old\n{fault_page.END}\nafter\n"
    page = fault_page.page(text, kept)
    assert page.startswith(f"before\n{fault_page.BEGIN}\n20")
    assert page.endswith(f"\n{fault_page.END}\nafter\n")
    assert "something old" not in page
    assert "| | SQLite | Redis | Valkey |" in page
    assert "| acknowledged | 2,000 | 2,000 | 2,000 |" in page
    assert "| dead | 0 | 1 | 0 |" in page
    assert "| **lost** (0) | 0 | 0 | 0 |" in page
    assert "| seconds, median (worst) of 12 | promised | SQLite | Redis | Valkey |" in page
    assert f"| {FAULT} | < 1 | 0.25 (0.50) | 0.25 (0.50) | 0.25 (0.50) |" in page
    assert "commit `abc1234`" in page
    assert "1,057 tests passed. The figures" in page
    assert fault_page.page(page, kept) == page
    assert fault_page.NOTHING in fault_page.page(page, None)


def a_test_failed(kept):
    kept["tests"]["failed"] = [FAILED]


def few_tests(kept):
    kept["tests"]["passed"] = 19


def changed(kept):
    kept["run"]["commit"] += "+"


def no_repository(kept):
    kept["run"]["commit"] = ""


def no_valkey(kept):
    del kept["stores"]["valkey"]


def no_workflows(kept):
    kept["stores"]["sqlite"]["workflows"] = 0


def few_workflows(kept):
    kept["stores"]["redis"]["workflows"] = 30


def few_strikes(kept):
    kept["recoveries"][0][3] = [0.5]


def no_recovery(kept):
    kept["recoveries"] = [each for each in kept["recoveries"] if each[0] != "redis"]


def without(store, fault):
    def spoil(kept):
        kept["recoveries"] = [each for each in kept["recoveries"] if each[:2] != [store, fault]]

    spoil.__name__ = f"no_{fault.replace(' ', '_')}_on_{store}"
    return spoil


def counted(name):
    def spoil(kept):
        kept["stores"]["redis"][name] = 1

    spoil.__name__ = name.replace(" ", "_")
    return spoil


def too_late(kept):
    """The worst alone, and no sooner than promised."""
    kept["recoveries"][0][3][5] = 1.0


def too_late_by_default(kept):
    found = [each for each in kept["recoveries"] if each[:2] == ["valkey", FAULT + BY_DEFAULT]]
    found[0][3][0] = 16.1


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (a_test_failed, r"test_y.py::test_y\[redis\] failed"),
        (few_tests, "19 tests passed, not 1050"),
        (changed, "not committed"),
        (no_repository, "not committed"),
        (no_valkey, "Valkey: no workflows"),
        (no_workflows, "SQLite: no workflows"),
        (few_workflows, "Redis: 30 workflows, not 500"),
        (few_strikes, f"{FAULT}: 1 strikes, not 10"),
        (no_recovery, f"Redis: no figures of how soon work goes on when {FAULT}"),
        *(
            (without(store, fault + pace), f"{fault_page.CALLED[store]}: no figures .* {fault}")
            for fault, stores in fault_page.KINDS.items()
            for store in stores
            for pace in ("", BY_DEFAULT)
        ),
        *((counted(each), f"Redis: {each}: 1, and it must be none") for each in MUST_BE_NONE),
        (too_late, f"SQLite: {FAULT}: 1.00 s until work went on, promised are 1"),
        (too_late_by_default, "Valkey: .*: 16.10 s until work went on, promised are 16"),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_a_run_that_is_not_whole_or_not_as_promised_is_refused(
    kept, spoil, said, tmp_path, monkeypatch
):
    assert fault_page.refused(kept) == []
    spoiled = copy.deepcopy(kept)
    spoil(spoiled)
    source = tmp_path / "faults.json"
    source.write_text(json.dumps(spoiled))
    monkeypatch.setattr(fault_page, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["fault_page.py", str(source)])
    with pytest.raises(SystemExit, match=said):
        fault_page.main()
    assert list(tmp_path.glob("docs")) == []


def test_publishing_writes_figures_and_page(kept, tmp_path, monkeypatch):
    source = tmp_path / "faults.json"
    source.write_text(json.dumps(kept))
    (tmp_path / "docs/benchmarks").mkdir(parents=True)
    (tmp_path / fault_page.PAGE).write_text((ROOT / fault_page.PAGE).read_text("utf-8"), "utf-8")
    monkeypatch.setattr(fault_page, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["fault_page.py", str(source)])
    fault_page.main()
    assert json.loads((tmp_path / fault_page.RAW).read_text("utf-8")) == kept
    assert "commit `abc1234`" in (tmp_path / fault_page.PAGE).read_text("utf-8")
