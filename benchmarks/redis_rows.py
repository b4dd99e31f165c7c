"""What ``redis_peers.py`` measures: one class a row, each figure with its unit and what is better.

A row's ``measure`` takes one side through one round and returns what it found. All is counted on
the board of stamps (``peers/stamps.py``), so no side pays for being counted.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field

from contestants import Contestant, Ground, Trouble, Worker, ground
from redis_kill import kill, reliable
from redis_server import Server
from redis_sides import QUEUES
from sides import pss

#: Celery's guide: for short tasks a multiplier of 64 or more; its default for those that wait.
SHORT, LONG = 64, 4
#: Tasks that queues of all lengths are compared over, and how often a worker is started for them.
#: Fewer than the shortest queue has: with nothing left to lease, the last of it would run faster.
HEAD, STARTS = 600, 9


@dataclass(frozen=True)
class Figure:
    """One number of a row. *better*: ``higher``, ``lower``, or nothing to compare."""

    name: str
    unit: str
    better: str = "higher"
    goal: str = ""


@dataclass(frozen=True)
class Sizes:
    """How much of everything: seconds a drain shall take, samples, tasks."""

    seconds: float = 3.0
    latency: int = 150
    naps: float = 0.02
    queued: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    fill: float = 15.0  # a queue that takes longer to fill is left out; the longest: three times
    growth: int = 1_000_000
    growth_seconds: float = 10.0  # what the others run in about this time, instead of `growth`
    killed: int = 200
    patience: float = 75.0
    long_patience: float = 100.0

    def tasks(self, side: Contestant, share: float = 1.0) -> int:
        """About as many as the side does in the time of a drain."""
        return max(100, int(side.pace * self.seconds * share))


#: For `--quick` and the tests: every row in seconds, figures that mean nothing.
QUICK = Sizes(
    seconds=0.4, latency=20, naps=0.005, queued=(1_000, 10_000), fill=8.0, growth=10_000,
    growth_seconds=1.0, killed=40, patience=15.0, long_patience=15.0,
)  # fmt: skip

Found = dict[str, float]
#: A measurement that yields when nothing but waiting is left, so that others may go on meanwhile.
Steps = Generator[None, None, Found]


@dataclass(frozen=True)
class Row:
    """A row of the benchmark. *seconds*: about how long a side takes for a round, in one mode."""

    name: str
    about: str
    figures: tuple[Figure, ...]
    measure: Callable[[Contestant, Server, Sizes], Found] | None = None
    steps: Callable[[Contestant, Server, Sizes], Steps] | None = None  # instead of `measure`
    patience: str = "patience"  # the size that says how long `steps` waits
    seconds: float = 10.0
    pool: str = "work"  # what a side needs to take part; empty: nothing but to send
    modes: tuple[str, ...] = ()  # durability modes of the server that it compares
    skips: tuple[str, ...] = field(default=())
    own: bool = False  # published by itself, on the page of faults

    def expected(self, sides: int, rounds: int) -> float:
        """About how many seconds it takes."""
        each = self.seconds * sides * max(1, len(self.modes))
        return rounds * (each + (self.waits(Sizes()) if self.steps else 0.0))

    def waits(self, sizes: Sizes) -> float:
        """How many seconds `steps` waits at most."""
        found: float = getattr(sizes, self.patience)
        return found

    def able(self, side: Contestant) -> bool:
        """Whether the side has what the row needs."""
        return (not self.pool or self.pool in side.pools) and side.name not in self.skips


def enqueue(side: Contestant, server: Server, sizes: Sizes) -> Found:
    """Sends per second, with nobody working."""
    found = {}
    bulk = 5 if side.module in ("celeriac_side", "bare_side") else 2
    counts = {"one": max(200, int(1000 * sizes.seconds)),
              "many": max(200, int(min(side.pace, 5000) * sizes.seconds) * bulk),
              "threads": max(200, int(1000 * sizes.seconds))}  # fmt: skip
    names = {"one": "one by one", "many": "in bulk", "threads": "from 8 threads"}
    for what, count in counts.items():
        with ground(side, server, 1) as place:
            told = place.drive(what, task="noop", count=count, threads=8)
        found[names[what]] = told["rate"]
    return found


def _drain(place: Ground, worker: Worker, first: int, last: int) -> Found:
    """Wait until *last* tasks have run; the rate and the cost of those after *first*."""
    server = place.server
    worker.wait(lambda: place.ended() >= first, f"the first {first} of {last}")
    done, own, served, counted = place.ended(), worker.own_cpu(), server.cpu(), server.counters()
    worker.wait(lambda: place.ended() >= last, f"{last} tasks")
    own, served = worker.own_cpu() - own, server.cpu() - served
    now = server.counters()
    found = {"rate": _rate(place, first, last)}
    if last - done > last // 4:  # else it was over before the clock was read
        each = last - done
        found["worker CPU"] = own / each * 1e6
        if place.side.served:
            found["server CPU"] = served / each * 1e6
            found["commands"] = (now[0] - counted[0]) / each
            found["round trips"] = (now[1] - counted[1]) / each
    return found


def drain(side: Contestant, server: Server, sizes: Sizes) -> Found:
    """No-ops through two executors, results kept and ignored, and what each costs."""
    found: Found = {}
    for kept, task in (("kept", "noop"), ("ignored", "ignored")):
        count = sizes.tasks(side)
        with ground(side, server, count, BENCH_RESULTS=kept) as place:
            empty = server.memory()
            place.fill(task)
            if kept == "kept" and side.served:
                found["bytes a queued task"] = (server.memory() - empty) / count
            with place.working("work", 2, SHORT) as worker:
                told = _drain(place, worker, max(10, count // 10), count)
        for what, value in told.items():
            found[f"{what}, results {kept}"] = value
    return found


def threads(side: Contestant, server: Server, sizes: Sizes) -> Found:
    """No-ops and waits in threads of one process."""
    count = sizes.tasks(side, 0.5)
    with ground(side, server, count) as place:
        place.fill("noop")
        with place.working("threads", 8, SHORT) as worker:
            rate = _drain(place, worker, max(10, count // 10), count)["rate"]
    return {"no-ops, 8 threads": rate, "waits of 50 ms, 100 threads": _waits(
        side, server, sizes, "threads", "wait")}  # fmt: skip


def coroutines(side: Contestant, server: Server, sizes: Sizes) -> Found:
    """No-ops and waits in coroutines of one process, a hundred at once."""
    named = "async_" if side.module in ("celeriac_side", "dramatiq_side") else ""
    count = sizes.tasks(side, 0.5)
    with ground(side, server, count) as place:
        place.fill(f"{named}noop")
        with place.working("asyncio", 100, SHORT) as worker:
            rate = _drain(place, worker, max(10, count // 10), count)["rate"]
    return {
        "no-op coroutines, 100 at once": rate,
        "waits of 50 ms, 100 at once": _waits(side, server, sizes, "asyncio", f"{named}wait"),
    }


def _waits(side: Contestant, server: Server, sizes: Sizes, pool: str, task: str) -> float:
    warm = 200
    count = warm + max(200, int(800 * sizes.seconds))
    with ground(side, server, count) as place:
        place.fill(task)
        with place.working(pool, 100, LONG) as worker:
            return _drain(place, worker, warm, count)["rate"]


def latency(side: Contestant, server: Server, sizes: Sizes) -> Found:
    """From before the send to the task's first line and to its result, on an idle worker."""
    with (
        ground(side, server, max(10, sizes.latency), BENCH_WAITING="1") as place,
        place.working("work", 2) as worker,
    ):
        place.fill("first", 10)
        worker.wait(lambda: place.ended() >= 10, "the worker is warm")
        place.drive("latency", count=10, pause=0.001)
        told = place.drive("latency", count=sizes.latency, pause=sizes.naps)
    found = {}
    for index, what in enumerate(("start", "result")):
        values = sorted(sample[index] * 1000 for sample in told["samples"])
        found[f"{what} p50"] = statistics.median(values)
        found[f"{what} p99"] = values[int(len(values) * 0.99)]
    return found


