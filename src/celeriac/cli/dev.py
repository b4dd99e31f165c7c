"""``celeriac dev``: a worker for whoever writes tasks.

It is ``celeriac worker --reload`` with two executors, short coloured lines from INFO on, and what
tasks print among them.
"""

from __future__ import annotations

import copy
from typing import Any, Final

import click

from celeriac.cli.command import SupervisorCommand
from celeriac.cli.session import Session, pass_session
from celeriac.cli.worker import check_reload, run_worker, worker, worker_options

_EXAMPLES = """
celeriac -A tasks dev
celeriac -A shop dev -c 4 -Q mail,reports -l debug
"""

CONCURRENCY: Final = 2
#: Settings of a worker that somebody looks at.
READABLE: Final[dict[str, object]] = {
    "worker_log_format": "%(asctime)s %(levelname)-8s %(message)s",
    "worker_log_datefmt": "%H:%M:%S",
    "worker_task_log_format": "%(asctime)s %(levelname)-8s   %(task_name)s: %(message)s",
    "worker_task_log_datefmt": "%H:%M:%S",
    "worker_redirect_stdouts_level": "INFO",
}
#: Options of ``celeriac worker`` that it takes as well.
_TAKEN: Final = (
    "loglevel", "concurrency", "pool", "queues", "exclude_queues", "hostname", "include",
    "log_format", "time_limit", "soft_time_limit",
)  # fmt: skip


def _options() -> list[click.Parameter]:
    found = [copy.copy(each) for each in worker.params if each.name in _TAKEN]
    for each in found:
        if each.name == "loglevel":
            each.default = "INFO"
        elif each.name == "concurrency":
            each.default = str(CONCURRENCY)
            assert isinstance(each, click.Option)
            each.help = f"How many tasks run at once; {CONCURRENCY} unless given."
    return found


@click.command(cls=SupervisorCommand, examples=_EXAMPLES)
@pass_session
def dev(session: Session, /, **given: Any) -> int:
    """Run tasks while you write them: new code is loaded as soon as it is saved.

    A worker with --reload and lines made for reading. What runs when you save ends first, with the
    code it began with; code that cannot be loaded is told, and the worker goes on with what it
    had.
    """
    left = {each.name: None for each in worker.params if each.expose_value}
    whole = {**left, **given, "reload": True, "burst": False}
    options = worker_options(session, whole, READABLE)
    check_reload(options)
    return run_worker(options)


dev.params[:0] = _options()
