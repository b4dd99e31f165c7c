"""Who is compared in ``redis_peers.py``: how each is started, and why it is set up as it is.

The pools: ``work`` is what the library is fastest with on two cores, ``threads`` and ``asyncio``
are one process with that many places, ``memory`` has as many executors as asked for (a process
each), ``queues`` reads eight queues. A pool that a library does not have is missing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from contestants import HERE, Contestant, Trouble, run, surroundings

QUEUES = [f"q{index}" for index in range(8)]
MAKE = "`make bench-redis` makes the environments of the peers"

#: Which libraries live in which environment beside the project's own.
ENVIRONMENTS = {"saq": ".venv-peers-saq", "arq": ".venv-peers-arq"}


def interpreter(name: str) -> str:
    """The Python of a peer's environment."""
    folder = HERE.parent / ENVIRONMENTS.get(name, ".venv-peers")
    return str(folder / "bin" / "python")


def celeriac(name: str = "celeriac", broker: str = "redis") -> Contestant:
    worker = ("celeriac", "-A", "celeriac_side", "worker", "-l", "WARNING", "-c", "{n}")
    served = broker == "redis"
    return Contestant(
        name=name,
        python=sys.executable,
        module="celeriac_side",
        pools={
            "work": worker,
            "memory": worker,
            "reliable": worker,
            "threads": (*worker, "-P", "threads"),
            "asyncio": (*worker, "-P", "asyncio"),
            "queues": (*worker, "-Q", ",".join(QUEUES)),
        },
        packages=("celeriac", "redis", "hiredis") if served else ("celeriac", "apsw"),
        durability=(
            "at least once; results and state in one step with the acknowledgement"
            + ("" if served else "; a file, fsync at every commit, whatever the server does")
        ),
        served=served,
        pace=45_000 if served else 35_000,
        settings="as it comes: 2 executors (processes), JSON, all features on",
    )


def celery() -> Contestant:
    worker = ("celery", "-A", "celery_side", "worker", "-l", "ERROR", "-c", "{n}",
              "--without-gossip", "--without-mingle", "--without-heartbeat")  # fmt: skip
    return Contestant(
        name="celery",
        python=interpreter("celery"),
        module="celery_side",
        pools={
            "work": worker,
            "memory": worker,
            "reliable": worker,
            "threads": (*worker, "-P", "threads"),
            "queues": (*worker, "-Q", ",".join(QUEUES)),
        },
        packages=("celery", "kombu", "redis", "hiredis"),
        durability="acknowledged before the task runs (its default, and its fastest)",
        served=True,
        pace=1000,
        settings=(
            "prefork 2; prefetch multiplier 64 for no-ops and 4 for tasks that wait, as its guide "
            "to optimising says; no gossip, mingle, heartbeat, events or remote control: all cost"
        ),
        reliable="acks_late, reject_on_worker_lost, prefetch 1, visibility_timeout 10 s, not 3600; "
        "unacked_restore_interval 2 s and throttle 1, not 10 and 10: it looks for what is overdue "
        "every 2 s, not 100",
    )


def dramatiq() -> Contestant:
    def worker(processes: str, threads: str) -> tuple[str, ...]:
        return ("dramatiq", "dramatiq_side", "--processes", processes, "--threads", threads)

    return Contestant(
        name="dramatiq",
        python=interpreter("dramatiq"),
        module="dramatiq_side",
        pools={
            "work": worker("{n}", "8"),
            "memory": worker("{n}", "1"),
            "reliable": worker("{n}", "8"),
            "threads": worker("1", "{n}"),
            "asyncio": worker("1", "{n}"),
            "queues": worker("{n}", "8"),
        },
        packages=("dramatiq", "redis", "hiredis"),
        durability="acknowledged after the task ran",
        served=True,
        pace=3000,
        settings=(
            "2 processes of 8 threads, its default for two cores; its default middleware, Results "
            "and AsyncIO where asked for"
        ),
        reliable="heartbeat_timeout 10 s, not 60; maintenance_chance 1,000,000, not 1,000: it "
        "looks for dead workers with every command, not one in a thousand",
    )


def huey() -> Contestant:
    consumer = ("huey.bin.huey_consumer", "huey_side.huey", "-q", "-n", "-w", "{n}", "-k")
    return Contestant(
        name="huey",
        python=interpreter("huey"),
        module="huey_side",
        pools={
            "work": (*consumer, "process"),
            "memory": (*consumer, "process"),
            "reliable": (*consumer, "process"),
            "threads": (*consumer, "thread"),
        },
        packages=("huey", "redis", "hiredis"),
        durability="popped before the task runs; there is no acknowledgement",
        served=True,
        pace=3000,
        settings=(
            "2 worker processes, no periodic tasks, results that expire; `notify_result` where "
            "somebody waits, since it costs elsewhere"
        ),
        reliable="retries 3, which are for tasks that raise; it has nothing for a worker that is "
        "killed (a worker that is stopped tells of what it interrupted by a signal)",
    )


