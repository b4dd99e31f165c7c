"""Whether memory and descriptors stay flat: samples, and what is usual of the first and the last
quarter: of memory the median, of descriptors the least, since a worker of a shared pool has many
for a while whenever what ran together runs again alone.

Of descriptors a few more are allowed, for connections that are open from some time on. A leak of
few is told from these by going on: the least of each of some windows is held against those of all
later ones (Mann and Kendall's test of a trend). One step up, or two, whatever their height and
whenever they come, leave too many pairs of windows alike; from three rises on, and no falls to
speak of, it is a leak. Of windows in no order so much would be seen 3 times in 1,000; and ties, of
which there are many, make it rarer.

Pure, but for what asks about processes.
"""

from __future__ import annotations

import itertools
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import psutil

MIB = 1 << 20
#: The part of a run that is not judged: caches fill, allocators settle.
WARM_UP = 0.2
#: Seconds after the warm-up from which on a run is judged: of a shorter one nothing can be said.
ENOUGH = 120.0
#: Of so many windows the least are held against each other, if all of them take so many seconds:
#: in a shorter one it may be that what comes and goes has not gone once.
WINDOWS, STEADY = 8, 200.0
#: Of the 28 pairs of windows, so many more must rise than fall. Two steps make 21.
CLIMB = 22
#: Samples that are kept; then every other one is dropped.
MOST = 2000


class Allowance(NamedTuple):
    """By how much the last quarter may be above the first one: a share and so much."""

    share: float
    more: float


#: By the unit that a name ends with. Of descriptors, a few connections more may be open.
ALLOWED = {"MiB": Allowance(0.10, 2.0), "descriptors": Allowance(0.0, 6.0)}


@dataclass(frozen=True)
class Trend:
    name: str
    first: float
    last: float
    judged: bool
    #: It rose again and again.
    climbs: bool = False

    @property
    def flat(self) -> bool:
        share, more = ALLOWED[self.name.rpartition(" ")[2]]
        return not self.judged or not (self.climbs or self.last > self.first * (1 + share) + more)

    def __str__(self) -> str:
        digits = 0 if self.name.endswith("descriptors") else 1
        shown = f"{self.first:.{digits}f} → {self.last:.{digits}f}"
        return shown + ("" if self.judged else " (too short)") + ("" if self.flat else " **grows**")


class Vitals:
    """Samples of named numbers, each name with its unit behind it: ``zygote, MiB``."""

    def __init__(self) -> None:
        self.samples: list[tuple[float, dict[str, float]]] = []

    def add(self, moment: float, values: Mapping[str, float]) -> None:
        self.samples.append((moment, dict(values)))
        if len(self.samples) > MOST:
            del self.samples[::2]

    def trends(self) -> list[Trend]:
        """How each number went, without the warm-up."""
        if not self.samples:
            return []
        began, ended = self.samples[0][0], self.samples[-1][0]
        warm = began + (ended - began) * WARM_UP
        quarter = (ended - warm) / 4
        found = []
        for name in dict.fromkeys(name for _, values in self.samples for name in values):
            series = [(at, values[name]) for at, values in self.samples if name in values]
            first = [value for at, value in series if warm <= at <= warm + quarter]
            last = [value for at, value in series if at >= ended - quarter]
            if first and last:
                judged = ended - warm >= ENOUGH
                least = name.endswith("descriptors")
                usual = min if least else statistics.median
                steady = least and ended - warm >= STEADY and climbs(floors(series, warm, ended))
                found.append(Trend(name, usual(first), usual(last), judged, steady))
        return found

    def latest(self) -> dict[str, float]:
        return self.samples[-1][1] if self.samples else {}


def floors(series: Sequence[tuple[float, float]], began: float, ended: float) -> list[float]:
    """The least of each window from *began* to *ended* in which there is anything."""
    window = (ended - began) / WINDOWS
    found: dict[int, float] = {}
    for at, value in series:
        if at >= began:
            number = min(int((at - began) / window), WINDOWS - 1)
            found[number] = min(value, found.get(number, value))
    return [found[number] for number in sorted(found)]


def climbs(values: Sequence[float]) -> bool:
    """Whether *values* rise again and again. With fewer than ``WINDOWS`` nothing is said."""
    pairs = itertools.combinations(values, 2)
    return len(values) == WINDOWS and sum((b > a) - (b < a) for a, b in pairs) >= CLIMB


def of_process(name: str, pid: int) -> dict[str, float]:
    """Resident memory and open descriptors of a process; nothing if it is gone."""
    try:
        process = psutil.Process(pid)
        return {
            f"{name}, MiB": process.memory_info().rss / MIB,
            f"{name}, descriptors": process.num_fds(),
        }
    except psutil.NoSuchProcess:
        return {}


def members(sessions: set[int]) -> list[str]:
    """Processes of these sessions."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) in sessions and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline()))
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found
