"""``make bench-pools``: the pools of Celeriac beside Celery's threads and Dramatiq, in one run.

Each figure is the median of several rounds (smallest to largest beside it), all sides taking turns.
What counts as done is a stamp that every task writes to a shared file as its last act, at the same
cost for all and at none to a broker; a rate is taken between two stamps, so start-up is left out.
Absolute numbers belong to the machine of the moment. Compare within one run.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from contestants import HERE, PEERS, Contestant, compiled, ground, surroundings
from redis_server import Server, serving, valkey
from sides import pss

PYTHON = HERE.parent / ".venv-peers" / "bin" / "python"
MAKE = "make bench-pools makes it (benchmarks/requirements-peers.txt)"

#: Celery's guide: for short tasks a multiplier of 64 or more; its default for those that wait.
SHORT, LONG = 64, 4

#: What a cell holds when a side has no such pool.
ABSENT = "–"


@dataclass(frozen=True)
class Drain:
    """A figure of tasks per second: what runs where, and how many each side gets."""

    what: str
    task: str
    pool: str
    slots: int
    prefetch: int
    goal: str = ""


DRAINS = (
    Drain("no-op, threads 8, results kept", "noop", "threads", 8, SHORT),
    Drain("no-op, threads 8, results ignored", "ignored", "threads", 8, SHORT),
    Drain("no-op, coroutines 100, results kept", "async_noop", "asyncio", 100, SHORT),
    Drain("50 ms wait, threads 100 (≤ 2,000/s)", "wait", "threads", 100, LONG),
    Drain("50 ms wait, coroutines 100 (≤ 2,000/s)", "async_wait", "asyncio", 100, LONG),
)

POOLS = (("prefork", 2), ("threads", 8), ("asyncio", 100), ("solo", 1))

Figures = dict[str, float]
Measure = Callable[[Contestant], Figures]


def contestants(python: str) -> tuple[Contestant, ...]:
    """Celeriac in this interpreter's environment, the peers in that of *python*."""
    celery = ("celery", "-A", "celery_side", "worker", "-l", "ERROR", "-c", "{n}",
              "--without-gossip", "--without-mingle", "--without-heartbeat", "-P")  # fmt: skip
    ours = ("celeriac", "-A", "celeriac_side", "worker", "-l", "WARNING", "-c", "{n}", "-P")
    dramatiq = ("dramatiq", "dramatiq_side", "--processes", "1", "--threads", "{n}")
    return (
        Contestant(
            name="celeriac",
            python=sys.executable,
            module="celeriac_side",
            pools={each: (*ours, each) for each in ("prefork", "threads", "asyncio", "solo")},
            packages=("celeriac", "apsw", "msgspec"),
            durability="SQLite file, fsync at every commit; at least once",
            served=False,
        ),
        Contestant(
            name="celery",
            python=python,
            module="celery_side",
            pools={each: (*celery, each) for each in ("prefork", "threads", "solo")},
            packages=("celery", "kombu", "redis", "hiredis"),
            durability="Valkey in memory, nothing written; acknowledged before the task runs",
            served=True,
        ),
        Contestant(
            name="dramatiq",
            python=python,
            module="dramatiq_side",
            pools={
                "prefork": ("dramatiq", "dramatiq_side", "--processes", "{n}", "--threads", "1"),
                "threads": dramatiq,
                "asyncio": dramatiq,
            },
            packages=("dramatiq", "redis", "hiredis"),
            durability="Valkey in memory, nothing written; acknowledged after the task ran",
            served=True,
        ),
    )


