"""The benchmark on Redis, with Celeriac on SQLite in every row at a tiny size; nothing of the peers
is needed for it. What the figures are is no matter here: that each row counts what it says is."""

import dataclasses
import importlib
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "benchmarks"
ROWS = ("enqueue", "drain", "threads", "asyncio", "latency", "memory", "flat", "queues", "payload",
        "growth", "kill", "reliable", "durability")  # fmt: skip


@pytest.fixture(scope="module")
def bench():
    """The benchmark's modules, which live in a folder of scripts."""
    before = list(sys.path)
    sys.path.insert(0, str(FOLDER))
    try:
        yield importlib.import_module("redis_peers")
    finally:
        sys.path[:] = before


@pytest.fixture(scope="module")
def server(bench):
    with bench.serving(bench.valkey(sys.executable)) as started:
        yield started


@pytest.fixture(scope="module")
def side(bench):
    return bench.SIDES["celeriac-sqlite"]()


@pytest.fixture(scope="module")
def tiny(bench):
    return bench.Sizes(
        seconds=0.1, latency=5, naps=0.0, queued=(1_000,), fill=60.0, growth=1_000,
        growth_seconds=1.0, killed=40, patience=60.0, long_patience=60.0,
    )  # fmt: skip


def test_every_row_is_tried_here(bench):
    assert tuple(row.name for row in bench.ROWS) == ROWS


@pytest.mark.parametrize("name", ROWS)
def test_a_row_brings_its_figures(bench, server, side, tiny, name):
    (row,) = bench.rows_of(name)
    assert row.able(side)
    if row.steps:
        found = _to_the_end(row.steps(side, server, tiny))
    else:
        found = row.measure(side, server, tiny)
    known = {figure.name for figure in row.figures}
    assert found
    assert found.keys() <= known
    rates = [figure.name for figure in row.figures if figure.unit.startswith("/s")]
    for figure in rates:
        if figure in found:
            assert found[figure] > 0
    if name == "kill":
        assert found["not run again"] == 0
        assert found["running when killed"] >= 1
    if name == "reliable":
        assert found["not run again"] == 0
        assert found["begun again"] == found["running when killed"] >= 1
        assert 0 < found["begun again after"] < found["all run after"]
    if name == "memory":
        assert 0 < found["2 executors"] < found["8 executors"]
    if name == "latency":
        assert 0 < found["start p50"] < found["result p50"]


def _to_the_end(steps):
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def test_each_run_of_a_task_is_counted(bench, server, side):
    from contestants import ground

    with ground(side, server, 3) as place:
        place.fill("noop")
        place.fill("noop", 2)  # 0 and 1 a second time
        with place.working("work", 2) as worker:
            worker.wait(lambda: list(place.runs()) == [2, 2, 1], "each run is on the board")
            assert place.ended() == 3
        assert all(end > 0 for end in place.stamps()[1::2])
        assert not worker.members()


def test_a_worker_that_ends_by_itself_is_told(bench, server, side):
    from contestants import Trouble, ground

    with ground(side, server, 1) as place, place.working("work", 2) as worker:
        place.fill("noop")
        worker.wait(lambda: place.ended() == 1, "it works")
        worker.kill()
        with pytest.raises(Trouble, match=r"celeriac-sqlite: its worker ended with -9"):
            worker.wait(lambda: False, "never")


TOUCHES = """
import mmap, sys
with open(sys.argv[1], "r+b") as file:
    board = mmap.mmap(file.fileno(), 0)
print("mapped", flush=True)
input()
for at in range(0, len(board), 4096):
    board[at] = 1
own = bytearray(b"x" * int(sys.argv[2]))
print("touched", flush=True)
input()
"""


