"""``celeriac retry``: what failed runs again, and its workflow goes on from there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from celeriac.cli import exits
from celeriac.cli.command import AppCommand
from celeriac.cli.options import as_json
from celeriac.cli.output import note, say, say_json
from celeriac.cli.session import Session, pass_session
from celeriac.cli.tasks import Json

if TYPE_CHECKING:
    from celeriac.app import Celeriac
    from celeriac.control.retrying import Retried

#: Parts that are named one by one; of more, how many there are.
_NAMED = 10

_EXAMPLES = """
celeriac -A tasks retry 019a9f4e-7c1e-7b1e-8f3a-0242ac120002
celeriac -A tasks retry 019a9f4e-7c1e-7b1e-8f3a-0242ac120002 --with-args '["b.png"]'
celeriac -A tasks retry 019a9f4e-7c1e-7b1e-8f3a-0242ac120002 --all-failed
"""


@click.command(cls=AppCommand, examples=_EXAMPLES)
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@click.option(
    "--with-args",
    type=Json(list, "array"),
    metavar="JSON",
    help="Positional arguments in place of its own, a JSON array. Of a part that takes the result "
    "of the one before, those after it.",
)
@click.option(
    "--with-kwargs",
    type=Json(dict, "object"),
    metavar="JSON",
    help="Named arguments in place of its own, a JSON object.",
)
@click.option(
    "--all-failed",
    is_flag=True,
    help="All that failed by itself in the workflow that ID is the id of, or of a part.",
)
@as_json
@pass_session
def retry(
    session: Session,
    /,
    ids: Sequence[str],
    with_args: list[Any] | None,
    with_kwargs: dict[str, Any] | None,
    all_failed: bool,
    as_json: bool,
) -> int:
    """Run the task ID, which ended without success, again under its id.

    In a workflow what ended only because of it waits again and goes on from there; results that
    are there are kept. A part that ended because of others is reopened through those. What has not
    ended, or has succeeded, is left alone and told, with exit code 0: to repeat this does nothing.

    Exit code 4 if an ID is not known, 1 if one cannot be run again.
    """
    mended = with_args is not None or with_kwargs is not None
    if all_failed and (mended or len(ids) != 1):
        raise click.UsageError("--all-failed takes one ID, and no --with-args or --with-kwargs.")
    if mended and len(ids) != 1:
        raise click.UsageError("--with-args and --with-kwargs are those of one task: name one ID.")
    app = session.load_shared()
    try:
        done = app.control.retry(ids, with_args, with_kwargs, all_failed=all_failed)
    except (TypeError, ValueError) as error:
        raise click.UsageError(f"{str(error).removesuffix('.')}.") from error
    if as_json:
        left = {id: why.text for id, why in done.left.items()}
        say_json(
            {"runs": done.runs, "reopened": done.reopened, "left": left, "missing": done.missing}
        )
    else:
        _tell(app, ids, done, session.app)
    if any(why.code == "unknown" for why in done.left.values()):
        return exits.NOT_FOUND
    return exits.OK if all(why.harmless for why in done.left.values()) else exits.FAILURE


def _tell(app: Celeriac, ids: Sequence[str], done: Retried, spec: str) -> None:
    from celeriac.control.phrases import clip, commands, plural

    if done:
        what = "task" if len(done.reopened) == 1 else "part"
        say(f"Reopened {plural(len(done.reopened), what)}: {_named(app, done.reopened)}.")
        others = [id for id in done.runs if id not in ids]
        if others and others != done.reopened:
            say(f"What runs again is what had failed: {_named(app, others)}.")
    else:
        say("Nothing was reopened.")
    for id, why in done.left.items():
        more = commands(f" See: celeriac why {clip(id)}", spec) if why.code == "unfinished" else ""
        note(f"{clip(id)}: {why.text}.{more}")
    if any(why.code == "unknown" for why in done.left.values()):
        store = app.store
        place = f"{store.url} (namespace {store.options.namespace})"
        note(commands(f"This store is {place}; `celeriac doctor` says more of it.", spec))
    if done.missing:
        cure = commands(f"celeriac retry {done.runs[0]} --all-failed", spec)
        note(
            f"A chord stays failed until {_named(app, done.missing)}, which failed too, "
            f"{'is' if len(done.missing) == 1 else 'are'} retried. All of them: {cure}"
        )


def _named(app: Celeriac, ids: Sequence[str]) -> str:
    from celeriac.control.phrases import clip

    records = app.store.inspection.get(list(ids[:_NAMED]))
    names = [
        clip(f"{record.task}[{id}]" if record is not None else id)
        for id, record in zip(ids[:_NAMED], records, strict=True)
    ]
    more = len(ids) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")
