"""Settings of what a worker logs, and how.

Layer L1. One record per setting; read them through `celeriac.conf`.
"""

from celeriac.conf.record import Setting, flag

__all__ = ["FAMILY"]

FAMILY = (
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
