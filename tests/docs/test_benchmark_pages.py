"""The published figures of the benchmark: page, chart and README's table are drawn, not written.

How they are drawn, and what is refused, is tried with figures that are made up here.
"""

from __future__ import annotations

import copy
import importlib
import json
import shutil
import socket
import sys
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from source_tree import ROOT

FOLDER = ROOT / "benchmarks"
RAW = ROOT / "docs/benchmarks/redis.json"
FILES = ("README.md", "docs/benchmarks.md", "docs/benchmarks/redis.svg")
RUN = "2026-01-02T03:04:05+00:00"
LATER = "2026-01-03T03:04:05+00:00"


@pytest.fixture(scope="module")
def publish():
    """The publisher, which lives in a folder of scripts."""
    before = list(sys.path)
    sys.path.insert(0, str(FOLDER))
    try:
        yield importlib.import_module("publish")
    finally:
        sys.path[:] = before


@pytest.fixture(scope="module")
def whole(publish):
    """Figures of every row and side, as a run leaves them; the numbers are made up."""
    sides = {name: make() for name, make in publish.SIDES.items()}
    rows: dict[str, dict[str, Any]] = {}
    for row in publish.ROWS:
        able = [name for name, side in sides.items() if row.able(side)]
        rows[row.name] = {
            name: {
                "run": RUN,
                "server": "valkey 9.0.0",
                "mode": row.modes[0] if row.modes else "everysec",
                "rounds": 3,
                "figures": {
                    figure.name: [(at + 1) * 1000 / (nth + 1) + turn for turn in range(3)]
                    for at, figure in enumerate(row.figures)
                },
            }
            for nth, name in enumerate(able)
        }
    machine = {"processor": "Made-up 1 GHz", "cores": "2", "memory": "4 GiB",
               "system": "Linux x86_64", "python": "3.11.0"}  # fmt: skip
    versions = {name: f"{name} 1.0" for name in sides}
    return {
        "runs": {
            RUN: {
                "commit": "abc1234",
                "machine": machine,
                "sizes": publish.sizes_told(publish.Sizes()),
                "versions": versions,
            }
        },
        "sides": {
            name: {"versions": versions[name], "settings": "as it comes", "durability": "none"}
            for name in sides
        },
        "rows": rows,
    }


@pytest.fixture
def figures(whole):
    return copy.deepcopy(whole)


