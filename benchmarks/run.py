"""``make bench``: Celeriac against Huey on SQLite, in one run, at the same durability.

Absolute numbers belong to the machine of the moment; the ratios are what counts. Every figure is
the median of several rounds, the two sides taking turns.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import sides
from sides import CELERIAC, SIDES, Side


def drain(side: Side, database: Path, count: int) -> float:
    """No-op tasks per second through two processes, results stored, start-up left out."""
    fill(side, database, count)
    marks: list[tuple[float, int]] = []

    def look() -> bool:
        done = side.finished(database)
        if done:
            marks.append((time.monotonic(), done))
        return done >= count

    with side.working(database, 2):
        sides.wait_until(look, f"{side.name} drained {count}")
    first = next(mark for mark in marks if mark[1] >= count * 0.1 or mark is marks[-1])
    last = marks[-1]
    if last[0] == first[0]:
        raise SystemExit("too few tasks to measure: raise --tasks")
    return (last[1] - first[1]) / (last[0] - first[0])


def fill(side: Side, database: Path, count: int) -> None:
    side.python(f"import {side.module}\nvalues = range({count})\n{side.bulk}", database)


def enqueue_one(side: Side, database: Path, count: int) -> float:
    """Sends per second, one by one, from one process."""
    return _rate(side, database, count, f"for _ in range({count}):\n    {side.one}")


def enqueue_bulk(side: Side, database: Path, count: int) -> float:
    """Sends per second, a thousand to a call where the library can."""
    loop = f"for start in range(0, {count}, 1000):\n    values = range(start, start + 1000)\n    "
    return _rate(side, database, count, loop + side.bulk)


#: Sends before the clock starts: until the log has been written over once, each commit makes its
#: file grow, which both pay only in the first second of a database's life.
WARM = 1500


def _rate(side: Side, database: Path, count: int, code: str) -> float:
    out = side.python(
        f"import time, {side.module}\nfor _ in range({WARM}):\n    {side.one}\n"
        f"began = time.monotonic()\n{code}\n"
        "print(time.monotonic() - began)",
        database,
    )
    return count / float(out)


def latency(side: Side, database: Path, count: int) -> dict[str, float]:
    """From the send to the task's first line and to the result, idle worker, milliseconds."""
    code = (
        f"import time, json, {side.module}\nsamples = []\n"
        f"for _ in range({count}):\n    {side.latency}\n"
        "    samples.append((started - sent, got - sent))\n    time.sleep(0.02)\n"
        "print(json.dumps(samples))"
    )
    with side.working(database, 2):
        warm = code.replace(f"range({count})", "range(5)")
        side.python(warm, database)
        samples = json.loads(side.python(code, database))
    figures = {}
    for index, what in enumerate(("start", "result")):
        values = sorted(sample[index] * 1000 for sample in samples)
        figures[f"{what} p50"] = statistics.median(values)
        figures[f"{what} p99"] = values[int(len(values) * 0.99)]
    return figures


def idle_memory(side: Side, database: Path, processes: int) -> float:
    """PSS of the whole idle worker after it has run something, MiB."""
    with side.working(database, processes) as process:
        fill(side, database, 64)
        sides.wait_until(lambda: side.finished(database) >= 64, "warmed up")
        time.sleep(1.0)  # what start-up still allocates is part of the idle worker
        return sides.pss(process)