def memory(side: Contestant, server: Server, sizes: Sizes) -> Found:
    """PSS of the whole idle worker after it has run something; the server's is not in it."""
    found = {}
    for slots in (2, 8):
        with ground(side, server, 64) as place, place.working("memory", slots) as worker:
            place.fill("first")
            worker.wait(lambda: place.ended() >= 64, "warmed up")
            time.sleep(min(1.0, sizes.seconds))  # what start-up still allocates belongs to it
            found[f"{slots} executors"] = sum(pss(root) for root in worker.roots())
    return found


def flat(side: Contestant, server: Server, sizes: Sizes) -> Found:
    """Tasks per second from the head of a queue of so many, over the same number of tasks."""
    found: Found = {}
    sends = 0.0  # a second, in the queue before
    for queued in sizes.queued:
        limit = sizes.fill * (3 if queued == sizes.queued[-1] else 1)
        if sends and queued / sends > 1.2 * limit:
            break  # told in the table: nobody waited for a queue so long
        try:
            starts, lasting, sent = _heads(side, server, sizes, queued, limit)
        except Trouble as error:
            if "not done within" in str(error):
                break
            raise
        found[f"{queued:,} queued: first {HEAD:,}"] = statistics.median(starts)
        if lasting:
            found[f"{queued:,} queued: lasting"] = lasting
        sends = sent if queued >= 10_000 else 0.0  # a short one is half the sender's start-up
    return found


