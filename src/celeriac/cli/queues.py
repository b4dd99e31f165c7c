"""Commands about the whole: ``status`` and ``purge``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from celeriac.cli import exits
from celeriac.cli.command import AppCommand
from celeriac.cli.options import as_json, names_option
from celeriac.cli.output import confirm, note, say, say_json, table
from celeriac.cli.refused import PURGE, STATUS, refuse
from celeriac.cli.session import Session, pass_session
from celeriac.conf import without_password

if TYPE_CHECKING:
    from celeriac.control.inspect import Overview

_STATUS_EXAMPLES = """
celeriac -A tasks status
watch -n 1 celeriac -A tasks status
celeriac -A tasks status --json | jq '.queues[] | select(.due > 1000) | .name'
"""


@click.command(cls=AppCommand, examples=_STATUS_EXAMPLES)
@as_json
@pass_session
def status(session: Session, /, as_json: bool) -> int:
    """Show workers and queues, and task names that no worker knows.

    Read from the store at once; no worker is asked, so a busy one is shown like any other.
    """
    from celeriac.control.inspect import overview

    app = session.load_shared()
    store = app.store
    seen = overview(store)
    if as_json:
        say_json({"store": store.url, "namespace": store.options.namespace, **seen.as_dict()})
        return exits.OK
    _show_workers(seen)
    say()
    _show_queues(seen)
    if seen.parked:
        say()
        say("Parked: task names that no worker knows")
        table(("QUEUE", "TASK", "PARKED"), seen.parked)
    if seen.outbox and app.backend_url is not None:
        from celeriac.control.elsewhere import on_the_way

        say()
        say(f"{on_the_way(seen.outbox, without_password(app.backend_url))}.")
    return exits.OK


def _show_workers(seen: Overview) -> None:
    from celeriac.control.phrases import ago

    now = time.time()
    if not any(each.alive for each in seen.workers):
        say("No worker is alive.")
    if seen.workers:
        headings = ("WORKER", "PID", "ALIVE", "POOL", "SLOTS", "HELD", "QUEUES", "LAST BEAT")
        rows = [
            (
                each.manifest.hostname,
                str(each.manifest.pid),
                "yes" if each.alive else "NO",
                each.manifest.pool,
                each.manifest.concurrency,
                each.held,
                ",".join(each.manifest.queues),
                ago(each.beat_at, now),
            )
            for each in sorted(seen.workers, key=lambda each: each.manifest.hostname)
        ]
        table(headings, rows)


def _show_queues(seen: Overview) -> None:
    if not seen.queues:
        say("No queue holds anything.")
        return
    headings = (
        "QUEUE",
        "DUE",
        "PARKED",
        "SCHEDULED",
        "HELD",
        "WAITING",
        "FAILED",
        "DEAD",
        "WORKERS",
    )
    rows = [
        (q.name, q.due, q.parked, q.scheduled, q.held, q.waiting, q.failed, q.dead, q.workers)
        for q in seen.queues
    ]
    table(headings, rows)


_PURGE_EXAMPLES = """
celeriac -A tasks purge                     # asks, after naming queues and numbers
celeriac -A tasks purge -Q mail,reports -f
celeriac -A tasks purge -f --json
"""


@click.command(cls=AppCommand, examples=_PURGE_EXAMPLES)
@click.option(
    "-Q",
    "--queues",
    metavar="NAME,NAME",
    callback=names_option,
    help="Only these queues. Unset: every queue.",
)
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@as_json
@pass_session
def purge(session: Session, /, queues: tuple[str, ...] | None, force: bool, as_json: bool) -> int:
    """End every task that has not begun: due, scheduled or parked.

    They end as REVOKED ("purged"), what waits for them in a workflow ends too. Running tasks and
    results stay.
    """
    from celeriac.control.inspect import overview
    from celeriac.control.phrases import plural

    if as_json and not force:
        raise click.UsageError("--json does not ask: add -f/--force.")
    store = session.load_shared().store
    found = {
        line.name: line.due + line.parked + line.scheduled
        for line in overview(store).queues
        if queues is None or line.name in queues
    }
    full = {name: count for name, count in found.items() if count}
    if not full and not as_json:
        where = "No queue" if queues is None else f"None of the queues {', '.join(queues)}"
        say(f"{where} holds a task that has not begun.")
        return exits.OK
    if not force:
        table(("QUEUE", "TASKS"), full.items())
        total = plural(sum(full.values()), "task")
        if not confirm(
            f"End {total} in {plural(len(full), 'queue')}, for good?", "Add -f/--force."
        ):
            note("Nothing was purged.")
            return exits.FAILURE
    purged = store.queue.purge(list(full)) if full else 0
    if as_json:
        say_json({"purged": purged, "queues": full})
    else:
        say(f"Purged {plural(purged, 'task')} from {', '.join(full)}.")
    return exits.OK


refuse(purge, PURGE)
refuse(status, STATUS)
