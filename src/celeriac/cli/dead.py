"""``celeriac dead``: tasks that were put aside, because they killed what ran them or failed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from celeriac.cli import exits
from celeriac.cli.command import AppGroup
from celeriac.cli.options import as_json
from celeriac.cli.output import block, confirm, facts, heading, note, say, say_json, table
from celeriac.cli.session import Session, pass_session

if TYPE_CHECKING:
    from celeriac.app import Celeriac
    from celeriac.message import Header, Message
    from celeriac.records import Record
    from celeriac.stores.base import Store

#: How many ids one call to the store names.
_BATCH: Final = 500

_EXAMPLES = """
celeriac -A tasks dead list
celeriac -A tasks dead list --state failed --task tasks.send_email
celeriac -A tasks dead show 019a9f4e-7c1e-7b1e-8f3a-0242ac120002
celeriac -A tasks dead retry --all --task tasks.send_email --yes
"""


@click.group(cls=AppGroup, examples=_EXAMPLES)
def dead() -> None:
    """Look at, retry or discard tasks that were put aside.

    Dead is a task that ended the processes that ran it, until it was not tried again. Failed
    tasks are kept as long, and can be listed and retried with --state failed.
    """


def _selection(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that choose among what was put aside."""
    for option in (
        click.option("--queue", metavar="NAME", help="Only of this queue."),
        click.option("--task", metavar="NAME", help="Only of this task name."),
        click.option(
            "--state",
            type=click.Choice(["dead", "failed", "all"]),
            default="dead",
            show_default=True,
            help="Which of them.",
        ),
    ):
        command = option(command)
    return command


def _which(state: str) -> tuple[str, ...]:
    return ("dead", "failed") if state == "all" else (state,)


# -- list, show --------------------------------------------------------------------------------

_LIST_EXAMPLES = """
celeriac -A tasks dead list
celeriac -A tasks dead list --state all --queue mail --limit 1000
celeriac -A tasks dead list --json | jq -r '.[].id'
"""


@dead.command("list", examples=_LIST_EXAMPLES)
@_selection
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    metavar="N",
    help="At most so many, the newest first.",
)
@as_json
@pass_session
def list_(
    session: Session, /, state: str, task: str | None, queue: str | None, limit: int, as_json: bool
) -> int:
    """List tasks that were put aside, the newest first."""
    from celeriac.control.inspect import put_aside
    from celeriac.control.phrases import ago, clip
    from celeriac.control.reading import plain_record

    store = session.load_shared().store
    found = put_aside(store, _which(state), queue=queue, task=task, limit=limit)
    if as_json:
        say_json([plain_record(each) for each in found])
        return exits.OK
    if not found:
        say(f"No {'task' if state == 'all' else f'{state} task'} is put aside.")
        return exits.OK
    now = time.time()
    headings = ("ID", "TASK", "QUEUE", "STATE", "CRASHES", "LOSSES", "ENDED", "REASON")
    rows = [
        (
            each.id,
            each.task,
            each.queue,
            each.state,
            each.crashes,
            each.losses,
            "-" if each.ended_at is None else ago(each.ended_at, now),
            clip(each.reason, 80),
        )
        for each in found
    ]
    table(headings, rows)
    if len(found) == limit:
        note(f"Only the newest {limit} are listed; --limit shows more.")
    return exits.OK


_SHOW_EXAMPLES = """
celeriac -A tasks dead show 019a9f4e-7c1e-7b1e-8f3a-0242ac120002
celeriac -A tasks dead show ID1 ID2 --json
"""


@dead.command(examples=_SHOW_EXAMPLES)
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@as_json
@pass_session
def show(session: Session, /, ids: Sequence[str], as_json: bool) -> int:
    """Show tasks whole, with arguments and last stack."""
    from celeriac.control.phrases import UNKNOWN, clip
    from celeriac.control.reading import last_stack
    from celeriac.control.why import Situation, explain

    app = session.load_shared()
    store = app.store
    records = store.inspection.get(list(ids))
    if as_json:
        say_json([None if each is None else _whole(each, app) for each in records])
    else:
        for id, record in zip(ids, records, strict=True):
            if record is None:
                note(f"{clip(id)}: {UNKNOWN}.")
                continue
            workers = store.inspection.workers()
            explained = explain(
                Situation(record, time.time(), workers, whole=True, app=session.app)
            )
            heading(f"{record.id}: {explained.reason}")
            facts((*explained.facts, ("arguments", arguments_shown(record, app))))
            if text := last_stack(record):
                say("  last stack")
                block(text)
            if explained.advice:
                say("What to do:")
                block("\n".join(explained.advice), "  ")
    return exits.NOT_FOUND if None in records else exits.OK


