"""The raw figures of ``redis_peers.py`` as JSON, and the Markdown that is drawn from them.

    runs → when it began → {"commit", "machine", "sizes", "versions": {side: packages}}
    sides → side → {"versions", "settings", "durability"}
    rows → row → side → {"run", "server", "mode", "rounds", "figures": {figure: [a value a round]},
                         "error"}

A later run replaces the rows and sides it measured and leaves the others, each with its own run.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import statistics
import subprocess
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from redis_rows import ROWS, Figure, Row, Sizes
from redis_server import PROMISES

#: The widest table that is still read without scrolling.
COLUMNS = 6
ABSENT = "–"
OURS = ("celeriac", "celeriac-sqlite")
NOT_PEERS = (*OURS, "redis-py")
#: What a side is called where people read it, if not by its name.
CALLED = {"celeriac-sqlite": "celeriac (SQLite)", "redis-py": "redis-py (SET alone)"}

Results = dict[str, Any]


def empty() -> Results:
    return {"runs": {}, "sides": {}, "rows": {}}


def load(path: Path) -> Results:
    """What earlier runs found; nothing if there were none."""
    return json.loads(path.read_text()) if path.exists() else empty()


def save(results: Results, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    fresh.replace(path)


def commit(*measured: str) -> str:
    """The last commit that changed what is measured or how; with ``+`` if there is more since.

    *measured* is where that is: the package and the benchmarks, unless told otherwise. Empty
    outside a repository.
    """
    measured = ("--", *(measured or ("src", "benchmarks", "pyproject.toml")))
    try:
        found = _git("log", "-1", "--format=%h", *measured)
        return found + ("+" if _git("status", "--porcelain", *measured) else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(*command: str) -> str:
    return subprocess.run(
        ["git", *command], cwd=Path(__file__).parents[1], capture_output=True, text=True,
        check=True, timeout=60,
    ).stdout.strip()  # fmt: skip


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        named = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = named[0].split(":", 1)[1].strip() if named else model
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": model,
        "cores": str(os.cpu_count()),
        "memory": f"{pages / (1 << 30):.0f} GiB",
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def sizes_told(sizes: Sizes) -> dict[str, Any]:
    """Sizes as they are kept."""
    return dataclasses.asdict(sizes) | {"queued": list(sizes.queued)}


def latest(results: Results) -> dict[str, Any]:
    """The newest run that has figures in the rows; empty if there are none."""
    used = [side["run"] for row in results["rows"].values() for side in row.values()]
    return results["runs"][max(used, key=datetime.fromisoformat)] if used else {}


def cell(values: Iterable[float] | None, rounds: int = 0) -> str:
    """Median, smallest and largest; and how many there are, if not one from each round."""
    found = sorted(values or ())
    if not found:
        return ABSENT
    told = number(statistics.median(found))
    if number(found[0]) != number(found[-1]):
        told += f" ({number(found[0])}–{number(found[-1])})"
    return f"{told}, in {len(found)} of {rounds} rounds" if len(found) < rounds else told


def number(value: float) -> str:
    """Three figures that mean something."""
    if float(value).is_integer() or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 0.1 else (
        f"{value:.3f}"
    )  # fmt: skip


def called(name: str) -> str:
    """A side's name for readers."""
    return CALLED.get(name, name)


def middle(results: Results, row: str, side: str, figure: str) -> float | None:
    """The median of a figure; None if it was not found."""
    values = results["rows"].get(row, {}).get(side, {}).get("figures", {}).get(figure)
    return statistics.median(values) if values else None


def sides_in(results: Results, row: str) -> list[str]:
    """The sides that a row has, in the order they are compared in."""
    from redis_sides import SIDES

    return [name for name in SIDES if name in results["rows"].get(row, {})]


def markdown(results: Results) -> str:
    """All of it: the machine, a table a row, ratios, versions and settings."""
    parts = ["# Task queues on one Redis server", "", head(results), ""]
    return "\n".join(parts + tables(results)) + "\n"


def tables(results: Results, *, compared: bool = True) -> list[str]:
    """Ratios (*compared*), a table a row, versions and settings, as lines."""
    lines = [*ratios(results), ""] if compared else []
    for row in ROWS:
        if row.name in results["rows"]:
            lines += [*_row(results, row), ""]
    return lines + _settings(results)


def where(results: Results) -> str:
    """The machine, in a few words."""
    host = latest(results).get("machine", machine())
    return (
        f"{host['processor']}, {host['cores']} cores, {host['memory']}, {host['system']}, "
        f"Python {host['python']}"
    )


def when(results: Results) -> str:
    """The day or the days that the figures are from."""
    dates = sorted({side["run"][:10] for row in results["rows"].values() for side in row.values()})
    return " to ".join(sorted({dates[0], dates[-1]})) if dates else "Nothing measured"


def head(results: Results) -> str:
    """When and on what it was measured, and how the figures are read."""
    return (
        f"{when(results)}: {where(results)}. Medians, smallest to largest in brackets; all sides "
        "in turns on the same server on the loopback. What counts as done is a stamp that every "
        "task writes to shared memory. Compare within a table: absolute numbers are the machine's "
        "of the moment."
    )