class Bench:
    """The sides, their server, and the table that is printed as figures come in."""

    def __init__(self, sides: tuple[Contestant, ...], server: Server, options) -> None:
        self.sides = sides
        self.server = server
        self.options = options

    def compare(self, measure: Measure, sides: Iterable[Contestant], goals: dict[str, str]) -> None:
        """Measure *sides* in turns, then print a line for each figure they brought."""
        found: dict[str, dict[str, list[float]]] = {}
        for _ in range(self.options.rounds):
            for side in sides:
                for what, value in measure(side).items():
                    found.setdefault(what, {}).setdefault(side.name, []).append(value)
        for what, values in found.items():
            cells = [_cell(values.get(side.name)) for side in self.sides]
            print(f"{what:<44}" + "".join(f"{cell:>28}" for cell in cells), goals.get(what, ""),
                  flush=True)  # fmt: skip

    def drains(self) -> None:
        """Tasks per second, and what each costs in CPU, the server's included."""
        for drain in DRAINS:
            able = [side for side in self.sides if drain.pool in side.pools]
            self.compare(lambda side, drain=drain: self._drain(side, drain), able, {})

    def _drain(self, side: Contestant, drain: Drain) -> Figures:
        waits = drain.prefetch == LONG
        warm = 2 * drain.slots if waits else self._share(side) // 10
        count = warm + self.options.waits if waits else self._share(side)
        with ground(side, self.server, count) as place:
            place.fill(drain.task)
            with place.working(drain.pool, drain.slots, drain.prefetch) as worker:
                worker.wait(lambda: place.ended() >= warm, f"{drain.what}: the first {warm}")
                used, done = worker.cpu(), place.ended()
                worker.wait(lambda: place.ended() >= count, f"{drain.what}: {count}")
                used = worker.cpu() - used
            ends = sorted(place.stamps()[1::2])
        figures = {f"{drain.what}, /s": (count - warm) / (ends[-1] - ends[warm - 1])}
        if count - done > count // 3:  # else it was over before the clock was read
            figures["    µs of CPU a task"] = used / (count - done) * 1e6
        return figures

    def _share(self, side: Contestant) -> int:
        """How many no-ops a side gets: the peers a fifth, so that it takes about as long."""
        return self.options.tasks // (5 if side.served else 1)

    def naps(self) -> None:
        """Ten thousand coroutines that sleep a second, from the first one's start to the last end.

        Dramatiq holds a thread for each coroutine that waits; it gets 1,000.
        """
        count = self.options.naps

        def measure(side: Contestant) -> Figures:
            slots = count if side.name == "celeriac" else min(count, 1000)
            with ground(side, self.server, count) as place:
                place.fill("nap")
                with place.working("asyncio", slots) as worker:
                    worker.wait(lambda: place.ended() >= count, f"{count} naps")
                stamps = place.stamps()
            first, last = min(stamps[0::2]), max(stamps[1::2])
            return {
                f"{count:,} coroutines of 1 s, s": last - first,
                "    until all have begun, s": max(stamps[0::2]) - first,
            }

        able = [side for side in self.sides if "asyncio" in side.pools]
        self.compare(measure, able, {f"{count:,} coroutines of 1 s, s": "< 3"})

    def memory(self) -> None:
        """PSS of the whole idle worker, after it has run something; the server's is not in it."""
        for pool, slots in POOLS:
            able = [side for side in self.sides if pool in side.pools]
            what = f"idle PSS, {pool} {slots}, MiB"

            def measure(side: Contestant, pool=pool, slots=slots, what=what) -> Figures:
                with (
                    ground(side, self.server, 64) as place,
                    place.working(pool, slots) as worker,
                ):
                    place.fill("first")
                    worker.wait(lambda: place.ended() >= 64, "warmed up")
                    time.sleep(1.0)  # what start-up still allocates belongs to the idle worker
                    return {what: pss(worker.root)}

            self.compare(measure, able, {})

    def starts(self) -> None:
        """From the start of the worker's process to the first line of a task that was waiting."""
        for pool, slots in POOLS:
            able = [side for side in self.sides if pool in side.pools]
            what = f"start to first task, {pool} {slots}, ms"

            def measure(side: Contestant, pool=pool, slots=slots, what=what) -> Figures:
                with ground(side, self.server, 1) as place:
                    place.fill("first")
                    with place.working(pool, slots) as worker:
                        worker.wait(lambda: place.ended() >= 1, "the first task")
                    return {what: (place.stamps()[0] - worker.began) * 1000}

            for side in able:
                measure(side)  # the first start compiles what it imports
            self.compare(measure, able, {what: "< 500"})

    def helps(self) -> None:
        """What it takes to print the help, beside an interpreter and the library of the options."""
        ours, celery, dramatiq = (side.python for side in self.sides)
        script = Path(ours).parent / "celeriac"
        commands = {
            "python -c pass": [ours, "-c", "pass"],
            'python -c "import click"': [ours, "-c", "import click"],
            'python -c "import celeriac"': [ours, "-c", "import celeriac"],
            "celeriac --help": [str(script)] if script.exists() else [ours, "-m", "celeriac"],
            "celery --help": [str(Path(celery).parent / "celery")],
            "dramatiq --help": [str(Path(dramatiq).parent / "dramatiq")],
        }
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for turn in range(1 + 5 * self.options.rounds):
            for name, command in commands.items():
                whole = command if "-c" in command else [*command, "--help"]
                if turn:
                    found[name].append(_timed(whole))
                else:
                    _timed(whole)  # compiles, and reads the files once
        for name, samples in found.items():
            wall = sorted(sample[0] for sample in samples)
            cpu = statistics.median(sample[1] for sample in samples)
            goal = "< 100" if name == "celeriac --help" else ""
            print(f"{name + ', ms':<44}{_cell(wall):>28}{f'CPU {cpu:.0f}':>28}  {goal}", flush=True)