def test_what_a_worker_grows_by_is_its_own_memory_not_the_board(bench, tmp_path):
    """Both executors of a worker come to touch all of the board: 17 bytes a task, in each."""
    rows = importlib.import_module("redis_rows")
    board, own = tmp_path / "board", 8 << 20
    board.write_bytes(bytes(32 << 20))
    command = [sys.executable, "-c", TOUCHES, str(board), str(own)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
    worker = SimpleNamespace(members=lambda: [psutil.Process(process.pid)])
    try:
        assert process.stdout.readline() == "mapped\n"
        before = rows._resident(worker)
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "touched\n"
        assert rows._resident(worker) - before == pytest.approx(8, abs=1)
    finally:
        process.kill()
        process.communicate()


def test_what_cannot_take_part_says_why(bench):
    with pytest.raises(SystemExit, match="no side nobody; there are celeriac, "):
        bench.chosen(["nobody"])
    with pytest.raises(SystemExit, match="no row nothing; there are enqueue, "):
        bench.rows_of("drain,nothing")


def test_ctrl_c_ends_all_that_was_started(tmp_path):
    command = [sys.executable, "redis_peers.py", "--only", "latency", "--peers", "celeriac-sqlite",
               "--out", str(tmp_path)]  # fmt: skip
    process = subprocess.Popen(command, cwd=FOLDER, stderr=subprocess.PIPE, text=True,
                               start_new_session=True)  # fmt: skip
    root = psutil.Process(process.pid)
    try:
        below = _until(lambda: _with_executors(root), "its worker runs")
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, told
    assert "ending what was started" in told
    _until(lambda: not any(_alive(each) for each in below), "all of it has ended")


def _with_executors(root):
    below = root.children(recursive=True)
    return below if len(below) >= 5 else None  # the server, a worker of four processes


def _alive(process):
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _until(probe, what):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if found := probe():
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within a minute: {what}")


RUN = "2026-01-02T03:04:05+00:00"


def a_run(bench):
    return {
        "commit": "abc1234",
        "machine": bench.results.machine(),
        "sizes": bench.results.sizes_told(bench.Sizes()),
        "versions": {},
    }


@pytest.fixture
def found(bench):
    """Raw figures as a run leaves them."""

    def entry(**figures):
        named = {name.replace("_", " "): values for name, values in figures.items()}
        where = {"run": RUN, "server": "valkey 9", "mode": "off"}
        return {**where, "rounds": 1, "figures": named}

    drain = "rate, results kept"
    raw = bench.results.empty()
    raw["runs"][RUN] = a_run(bench)
    raw["sides"] = {
        name: {"versions": f"{name} 1.0", "settings": "as it comes", "durability": "none"}
        for name in ("celeriac", "celery", "huey")
    }
    raw["rows"] = {
        "drain": {
            "celeriac": entry(**{drain: [20_000.0, 30_000.0, 21_000.0]}),
            "celery": entry(**{drain: [1_000.0]}),
            "huey": entry(**{drain: [7_000.0]}),
        },
        "latency": {
            "celeriac": entry(result_p50=[1.25]),
            "celery": entry(result_p50=[5.0]),
            "huey": {**entry(), "error": "huey: its worker ended with 1"},
        },
    }
    return raw


def test_the_table_is_drawn_from_the_raw_figures(bench, found, tmp_path):
    path = tmp_path / "redis.json"
    bench.results.save(found, path)
    text = bench.results.markdown(bench.results.load(path))
    assert "| celeriac | 21,000 (20,000–30,000) |" in text
    assert "2026-01-02 03:04:05+00:00, valkey 9, AOF off: no log" in text
    assert (
        "| drain: rate, results kept, /s | 21,000 | 1,000 | 21× | 7,000 (huey) | 3.0× | – |" in text
    )
    assert "| latency: result p50, ms | 1.25 | 5 | 0.25× | 5 (celery) | 0.25× | – |" in text
    assert "| huey | failed | failed | failed | failed |" in text
    assert "huey: its worker ended with 1" in text
    assert "| huey | huey 1.0 | as it comes | none |" in text
    short = bench.results.summary(found)
    assert "kept, /s | 21,000 | 1,000 | 21× | 7,000 (huey) | 3.0× |" in short
    assert "send to result, median, ms | 1.25 | 5 | 0.25× | – | – |" in short


@pytest.mark.parametrize(
    ("value", "told"),
    [(0.0, "0"), (0.0123, "0.012"), (0.5, "0.50"), (12.34, "12.3"), (1234.5, "1,234"), (7.0, "7")],
)
def test_three_figures_that_mean_something(bench, value, told):
    assert bench.results.number(value) == told


def test_more_rounds_join_those_measured_alike(bench, tmp_path):
    options = bench.parse(["--out", str(tmp_path)])
    whole = bench.Bench(options, [], "")
    whole.results["runs"] = {"a": a_run(bench), "b": a_run(bench)}
    kept = {"run": "a", "server": "v", "mode": "off", "rounds": 1, "figures": {"rate": [1.0]}}
    new = {**kept, "run": "b", "figures": {"rate": [2.0]}}
    joined = whole._together(kept, new)
    assert (joined["figures"], joined["rounds"], joined["run"]) == ({"rate": [1.0, 2.0]}, 2, "b")
    other = {**new, "mode": "always"}
    assert whole._together(kept, other) == other
    whole.results["runs"]["a"]["commit"] = "def5678"
    assert whole._together(kept, new) == new


def test_sides_that_only_wait_do_so_while_others_go_on(bench, server, tmp_path):
    """The row `kill`: who waits is gone back to, and everyone's end is kept."""
    told = []

    def steps(side, _server, _sizes):
        for turn in range(3):
            told.append((side.name, turn))
            yield
        if side.name == "huey":
            raise bench.Trouble("huey: it ended")
        return {"not run again": 7.0}

    row = dataclasses.replace(bench.rows_of("kill")[0], steps=steps)
    sides = [bench.SIDES[name]() for name in ("celeriac-sqlite", "huey")]
    options = bench.parse(["--out", str(tmp_path), "--rounds", "1"])
    whole = bench.Bench(options, sides, bench.valkey(sys.executable))
    whole.progress = bench.Progress({"kill": 60.0})
    whole.row(row)
    assert told[:3] == [("celeriac-sqlite", 0), ("huey", 0), ("celeriac-sqlite", 1)]
    kept = whole.results["rows"]["kill"]
    assert kept["celeriac-sqlite"]["figures"] == {"not run again": [7.0]}
    assert kept["celeriac-sqlite"]["rounds"] == 1
    assert (kept["huey"]["error"], kept["huey"]["rounds"]) == ("huey: it ended", 0)
    assert whole.failed == 1


def test_what_is_left_is_expected_and_then_seen(bench):
    progress = bench.Progress({"drain": 600.0, "kill": 600.0})
    assert progress.told("drain") == "row 1 of 2, about 20 min left"
    progress.done("drain", 300.0, 300.0)
    assert progress.left() == pytest.approx(900.0)
    progress.done("drain", 300.0, 900.0)  # three times as long as was expected
    assert progress.left() == pytest.approx(600 * (1200 + 60) / (600 + 60))
    progress.finished("kill")
    assert progress.told("kill") == "row 2 of 2, less than a minute left"


def test_the_chart_has_a_bar_for_each_side(bench, found):
    svg = ET.fromstring(bench.chart.draw(found))
    name = "{http://www.w3.org/2000/svg}"
    bars = [(each.get("class"), float(each.get("width"))) for each in svg.iter(f"{name}rect")][1:]
    rates, waits = bars[:3], bars[3:]
    assert [kind for kind, _ in rates] == ["bar-ours", "bar", "bar"]
    assert rates[0][1] / rates[1][1] == pytest.approx(3.0, rel=0.01)
    assert [kind for kind, _ in waits] == ["bar-ours", "bar"]  # less is better: the smallest first
    assert waits[1][1] / waits[0][1] == pytest.approx(4.0, rel=0.01)
    texts = [each.text for each in svg.iter(f"{name}text")]
    assert texts.count("celeriac") == 2
    assert {"21,000", "7,000", "1.25"} <= set(texts)
    notes = [each.text for each in svg.iter(f"{name}tspan")]
    assert {"21×", "3.0×", "4.0×"} <= set(notes)  # 21,000 to 1,000 and 7,000; 5 ms to 1.25
    assert "prefers-color-scheme: dark" in svg.find(f"{name}style").text
