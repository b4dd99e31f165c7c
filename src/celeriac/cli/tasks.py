"""Commands about single tasks: ``call``, ``result``, ``why``."""

from __future__ import annotations

import json
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from celeriac.cli import exits
from celeriac.cli.command import AppCommand
from celeriac.cli.options import as_json
from celeriac.cli.output import block, facts, heading, note, say, say_json
from celeriac.cli.refused import CALL, RESULT, refuse
from celeriac.cli.session import Session, pass_session

if TYPE_CHECKING:
    from celeriac.app import Celeriac
    from celeriac.cli.follow import Follower
    from celeriac.control.why import Explanation
    from celeriac.groupresult import GroupResult
    from celeriac.result import AsyncResult
    from celeriac.stores.base import Store


class Json(click.ParamType[Any]):
    """A value written as JSON, of one kind."""

    def __init__(self, kind: type, what: str) -> None:
        self.kind = kind
        self.name = self.what = what

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read it; say where it is wrong."""
        if not isinstance(value, str):
            return value
        try:
            found = json.loads(value)
        except json.JSONDecodeError as error:
            self.fail(f"{value} is not JSON: {error.msg} at character {error.pos + 1}.", param, ctx)
        except (ValueError, RecursionError) as error:  # a number of thousands of digits; nesting
            self.fail(f"{value[:64]}… cannot be read as JSON: {error}.", param, ctx)
        if not isinstance(found, self.kind):
            self.fail(f"{value} is not a JSON {self.what}.", param, ctx)
        return found


class Moment(click.ParamType[Any]):
    """A moment in ISO 8601 form, or, with *seconds*, a number of seconds from now."""

    name = "moment"

    def __init__(self, *, seconds: bool = False) -> None:
        self.seconds = seconds

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read it. A moment without a zone is in the application's ``timezone``."""
        if not isinstance(value, str):
            return value
        try:
            return float(value) if self.seconds else datetime.fromisoformat(value)
        except ValueError:
            if self.seconds:
                return Moment().convert(value, param, ctx)
            self.fail(f"{value} is not a moment like 2026-05-01T12:00:00+02:00.", param, ctx)


# -- call --------------------------------------------------------------------------------------

_CALL_EXAMPLES = """
celeriac -A tasks call tasks.add --args '[1, 2]'
celeriac -A tasks call tasks.add --args '[1, 2]' --wait --timeout 10
celeriac -A shop call shop.mail.send --kwargs '{"user": 7}' --queue mail --countdown 60
celeriac -A shop call shop.reports.nightly --eta 2026-05-01T03:00:00+02:00 --json
"""


