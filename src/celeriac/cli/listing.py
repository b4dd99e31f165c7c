"""``celeriac list``: names of tasks, queues and workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from celeriac.cli import exits
from celeriac.cli.command import AppGroup
from celeriac.cli.options import as_json
from celeriac.cli.output import say, say_json, table
from celeriac.cli.session import Session, pass_session

if TYPE_CHECKING:
    from celeriac.control.inspect import Overview

_EXAMPLES = """
celeriac -A tasks list tasks
celeriac -A tasks list queues --json
"""
_TASKS = """
celeriac -A tasks list tasks
celeriac -A tasks list tasks --json | jq -r '.[] | select(.workers == []) | .task'
"""
_QUEUES = """
celeriac -A tasks list queues
"""
_WORKERS = """
celeriac -A tasks list workers
"""


@click.group("list", cls=AppGroup, examples=_EXAMPLES)
def listing() -> None:
    """List tasks, queues or workers, by name."""


@listing.command("tasks", examples=_TASKS)
@as_json
@pass_session
def tasks(session: Session, /, as_json: bool) -> int:
    """List the names of tasks.

    Those that this application knows, or a living worker.
    """
    app = session.load_shared()
    from celeriac.control.inspect import overview
    from celeriac.records import BUILT_IN

    alive = [each for each in overview(app.store).workers if each.alive]
    names = set(app.tasks).union(*(each.manifest.tasks for each in alive))
    found = {
        name: sorted({each.manifest.hostname for each in alive if name in each.manifest.tasks})
        for name in sorted(names)
        if name not in BUILT_IN
    }
    if as_json:
        say_json(
            [
                {"task": name, "here": name in app.tasks, "workers": workers}
                for name, workers in found.items()
            ]
        )
    elif not found:
        say("No task is known.")
    else:
        rows = [
            (name, "yes" if name in app.tasks else "NO", ", ".join(workers))
            for name, workers in found.items()
        ]
        table(("TASK", "HERE", "WORKERS"), rows)
    return exits.OK


@listing.command("queues", examples=_QUEUES)
@as_json
@pass_session
def queues(session: Session, /, as_json: bool) -> int:
    """List queues, and who reads them.

    Those that hold something, or that a living worker reads.
    """
    from celeriac.control.inspect import overview

    seen = overview(session.load_shared().store)
    found: list[dict[str, Any]] = [
        {"queue": line.name, "unfinished": line.unfinished, "workers": _readers(seen, line.name)}
        for line in seen.queues
    ]
    if as_json:
        say_json(found)
    elif not found:
        say("No queue holds anything, and no worker lives.")
    else:
        rows = [(each["queue"], each["unfinished"], ", ".join(each["workers"])) for each in found]
        table(("QUEUE", "TASKS", "WORKERS"), rows)
    return exits.OK


def _readers(seen: Overview, queue: str) -> list[str]:
    return sorted(
        each.manifest.hostname
        for each in seen.workers
        if each.alive and queue in each.manifest.queues
    )


@listing.command("workers", examples=_WORKERS)
@as_json
@pass_session
def workers(session: Session, /, as_json: bool) -> int:
    """List the workers that live. `celeriac status` says more."""
    from celeriac.control.inspect import overview

    seen = overview(session.load_shared().store)
    names = sorted(each.manifest.hostname for each in seen.workers if each.alive)
    if as_json:
        say_json(names)
    else:
        say("\n".join(names) or "No worker is alive.")
    return exits.OK


@listing.command("bindings", hidden=True)
def bindings() -> int:
    """See the error."""
    raise click.UsageError(
        "`list bindings` is not in this version of Celeriac. There are no exchanges to bind to; "
        "`celeriac list queues` lists queues."
    )
