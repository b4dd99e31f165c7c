"""The page of the documentation and the README's table, drawn from the published figures."""

from __future__ import annotations

import results

INTRO = """\
# Benchmarks

How Celeriac does beside the other task queues of Python on one Redis server: Celery, Dramatiq,
Huey, RQ, Taskiq, SAQ, arq and streaQ, each of them set up as it is fastest, and redis-py alone
for what a client can send at most. "celeriac (SQLite)" is the same program with its default
store, which syncs its file at every commit; the server plays no part in it.
"""

WHAT = """\
## What is measured

- **enqueue**: sends a second, one by one, in bulk, and from eight threads, with nobody working.
- **drain**: no-ops through two executors, results kept and ignored; CPU, commands, round trips
  and bytes a task.
- **threads**, **asyncio**: one process; no-ops, and waits of 50 ms at a hundred at once.
- **latency**: one task at a time on an idle worker, to the task's first line and to the result.
- **memory**: PSS of the idle worker, all its processes, with two and eight executors.
- **flat**: the rate at the head of a queue of {shortest:,} to {longest:,}: over the first 600 tasks
  after a worker's start, and the lasting one. A queue that takes longer than {fill:g} s to fill
  (the longest: three times that) is left out.
- **queues**, **payload**: eight queues at once; arguments of 10 KB and 1 MB.
- **growth**: resident memory, without mapped files, before and after {growth:,} tasks. The peers
  and SQLite run what they do in about {growth_seconds:g} s; how many that were is in the table.
- **kill**: SIGKILL to every process of the worker among {killed} tasks of 50 ms, another started
  at once: what had not run {patience:g} s later, what ran twice, how long it took. Whoever only
  waits does so while the next side is measured.
- **reliable**: the same, with each library told to lose as little as it can by what its
  documentation offers, and those waits of its shortened that may be: see the page's end.
- **durability**: sends and no-ops with the server's log off, synced once a second, and synced
  before each reply.

All sides take turns, round by round, {rounds} rounds of each row. What counts as done is a stamp
that every task writes to shared memory: no broker is asked and no side pays. The median is given,
the smallest and the largest in brackets. "–" is what a library cannot do or what was left out. In
tables that compare, × is Celeriac's figure divided by the other's. A column's durability is named
above its table, and what a crash may cost with each library at the page's end: compare both.
"""

REPEAT = """\
## Measure it yourself

From a checkout, with nothing else running (about an hour on two cores):

```text
make bench-redis
```

It makes the environments of the peers, starts and ends a server of its own, and leaves tables and
chart in `benchmarks/results/`. `benchmarks/README.md` says how it is kept fair.
"""

NONE = """\
No figures are published yet.
"""


def page(figures: results.Results | None) -> str:
    """The page of the documentation; *figures*: None when nothing is published yet."""
    if figures is None:
        return f"{INTRO}\n{NONE}\n{REPEAT}"
    run = results.latest(figures)
    queued = run["sizes"]["queued"]
    rounds = min(side["rounds"] for row in figures["rows"].values() for side in row.values()
                 if not side.get("error"))  # fmt: skip
    what = WHAT.format_map(
        run["sizes"] | {"shortest": queued[0], "longest": queued[-1], "rounds": rounds}
    )
    found = [line.rstrip() for line in results.tables(figures)]
    return "\n".join((
        INTRO,
        f"{results.when(figures)}, commit `{run['commit']}`: {results.where(figures)}.",
        "The figures as they were taken are in [redis.json](benchmarks/redis.json).",
        "",
        "![Bars: tasks run and sent a second, latency, memory, side by side](benchmarks/redis.svg)",
        "",
        what,
        *found,
        "",
        REPEAT,
    ))  # fmt: skip


def table(figures: results.Results) -> str:
    """What the README shows between its marks."""
    run = results.latest(figures)
    servers = sorted({side["server"] for row in figures["rows"].values() for side in row.values()})
    return (
        "## How fast\n\n"
        f"{results.summary(figures)}\n"
        "![The same as bars, for eight task queues](docs/benchmarks/redis.svg)\n\n"
        f"Celeriac on Redis ({', '.join(servers)}), two executors; × is Celeriac's figure divided "
        f"by the other's. {results.when(figures)}, commit `{run['commit']}`, "
        f"{results.where(figures)}.\n"
        "[Benchmarks](docs/benchmarks.md) has all rows, versions, settings and durability.\n"
    )