def _row(results: Results, row: Row) -> list[str]:
    names = sides_in(results, row.name)
    found = results["rows"][row.name]
    lines = [f"## {row.name}: {row.about}", "", _where(found, row), ""]
    for start in range(0, len(row.figures), COLUMNS):
        figures = row.figures[start : start + COLUMNS]
        goals = any(figure.goal for figure in figures)
        titles = [_title(results, figure) for figure in figures]
        lines += ["| | " + " | ".join(titles) + " |",
                  "|---" * (len(figures) + 1) + "|"]  # fmt: skip
        for name in names:
            cells = [_told(found[name], figure) for figure in figures]
            lines.append(f"| {called(name)} | " + " | ".join(cells) + " |")
        if goals:
            lines.append("| *goal* | " + " | ".join(figure.goal for figure in figures) + " |")
        lines.append("")
    lines += [
        f"{called(name)}: {found[name]['error']}\n" for name in names if found[name].get("error")
    ]
    return lines[:-1] if lines[-1] == "" else lines


def _title(results: Results, figure: Figure) -> str:
    sizes = latest(results).get("sizes", sizes_told(Sizes()))
    return f"{figure.name}, {figure.unit.format_map(sizes)}"


def _told(side: dict[str, Any], figure: Figure) -> str:
    if side.get("error") and figure.name not in side["figures"]:
        return "failed"
    return cell(side["figures"].get(figure.name), side["rounds"])


def _where(found: dict[str, Any], row: Row) -> str:
    """The server and its durability, and the runs the figures are from."""
    runs: dict[tuple[str, str, str], list[str]] = {}
    for name, side in found.items():
        runs.setdefault((side["run"], side["server"], side["mode"]), []).append(name)
    told = []
    for (run, server, mode), names in sorted(runs.items()):
        what = "AOF as in the heading" if row.modes else f"AOF {mode}: {PROMISES[mode]}"
        who = "" if len(runs) == 1 else f"{', '.join(names)}: "
        told.append(f"{who}{run.replace('T', ' ')}, {server}, {what}")
    return "; ".join(told) + "."


def ratios(results: Results) -> list[str]:
    """How Celeriac compares with Celery and with the best peer, figure by figure."""
    lines = []
    for name in OURS:
        rows = [line for row in ROWS for line in _ratios_of(results, row, name)]
        if rows:
            titles = f"| | {called(name)} | Celery | | best peer | | redis-py |"
            lines += [f"## {called(name)} beside the others", "", titles]
            lines += ["|---" * 7 + "|", *rows, ""]
    return lines[:-1]


def _ratios_of(results: Results, row: Row, ours: str) -> list[str]:
    lines = []
    for figure in row.figures:
        own = middle(results, row.name, ours, figure.name)
        if own is None or not figure.better:
            continue
        others = peers(results, row, figure)
        best = best_of(others, figure)
        celery, bare = others.get("celery"), middle(results, row.name, "redis-py", figure.name)
        lines.append(
            f"| {row.name}: {_title(results, figure)} | {number(own)} | {_maybe(celery)} | "
            f"{times(own, celery)} | {f'{number(others[best])} ({best})' if best else ABSENT} | "
            f"{times(own, others.get(best))} | {_maybe(bare)} |"
        )
    return lines


def peers(results: Results, row: Row, figure: Figure) -> dict[str, float]:
    """What the other task queues brought."""
    return {
        name: value
        for name in sides_in(results, row.name)
        if name not in NOT_PEERS
        and (value := middle(results, row.name, name, figure.name)) is not None
    }


def best_of(others: dict[str, float], figure: Figure) -> str:
    """Who of them is best; empty if there is none."""
    choose = max if figure.better == "higher" else min
    return choose(others, key=others.__getitem__) if others else ""


def _maybe(value: float | None) -> str:
    return ABSENT if value is None else number(value)


def times(own: float, other: float | None) -> str:
    """A ratio, with the two figures that mean something."""
    if not other:
        return ABSENT
    ratio = own / other
    return f"{ratio:,.0f}×" if ratio >= 10 else f"{ratio:.1f}×" if ratio >= 1 else f"{ratio:.2f}×"


def _settings(results: Results) -> list[str]:
    titles = "| | versions | settings, and why | what a crash may cost |"
    lines = ["## Who, and how set up", "", titles, "|---|---|---|---|"]
    for name, side in results["sides"].items():
        lines.append(
            f"| {called(name)} | {side['versions']} | {side['settings']} | {side['durability']} |"
        )
    return lines


#: What the short table shows: a line, the row and the figure it is.
SUMMARY = (
    ("no-op tasks run, results kept, /s", "drain", "rate, results kept"),
    ("no-op tasks run, results ignored, /s", "drain", "rate, results ignored"),
    ("sent one by one, /s", "enqueue", "one by one"),
    ("sent in bulk, /s", "enqueue", "in bulk"),
    ("idle worker: send to start, median, ms", "latency", "start p50"),
    ("idle worker: send to result, median, ms", "latency", "result p50"),
    ("memory of an idle worker, 8 executors, MiB", "memory", "8 executors"),
)


def summary(results: Results) -> str:
    """A table for the README: medians of Celeriac, Celery and the best of the others."""
    lines = ["| | Celeriac | Celery | | best of the others | |", "|---|---|---|---|---|---|"]
    for title, name, wanted in SUMMARY:
        row = next(each for each in ROWS if each.name == name)
        figure = next(each for each in row.figures if each.name == wanted)
        own = middle(results, name, "celeriac", wanted)
        if own is None:
            continue
        others = peers(results, row, figure)
        celery = others.pop("celery", None)
        best = best_of(others, figure)
        lines.append(
            f"| {title} | {number(own)} | {_maybe(celery)} | {times(own, celery)} | "
            f"{f'{number(others[best])} ({best})' if best else ABSENT} | "
            f"{times(own, others.get(best))} |"
        )
    return "\n".join(lines) + "\n"
