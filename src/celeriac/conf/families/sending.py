"""Settings of sending a task.

Layer L1. One record per setting; read them through `celeriac.conf`.
"""

from types import MappingProxyType

from celeriac.conf.record import Setting, flag, seconds

__all__ = ["FAMILY"]

FAMILY = (
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
        "task_store_eager_result",
        default=False,
        where="sending",
        help="Keep results of eager runs in the store, too, where others can read them.",
    ),
    flag(
        "task_allow_error_cb_on_chord_header",
        default=False,
        where="sending",
        help="Link errbacks of a chord to each member of its header as well: they are called once "
        "for each member that fails, and for the body. Looked at where the errback is linked to "
        "the chord, or a chain that it is linked to is sent.",
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
