"""Settings of which queue a task goes to, and how urgent it is.

Layer L1. One record per setting; read them through `celeriac.conf`.
"""

from celeriac.conf.record import Setting, count

__all__ = ["FAMILY"]

FAMILY = (
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
)