def _whole(record: Record, app: Celeriac) -> dict[str, object]:
    from celeriac.control.reading import last_stack, plain_record

    return {
        **plain_record(record),
        "arguments": arguments_shown(record, app, 100_000, spoken=False),
        "traceback": last_stack(record),
    }


def arguments_shown(record: Record, app: Celeriac, limit: int = 500, *, spoken: bool = True) -> str:
    """The arguments as they stand in the message, cut short, without what the task hides; nothing
    is decoded into objects. *spoken*: as in a call, with "…" for the results that it takes."""
    import msgspec

    from celeriac.control.phrases import clip
    from celeriac.exceptions import DecodeError
    from celeriac.malformed import MALFORMED
    from celeriac.message import decode

    if record.wire is None:
        return "not kept"
    try:
        message = decode(record.wire)
        hidden = _without_hidden(message, app, spoken=spoken)
        if hidden is not None:
            return clip(hidden, limit)
        kind = message.header.serializer
        if kind != "msgpack" and not (spoken and kind == "json"):
            return clip(message.content().decode("utf-8", "replace"), limit)
        read = msgspec.json if kind == "json" else msgspec.msgpack
        payload = read.decode(message.content())
        return clip(_call(payload, message.header) if spoken else repr(payload), limit)
    except (DecodeError, TypeError, ValueError, *MALFORMED) as error:
        return f"cannot be read: {clip(str(error))}"


def _without_hidden(message: Message, app: Celeriac, *, spoken: bool) -> str | None:
    """The arguments of a call of which some are hidden, by its sender or by the task; else None."""
    import msgspec

    header = message.header
    mask = app.tasks[header.task].mask if header.task in app.tasks else None
    if mask is None:
        shown = f"{header.argsrepr} {header.kwargsrepr}".strip()
        return shown or None
    read = msgspec.json if header.serializer == "json" else msgspec.msgpack
    if header.edges is not None:
        mask = mask.behind(header.edges.given)
    args, kwargs = mask.plain(*read.decode(message.content()))
    return _call([args, kwargs], header) if spoken else msgspec.json.encode([args, kwargs]).decode()


def _call(payload: Any, header: Header) -> str:
    """``(…, 2, name='x')``, as in the call; what has another form is shown as it is."""
    if not (
        isinstance(payload, list)
        and len(payload) == 2
        and isinstance(payload[0], list)
        and isinstance(payload[1], dict)
    ):
        return repr(payload)
    args, kwargs = payload
    taken = [] if header.edges is None or header.edges.given == (0,) else ["…"]
    named = [f"{name}={value!r}" for name, value in kwargs.items()]
    return f"({', '.join([*taken, *map(repr, args), *named])})"


# -- retry, discard ----------------------------------------------------------------------------


def _chosen(
    store: Store,
    ids: Sequence[str],
    everything: bool,
    state: str,
    task: str | None,
    queue: str | None,
) -> list[str]:
    """The ids that were named, or with --all those that the filters leave."""
    from celeriac.control.inspect import put_aside

    if bool(ids) == everything:
        raise click.UsageError("Name the tasks by their IDs, or choose with --all; not both.")
    if ids:
        if task or queue:
            raise click.UsageError("--task and --queue go with --all.")
        return list(dict.fromkeys(ids))
    found = put_aside(store, _which(state), queue=queue, task=task, limit=None)
    return [each.id for each in found]


def _agree(what: str, ids: Sequence[str], everything: bool, yes: bool, as_json: bool) -> bool:
    """Ask before many are touched."""
    from celeriac.control.phrases import plural

    if yes or not everything or not ids:
        return True
    if as_json:
        raise click.UsageError("--json does not ask: add --yes.")
    return confirm(f"{what} {plural(len(ids), 'task')}?", "Add --yes.")


