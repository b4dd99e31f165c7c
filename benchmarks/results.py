"""The raw figures of ``redis_peers.py`` as JSON, and the Markdown that is drawn from them.

    rows → row → side → {"run", "server", "mode", "figures": {figure: [a value a round]}, "error"}

A later run replaces the rows and sides it measured and leaves the others, each with its own date.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Iterable
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
    return {"machine": machine(), "sides": {}, "rows": {}}


def load(path: Path) -> Results:
    """What earlier runs found; nothing if there were none."""
    return json.loads(path.read_text()) if path.exists() else empty()


def save(results: Results, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    fresh.replace(path)


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


def cell(values: Iterable[float] | None) -> str:
    """Median, smallest and largest."""
    found = sorted(values or ())
    if not found:
        return ABSENT
    middle = statistics.median(found)
    if len(found) == 1 or found[0] == found[-1]:
        return number(middle)
    return f"{number(middle)} ({number(found[0])}–{number(found[-1])})"


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
    parts = ["# Task queues on one Redis server", "", _head(results), ""]
    parts += [*ratios(results), ""]
    for row in ROWS:
        if row.name in results["rows"]:
            parts += [*_row(results, row), ""]
    parts += [*_settings(results)]
    return "\n".join(parts) + "\n"


def _head(results: Results) -> str:
    host = results["machine"]
    dates = sorted({side["run"][:10] for row in results["rows"].values() for side in row.values()})
    when = " to ".join(sorted({dates[0], dates[-1]})) if dates else "Nothing measured"
    return (
        f"{when}: {host['processor']}, {host['cores']} cores, {host['memory']}, {host['system']}, "
        f"Python {host['python']}. Medians, smallest to largest in brackets; all sides in turns on "
        "the same server on the loopback. What counts as done is a stamp that every task writes to "
        "shared memory. Compare within a table: absolute numbers are the machine's of the moment."
    )


def _row(results: Results, row: Row) -> list[str]:
    names = sides_in(results, row.name)
    found = results["rows"][row.name]
    lines = [f"## {row.name}: {row.about}", "", _where(found, row), ""]
    for start in range(0, len(row.figures), COLUMNS):
        figures = row.figures[start : start + COLUMNS]
        goals = any(figure.goal for figure in figures)
        lines += ["| | " + " | ".join(_title(figure) for figure in figures) + " |",
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


def _title(figure: Figure) -> str:
    unit = figure.unit.format(killed=Sizes().killed, patience=Sizes().patience)
    return f"{figure.name}, {unit}"


def _told(side: dict[str, Any], figure: Figure) -> str:
    if side.get("error") and figure.name not in side["figures"]:
        return "failed"
    return cell(side["figures"].get(figure.name))


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
        others = {
            name: value
            for name in sides_in(results, row.name)
            if name not in NOT_PEERS
            and (value := middle(results, row.name, name, figure.name)) is not None
        }
        choose = max if figure.better == "higher" else min
        best = choose(others, key=others.__getitem__) if others else ""
        celery, bare = others.get("celery"), middle(results, row.name, "redis-py", figure.name)
        lines.append(
            f"| {row.name}: {_title(figure)} | {number(own)} | {_maybe(celery)} | "
            f"{_times(own, celery)} | {f'{number(others[best])} ({best})' if best else ABSENT} | "
            f"{_times(own, others.get(best))} | {_maybe(bare)} |"
        )
    return lines


def _maybe(value: float | None) -> str:
    return ABSENT if value is None else number(value)


def _times(own: float, other: float | None) -> str:
    return f"{own / other:.2f}×" if other else ABSENT


def _settings(results: Results) -> list[str]:
    titles = "| | versions | settings, and why | what a crash may cost |"
    lines = ["## Who, and how set up", "", titles, "|---|---|---|---|"]
    for name, side in results["sides"].items():
        lines.append(
            f"| {called(name)} | {side['versions']} | {side['settings']} | {side['durability']} |"
        )
    return lines


#: What the README shows: a column, the row and the figure it is.
SUMMARY = (
    ("drain, results kept /s", "drain", "rate, results kept"),
    ("drain, ignored /s", "drain", "rate, results ignored"),
    ("enqueue one by one /s", "enqueue", "one by one"),
    ("in bulk /s", "enqueue", "in bulk"),
    ("start p50, ms", "latency", "start p50"),
    ("result p50, ms", "latency", "result p50"),
    ("idle, 8 executors, MiB", "memory", "8 executors"),
    ("of 200 not run 2 min after `kill -9`", "kill", "not run again"),
)


def summary(results: Results) -> str:
    """A table for the README: medians alone, one line a side."""
    titles = " | ".join(title for title, _, _ in SUMMARY)
    lines = [f"| | {titles} |", "|---" * (len(SUMMARY) + 1) + "|"]
    for name in results["sides"]:
        cells = [_maybe(middle(results, row, name, figure)) for _, row, figure in SUMMARY]
        if any(each != ABSENT for each in cells):
            lines.append(f"| {called(name)} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n\n" + _head(results) + "\n"
