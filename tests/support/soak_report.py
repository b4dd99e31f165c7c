"""What came of a soak: counts, faults, memory, and a table of it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from soak_oracle import COUNTED, MUST_BE_NONE
from soak_plan import FILES, SERVERS, SHAPES, WORKERS, generation_of
from soak_vitals import Vitals

#: Faults that are counted where they happen, not struck.
CALLS = "calls of workers' stores that failed"
KINDS = (*dict.fromkeys((*WORKERS, *FILES, *SERVERS)), CALLS)
#: What each kind of strike is, in the table.
TOLD = {
    "executor": "SIGKILL of an executor",
    "supervisor": "SIGKILL of a worker",
    "zygote": "SIGKILL of a zygote",
    "everybody": "SIGKILL of workers and client at once",
    "client": "SIGKILL of the client",
    "stop": "SIGSTOP of a supervisor",
    "outlive": "SIGSTOP of a supervisor until another worker runs its task",
    "freeze": "SIGSTOP of all processes of a worker",
    "deploy": "SIGTERM of a worker",
    "lock": "the file locked",
    "restart": "SIGKILL of the server",
    "pause": "SIGSTOP of the server",
    "full": "no room in the store",
    "cut": "all connections cut",
    "reset": "all connections reset",
    "half": "all connections half closed",
    "unheard": "all connections carry requests alone",
    "forsake": "all connections half open",
    "black hole": "nothing passes",
    "slow": "slow answers",
    "late": "half of the connections held up, what was sent arrives late",
    "reply": "a reply cut short",
    "request": "a request cut short",
}


@dataclass
class Report:
    """What came of a soak of one store."""

    store: str
    seed: str
    #: What it left to look at.
    folder: Path
    counts: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    #: How many workers there were of each pool.
    pools: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    vitals: Vitals = field(default_factory=Vitals)
    minutes: float = 0.0

    def wrong(self, problem: str) -> None:
        """Something that no count of the oracle's is about."""
        self.counts[MUST_BE_NONE[-1]] += 1
        self.problems.append(problem)

    def found(self) -> list[str]:
        """All that is wrong; empty if nothing is."""
        grown = [f"{each.name}: {each}" for each in self.vitals.trends() if not each.flat]
        return [*self.problems, *grown]

    def begins(self, first: int, last: int) -> str:
        """What a run has to begin with to see the same again: the seed, and the generation before
        that of the first problem; *first* and *last* are those that have been under way."""
        named = [generation_of(each.partition(":")[0].split()[0]) for each in self.problems if each]
        known = [each for each in named if each is not None]
        return f"{self.seed}/{max(first, min(known, default=last) - 1)}"


def table(reports: Sequence[Report]) -> Iterator[str]:
    """Lines of Markdown: what came of each store."""
    yield "| | " + " | ".join(each.store for each in reports) + " |"
    yield "|---|" + "---|" * len(reports)
    yield _row("minutes", (f"{each.minutes:.1f}" for each in reports))
    for name in COUNTED:
        yield _row(_title(name), (f"{each.counts[name]:,}" for each in reports))
    for name in MUST_BE_NONE:
        yield _row(f"**{name} (0)**", (f"{each.counts[name]:,}" for each in reports))
    for pool in dict.fromkeys(pool for pool, _ in SHAPES):
        yield _row(f"workers: {pool}", (f"{each.pools[pool]:,}" for each in reports))
    for kind in KINDS:
        if any(each.faults[kind] for each in reports):
            title = f"faults: {TOLD.get(kind, kind)}"
            yield _row(title, (f"{each.faults[kind]:,}" for each in reports))
    trends = [{trend.name: trend for trend in each.vitals.trends()} for each in reports]
    for name in dict.fromkeys(name for found in trends for name in found):
        yield _row(name, (str(found.get(name, "–")) for found in trends))


def _title(name: str) -> str:
    return "tasks acknowledged" if name == "acknowledged" else name


def _row(title: str, cells: Iterable[str]) -> str:
    return f"| {title} | " + " | ".join(cells) + " |"