def _text(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


# -- what is in the repository -------------------------------------------------------------------


def test_what_is_published_is_what_is_drawn(publish):
    """`make bench-publish` writes these; without figures there is no table, no chart, a page that
    says so, and nothing that somebody wrote by hand."""
    if not RAW.exists():
        assert _text("docs/benchmarks.md") == publish.pages.page(None)
        assert not list(RAW.parent.glob("*"))
        assert publish.BEGIN not in _text("README.md")
        assert publish.END not in _text("README.md")
        return
    raw = _text("docs/benchmarks/redis.json")
    results = json.loads(raw)
    assert publish.dump(publish.small(results)) == raw
    drawn = publish.drawn(results, _text("README.md"))
    assert set(drawn) == set(FILES)
    for name in FILES:
        assert _text(name) == drawn[name], f"{name}: make bench-publish BENCH=--redraw"


def test_the_page_of_faults_has_what_was_measured(publish):
    """`make bench-publish BENCH=--reliable` writes it."""
    results = json.loads(_text("docs/benchmarks/reliable.json"))
    assert publish.small(results, own=True) == results
    assert not publish.faults(results, own=True)
    assert publish.fault_page(_text("docs/faults.md"), results) == _text("docs/faults.md")


# -- how it is drawn -----------------------------------------------------------------------------


@pytest.fixture
def elsewhere(publish, figures, tmp_path, monkeypatch):
    """A repository of its own, and raw figures in it."""
    shutil.copy(ROOT / "README.md", tmp_path)
    (tmp_path / "docs").mkdir()
    source = tmp_path / "benchmarks/results/redis.json"
    source.parent.mkdir(parents=True)
    source.write_text(json.dumps(figures), "utf-8")
    monkeypatch.setattr(publish, "ROOT", tmp_path)

    def run(*options: str) -> dict[str, str]:
        monkeypatch.setattr(sys, "argv", ["publish.py", "--from", str(source), *options])
        assert publish.main() == 0
        names = (*FILES, "docs/benchmarks/redis.json")
        return {name: (tmp_path / name).read_text("utf-8") for name in names}

    return run


def test_publishing_writes_all_four_and_the_same_again(elsewhere):
    first = elsewhere()
    assert elsewhere() == first
    assert elsewhere("--redraw") == first
    assert json.loads(first["docs/benchmarks/redis.json"])["rows"].keys() >= {"drain", "kill"}


def test_the_readme_stays_short_and_keeps_its_text(publish, elsewhere):
    text = elsewhere()["README.md"]
    assert text.count("\n") < 120
    start, end = text.index(publish.BEGIN), text.index(publish.END) + len(publish.END) + 1
    before = _text("README.md")
    if publish.BEGIN in before:
        assert before[: before.index(publish.BEGIN)] == text[:start]
        assert before[before.index(publish.END) + len(publish.END) + 1 :] == text[end:]
    else:
        assert text[:start] + text[end:].removeprefix("\n") == before


def test_the_short_table_compares_with_celery_and_the_best(publish, figures):
    table = publish.pages.table(figures)
    assert "| no-op tasks run, results kept, /s | 1,001 | 334 | 3.0× | 251 (dramatiq) |" in table
    assert table.count("\n| ") == 1 + len(publish.pages.results.SUMMARY)
    assert "Made-up 1 GHz, 2 cores, 4 GiB, Linux x86_64, Python 3.11.0" in table
    assert "2026-01-02" in table
    assert "abc1234" in table


def test_the_page_has_every_row_side_and_figure(publish, figures):
    page = publish.pages.page(figures)
    for row in publish.ROWS:
        assert f"## {row.name}: {row.about}" in page
        assert page.count(f"| {row.name}: ") == 2 * sum(
            1 for figure in row.figures if figure.better
        ), row.name  # for Celeriac on Redis and on SQLite
    for side in figures["sides"].values():
        assert f"| {side['versions']} | {side['settings']} | {side['durability']} |" in page
    assert "AOF everysec: append-only file, fsync once a second" in page
    assert "3 rounds of each row" in page


def test_a_figure_of_fewer_rounds_says_so(publish, figures):
    figures["rows"]["flat"]["huey"]["figures"]["100,000 queued: lasting"] = [7.0, 7.0]
    assert "| 7, in 2 of 3 rounds |" in publish.pages.page(figures)


def test_the_chart_stands_on_its_own(publish, figures):
    root = ET.fromstring(publish.chart.draw(figures))
    assert all("href" not in key for each in root.iter() for key in each.attrib)
    texts = ["".join(each.itertext()) for each in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts.count("celeriac") == len(publish.chart.PANELS)


def test_a_machine_has_no_name_and_no_path(publish):
    machine = publish.pages.results.machine()
    told = json.dumps(machine)
    assert set(machine) == {"processor", "cores", "memory", "system", "python"}
    assert socket.gethostname() not in told
    assert "/home" not in told
    assert str(ROOT) not in told


# -- what is refused -----------------------------------------------------------------------------


def _later(raw, row, side, **changed):
    """Have been measured by a later run, which differs in what is named."""
    (first,) = raw["runs"].values()
    raw["runs"][LATER] = {**first, **changed}
    raw["rows"][row][side]["run"] = LATER


def _row_missing(raw):
    del raw["rows"]["kill"]


def _side_missing(raw):
    del raw["rows"]["drain"]["huey"]


def _failed(raw):
    raw["rows"]["drain"]["huey"]["error"] = "huey: its worker ended with 1"


def _few_rounds(raw):
    raw["rows"]["latency"]["rq"]["rounds"] = 2


def _quick(raw):
    (run,) = raw["runs"].values()
    _later(raw, "payload", "saq", sizes={**run["sizes"], "seconds": 0.4})


def _other_commit(raw):
    _later(raw, "memory", "celeriac", commit="def5678")


def _uncommitted(raw):
    _later(raw, "memory", "celeriac", commit="abc1234+")


def _no_repository(raw):
    _later(raw, "memory", "celeriac", commit="")


def _other_machine(raw):
    (run,) = raw["runs"].values()
    _later(raw, "memory", "celeriac", machine={**run["machine"], "cores": "64"})


def _other_version(raw):
    (run,) = raw["runs"].values()
    _later(raw, "memory", "arq", versions={**run["versions"], "arq": "arq 2.0"})


def _other_server(raw):
    raw["rows"]["queues"]["celery"]["server"] = "redis 7.0.0"


def _other_durability(raw):
    raw["rows"]["queues"]["celery"]["mode"] = "off"


REFUSED = [
    (_row_missing, "kill: celeriac, celeriac-sqlite, celery,", "--only kill"),
    (_side_missing, "drain: huey: not measured", '"--only drain --peers huey"'),
    (_failed, "drain: huey: failed: huey: its worker ended with 1", "--only drain --peers huey"),
    (_few_rounds, "latency: rq: 2 rounds; there have to be 3", "--only latency --peers rq"),
    (_quick, "payload: saq: measured at other sizes (--quick, --seconds)", "--peers saq"),
    (_other_commit, "streaq: measured at commit abc1234, the newest at def5678", "bench-redis"),
    (_uncommitted, "memory: celeriac: measured on code that is not committed", "Commit what has"),
    (_no_repository, "memory: celeriac: measured on code that is not committed", "Commit what"),
    (_other_machine, "measured on another machine than the newest", "make bench-redis"),
    (_other_version, "kill: arq: measured with arq 1.0, the newest with arq 2.0", "--peers arq"),
    (_other_server, "queues: celery: measured on redis 7.0.0, most on valkey 9.0.0",
     "--only queues --peers celery"),
    (_other_durability, "queues: celery: measured with the log off, most with everysec",
     "--only queues --peers celery"),
]  # fmt: skip


def test_whole_figures_are_not_refused(publish, figures):
    assert publish.faults(figures) == []


@pytest.mark.parametrize(("spoil", "said", "cure"), REFUSED)
def test_figures_that_are_no_whole_are_refused(publish, figures, spoil, said, cure):
    spoil(figures)
    told = publish.told(publish.faults(figures))
    assert said in told
    assert cure in told.split(said, 1)[1]


def test_nothing_is_written_when_it_refuses(publish, figures, elsewhere, tmp_path):
    _few_rounds(figures)
    (tmp_path / "benchmarks/results/redis.json").write_text(json.dumps(figures), "utf-8")
    with pytest.raises(SystemExit, match="cannot be published"):
        elsewhere()
    assert not (tmp_path / "docs/benchmarks").exists()
    assert (tmp_path / "README.md").read_text("utf-8") == _text("README.md")


def test_a_peer_that_always_fails_is_shown_as_failed(publish, figures):
    _failed(figures)
    del figures["rows"]["drain"]["huey"]["figures"]["rate, results kept"]
    assert publish.faults(figures, failures=True) == []
    assert "huey: its worker ended with 1" in publish.pages.page(figures)
    figures["rows"]["drain"]["celeriac"]["error"] = "celeriac: it ended"
    (fault,) = publish.faults(figures, failures=True)
    assert (fault.row, fault.side) == ("drain", "celeriac")
