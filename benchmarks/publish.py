"""Put the measured figures into the repository (`make bench-publish`).

From the raw figures that `make bench-redis` left (git-ignored) it writes `docs/benchmarks/` (the
raw figures and the chart), the page `docs/benchmarks.md`, and a short table between two marks in
`README.md`. Nobody edits any of these by hand: a test draws them again and compares.

It refuses figures that are no whole: tiny sizes, rows or sides that are missing or failed, fewer
than three rounds, several commits, machines or versions; it says which, and how to mend it.

With ``--reliable`` it does this for the row of that name alone, which has a place of its own:
``docs/benchmarks/reliable.json`` and, between two marks, ``docs/faults.md``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import sys
from pathlib import Path
from typing import Any

import chart
import pages
from redis_rows import ROWS, Row, Sizes
from redis_sides import SIDES
from results import Results, latest, load, sizes_told, tables, when, where

ROOT = Path(__file__).parents[1]
ROUNDS = 3
BEGIN, END = "<!-- benchmark:begin -->", "<!-- benchmark:end -->"
#: Where the README's table is put when there are no marks yet: before this heading.
BEFORE = "## What it does not do yet"


@dataclasses.dataclass(frozen=True)
class Fault:
    """Why a side's figures of a row cannot be published."""

    row: str
    side: str
    reason: str


def faults(results: Results, failures: bool = False, own: bool = False) -> list[Fault]:
    """What keeps these figures from being published; *failures*: peers may have failed; *own*:
    of the rows that have a place of their own."""
    found = []
    last = latest(results)
    for row in _rows(own):
        held = results["rows"].get(row.name, {})
        for name, make in SIDES.items():
            if not row.able(make()):
                continue
            if name not in held:
                reason = "not measured"
            elif held[name].get("error") and not (failures and not name.startswith("celeriac")):
                reason = f"failed: {held[name]['error']}"
            else:
                reason = _odd(results, row.name, name, last)
            if reason:
                found.append(Fault(row.name, name, reason))
    return found


def _rows(own: bool) -> list[Row]:
    return [row for row in ROWS if row.own == own]


def _odd(results: Results, row: str, name: str, last: dict[str, Any]) -> str:
    """Why an entry does not go with the others; empty if it does."""
    entry = results["rows"][row][name]
    run = results["runs"][entry["run"]]
    if run["sizes"] != sizes_told(Sizes()):
        return "measured at other sizes (--quick, --seconds)"
    if not run["commit"] or run["commit"].endswith("+"):
        return "measured on code that is not committed"
    if run["commit"] != last["commit"]:
        return f"measured at commit {run['commit']}, the newest at {last['commit']}"
    if run["machine"] != last["machine"]:
        return "measured on another machine than the newest"
    versions = run["versions"].get(name), last["versions"].get(name)
    if versions[1] is not None and versions[0] != versions[1]:
        return f"measured with {versions[0]}, the newest with {versions[1]}"
    modes = next(each.modes for each in ROWS if each.name == row)
    if not modes and entry["mode"] != _mode(results):
        return f"measured with the log {entry['mode']}, most with {_mode(results)}"
    if entry["server"] != _server(results):
        return f"measured on {entry['server']}, most on {_server(results)}"
    if not entry.get("error") and entry["rounds"] < ROUNDS:
        return f"{entry['rounds']} rounds; there have to be {ROUNDS}"
    return ""


def _most(values: list[str]) -> str:
    return max(sorted(set(values)), key=values.count)


def _mode(results: Results) -> str:
    plain = {row.name for row in ROWS if not row.modes}
    rows = [row for name, row in results["rows"].items() if name in plain]
    return _most([side["mode"] for row in rows for side in row.values()])


def _server(results: Results) -> str:
    return _most([side["server"] for row in results["rows"].values() for side in row.values()])


def told(found: list[Fault]) -> str:
    """What is wrong, a line for each row and reason, and the command that mends it."""
    lines: dict[tuple[str, str], list[str]] = {}
    for fault in found:
        lines.setdefault((fault.row, fault.reason), []).append(fault.side)
    text = ["These figures cannot be published:"]
    text += [f"  {row}: {', '.join(sides)}: {why}" for (row, why), sides in lines.items()]
    if any("not committed" in fault.reason for fault in found):
        text.append("Commit what has changed in src, benchmarks and pyproject.toml. Then:")
    rows = [row.name for row in ROWS if any(fault.row == row.name for fault in found)]
    sides = [name for name in SIDES if any(fault.side == name for fault in found)]
    options = [] if len(rows) == len(ROWS) else [f"--only {','.join(rows)}"]
    options += [] if len(sides) == len(SIDES) else [f"--peers {','.join(sides)}"]
    again = f' BENCH="{" ".join(options)}"' if options else ""
    text.append(f"Measure again: make bench-redis{again}")
    if any("failed" in fault.reason for fault in found):
        text.append('Peers that fail every time are shown as failed with BENCH="--failures".')
    return "\n".join(text)


