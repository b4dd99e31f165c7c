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
        help="The form of the worker's own lines, as Python's logging writes it; `json` for one "
        "JSON object a line, lines of tasks included.",
    ),
    Setting(
        name="worker_log_datefmt",
        kind="text",
        default=None,
        none="ISO 8601 with milliseconds",
        where="worker",
        help="The form of the time in the worker's own lines, as `time.strftime` writes it.",
    ),
    Setting(
        name="worker_task_log_format",
        kind="log format",
        default="[%(asctime)s: %(levelname)s/%(processName)s] "
        "%(task_name)s[%(task_id)s]: %(message)s",
        where="worker",
        help="The form of lines that a task logs with `get_task_logger`, or prints.",
    ),
    Setting(
        name="worker_task_log_datefmt",
        kind="text",
        default=None,
        none="ISO 8601 with milliseconds",
        where="worker",
        help="The form of the time in lines that a task logs.",
    ),
    flag(
        "worker_log_color",
        default=None,
        none="coloured on a terminal, unless the variable `NO_COLOR` is set",
        where="worker",
        help="Whether lines are coloured.",
    ),
    Setting(
        name="worker_logfile",
        kind="text",
        default=None,
        none="standard error",
        where="worker",
        help="The file to log to. `%n`, `%h`, `%d`: the worker's name before the `@`, its host, "
        "that host's domain; `%i`, `%I`: the number of the executor.",
    ),
    flag(
        "worker_redirect_stdouts",
        default=True,
        where="worker",
        help="Make log records of what tasks print, with the task's name and id.",
    ),
    Setting(
        name="worker_redirect_stdouts_level",
        kind="choice",
        default="WARNING",
        choices=("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
        where="worker",
        help="The level of those records.",
    ),
)
