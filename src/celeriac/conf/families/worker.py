"""Settings of a worker and its executors.

Layer L1. One record per setting; read them through `celeriac.conf`.
"""

from celeriac.conf.record import Setting, count, seconds

__all__ = ["FAMILY"]

FAMILY = (
    count(
        "worker_concurrency",
        default=None,
        unit="tasks",
        least=1,
        none="as the pool has it: `prefork` one for each core it may use, `threads` four more "
        "than cores, at most 32, `asyncio` 100",
        where="worker",
        help="How many tasks run at once.",
    ),
    Setting(
        name="worker_pool",
        kind="choice",
        default="prefork",
        choices=("prefork", "threads", "asyncio", "solo"),
        later=("gevent", "eventlet", "custom"),
        where="worker",
        help="`prefork`: one process for each task at work. `threads`, `asyncio`: threads, or "
        "coroutines of one event loop, in one process beside the worker. `solo`: in the worker "
        "itself, one at a time, for debugging.",
    ),
    seconds(
        "pool_drain_grace",
        default=10.0,
        least=0,
        where="worker",
        help="Pools `threads` and `asyncio`: how long the neighbours of a task that can only be "
        "ended with its process may take to finish; then they go back to their queues.",
    ),
    seconds(
        "autoscale_keepalive",
        default=30.0,
        least=0,
        where="worker",
        help="With `--autoscale`: capacity that was not needed for so long is given up.",
    ),
    count(
        "worker_max_tasks_per_child",
        default=None,
        unit="tasks",
        least=1,
        none="no limit",
        where="worker",
        help="An executor is replaced after this many.",
    ),
    count(
        "worker_max_memory_per_child",
        default=None,
        unit="KiB",
        least=1,
        none="the share of each executor in `memory_limit_fraction`",
        where="worker",
        help="An executor whose resident memory grew past this is replaced between two tasks.",
    ),
    Setting(
        name="memory_limit_fraction",
        kind="fraction",
        default=0.9,
        unit="of the memory of the container, else of the machine",
        where="worker",
        help="What all executors together may take; each has an equal share.",
    ),
    Setting(
        name="memory_kill_fraction",
        kind="fraction",
        default=0.95,
        unit="of the memory of the container",
        where="worker",
        help="Past this the worker kills its largest executor, before the kernel kills them all.",
    ),
    seconds(
        "grace",
        default=30.0,
        least=0.0,
        where="worker",
        help="How long a worker that is told to stop waits for running tasks; the rest go back "
        "to their queues.",
    ),
)