def _apply(change: Callable[[Sequence[str]], list[str]], ids: Sequence[str]) -> list[str]:
    done: list[str] = []
    for start in range(0, len(ids), _BATCH):
        done += change(ids[start : start + _BATCH])
    return done


def _tell(store: Store, word: str, ids: Sequence[str], done: Sequence[str], why_not: str) -> int:
    """Say what was done and what was not; return the exit code."""
    from celeriac.control.phrases import UNKNOWN, clip, plural

    left = [id for id in ids if id not in set(done)]
    known = dict(zip(left, store.inspection.get(left), strict=True)) if left else {}
    say(f"{word} {plural(len(done), 'task')}.")
    for id, record in known.items():
        note(
            f"{clip(id)}: {UNKNOWN}."
            if record is None
            else f"{id}: {why_not} (it is {record.state})."
        )
    if any(record is None for record in known.values()):
        return exits.NOT_FOUND
    return exits.FAILURE if left else exits.OK


def _many(command: Callable[..., Any]) -> Callable[..., Any]:
    """IDs or --all with filters."""
    command = _selection(command)
    for option in (
        click.option("--yes", is_flag=True, help="Do not ask."),
        click.option("--all", "everything", is_flag=True, help="All that the filters leave."),
        click.argument("ids", metavar="[ID]...", nargs=-1),
    ):
        command = option(command)
    return command


_RETRY_EXAMPLES = """
celeriac -A tasks dead retry 019a9f4e-7c1e-7b1e-8f3a-0242ac120002
celeriac -A tasks dead retry --all --task tasks.send_email --yes
celeriac -A tasks dead retry --all --state failed --queue mail
"""


@dead.command(examples=_RETRY_EXAMPLES)
@_many
@as_json
@pass_session
def retry(
    session: Session,
    /,
    ids: Sequence[str],
    everything: bool,
    yes: bool,
    state: str,
    task: str | None,
    queue: str | None,
    as_json: bool,
) -> int:
    """Run tasks again under their ids.

    In workflows also what ended only because of them. Any task that ended without success can be
    retried. Its counters of retries and crashes begin again at 0.
    """
    store = session.load_shared().store
    chosen = _chosen(store, ids, everything, state, task, queue)
    if not _agree("Retry", chosen, everything, yes, as_json):
        note("Nothing was retried.")
        return exits.FAILURE
    reopened = set(_apply(store.inspection.retry, chosen))
    done = [id for id in chosen if id in reopened]
    if as_json:
        say_json({"retried": done, "left": [id for id in chosen if id not in set(done)]})
        return exits.OK if len(done) == len(chosen) else exits.FAILURE
    return _tell(
        store,
        "Retried",
        chosen,
        done,
        "only what ended without success, and whose errbacks have ended, can be retried",
    )


def _forget_there(app: Celeriac, ids: Sequence[str]) -> None:
    """Remove results that have been brought to another store, too."""
    from celeriac.exceptions import OperationalError

    try:
        app.backend_store.results.forget(ids)
    except OperationalError as error:
        note(f"Their results stay in the store of results until they expire: {error}")


_DISCARD_EXAMPLES = """
celeriac -A tasks dead discard 019a9f4e-7c1e-7b1e-8f3a-0242ac120002
celeriac -A tasks dead discard --all --state all --yes
"""


@dead.command(examples=_DISCARD_EXAMPLES)
@_many
@as_json
@pass_session
def discard(
    session: Session,
    /,
    ids: Sequence[str],
    everything: bool,
    yes: bool,
    state: str,
    task: str | None,
    queue: str | None,
    as_json: bool,
) -> int:
    """Remove tasks for good."""
    app = session.load_shared()
    store = app.store
    chosen = _chosen(store, ids, everything, state, task, queue)
    if not _agree("Remove for good", chosen, everything, yes, as_json):
        note("Nothing was discarded.")
        return exits.FAILURE
    done = _apply(store.inspection.discard, chosen)
    if app.backend_url is not None:
        _forget_there(app, done)
    if as_json:
        say_json({"discarded": done, "left": [id for id in chosen if id not in set(done)]})
        return exits.OK if len(done) == len(chosen) else exits.FAILURE
    return _tell(store, "Discarded", chosen, done, "a worker holds it; revoke it first")