def growth(database: Path, count: int) -> float:
    """Growth of the worker's resident memory over *count* tasks after a warm-up, MiB."""
    warm = max(20_000, count // 10)
    with CELERIAC.working(database, 2) as process:
        sent = _feed(database, 0, warm)
        before = sides.rss(process)
        _feed(database, sent, count)
        return sides.rss(process) - before


def _feed(database: Path, sent: int, count: int) -> int:
    for _ in range(0, count, 20_000):
        fill(CELERIAC, database, 20_000)
        sent += 20_000
        sides.wait_until(lambda: CELERIAC.finished(database) >= sent, f"{sent} done", 0.5)  # noqa: B023
    return sent


def import_milliseconds(module: str) -> float:
    """Time ``import module`` adds to starting an interpreter."""

    def once(code: str) -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - began

    pairs = [once(f"import {module}") - once("pass") for _ in range(15)]
    return statistics.median(pairs) * 1000


def rounds(count: int, measure: Callable[[Side, Path], float]) -> dict[str, float]:
    """Measure both sides in turns; the median of each."""
    found: dict[str, list[float]] = {side.name: [] for side in SIDES}
    for _ in range(count):
        for side in SIDES:
            with tempfile.TemporaryDirectory() as folder:
                found[side.name].append(measure(side, Path(folder) / "bench.db"))
    return {name: statistics.median(values) for name, values in found.items()}


def show(what: str, ours: float, theirs: float | None, goal: str) -> None:
    other = "" if theirs is None else f"{theirs:>12,.1f}"
    ratio = "" if not theirs else f"{ours / theirs:>9.2f}×"
    print(f"{what:<44}{ours:>12,.1f}{other:>12}{ratio:>10}  {goal}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=20_000, help="tasks per drain")
    parser.add_argument("--rounds", type=int, default=3, help="rounds per figure")
    parser.add_argument("--growth", type=int, default=1_000_000, help="tasks for memory growth")
    parser.add_argument("--only", default="", help="figures whose name contains this")
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, {platform.machine()}; SQLite, fsync at commit")
    print(f"{'':<44}{'celeriac':>12}{'huey':>12}{'ratio':>10}  goal", flush=True)
    for name, measure in figures(options).items():
        if options.only in name:
            measure()


def figures(options: argparse.Namespace) -> dict[str, Callable[[], None]]:
    """Name → what measures and shows it."""
    count, repeat = options.tasks, options.rounds

    def compare(what: str, goal: str, measure: Callable[[Side, Path], float]) -> None:
        found = rounds(repeat, measure)
        show(what, found["celeriac"], found["huey"], goal)

    def latencies() -> None:
        found = {}
        for side in SIDES:
            with tempfile.TemporaryDirectory() as folder:
                found[side.name] = latency(side, Path(folder) / "bench.db", 200)
        for what, value in found["celeriac"].items():
            goal = "start p50 < 3 ms" if what == "start p50" else ""
            show(f"latency, {what}, ms", value, found["huey"][what], goal)

    def memory() -> None:
        found = {}
        for side in SIDES:
            for size in (2, 8):
                with tempfile.TemporaryDirectory() as folder:
                    found[side.name, size] = idle_memory(side, Path(folder) / "bench.db", size)
        for size, goal in ((2, ""), (8, "< 65")):
            show(f"idle PSS, {size} executors, MiB", found["celeriac", size], found["huey", size],
                 goal)  # fmt: skip
        each = {side.name: (found[side.name, 8] - found[side.name, 2]) / 6 for side in SIDES}
        show("idle PSS of one more executor, MiB", each["celeriac"], each["huey"], "< 4")

    def grow() -> None:
        with tempfile.TemporaryDirectory() as folder:
            value = growth(Path(folder) / "bench.db", options.growth)
        show(f"RSS growth over {options.growth:,} tasks, MiB", value, None, "< 2")

    return {
        "drain": lambda: compare(
            "drain, results stored, tasks/s", "≥ 5×, ≥ 12,000", lambda s, d: drain(s, d, count)
        ),
        "enqueue one": lambda: compare(
            "enqueue one by one, /s", "≥ 1×", lambda s, d: enqueue_one(s, d, 2000)
        ),
        "enqueue bulk": lambda: compare(
            "enqueue in bulk, /s", "≥ 10×", lambda s, d: enqueue_bulk(s, d, 10_000)
        ),
        "latency": latencies,
        "memory": memory,
        "import": lambda: show(
            "import, ms", import_milliseconds("celeriac"), import_milliseconds("huey"), "< 60"
        ),
        "growth": grow,
    }


if __name__ == "__main__":
    main()
