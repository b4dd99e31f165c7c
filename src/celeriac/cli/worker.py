"""``celeriac worker``. Builds the worker's options and nothing more: the application is imported
by the worker's zygote, never in this process, which becomes the supervisor.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from celeriac.cli import pools
from celeriac.cli.command import SupervisorCommand
from celeriac.cli.options import completing, names_option, queues_option
from celeriac.cli.output import note
from celeriac.cli.refused import WORKER, moot, refuse
from celeriac.cli.session import Session, pass_session

if TYPE_CHECKING:
    from celeriac.worker.spec import WorkerOptions

_NONE: Final[Mapping[str, object]] = {}
_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "FATAL")

_EXAMPLES = """
celeriac -A tasks worker --loglevel=info
celeriac -A shop worker -Q mail,reports -c 4 -n mail@%h
celeriac -A shop worker -P solo -l debug          # one process, for a debugger
celeriac -A shop worker --max-tasks-per-child 1000 --time-limit 300
celeriac -A shop worker --burst                   # until the queues are empty
celeriac -A shop worker -D -f /var/log/%n.log --pidfile /run/%n.pid -n shop@%h
"""


def _hostname(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """The worker's name, the machine's put into it; empty if none was given."""
    name = expand_hostname(value, socket.gethostname())
    if len(name) > 128 or not name.isprintable() or " " in name:
        text = "is no name of a worker: write at most 128 characters without blanks"
        raise click.BadParameter(f"{name[:128]!r} {text}", ctx, param)
    return name


def expand_hostname(pattern: str, hostname: str) -> str:
    """Put the machine's name into *pattern*: ``%h`` whole, ``%n`` first part, ``%d`` the rest.

    Raises ``click.BadParameter`` for any other ``%x``.
    """
    first, _, domain = hostname.partition(".")
    known = {"h": hostname, "n": first, "d": domain, "%": "%"}
    text, rest = "", pattern
    while rest:
        before, percent, rest = rest.partition("%")
        text += before
        if percent:
            letter, rest = rest[:1], rest[1:]
            if letter not in known:
                raise click.BadParameter(
                    f"%{letter} is not in this version of Celeriac; use %h (host name), %n (its "
                    "first part), %d (its domain) or %% (a percent sign)",
                    param_hint="-n/--hostname",
                )
            text += known[letter]
    return text


def _umask(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    from celeriac.cli.detach import read_umask  # late: few workers need it

    return read_umask(ctx, param, value)


def _settings(given: dict[str, Any]) -> dict[str, object]:
    """Options that are settings, by the setting's name; what was not given is left out."""
    names = {
        "pool": "worker_pool",
        "task_events": "worker_send_task_events",
        "concurrency": "worker_concurrency",
        "max_tasks_per_child": "worker_max_tasks_per_child",
        "max_memory_per_child": "worker_max_memory_per_child",
        "time_limit": "task_time_limit",
        "soft_time_limit": "task_soft_time_limit",
        "logfile": "worker_logfile",
        "log_format": "worker_log_format",
    }
    return {name: given[option] for option, name in names.items() if given[option] is not None}


@click.command(cls=SupervisorCommand, examples=_EXAMPLES)
@click.option(
    "-l",
    "--loglevel",
    type=click.Choice(_LEVELS, case_sensitive=False),
    default="WARNING",
    show_default=True,
    help="The least that is logged.",
)
@click.option(
    "-c",
    "--concurrency",
    metavar="N|auto",
    callback=pools.concurrency,
    help="How many tasks run at once. Unset: the setting, else as many as fit the pool.",
)
@click.option(
    "--autoscale",
    metavar="MAX,MIN",
    callback=pools.autoscale,
    help="Instead of -c: at most MAX tasks at once while there is work, MIN otherwise.",
)
@click.option(
    "-P",
    "--pool",
    metavar="POOL",
    callback=pools.pool,
    shell_complete=completing(pools.POOLS),
    help="prefork: a process for each running task. threads, asyncio: several tasks in one "
    "process. solo: in the worker's own process, for debugging.",
)
@click.option(
    "-Q",
    "--queues",
    metavar="NAME,NAME",
    callback=queues_option,
    help="The queues to read. Unset: those of task_queues, else the default queue.",
)
@click.option(
    "-X",
    "--exclude-queues",
    metavar="NAME,NAME",
    callback=queues_option,
    help="Queues not to read.",
)
@click.option(
    "-n",
    "--hostname",
    metavar="NAME",
    default="",
    callback=_hostname,
    help="The worker's name. %h, %n, %d: host name, its first part, its domain.",
)
@click.option(
    "-I",
    "--include",
    metavar="MODULE,MODULE",
    callback=names_option,
    help="More modules to import.",
)
@click.option(
    "--max-tasks-per-child",
    type=click.IntRange(min=1),
    metavar="N",
    help="Replace an executor after this many tasks.",
)
@click.option(
    "--max-memory-per-child",
    type=click.IntRange(min=1),
    metavar="KIB",
    help="Replace an executor that has grown past this, between tasks.",
)
@click.option(
    "--time-limit",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Stop a task that runs longer.",
)
@click.option(
    "--soft-time-limit",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Raise SoftTimeLimitExceeded in a task that runs longer.",
)
@click.option(
    "--burst",
    is_flag=True,
    help="Work until nothing is due and nothing runs, then exit. Tasks that are due later stay.",
)
@click.option(
    "--reload",
    is_flag=True,
    help="Load the application anew when its code changes; what runs ends first. For development.",
)
@click.option(
    "-f",
    "--logfile",
    metavar="FILE",
    help="Log to this file. %n, %h, %d: the worker's name before the @, its host, the host's "
    "domain; %i, %I: the executor's number.",
)
@click.option(
    "--log-format",
    metavar="FORMAT|json",
    help="The form of log lines, as Python's logging writes it; json: a JSON object a line.",
)
@click.option("-D", "--detach", is_flag=True, help="Run in the background, away from the terminal.")
@click.option(
    "--pidfile",
    metavar="FILE",
    help="Keep the process id in this file; refuse to start if a living process holds it.",
)
@click.option("--uid", metavar="USER", help="Run as this user: a name or a number.")
@click.option("--gid", metavar="GROUP", help="Run as this group: a name or a number.")
@click.option(
    "--umask", metavar="OCTAL", callback=_umask, help="Make files with this umask, such as 022."
)
@click.option(
    "-E",
    "--task-events",
    is_flag=True,
    default=None,
    help="Publish events of tasks even if nobody listens.",
)
@pass_session
def worker(session: Session, /, **given: Any) -> int:
    """Run tasks until told to stop.

    SIGTERM or Ctrl-C: take no more tasks, let the running ones end (for `grace` seconds; the
    rest go back to their queues), then exit. A second one: at once.

    Settings given here win over the environment and the code.
    """
    options = worker_options(session, given)
    _tell_ignored(session)
    if given["reload"]:
        check_reload(options)
    if (
        any(given[each] is not None for each in ("pidfile", "uid", "gid", "umask"))
        or (given["detach"])
    ):
        return _as_service(session, given, options)
    return run_worker(options)