def small(results: Results, own: bool = False) -> Results:
    """The figures with six digits each, without the runs that nothing is left of; *own*: of the
    rows that have a place of their own."""
    rows = {
        row.name: {
            name: {
                **entry,
                "figures": {
                    what: [float(f"{value:.6g}") for value in values]
                    for what, values in entry["figures"].items()
                },
            }
            for name, entry in results["rows"][row.name].items()
        }
        for row in _rows(own)
        if row.name in results["rows"]
    }
    used = {entry["run"] for row in rows.values() for entry in row.values()}
    runs = {run: facts for run, facts in sorted(results["runs"].items()) if run in used}
    seen = {name for row in rows.values() for name in row}
    sides = {name: side for name, side in results["sides"].items() if not own or name in seen}
    return {"runs": runs, "sides": sides, "rows": rows}


def dump(results: Results) -> str:
    """As JSON, the values of a figure on one line."""
    text = json.dumps(results, indent=1, ensure_ascii=False)
    return re.sub(r"\[\s+([^][{}]*?)\s+\]", _one_line, text) + "\n"


def _one_line(found: re.Match[str]) -> str:
    return "[" + re.sub(r",\s+", ", ", found[1]) + "]"


def fault_page(text: str, results: Results) -> str:
    """The page of faults, *text*, with the table of the row between its marks."""
    run = latest(results)
    found = [line.rstrip() for line in tables(results, compared=False)]
    # The first of its headings is that of the page, which stands before the mark.
    heads = [at for at, line in enumerate(found) if line.startswith("## ")]
    found[heads[0] : heads[0] + 2] = []
    lines = "\n".join(line.replace("## ", "### ") for line in found)
    table = (
        f"\n{when(results)}, commit `{run['commit']}`: {where(results)}. The figures as they were "
        f"taken are in [reliable.json](benchmarks/reliable.json).\n\n{lines}\n"
    )
    return readme(text, table)


def readme(text: str, table: str) -> str:
    """The README *text* with *table* between its marks, which are put in if there are none."""
    block = f"{BEGIN}\n{table}{END}\n"
    if BEGIN in text:
        start, end = text.index(BEGIN), text.index(END) + len(END) + 1
        return text[:start] + block + text[end:]
    at = text.index(BEFORE)
    return f"{text[:at]}{block}\n{text[at:]}"


def drawn(results: Results, text: str) -> dict[str, str]:
    """File → what is in it, from published figures; *text* is that of the README."""
    return {
        "docs/benchmarks/redis.svg": chart.draw(results),
        "docs/benchmarks.md": pages.page(results),
        "README.md": readme(text, pages.table(results)),
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--from", dest="source", type=Path, metavar="PATH",
                        default=ROOT / "benchmarks" / "results" / "redis.json",
                        help="the raw figures (benchmarks/results/redis.json)")  # fmt: skip
    parser.add_argument("--failures", action="store_true",
                        help="publish although peers failed, and show it")  # fmt: skip
    parser.add_argument("--redraw", action="store_true",
                        help="draw what is published anew, without new figures")  # fmt: skip
    parser.add_argument("--reliable", action="store_true",
                        help="publish the row `reliable`, and nothing else")  # fmt: skip
    return parser.parse_args()


def main() -> int:
    options = parse()
    own = options.reliable
    raw = ROOT / "docs" / "benchmarks" / ("reliable.json" if own else "redis.json")
    source = raw if options.redraw else options.source
    if not source.exists():
        raise SystemExit(f"no figures in {source}: `make bench-redis` measures them")
    results = small(load(source), own)
    if not options.redraw:
        found = faults(results, options.failures, own)
        if found:
            raise SystemExit(told(found))
        raw.parent.mkdir(parents=True, exist_ok=True)
        raw.write_text(dump(results), "utf-8")
    if own:
        page = (ROOT / "docs" / "faults.md").read_text("utf-8")
        files = {"docs/faults.md": fault_page(page, results)}
    else:
        files = drawn(results, (ROOT / "README.md").read_text("utf-8"))
    for name, text in files.items():
        (ROOT / name).write_text(text, "utf-8")
    print(f"wrote {', '.join(files)}" + ("" if options.redraw else f" and {raw.relative_to(ROOT)}"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