def _heads(
    side: Contestant, server: Server, sizes: Sizes, queued: int, limit: float
) -> tuple[list[float], float, float]:
    """Rates of the first tasks after each of some starts of a worker, the lasting one, and that
    of sending."""
    starts: list[float] = []
    lasting = 0.0

    def enough() -> bool:
        """The head of who is slow takes so long that few starts tell as much as many."""
        return len(starts) == STARTS or sum(HEAD / rate for rate in starts) > sizes.seconds / 6

    while not enough():
        with ground(side, server, queued) as place:
            began = time.monotonic()
            place.drive("fill", deadline=limit, task="noop", count=queued)
            sends = queued / (time.monotonic() - began)
            server.settle()
            while not enough() and queued - place.ended() >= HEAD:
                # The next worker goes on with this queue, so what this one holds is given back.
                with place.working("work", 2, SHORT, grace=2.0) as worker:
                    before = place.ended()
                    worker.wait(lambda least=before + HEAD: place.ended() >= least, "the head")
                    starts.append(_rate(place, before + HEAD // 10, before + HEAD))
                    done, wanted = place.ended(), sizes.tasks(side) // 2
                    # Once warm, while the queue is still about as long.
                    long = queued in sizes.queued[2:] and done + wanted < queued * 2 // 3
                    if long and enough():
                        lasting = _drain(place, worker, done, done + wanted)["rate"]
    return starts, lasting, sends


def _rate(place: Ground, first: int, last: int) -> float:
    """Tasks per second from the end of one to that of a later one, in order of their ends."""
    ends = sorted(end for end in place.stamps()[1::2] if end)
    return (last - first) / (ends[last - 1] - ends[first - 1])


def queues(side: Contestant, server: Server, sizes: Sizes) -> Found:
    """No-ops through two executors that read eight queues."""
    count = sizes.tasks(side)
    with ground(side, server, count) as place:
        place.fill("noop", queues=len(QUEUES))
        with place.working("queues", 2, SHORT) as worker:
            rate = _drain(place, worker, max(10, count // 10), count)["rate"]
    return {"8 queues": rate}


def payload(side: Contestant, server: Server, sizes: Sizes) -> Found:
    """Sends and runs of tasks with a large argument."""
    found = {}
    # Carrying so much costs the quick more of their time than the slow.
    often = 0.25 if side.pace > 10_000 else 0.8
    for size, name, share in ((10_000, "10 KB", often), (1_000_000, "1 MB", 0.0)):
        count = max(40, sizes.tasks(side, share)) if share else max(20, int(50 * sizes.seconds))
        with ground(side, server, count, BENCH_RESULTS="ignored") as place:
            told = place.drive("one", task="load", count=min(count, 2000 if share else 120),
                               text=size)  # fmt: skip
            found[f"{name}: sends"] = told["rate"]
        with ground(side, server, count, BENCH_RESULTS="ignored") as place:
            _fill_by_parts(place, count, size)
            with place.working("work", 2, LONG) as worker:
                told = _drain(place, worker, max(5, count // 10), count)
            found[f"{name}: runs"] = told["rate"]
    return found


def _fill_by_parts(place: Ground, count: int, size: int) -> None:
    """Send large arguments a few at a time: a driver holds what it is about to send."""
    part = max(1, 20_000_000 // size)
    for first in range(0, count, part):
        place.fill("load", min(part, count - first), first=first, text=size)


def growth(side: Contestant, server: Server, sizes: Sizes) -> Found:
    """Resident memory of the worker, before and after many tasks; fed while it works."""
    total = sizes.growth
    if side.module != "celeriac_side" or not side.served:  # who is slower gets a stated time
        total = min(total, int(side.pace * sizes.growth_seconds))
    warm, chunk = total // 5, max(100, min(20_000, side.pace * 2, total // 10))
    with ground(side, server, total) as place, place.working("work", 2, SHORT) as worker:
        sent, before = 0, None
        while sent < total:
            part = min(chunk, total - sent)
            place.drive("fill", task="noop", count=part, first=sent)
            sent += part
            # At most one part waits, so that the server's memory plays no role.
            worker.wait(lambda least=sent - chunk: place.ended() >= least, f"{sent} tasks")
            if before is None and sent - chunk >= warm:
                before = _resident(worker)
        worker.wait(lambda: place.ended() >= total, f"{total} tasks")
        after = _resident(worker)
    return {"tasks": total - warm, "growth": after - (before or after), "after": after}


def _resident(worker: Worker) -> float:
    """MiB; without mapped files: the board of stamps is one, and all of it is touched in time."""
    told = [member.memory_info() for member in worker.members()]
    return sum(each.rss - each.shared for each in told) / (1 << 20)


def durable(side: Contestant, server: Server, sizes: Sizes) -> Found:
    """Sends one by one and no-ops drained, at the server's durability."""
    with ground(side, server, 1) as place:
        count = max(200, int(300 * sizes.seconds))
        sent = place.drive("one", task="noop", count=count)["rate"]
    found = {f"one by one, AOF {server.mode}": sent}
    if side.pools:
        count = sizes.tasks(side, 0.35)
        with ground(side, server, count) as place:
            place.fill("noop")
            with place.working("work", 2, SHORT) as worker:
                rate = _drain(place, worker, max(10, count // 10), count)["rate"]
        found[f"drain, AOF {server.mode}"] = rate
    return found


def _costs(kept: str) -> tuple[Figure, ...]:
    trips = "< 0.1" if kept == "kept" else ""
    return (
        Figure(f"worker CPU, results {kept}", "µs a task", "lower"),
        Figure(f"server CPU, results {kept}", "µs a task", "lower"),
        Figure(f"commands, results {kept}", "a task, those in scripts included", "lower"),
        Figure(f"round trips, results {kept}", "reads from clients a task", "lower", trips),
    )


def _after_kill(patience: str) -> tuple[Figure, ...]:
    return (
        Figure("running when killed", "of {killed} tasks", ""),
        Figure("not run again", f"tasks, within {{{patience}:g}} s", "lower", "0"),
        Figure("run twice to the end", "tasks", ""),
        Figure("all run after", "s from the kill", "lower"),
    )


#: Of those that were running; only where what a dead worker held is looked for in time.
_AGAIN = (
    Figure("begun again", "of those that ran", ""),
    Figure("begun again after", "s from the kill, the last of them", "lower"),
)

ROWS = (
    Row("enqueue", "sending, with nobody working", (
        Figure("one by one", "/s", goal="≥ 3× Celery, ≥ 85 % of redis-py"),
        Figure("in bulk", "/s", goal="≥ 20× Celery"),
        Figure("from 8 threads", "/s"),
    ), enqueue, pool="", seconds=7),
    Row("drain", "no-ops through two executors", (
        Figure("rate, results kept", "/s", goal="≥ 20× Celery, ≥ 3× the best"),
        Figure("rate, results ignored", "/s", goal="≥ 20× Celery, ≥ 3× the best"),
        *_costs("kept"), *_costs("ignored"),
        Figure("bytes a queued task", "bytes of the server's memory", "lower", "< 700"),
    ), drain, seconds=12),
    Row("threads", "one process of threads", (
        Figure("no-ops, 8 threads", "/s"),
        Figure("waits of 50 ms, 100 threads", "/s, at most 2,000"),
    ), threads, pool="threads", seconds=10),
    Row("asyncio", "one process of coroutines", (
        Figure("no-op coroutines, 100 at once", "/s"),
        Figure("waits of 50 ms, 100 at once", "/s, at most 2,000"),
    ), coroutines, pool="asyncio", seconds=8),
    Row("latency", "one task at a time, idle worker", (
        Figure("start p50", "ms", "lower", "< 1.2"), Figure("start p99", "ms", "lower"),
        Figure("result p50", "ms", "lower", "< 2"), Figure("result p99", "ms", "lower"),
    ), latency, seconds=6.5),
    Row("memory", "PSS of the idle worker, all its processes", (
        Figure("2 executors", "MiB", "lower"),
        Figure("8 executors", "MiB", "lower", "< 1/3 of Celery, < Huey"),
    ), memory, pool="memory", seconds=5),
    Row("flat", "no-ops from the head of a long queue", (*(
        Figure(f"{queued:,} queued: first {HEAD:,}", "/s",
               goal="within 10 % of 10,000" if queued == 10**6 else "")
        for queued in Sizes().queued
    ), *(
        Figure(f"{queued:,} queued: lasting", "/s",
               goal="within 10 % of 100,000" if queued == 10**6 else "")
        for queued in Sizes().queued[2:]
    )), flat, seconds=25),
    Row("queues", "no-ops through two executors, eight queues", (Figure("8 queues", "/s"),), queues,
        pool="queues", seconds=6),
    Row("payload", "large arguments, results ignored", (
        Figure("10 KB: sends", "/s"), Figure("10 KB: runs", "/s"),
        Figure("1 MB: sends", "/s"), Figure("1 MB: runs", "/s"),
    ), payload, seconds=15),
    Row("growth", "resident memory over many tasks", (
        Figure("tasks", "between the two looks", ""),
        Figure("growth", "MiB", "lower"), Figure("after", "MiB", "lower"),
    ), growth, seconds=16),
    Row("kill", "SIGKILL to the whole worker, another started at once", _after_kill("patience"),
        steps=kill, seconds=9),
    Row("reliable", "the same, each set up to lose as little as its documentation knows how to",
        (_after_kill("long_patience")[0], *_AGAIN, *_after_kill("long_patience")[1:]),
        steps=reliable, pool="reliable", patience="long_patience", seconds=9, own=True),
    Row("durability", "what the server's log costs", tuple(
        Figure(f"{what}, AOF {mode}", "/s")
        for what in ("one by one", "drain") for mode in ("off", "everysec", "always")
    ), durable, pool="", seconds=4, modes=("off", "everysec", "always")),
)  # fmt: skip
