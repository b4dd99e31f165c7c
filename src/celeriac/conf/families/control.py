"""Settings of remote control and of live events.

Layer L1. One record per setting; read them through `celeriac.conf`.
"""

from celeriac.conf.record import flag

__all__ = ["FAMILY"]

FAMILY = (
    flag(
        "worker_enable_remote_control",
        default=True,
        where="worker",
        help="Whether a worker hears commands (`celeriac control`, `celeriac inspect`). Revokes "
        "are heard either way: they stand in the store.",
    ),
    flag(
        "worker_send_task_events",
        default=False,
        where="worker",
        help="Whether a worker publishes events of tasks even if nobody listens, as with `-E`. "
        "While somebody listens (`celeriac events`) they are published either way.",
    ),
    flag(
        "task_send_sent_event",
        default=False,
        where="sending",
        help="Whether whoever sends a task publishes `task-sent`.",
    ),
)
