"""``celeriac events``: what workers tell, as it happens, as JSON lines."""

from __future__ import annotations

import sys
from typing import Final

import click

from celeriac.cli import exits
from celeriac.cli.command import AppCommand
from celeriac.cli.output import note
from celeriac.cli.refused import refuse
from celeriac.cli.session import Session, pass_session

_EXAMPLES = """
celeriac -A tasks events
celeriac -A tasks events --type task-failed,task-retried
celeriac -A tasks events | jq 'select(.type == "task-succeeded") | .runtime'
"""
_CAMERA: Final = "Read `celeriac events` line by line, or write a receiver: app.events.Receiver(…)."


@click.command(cls=AppCommand, examples=_EXAMPLES)
@click.option("--dump", "-d", is_flag=True, hidden=True)
@click.option(
    "--type",
    "types",
    metavar="TYPE,TYPE",
    help="Only these, such as task-failed; a group alone (task, worker) means all of it.",
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="End after N events.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="End with exit code 6 if nothing comes for so long.",
)
@pass_session
def events(
    session: Session, /, dump: bool, types: str | None, limit: int | None, timeout: float | None
) -> int:
    """Print what happens to tasks and workers while it happens, one JSON object a line.

    Workers tell of tasks only while somebody listens, so what happened before is not shown, and
    what comes too fast may be missing: `celeriac status` and `celeriac why` read the store, which
    misses nothing.
    """
    import json

    write = json.JSONEncoder(ensure_ascii=False, default=str, separators=(",", ":")).encode
    wanted = tuple(each.strip() for each in (types or "").split(",") if each.strip())
    app = session.load_shared()
    receiver = app.events.Receiver()
    if not session.quiet:
        note("Listening; end with Ctrl-C.")
    printed = 0
    try:
        for event in receiver.events(None, timeout):
            kind = event["type"]
            if wanted and kind not in wanted and kind.partition("-")[0] not in wanted:
                continue
            sys.stdout.write(write(event) + "\n")
            sys.stdout.flush()
            printed += 1
            if limit is not None and printed >= limit:
                return exits.OK
    except TimeoutError as error:
        note(f"{error}".capitalize() + ".")
        return exits.TIMED_OUT
    except KeyboardInterrupt:
        return exits.OK
    return exits.OK


refuse(
    events,
    (
        (("-c", "--camera"), False, _CAMERA),
        (("-F", "--freq", "--frequency"), False, _CAMERA),
        (("-r", "--maxrate"), False, _CAMERA),
    ),
)
