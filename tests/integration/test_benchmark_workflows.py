"""The benchmark of workflows, with Celeriac alone at a tiny size, and the page that it writes."""

import copy
import importlib
import json
import subprocess
import sys

import pytest
from source_tree import ROOT

FOLDER = ROOT / "benchmarks"
PAGE, RAW = (ROOT / f"docs/benchmarks-workflows.{end}" for end in ("md", "json"))
RUN = "2026-01-02T03:04:05+00:00"


@pytest.fixture(scope="module")
def bench():
    """The benchmark, which lives in a folder of scripts."""
    before = list(sys.path)
    sys.path.insert(0, str(FOLDER))
    try:
        yield importlib.import_module("workflows")
    finally:
        sys.path[:] = before


@pytest.fixture
def figures(bench):
    """Figures of every row and side, as runs leave them; the numbers are made up."""
    rows = {
        row.name: {
            name: {
                "run": RUN, "server": "valkey 9.0.0", "mode": "everysec", "rounds": 3,
                "figures": {each: [at + 1.0, at + 2.0, at + 3.0] for each in bench.FIGURES},
            }
            for at, name in enumerate(bench.TAKING_PART)
            if row.peers or name != bench.PEER
        }
        for row in bench.ROWS
    }  # fmt: skip
    side = {"versions": "1.0", "settings": "as it comes", "durability": "none"}
    machine = {"processor": "Made-up 1 GHz", "cores": "2", "memory": "4 GiB",
               "system": "Linux x86_64", "python": "3.11.0"}  # fmt: skip
    run = {"commit": "abc1234", "machine": machine, "quick": False, "versions": {}}
    return {"runs": {RUN: run}, "sides": dict.fromkeys(bench.TAKING_PART, side), "rows": rows}


def test_every_workflow_is_sent_and_its_result_checked(tmp_path):
    command = [sys.executable, "workflows.py", "--quick", "--peers", "celeriac-sqlite,celeriac"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path)], cwd=FOLDER, capture_output=True, text=True,
        timeout=170, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "workflows.json").read_text())
    for row in found["rows"].values():
        assert set(row) == {"celeriac", "celeriac-sqlite"}
        for entry in row.values():
            sent, result, memory = (entry["figures"][each][0] for each in
                                    ("sent, s", "result, s", "memory, MiB"))  # fmt: skip
            assert 0 < sent < result
            assert 10 < memory < 150
    assert "| sent, s |" in done.stdout


def test_the_page_is_what_was_measured(bench):
    """`make bench-workflows BENCH=--publish` writes it; nobody else does."""
    found = json.loads(RAW.read_text("utf-8"))
    assert bench.refused(found) == ""
    assert PAGE.read_text("utf-8") == bench.page(found)


def test_a_table_for_each_workflow_with_ratios_where_celery_took_part(bench, figures):
    text = bench.page(figures)
    assert text.count("\n## ") == len(bench.ROWS) + 2  # who took part, and how to measure
    assert text.count("Celery ÷ celeriac (SQLite)") == sum(row.peers for row in bench.ROWS)
    assert "| sent, s | 2 (1–3) | 3 (2–4) | 4 (3–5) | 2.0× | 1.3× |" in text


@pytest.mark.parametrize("wrong", ["row", "side", "error", "rounds", "dirty", "quick", "commits"])
def test_what_is_not_whole_is_not_published(bench, figures, wrong):
    row = figures["rows"]["chord-1000"]
    if wrong == "row":
        del figures["rows"]["chain-100"]
    elif wrong == "side":
        del row["celery"]
    elif wrong == "error":
        row["celery"]["error"] = "no"
    elif wrong == "rounds":
        row["celeriac"]["rounds"] = 2
    elif wrong == "dirty":
        figures["runs"][RUN]["commit"] += "+"
    elif wrong == "quick":
        figures["runs"][RUN]["quick"] = True
    else:
        other = {**copy.deepcopy(figures["runs"][RUN]), "commit": "def5678"}
        figures["runs"]["2026-01-03T03:04:05+00:00"] = other
        row["celery"]["run"] = "2026-01-03T03:04:05+00:00"
    assert bench.refused(figures)