def _timed(command: list[str]) -> tuple[float, float]:
    """Wall and CPU milliseconds of a command."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=PEERS, env=surroundings())
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return wall * 1000, (usage.ru_utime + usage.ru_stime) * 1000


def _cell(values: list[float] | None) -> str:
    """Median, smallest and largest."""
    if not values:
        return ABSENT
    digits = 0 if max(values) >= 100 else 2 if max(values) < 20 else 1
    middle, low, high = statistics.median(values), min(values), max(values)
    if len(values) == 1:
        return f"{middle:,.{digits}f}"
    return f"{middle:,.{digits}f} ({low:,.{digits}f}–{high:,.{digits}f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="rounds per figure")
    parser.add_argument("--tasks", type=int, default=20_000, help="no-ops per drain")
    parser.add_argument("--waits", type=int, default=1000, help="tasks that wait 50 ms")
    parser.add_argument("--naps", type=int, default=10_000, help="coroutines that sleep 1 s")
    parser.add_argument("--only", default="", help="parts, separated by commas")
    parser.add_argument("--peers", default=str(PYTHON), help="interpreter of the peers")
    parser.add_argument(
        "--appendfsync", choices=("everysec", "always"), help="have the peers' server keep a log"
    )
    options = parser.parse_args()
    # Ended from outside, it ends what it started as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options.peers = os.path.abspath(options.peers)  # noqa: PTH100 - a link must stay what it is
    if not Path(options.peers).exists():
        raise SystemExit(f"no environment of the peers at {options.peers}: {MAKE}")
    mode = options.appendfsync or "off"
    with compiled(), serving(valkey(options.peers), mode) as server:
        bench = Bench(contestants(options.peers), server, options)
        _head(bench)
        parts = {
            "drains": bench.drains,
            "naps": bench.naps,
            "memory": bench.memory,
            "starts": bench.starts,
            "helps": bench.helps,
        }
        wanted = [each for each in options.only.split(",") if each] or list(parts)
        for name in wanted:
            if name not in parts:
                raise SystemExit(f"no part {name!r}; there are {', '.join(parts)}")
            parts[name]()


def _head(bench: Bench) -> None:
    load = os.getloadavg()[0]
    print(
        f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores, "
        f"load {load:.1f}; {bench.options.rounds} rounds, median (smallest–largest)"
    )
    for side in bench.sides:
        store = side.durability
        if side.served and bench.options.appendfsync:
            logged = f"Valkey, append-only log, fsync {bench.options.appendfsync};"
            store = store.replace("Valkey in memory, nothing written;", logged)
        print(f"{side.name:<10}{side.versions()}: {store}")
    print("server    " + bench.server.version())
    print(f"{'':<44}" + "".join(f"{side.name:>28}" for side in bench.sides) + "  goal", flush=True)


if __name__ == "__main__":
    sys.exit(main())
