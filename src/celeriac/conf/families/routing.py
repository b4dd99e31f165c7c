"""Settings of which queue a task goes to, and how urgent it is.

Layer L1. One record per setting; read them through `celeriac.conf`.
"""

from celeriac.conf.record import Setting, count, flag

__all__ = ["FAMILY"]

FAMILY = (
    Setting(
        name="task_default_queue",
        kind="name",
        default="celery",
        help="The queue of a task that names none.",
    ),
    Setting(
        name="task_routes",
        kind="routes",
        default=None,
        none="every task goes to its own queue, or to the default one",
        where="sending",
        local=True,
        help="Where tasks go, by name: a dictionary from names, patterns (`shop.*`) or regular "
        "expressions to queues or options of `apply_async`; a function `(name, args, kwargs, "
        "options, task=None, **kw)`, the name of one, or an object with `route_for_task`; or a "
        "list of these, of which the first that has an answer decides. What a call says goes over "
        "what the task says, and that over a route.",
    ),
    Setting(
        name="task_queues",
        kind="queues",
        default=None,
        none="none is declared, and a worker reads the default queue",
        help="The queues there are: names, dictionaries or `Queue` objects. Workers without `-Q` "
        "read all of them.",
    ),
    flag(
        "task_create_missing_queues",
        default=True,
        help="False: sending to a queue that is not declared, and a worker on one, is an error.",
    ),
    count(
        "task_default_priority",
        default=0,
        least=0,
        most=9,
        where="sending",
        help="The priority of a task that names none; 9 is the most urgent.",
    ),
    count(
        "task_queue_max_priority",
        default=None,
        least=0,
        most=255,
        unit="the highest priority",
        none="9",
        where="sending",
        help="More urgent priorities count as this one, in queues that set no `x-max-priority`.",
    ),
    flag(
        "task_inherit_parent_priority",
        default=False,
        where="sending",
        help="A task that is sent by another one, and has no priority by itself or by a route, "
        "has that one's.",
    ),
    Setting(
        name="task_default_rate_limit",
        kind="rate",
        default=None,
        none="no limit",
        where="worker",
        help="How many of each task a worker begins, such as `10/s`, `100/m` or `5/h`, where the "
        "task itself does not say.",
    ),
    flag(
        "worker_disable_rate_limits",
        default=False,
        where="worker",
        help="True: rate limits are not kept.",
    ),
)
