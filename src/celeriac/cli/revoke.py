"""``celeriac revoke``: call tasks off, by id or by stamp."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Final

import click

from celeriac.cli import exits
from celeriac.cli.command import AppCommand
from celeriac.cli.groups import tasks_of_groups
from celeriac.cli.options import as_json
from celeriac.cli.output import say, say_json
from celeriac.cli.session import Session, pass_session

_EXAMPLES = """
celeriac -A tasks revoke 019a9f4e-7c1e-7b1e-8f3a-0242ac120002
celeriac -A tasks revoke ID1 ID2 --terminate                 # also if it is running
celeriac -A tasks revoke ID1 --terminate --signal SIGKILL
celeriac -A tasks revoke --stamp customer=acme               # all that carry it, and will
"""

#: What a revoke met → the sentence for people; of an unknown one it is longer.
_MET: Final = {
    "revoked": "revoked",
    "ended": "too late: it has ended; see `celeriac why`",
}


def _signal(ctx: click.Context, param: click.Parameter, value: str) -> str:
    name = value.upper()
    name = name if name.startswith("SIG") else f"SIG{name}"
    if name not in signal.Signals.__members__:
        raise click.BadParameter(f"there is no signal {value}; use SIGTERM or SIGKILL", ctx, param)
    return name


def headers_of(stamps: Sequence[str]) -> dict[str, list[str]]:
    """Return *stamps*, each written ``NAME=VALUE``, by name. Raises ``UsageError``."""
    found: dict[str, list[str]] = {}
    for each in stamps:
        name, equals, value = each.partition("=")
        if not (name and equals):
            raise click.UsageError(f"{each!r} is no stamp: write NAME=VALUE.")
        found.setdefault(name, []).append(value)
    return found


@click.command(cls=AppCommand, examples=_EXAMPLES)
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option(
    "--stamp",
    "stamps",
    multiple=True,
    metavar="NAME=VALUE",
    help="Revoke what carries this stamp, now or until revoke_expires (7 days) has passed. It "
    "cannot be undone. May be given several times: one of them is enough.",
)
@click.option("--terminate", is_flag=True, help="End it even if it is running.")
@click.option(
    "--signal",
    "with_signal",
    default="SIGTERM",
    show_default=True,
    metavar="NAME",
    callback=_signal,
    help="With --terminate: the signal its process gets.",
)
@as_json
@pass_session
def revoke(
    session: Session,
    /,
    ids: Sequence[str],
    stamps: Sequence[str],
    terminate: bool,
    with_signal: str,
    as_json: bool,
) -> int:
    """Call tasks off.

    A task that has not begun ends as REVOKED at once, wherever its worker is. A running one is
    left to end, and is not repeated; with --terminate it is ended by a signal.
    Exit code 4 if an ID is not known. Of a workflow this revokes the task ID alone, and with it
    what waits for it; the steps before it go on. result.revoke() in Python revokes those, too.
    If ID is that of a group, all tasks of the group are revoked.

    With --stamp tasks are named by what they are stamped with. What is sent later with that stamp
    ends as REVOKED when a worker takes it.
    """
    if not (ids or stamps):
        raise click.UsageError("Name tasks by ID, or by --stamp NAME=VALUE.")
    headers = headers_of(stamps)
    app = session.load_shared()
    groups = tasks_of_groups(app, ids)
    single = [id for id in ids if id not in groups]
    every = dict.fromkeys([*single, *chain.from_iterable(groups.values())])
    met = app.control.revoke(list(every), terminate=terminate, signal=with_signal) if every else {}
    if headers:
        try:
            met |= app.control.revoke_by_stamped_headers(
                headers, terminate=terminate, signal=with_signal
            )
        except ValueError as error:
            raise click.UsageError(f"{error}.") from None
    if as_json:
        say_json({id: str(effect) for id, effect in met.items()})
        return _exit(met)
    pending = (
        f"running or about to: its worker ends it with {with_signal}"
        if terminate
        else "running or about to: it is left to end and not repeated (or use --terminate)"
    )
    from celeriac.control.phrases import UNKNOWN, clip

    days = f"{app.conf.revoke_expires / 86_400:g} days"
    words = _MET | {"unknown": f"{UNKNOWN}. If it comes in the next {days}, it is revoked"}
    for id, parts in groups.items():
        say(f"{clip(id)}  a group: {_counted(met, parts, words, pending)}")
    for id, effect in met.items():
        if id in single or id not in every:
            say(f"{clip(id)}  {words.get(effect, pending)}")
    for stamp in stamps:
        say(f"What is sent with {clip(stamp)} in the next {days} is revoked, too.")
    return _exit(met)


def _counted(met: dict[str, str], parts: Sequence[str], words: dict[str, str], pending: str) -> str:
    """What became of the tasks of a group: ``3 tasks revoked; 1 task running …``."""
    from celeriac.control.phrases import plural

    counts = Counter(met[each] for each in parts)
    told = [
        f"{plural(count, 'task')} {words.get(effect, pending)}"
        for effect, count in sorted(counts.items(), key=lambda each: -each[1])
    ]
    return "; ".join(told) or "all of its tasks have ended"


def _exit(met: dict[str, str]) -> int:
    return exits.NOT_FOUND if "unknown" in met.values() else exits.OK