def worker_options(
    session: Session, given: dict[str, Any], settings: Mapping[str, object] = _NONE
) -> WorkerOptions:
    """What the command line asks of a worker; *settings* hold where it says nothing."""
    from celeriac import __version__
    from celeriac.worker.spec import WorkerOptions, WorkerSpec

    pools.check(given["pool"], given["concurrency"], given["autoscale"])
    spec = WorkerSpec(
        app=session.spec(),
        workdir=_workdir(session),
        settings={**settings, **session.settings, **_settings(given)},
        include=given["include"] or (),
        hostname=given["hostname"] or f"celeriac@{socket.gethostname()}",
        user_args=session.user_args,
        version=__version__,
        loglevel=_level(given["loglevel"]),
        color=False if click.get_current_context().color is False else None,
    )
    return WorkerOptions(
        spec=spec,
        queues=given["queues"],
        exclude=given["exclude_queues"],
        pool=given["pool"],
        concurrency=given["concurrency"],
        autoscale=given["autoscale"],
        banner=not session.quiet,
        burst=given["burst"],
        reload=given["reload"],
    )


def check_reload(options: WorkerOptions) -> None:
    """Refuse what cannot be watched, and say what to install if nothing can."""
    if options.pool == "solo":
        raise click.UsageError(
            "--reload and the pool solo do not go together: the code that it would replace runs in "
            "the worker itself. Use -P prefork -c 1."
        )
    if options.burst:
        raise click.UsageError("--reload waits for changes and --burst ends: choose one.")
    from importlib.util import find_spec

    try:
        there = find_spec("watchfiles") is not None
    except ModuleNotFoundError:
        there = False
    if not there:
        raise click.UsageError(
            'Reloading needs the package watchfiles: pip install "celeriac[reload]"'
        )


def run_worker(options: WorkerOptions) -> int:
    """Be the worker; returns its exit status."""
    from celeriac.worker.main import run

    return run(options)


def _as_service(session: Session, given: dict[str, Any], options: WorkerOptions) -> int:
    """With ``--detach``, ``--pidfile``, ``--uid``, ``--gid`` or ``--umask``."""
    import msgspec

    from celeriac.cli import detach
    from celeriac.logs import node_path

    node = options.spec.hostname
    who = detach.find_identity(given["uid"], given["gid"], given["umask"])
    pidfile = given["pidfile"] and detach.PidFile(node_path(given["pidfile"], node))

    def work(options: WorkerOptions) -> int:
        who.take()
        if pidfile:
            pidfile.take()
        try:
            return run_worker(options)
        finally:
            if pidfile:
                pidfile.drop()

    if not given["detach"]:
        return work(options)
    pattern = given["logfile"] or "%n.log"
    log = Path(node_path(pattern, node)).absolute()
    settings = {**options.spec.settings, "worker_logfile": str(Path(pattern).absolute())}

    def work_apart(ready_fd: int) -> int:
        detach.to_log(log, who)
        spec = msgspec.structs.replace(options.spec, settings=settings)
        return work(msgspec.structs.replace(options, spec=spec, ready_fd=ready_fd))

    status = detach.detach(log, work_apart)
    if status == 0 and not session.quiet:
        where = f", pidfile {pidfile.path}" if pidfile else ""
        note(f"{node} works in the background; log {log}{where}")
    return status


def _workdir(session: Session) -> str:
    session.enter_workdir()
    return str(Path.cwd()) if session.workdir else ""


def _level(name: str) -> str:
    upper = name.upper()
    return "CRITICAL" if upper == "FATAL" else upper


def _tell_ignored(session: Session) -> None:
    """Some options of Celery's change nothing here, because what they mend does not occur."""
    if session.moot and not session.quiet:
        told = "; ".join(f"{name} ({reason})" for name, reason in session.moot.items())
        note(f"Notice: this changes nothing here: {told}.")


worker.params += moot()
refuse(worker, WORKER)
