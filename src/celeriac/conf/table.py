"""The table of settings: one record per setting, and nothing else.

A setting stands here only if it means something in this version. What Celery calls a setting and
this version does not have stands in `names`, with what to do instead.

Layer L1. Read it through `celeriac.conf`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from .record import SAME_AS_BROKER, Setting, count, flag, seconds

__all__ = ["GROUPS", "SETTINGS"]

DAY = 86_400.0
MIB = 1024 * 1024


def _serializer(name: str, kind: Literal["choice", "choices"], **facts: Any) -> Setting:
    known, later = ("json", "msgpack"), ("pickle", "yaml")
    return Setting(name=name, kind=kind, choices=known, later=later, **facts)


_STORES = (
    Setting(
        name="broker_url",
        kind="url",
        default=None,
        none="a SQLite file beside the module that creates the app",
        help="The store that holds the queues.",
    ),
    Setting(
        name="result_backend",
        kind="url",
        default=SAME_AS_BROKER,
        none="states are kept, results are dropped (as with `disabled://`)",
        help="The store that holds results. Unset, it is the broker's store.",
    ),
    Setting(
        name="namespace",
        kind="name",
        default="celeriac",
        help="Applications that share a store and a namespace see each other's tasks; a web "
        "application and its workers must name the same one.",
    ),
    Setting(
        name="global_keyprefix",
        kind="name",
        default="",
        help="Text put before the namespace, for a store whose keys must share a prefix.",
    ),
    Setting(
        name="sqlite_durability",
        kind="choice",
        default="full",
        choices=("full", "relaxed"),
        where="store",
        help="`full`: what was acknowledged survives a power cut. `relaxed`: it survives any "
        "crash of processes, but a power cut may take the last moments.",
    ),
)

_CONTENT = (
    _serializer(
        "task_serializer",
        "choice",
        default="json",
        where="sending",
        help="How arguments are written.",
    ),
    _serializer(
        "result_serializer",
        "choice",
        default="json",
        where="worker",
        help="How results are written.",
    ),
    _serializer(
        "accept_content",
        "choices",
        default=("json",),
        help="The serializers whose messages are read; a message in another is refused.",
    ),
    _serializer(
        "result_accept_content",
        "choices",
        default=None,
        none="as `accept_content`",
        help="The serializers whose results are read.",
    ),
    Setting(
        name="security_key",
        kind="key",
        default=None,
        none="messages are not signed",
        secret=True,
        help="The secret that signs every message, result and command; once set, unsigned ones "
        "are refused. One text, or a mapping of key id to secret, of which the first signs and "
        "all verify. Celery's setting of this name is a path; this one is the secret itself.",
    ),
    count(
        "payload_max",
        default=MIB,
        unit="bytes",
        least=1024,
        where="sending",
        help="The most that the arguments of one call may take once written; a larger call is "
        "refused before anything is stored.",
    ),
    count(
        "result_max",
        default=16 * MIB,
        unit="bytes",
        least=1024,
        where="worker",
        help="The most that one result may take once written; a larger one ends its task as "
        "FAILURE with ResultTooLarge.",
    ),
    flag(
        "strict_typing",
        default=True,
        where="sending",
        help="Check arguments against the task's signature when it is called, before anything is "
        "stored.",
    ),
)

_PLACE = (
    Setting(
        name="timezone",
        kind="timezone",
        default="UTC",
        help="The zone of an `eta` that names none. Times are stored in UTC whatever it is.",
    ),
    flag(
        "enable_utc",
        default=True,
        help="False asks for local time and needs `timezone` to name the zone.",
    ),
    Setting(
        name="imports",
        kind="module names",
        default=(),
        where="worker",
        help="Modules that a worker imports when it starts.",
    ),
    Setting(
        name="include",
        kind="module names",
        default=(),
        where="worker",
        help="More modules that a worker imports when it starts, after `imports`.",
    ),
)

_SENDING = (
    Setting(
        name="task_default_queue",
        kind="name",
        default="celery",
        help="The queue of a task that names none.",
    ),
    count(
        "task_default_priority",
        default=0,
        least=0,
        most=9,
        where="sending",
        help="The priority of a task that names none; 9 is the most urgent.",
    ),
    flag(
        "task_always_eager",
        default=False,
        where="sending",
        help="Run tasks in the calling process instead of sending them; for tests.",
    ),
    flag(
        "task_eager_propagates",
        default=False,
        where="sending",
        help="Let what an eager task raises reach the caller.",
    ),
    flag(
        "task_publish_retry",
        default=True,
        where="sending",
        help="Try again when the store cannot be reached while sending.",
    ),
    Setting(
        name="task_publish_retry_policy",
        kind="retry policy",
        default=MappingProxyType(
            {
                "max_retries": None,
                "interval_start": 0.0,
                "interval_step": 0.2,
                "interval_max": 1.0,
            }
        ),
        unit="seconds (the intervals)",
        where="sending",
        help="How sending tries again: `max_retries` times (None: until `publish_timeout`), "
        "waiting `interval_start` first, `interval_step` longer each time, at most "
        "`interval_max`. Keys left out keep their default. The waits must fit into "
        "`publish_timeout`.",
    ),
    seconds(
        "publish_timeout",
        default=5.0,
        least=0.05,
        where="sending",
        help="The whole time `delay()` and `apply_async()` may take, all tries included, before "
        "they raise OperationalError.",
    ),
    seconds(
        "join_seal_timeout",
        default=60.0,
        least=0.1,
        where="store",
        help="A group or chord whose sender stopped half-way fails after this time.",
    ),
)

_RUNNING = (
    flag(
        "task_acks_late",
        default=True,
        where="worker",
        help="True: a task whose worker dies runs again (at least once). False: it ends as "
        "FAILURE with WorkerLostError (at most once). Celery's default is False.",
    ),
    flag(
        "task_reject_on_worker_lost",
        default=True,
        where="worker",
        help="False: a task that kills its executor ends as FAILURE at the first crash instead of "
        "running again. Celery's default is None, which means False.",
    ),
    seconds(
        "task_time_limit",
        default=None,
        least=0.01,
        none="no limit",
        where="worker",
        help="A task that runs longer is killed and ends as FAILURE with TimeLimitExceeded.",
    ),
    seconds(
        "task_soft_time_limit",
        default=None,
        least=0.01,
        none="no limit",
        where="worker",
        help="SoftTimeLimitExceeded is raised in a task that runs longer.",
    ),
    flag(
        "task_track_started",
        default=False,
        where="worker",
        help="Changes nothing: STARTED is shown whenever a task is known to run. Accepted because "
        "there is nothing to mend in programs that set it.",
    ),
    flag(
        "task_ignore_result",
        default=False,
        help="Keep no result of a task that does not ask for one.",
    ),
)

_RETENTION = (
    seconds(
        "result_expires",
        default=DAY,
        least=0.0,
        none="results are kept for ever (0 means the same)",
        where="store",
        help="How long a result is kept once its task ended.",
    ),
    seconds(
        "tombstone_expires",
        default=3_600.0,
        least=1.0,
        where="store",
        help="How long the trace of an ignored result is kept, to know a call that is sent twice.",
    ),
    seconds(
        "revoke_expires",
        default=7 * DAY,
        least=1.0,
        where="store",
        help="How long a revoke of an id that is not known yet is kept, to meet the call that "
        "comes later.",
    ),
    seconds(
        "dead_expires",
        default=7 * DAY,
        least=1.0,
        where="store",
        help="How long failed tasks and dead tasks can be inspected and retried.",
    ),
    count(
        "dead_limit",
        default=100_000,
        unit="tasks",
        least=1,
        where="store",
        help="The most failed tasks, and the most dead tasks, that are kept; the oldest go first.",
    ),
)

_DEATH = (
    seconds(
        "lease",
        default=15.0,
        least=0.1,
        where="worker",
        help="How long a worker holds its tasks without being heard of; then they run elsewhere.",
    ),
    seconds(
        "heartbeat",
        default=3.0,
        least=0.01,
        where="worker",
        help="How often a worker renews its lease. Three must fit into `lease` less "
        "`lease_margin`.",
    ),
    seconds(
        "lease_margin",
        default=3.0,
        least=0.0,
        where="worker",
        help="How long before the end of its lease a worker that cannot reach the store stops "
        "trusting it and starts nothing more.",
    ),
    seconds(
        "reap_interval",
        default=2.0,
        least=0.01,
        where="store",
        help="How often, in the whole store, workers look for workers that died. A dead worker on "
        "the same machine is noticed without it, in under a second.",
    ),
    count(
        "max_crashes",
        default=3,
        unit="crashes",
        least=1,
        where="worker",
        help="A task that killed its executor this often is put aside as dead.",
    ),
    seconds(
        "crash_delay",
        default=5.0,
        least=0.0,
        where="worker",
        help="The wait, give or take some jitter, before a task runs again after its second "
        "crash. After the first there is none.",
    ),
    count(
        "max_losses",
        default=10,
        unit="losses",
        least=1,
        where="worker",
        help="A task that was lost with its whole worker this often is put aside as dead.",
    ),
    seconds(
        "loss_delay",
        default=5.0,
        least=0.0,
        where="store",
        help="The wait, give or take some jitter, before a task runs again after it was lost with "
        "its worker a second time or more.",
    ),
)

_WORKER = (
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

_LOGGING = (
    flag(
        "worker_hijack_root_logger",
        default=False,
        where="worker",
        help="Remove the root logger's handlers when a worker starts. Celery's default is True.",
    ),
    Setting(
        name="worker_log_format",
        kind="log format",
        default="[%(asctime)s: %(levelname)s/%(processName)s] %(message)s",
        where="worker",
        help="The form of the worker's own lines.",
    ),
    Setting(
        name="worker_task_log_format",
        kind="log format",
        default="[%(asctime)s: %(levelname)s/%(processName)s] "
        "%(task_name)s[%(task_id)s]: %(message)s",
        where="worker",
        help="The form of lines that a task logs.",
    ),
    flag(
        "worker_log_color",
        default=None,
        none="coloured on a terminal",
        where="worker",
        help="Whether lines are coloured.",
    ),
)

GROUPS: Mapping[str, tuple[Setting, ...]] = MappingProxyType(
    {
        "Stores": _STORES,
        "Content": _CONTENT,
        "Time and modules": _PLACE,
        "Sending": _SENDING,
        "Running": _RUNNING,
        "Keeping": _RETENTION,
        "Death": _DEATH,
        "Worker": _WORKER,
        "Logging": _LOGGING,
    }
)
"""The settings under the headings of the reference, in its order."""

SETTINGS: Mapping[str, Setting] = MappingProxyType(
    {setting.name: setting for group in GROUPS.values() for setting in group}
)
"""Every setting by its name."""
