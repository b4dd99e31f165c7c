"""Settings of a worker and its executors.

Layer L1. One record per setting; read them through `celeriac.conf`.
"""

from celeriac.conf.record import Setting, count, seconds

__all__ = ["FAMILY"]

FAMILY = (
    count(
        "worker_concurrency",
        default=None,
        unit="executors",
        least=1,
        none="the cores this machine or container may use",
        where="worker",
        help="How many tasks run at once.",
    ),
    Setting(
        name="worker_pool",
        kind="choice",
        default="prefork",
        choices=("prefork", "solo"),
        later=("threads", "asyncio", "gevent", "eventlet", "processes", "custom"),
        where="worker",
        help="`prefork`: one process for each task at work. `solo`: in the worker itself, one at "
        "a time, for debugging.",
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