@click.command(cls=AppCommand, examples=_CALL_EXAMPLES)
@click.argument("name")
@click.option(
    "-a",
    "--args",
    "args",
    type=Json(list, "array"),
    default="[]",
    metavar="JSON",
    help="Positional arguments, a JSON array.",
)
@click.option(
    "-k",
    "--kwargs",
    "kwargs",
    type=Json(dict, "object"),
    default="{}",
    metavar="JSON",
    help="Named arguments, a JSON object.",
)
@click.option("--eta", type=Moment(), metavar="TIME", help="Not before this moment (ISO 8601).")
@click.option("--countdown", type=float, metavar="SECONDS", help="Not before so many seconds.")
@click.option(
    "--expires",
    type=Moment(seconds=True),
    metavar="SECONDS|TIME",
    help="Not after: if it has not begun by then, it never does.",
)
@click.option("--queue", metavar="QUEUE", help="The queue to put it in.")
@click.option("--priority", type=click.IntRange(0, 9), metavar="0-9", help="9 is most urgent.")
@click.option("--serializer", metavar="NAME", help="How arguments are written: json, msgpack.")
@click.option(
    "--unchecked", is_flag=True, help="Send it even if this application knows no task of that name."
)
@click.option("--wait", is_flag=True, help="Wait for the result and print it.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="With --wait: stop waiting after so long. Unset: wait for ever.",
)
@as_json
@pass_session
def call(
    session: Session,
    /,
    name: str,
    args: list[Any],
    kwargs: dict[str, Any],
    unchecked: bool,
    wait: bool,
    timeout: float | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Send the task NAME and print its id.

    Arguments are checked against the task's signature before anything is stored.
    """
    if timeout is not None and not wait:
        raise click.UsageError("--timeout needs --wait.")
    app = session.load_shared()
    given = {key: value for key, value in options.items() if value is not None}
    sent = _send(app, name, args, kwargs, given, unchecked)
    if not as_json:
        say(sent.id)
    if wait:
        _warn_if_unread(session, app.store, sent.id)
        return _report(sent, timeout, session.app, as_json=as_json, trace=True)
    if as_json:
        say_json({"id": sent.id})
    return exits.OK


def _send(
    app: Celeriac,
    name: str,
    args: list[Any],
    kwargs: dict[str, Any],
    options: dict[str, Any],
    unchecked: bool,
) -> AsyncResult[Any]:
    from celeriac.control.phrases import clip
    from celeriac.exceptions import CeleriacError, NotRegistered

    known = name in app.tasks
    if not known and not unchecked:
        raise NotRegistered(name, list(app.tasks))
    try:
        if known:
            return app.tasks[name].apply_async(args, kwargs, **options)
        return app.send_task(name, args, kwargs, **options)
    except CeleriacError:
        raise
    except (TypeError, ValueError, OverflowError) as error:
        # What the sender is told of its arguments and options; here they came from a user.
        text = str(error).removesuffix(".")
        raise click.UsageError(f"{clip(name)} was not sent: {text}.") from error


def _warn_if_unread(session: Session, store: Store, id: str) -> None:
    """Waiting for a task that no worker will take should not look like a slow task."""
    from celeriac.control.inspect import situation
    from celeriac.control.why import explain

    found = situation(store, id, time.time())
    if found is None or session.quiet:
        return
    explained = explain(found)
    if explained.code in ("waiting_for_worker", "unknown_task"):
        note(f"Notice: {explained.reason} Waiting on; Ctrl-C stops the wait, not the task.")


# -- result ------------------------------------------------------------------------------------

_RESULT_EXAMPLES = """
celeriac -A tasks result 019a9f4e-7c1e-7b1e-8f3a-0242ac120002
celeriac -A tasks result 019a9f4e-7c1e-7b1e-8f3a-0242ac120002 --timeout 0     # only look
celeriac -A tasks result 019a9f4e-7c1e-7b1e-8f3a-0242ac120002 --traceback
celeriac -A tasks result 019a9f4e-7c1e-7b1e-8f3a-0242ac120002 --follow
celeriac -A tasks result 019a9f4e-7c1e-7b1e-8f3a-0242ac120002 --follow --json | jq .progress
"""


@click.command(cls=AppCommand, examples=_RESULT_EXAMPLES)
@click.argument("id")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Stop waiting after so long; 0 only looks. Unset: wait for ever.",
)
@click.option("--traceback", is_flag=True, help="Print the traceback of a failure.")
@click.option(
    "--follow",
    is_flag=True,
    help="Show state and progress meanwhile, on standard error: a bar on a terminal, else a line "
    "at most once a second. With --json: an object on a line of standard output at each change.",
)
@as_json
@pass_session
def result(
    session: Session, /, id: str, timeout: float | None, traceback: bool, follow: bool,
    as_json: bool,
) -> int:  # fmt: skip
    """Wait for the task ID, or the group ID, to end and print its result.

    A text is printed as it is, anything else as JSON. A task that ended without success is told
    on standard error, with exit code 5. Ctrl-C ends the wait, never the task.
    """
    from celeriac.cli.groups import group_of

    app = session.load_shared()
    if timeout != 0:
        _warn_if_unread(session, app.store, id)
    group = group_of(app, id)
    if group is not None:
        return _group(group, timeout, session.app, as_json=as_json, follow=follow)
    pending = app.AsyncResult(id)
    if not follow:
        return _report(pending, timeout, session.app, as_json=as_json, trace=traceback)
    return _follow(pending, timeout, session.app, as_json=as_json, trace=traceback)


def _group(
    pending: GroupResult, timeout: float | None, spec: str, *, as_json: bool, follow: bool
) -> int:
    """The same for a group."""
    from celeriac.cli.follow import Follower
    from celeriac.cli.groups import report_group
    from celeriac.control.phrases import commands

    see = commands(f"celeriac tree {pending.id}", spec)
    follower = Follower(pending, as_json=as_json) if follow else None
    try:
        if follower is not None:
            follower()
        return report_group(pending, timeout, see, as_json=as_json, follower=follower)
    except KeyboardInterrupt:
        if follower is None:
            raise
        follower.close()
        note(f"Group {pending.id} was left alone and goes on. See: {see}")
        return exits.INTERRUPTED


def _follow(
    pending: AsyncResult[Any], timeout: float | None, spec: str, *, as_json: bool, trace: bool
) -> int:
    """:func:`_report`, showing how far it is meanwhile."""
    from celeriac.cli.follow import Follower
    from celeriac.control.phrases import commands

    follower = Follower(pending, as_json=as_json)
    try:
        follower()
        return _report(pending, timeout, spec, as_json=as_json, trace=trace, follower=follower)
    except KeyboardInterrupt:
        follower.close()
        stop = commands(f"celeriac revoke {pending.id} --terminate", spec)
        note(f"Task {pending.id} was left alone and goes on. To stop it: {stop}")
        return exits.INTERRUPTED


def _report(
    pending: AsyncResult[Any],
    timeout: float | None,
    spec: str,
    *,
    as_json: bool,
    trace: bool,
    follower: Follower | None = None,
) -> int:
    """Wait, print what came of it, and return the exit code."""
    from celeriac.control.phrases import commands
    from celeriac.exceptions import TimeoutError

    options: dict[str, Any] = {}
    if follower is not None:
        options = {"on_interval": follower, "interval": follower.interval}
    print_json = say_json if follower is None else follower.say
    try:
        value = pending.get(timeout=timeout, propagate=False, **options)
    except TimeoutError:
        if follower is not None:
            follower.close()
        if as_json:
            print_json({"id": pending.id, "state": pending.state, "ready": False})
        else:
            see = commands(f"celeriac why {pending.id}", spec)
            note(f"Task {pending.id} has not ended ({pending.state}). See: {see}")
        return exits.TIMED_OUT
    if follower is not None:
        follower.close()
    state, text = pending.state, pending.traceback
    succeeded = pending.successful()
    if as_json:
        data: dict[str, Any] = {"id": pending.id, "state": state, "ready": True}
        if succeeded:
            data["result"] = plain(value)
        else:
            data |= {"error": error_text(value), "traceback": text}
        print_json(data)
    elif succeeded:
        say(value if isinstance(value, str) else json.dumps(plain(value), ensure_ascii=False))
    else:
        if trace and text:
            note(str(text).rstrip())
        note(f"{state}: {error_text(value)}")
    return exits.OK if succeeded else exits.TASK_FAILED


def plain(value: Any) -> Any:
    """*value* as JSON can hold it; what JSON cannot hold becomes its text."""
    import msgspec

    try:
        return json.loads(msgspec.json.encode(value, enc_hook=repr))
    except (TypeError, ValueError, msgspec.MsgspecError):
        return repr(value)


def error_text(value: Any) -> str:
    """What a task ended with, in a line."""
    if isinstance(value, BaseException):
        text = str(value)
        # An exception that came as data carries the name of the class that was raised.
        name = getattr(value, "type_name", "") or type(value).__name__
        if text.startswith(f"{name}: "):
            return text
        return f"{name}: {text}" if text else name
    return "it has no result" if value is None else str(value)


# -- why ---------------------------------------------------------------------------------------

_WHY_EXAMPLES = """
celeriac -A tasks why 019a9f4e-7c1e-7b1e-8f3a-0242ac120002
celeriac -A tasks why 019a9f4e-7c1e-7b1e-8f3a-0242ac120002 --json | jq -r .code
"""


@click.command(cls=AppCommand, examples=_WHY_EXAMPLES)
@click.argument("id")
@as_json
@pass_session
def why(session: Session, /, id: str, as_json: bool) -> int:
    """Say why the task ID is where it is: the reason, what it rests on, what to do."""
    from celeriac.control.inspect import situation, with_arguments, without_record
    from celeriac.control.why import explain

    app = session.load_shared()
    store = app.store
    found = situation(store, id, time.time(), session.app, app.client.directions.known())
    if found is None:
        explained = without_record(store, id, session.app)
    else:
        explained = with_arguments(app, explain(found))
    if app.backend_url is not None:
        from celeriac.conf import without_password
        from celeriac.control.elsewhere import whereabouts

        url = without_password(app.backend_url)
        explained = whereabouts(explained, store, lambda: app.backend_store, url, session.app)
    progress, explained = _with_progress(app, explained)
    if as_json:
        say_json({**explained.as_dict(), "progress": progress})
    else:
        heading(explained.reason)
        facts(explained.facts)
        if explained.advice:
            say("What to do:")
            block("\n".join(explained.advice), "  ")
    return exits.OK if found is not None else exits.NOT_FOUND


def _with_progress(
    app: Celeriac, explained: Explanation
) -> tuple[dict[str, Any] | None, Explanation]:
    """What the task said last of how far it is, as plain data and among the facts."""
    from dataclasses import replace

    from celeriac.control.phrases import clip
    from celeriac.control.progress import told
    from celeriac.ends import progress_of
    from celeriac.exceptions import CeleryError
    from celeriac.states import READY_STATES

    try:
        said = progress_of(app, explained.record)
    except CeleryError as error:  # written by who knows no key, or another
        unread = ("progress", f"cannot be read: {clip(str(error))}")
        return None, replace(explained, facts=(*explained.facts, unread))
    if said is None:
        return None, explained
    ended = explained.state in READY_STATES
    fact = ("progress", told(said, time.time(), ended=ended))
    return said.as_dict(), replace(explained, facts=(*explained.facts, fact))


refuse(call, CALL)
refuse(result, RESULT)
