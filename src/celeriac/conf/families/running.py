"""Settings of running a task; options of the same name on a task go over them.

Layer L1. One record per setting; read them through `celeriac.conf`.
"""

from celeriac.conf.record import Setting, flag, seconds

__all__ = ["FAMILY"]

FAMILY = (
    Setting(
        name="task_annotations",
        kind="annotations",
        default=None,
        none="tasks are as they are declared",
        local=True,
        help="Options that go over those of the tasks: a mapping of task name, or `*` for all, to "
        "a mapping of options; an object with `annotate(task)` or `annotate_any()`, or its name; "
        "or a list of these, of which the first that answers counts.",
    ),
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
    flag(
        "task_store_errors_even_if_ignored",
        default=False,
        help="Keep the failure of a task whose results are not kept, so that `get()` raises it.",
    ),
)
