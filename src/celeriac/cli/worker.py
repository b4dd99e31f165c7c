"""``celeriac worker``. Builds the worker's options and nothing more: the application is imported
by the worker's zygote, never in this process, which becomes the supervisor.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any, Final

import click

from celeriac.cli.command import AppCommand
from celeriac.cli.options import names_option, queues_option
from celeriac.cli.output import note
from celeriac.cli.refused import POOLS, WORKER, refuse
from celeriac.cli.session import Session, pass_session

_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "FATAL")

_EXAMPLES = """
celeriac -A tasks worker --loglevel=info
celeriac -A shop worker -Q mail,reports -c 4 -n mail@%h
celeriac -A shop worker -P solo -l debug          # one process, for a debugger
celeriac -A shop worker --max-tasks-per-child 1000 --time-limit 300
"""


def _concurrency(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    if value.lower() == "auto":
        from celeriac.worker.resources import cpu_budget

        return cpu_budget()
    if not value.isdigit() or int(value) < 1:
        raise click.BadParameter("a number from 1 on, or auto for the cores it may use", ctx, param)
    return int(value)


def _pool(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is None or value in ("prefork", "solo"):
        return value
    if value in POOLS:
        text = f"the pool {value!r} is not in this version of Celeriac. Use prefork or solo"
        raise click.BadParameter(f"{text}; async def tasks run in both.", ctx, param)
    raise click.BadParameter(f"there is no pool {value!r}. Use prefork or solo.", ctx, param)


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


def _settings(given: dict[str, Any]) -> dict[str, object]:
    """Options that are settings, by the setting's name; what was not given is left out."""
    names = {
        "pool": "worker_pool",
        "concurrency": "worker_concurrency",
        "max_tasks_per_child": "worker_max_tasks_per_child",
        "max_memory_per_child": "worker_max_memory_per_child",
        "time_limit": "task_time_limit",
        "soft_time_limit": "task_soft_time_limit",
    }
    return {name: given[option] for option, name in names.items() if given[option] is not None}


@click.command(cls=AppCommand, examples=_EXAMPLES)
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
    callback=_concurrency,
    help="How many tasks run at once. Unset: the setting, else the cores it may use.",
)
@click.option(
    "-P",
    "--pool",
    metavar="POOL",
    callback=_pool,
    help="prefork: a process for each running task. solo: in one process, for debugging.",
)
@click.option(
    "-Q",
    "--queues",
    metavar="NAME,NAME",
    callback=queues_option,
    help="The queues to read. Unset: the default queue.",
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
@click.option("--without-gossip", is_flag=True, hidden=True)
@click.option("--without-mingle", is_flag=True, hidden=True)
@click.option("--without-heartbeat", is_flag=True, hidden=True)
@pass_session
def worker(session: Session, /, **given: Any) -> int:
    """Run tasks until told to stop.

    SIGTERM or Ctrl-C: take no more tasks, let the running ones end (for `grace` seconds; the
    rest go back to their queues), then exit. A second one: at once.

    Settings given here win over the environment and the code.
    """
    from celeriac import __version__
    from celeriac.worker.spec import WorkerOptions, WorkerSpec

    spec = WorkerSpec(
        app=session.spec(),
        workdir=_workdir(session),
        settings=_settings(given),
        include=given["include"] or (),
        hostname=given["hostname"],
        version=__version__,
        loglevel=_level(given["loglevel"]),
        color=False if click.get_current_context().color is False else None,
    )
    options = WorkerOptions(
        spec=spec,
        queues=given["queues"],
        pool=given["pool"],
        concurrency=given["concurrency"],
        banner=not session.quiet,
    )
    _tell_ignored(given, session)
    from celeriac.worker.main import run

    return run(options)


def _workdir(session: Session) -> str:
    session.enter_workdir()
    return str(Path.cwd()) if session.workdir else ""


def _level(name: str) -> str:
    upper = name.upper()
    return "CRITICAL" if upper == "FATAL" else upper


def _tell_ignored(given: dict[str, Any], session: Session) -> None:
    """Some options of Celery's change nothing here, because what they turn off does not exist."""
    options = ("without_gossip", "without_mingle", "without_heartbeat")
    ignored = [f"--{each.replace('_', '-')}" for each in options if given[each]]
    if ignored and not session.quiet:
        heart = (
            " The heartbeat stays: it keeps the leases of this worker's tasks."
            if given["without_heartbeat"]
            else ""
        )
        note(
            f"Notice: {' '.join(ignored)} changes nothing here: workers do not gossip or "
            f"mingle, they meet in the store.{heart}"
        )


refuse(worker, WORKER)