def rq() -> Contestant:
    pool = ("rq.cli", "worker-pool", "-q", "-w", "rq.SimpleWorker", "-n", "{n}", "-P", ".",
            "-c", "rq_config")  # fmt: skip
    return Contestant(
        name="rq",
        python=interpreter("rq"),
        module="rq_side",
        pools={
            "work": pool,
            "memory": pool,
            "queues": (*pool, *QUEUES),
            "reliable": (
                "rq.cli",
                "worker",
                "-q",
                "-P",
                ".",
                "-c",
                "rq_config",
                "--maintenance-interval",
                "5",
                "--job-monitoring-interval",
                "5",
                "--worker-ttl",
                "20",
            ),
        },
        copies=("reliable",),
        packages=("rq", "redis", "hiredis"),
        durability="kept in a list of started jobs; one whose worker died fails and is not rerun",
        served=True,
        pace=500,
        settings="worker pool of 2 `SimpleWorker`s, which do not fork for each job: its fastest",
        reliable="Retry(max=3), two workers that fork, their maintenance and heartbeats every 5 s, "
        "not 600 and 30, worker-ttl 20 s, not 420, since they look for what was left between two "
        "waits; a job counts as left 60 s after its last heartbeat is due, which cannot be set",
    )


def taskiq() -> Contestant:
    worker = ("taskiq", "worker", "taskiq_side:broker", "--log-level", "ERROR",
              "--max-async-tasks", "{c}", "--workers")  # fmt: skip
    return Contestant(
        name="taskiq",
        python=interpreter("taskiq"),
        module="taskiq_side",
        pools={
            "work": (*worker, "{n}"),
            "memory": (*worker, "{n}"),
            "asyncio": (*worker, "1"),
            "reliable": (*worker, "{n}"),
        },
        packages=("taskiq", "taskiq-redis", "redis", "hiredis", "uvloop"),
        durability="streams, acknowledged when saved; what is not is taken over after 10 minutes",
        served=True,
        pace=2500,
        settings=(
            "2 processes of 100 coroutines on uvloop; streams, the one of its Redis brokers that "
            "acknowledges; results asked for every 1 ms instead of 200"
        ),
        reliable="acknowledged when saved, idle_timeout and unacknowledged_lock_timeout 10 s, not "
        "600 and for ever; it looks for what was left only after something new has come",
    )


def saq() -> Contestant:
    worker = ("saq", "saq_side.settings", "--quiet", "--workers")
    return Contestant(
        name="saq",
        python=interpreter("saq"),
        module="saq_side",
        pools={"work": (*worker, "{n}"), "memory": (*worker, "{n}"), "asyncio": (*worker, "1")},
        packages=("saq", "redis", "hiredis", "uvloop"),
        durability="moved to a list of active jobs, swept every minute",
        served=True,
        pace=2500,
        settings="2 processes of 100 coroutines, no web page; asks for results every 1 ms, not 500",
    )


def arq() -> Contestant:
    worker = ("arq", "arq_side.WorkerSettings")
    return Contestant(
        name="arq",
        python=interpreter("arq"),
        module="arq_side",
        pools={"work": worker, "memory": worker, "asyncio": worker},
        copies=("work", "memory"),
        packages=("arq", "redis", "hiredis", "uvloop"),
        durability="taken off the queue after the job ran; another worker starts it when its lock "
        "has expired (job timeout + 10 s)",
        served=True,
        pace=1500,
        settings="2 workers of 100 coroutines on uvloop, looking for jobs every 10 ms, not 500",
    )


def streaq() -> Contestant:
    worker = ("streaq", "run", "streaq_side:worker", "--workers")
    return Contestant(
        name="streaq",
        python=interpreter("streaq"),
        module="streaq_side",
        pools={"work": (*worker, "{n}"), "memory": (*worker, "{n}"), "asyncio": (*worker, "1")},
        packages=("streaq", "coredis", "uvloop"),
        durability="streams, acknowledged after the task ran; idle ones are taken over after 60 s",
        served=True,
        pace=1800,
        settings="2 processes of 100 coroutines on uvloop, tasks silent in the log",
    )


def bare() -> Contestant:
    """redis-py without a task queue: what sending can reach at most."""
    return Contestant(
        name="redis-py",
        python=sys.executable,
        module="bare_side",
        pools={},
        packages=("redis", "hiredis"),
        durability="one SET of a small value; nothing runs it",
        served=True,
        pace=8000,
        settings="hiredis; pipelines of 100 in bulk",
    )


SIDES: dict[str, Callable[[], Contestant]] = {
    "celeriac": celeriac,
    "celeriac-sqlite": lambda: celeriac("celeriac-sqlite", "sqlite"),
    "celery": celery,
    "dramatiq": dramatiq,
    "huey": huey,
    "rq": rq,
    "taskiq": taskiq,
    "saq": saq,
    "arq": arq,
    "streaq": streaq,
    "redis-py": bare,
}


def chosen(names: list[str]) -> list[Contestant]:
    """The sides of these names, all of them if there are none; each of them can be started."""
    unknown = [name for name in names if name not in SIDES]
    if unknown:
        raise SystemExit(f"no side {', '.join(unknown)}; there are {', '.join(SIDES)}")
    sides = [SIDES[name]() for name in names or SIDES]
    for side in sides:
        if not Path(side.python).exists():
            raise SystemExit(f"{side.name}: no {side.python}; {MAKE}")
    return sides


def why_not(side: Contestant, url: str) -> str:
    """Why a side cannot work with the server at *url*; empty if it can."""
    if side.module != "celeriac_side" or not side.served:
        return ""
    environment = {**surroundings(), "BENCH_BROKER": url, "BENCH_STAMPS": "/dev/null"}
    code = "import celeriac_side as side; side.TASKS['noop'].delay(0)"
    try:
        run([side.python, "-c", code], environment)
    except Trouble as error:
        return str(error).strip().splitlines()[-1]
    return ""
