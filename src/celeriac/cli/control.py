"""``celeriac control``: steer the workers that live."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import click

from celeriac.cli.asking import (
    asking,
    check_count,
    check_name,
    described,
    print_list,
    shown,
    tell,
)
from celeriac.cli.command import AppCommand
from celeriac.cli.options import completing
from celeriac.cli.session import Session, pass_session

COMMANDS: Final = {
    "shutdown": ("", "Stop, as SIGTERM does."),
    "add_consumer": ("QUEUE", "Take tasks from QUEUE, too."),
    "cancel_consumer": ("QUEUE", "Take no more tasks from QUEUE."),
    "rate_limit": ("TASK RATE", "Begin TASK at most so often: 10/s, 100/m, 0 for no limit."),
    "time_limit": ("TASK SOFT [HARD]", "Limits of TASK in seconds, for runs yet to come."),
    "pool_grow": ("[N]", "Run N (1) more tasks at once."),
    "pool_shrink": ("[N]", "Run N (1) fewer tasks at once."),
    "pool_restart": ("", "Replace the executors, each once it is idle."),
    "autoscale": ("MAX [MIN]", "Bounds of a worker started with --autoscale."),
    "revoke": ("ID [ID ...]", "Call tasks off; see `celeriac revoke`."),
    "revoke_by_stamped_headers": (
        "NAME=VALUE [NAME=VALUE ...]",
        "Call off what carries a stamp; see `celeriac revoke --stamp`.",
    ),
    "terminate": ("SIGNAL ID [ID ...]", "Call tasks off, and end those that run by SIGNAL."),
    "enable_events": ("", "Publish events of tasks even if nobody listens."),
    "disable_events": ("", "Publish events of tasks only while somebody listens."),
    "heartbeat": ("", "Publish worker-heartbeat now."),
}
_LATER: Final = {
    "election": "Workers elect nobody; the store decides who does what.",
}
_EXAMPLES = """
celeriac -A tasks control add_consumer mail -d celeriac@web1
celeriac -A tasks control rate_limit tasks.send_email 100/m
celeriac -A tasks control time_limit tasks.resize 60 90
celeriac -A tasks control shutdown -d celeriac@web1
"""


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise click.UsageError(f"{text!r} is no number of seconds.") from None


def _count(given: tuple[str, ...]) -> int:
    if given and not given[0].isdigit():
        raise click.UsageError(f"{given[0]!r} is no number of tasks.")
    return int(given[0]) if given else 1


def _whole(text: str) -> int:
    if not text.isdigit():
        raise click.UsageError(f"{text!r} is no number of executors.")
    return int(text)


#: From the words on the command line to the arguments of the method of ``app.control``.
_READ: Final[dict[str, Callable[[tuple[str, ...]], dict[str, Any]]]] = {
    "add_consumer": lambda given: {"queue": given[0]},
    "cancel_consumer": lambda given: {"queue": given[0]},
    "rate_limit": lambda given: {"task_name": given[0], "rate_limit": given[1]},
    "time_limit": lambda given: {
        "task_name": given[0],
        "soft": _seconds(given[1]),
        "hard": _seconds(given[2]) if given[2:] else None,
    },
    "pool_grow": lambda given: {"n": _count(given)},
    "pool_shrink": lambda given: {"n": _count(given)},
    "autoscale": lambda given: {
        "max": _whole(given[0]),
        "min": _whole(given[1]) if given[1:] else 1,
    },
    "revoke": lambda given: {"task_id": list(given)},
    "revoke_by_stamped_headers": lambda given: {"task_id": [], "stamps": list(given)},
    "terminate": lambda given: {"task_id": list(given[1:]), "signal": given[0]},
}


@click.command(
    cls=AppCommand,
    examples=_EXAMPLES,
    help="Steer the workers that live.\n\nCommands are not kept: a worker that starts later does "
    "not know of them; what shall hold then, write into the settings. Exit code 69 if a worker "
    f"that was asked did not answer, or none lives.\n\n{described(COMMANDS)}",
)
@click.argument("command", required=False, shell_complete=completing(COMMANDS))
@click.argument("arguments", nargs=-1)
@asking
@pass_session
def control(
    session: Session,
    /,
    command: str | None,
    arguments: tuple[str, ...],
    destination: str | None,
    timeout: float,
    as_json: bool,
    listed: bool,
) -> int:
    """See ``help``."""
    if listed:
        return print_list(COMMANDS)
    name = check_name(command, COMMANDS, "control", _LATER)
    check_count(name, arguments, COMMANDS)
    read = _READ[name](arguments) if name in _READ else {}
    if name in {"revoke", "revoke_by_stamped_headers", "terminate"}:
        return _revoke(read, destination, as_json=as_json)
    app = session.load_shared()
    from celeriac.control.mailbox import Mailbox, Scope

    mailbox = Mailbox(app.store, app.signer)
    found = mailbox.ask(name, read, Scope.of(destination), timeout=timeout)
    return tell(found.by_worker(), found.silent, as_json, shown, destination)


def _revoke(read: dict[str, Any], destination: str | None, *, as_json: bool) -> int:
    """Not a matter of workers: it stands in the store."""
    ctx = click.get_current_context()
    from celeriac.cli.revoke import revoke

    if destination is not None:
        raise click.UsageError("A revoke holds for every worker: leave -d/--destination out.")
    signal = read.get("signal")
    if signal is not None:
        from celeriac.control.remote import signal_name

        try:
            signal = signal_name(signal)
        except ValueError as error:
            raise click.UsageError(f"control terminate SIGNAL ID: {error}.") from None
    code: int = ctx.invoke(
        _as_command(revoke),
        ids=read["task_id"],
        stamps=read.get("stamps", ()),
        terminate=signal is not None,
        with_signal=signal or "SIGTERM",
        as_json=as_json,
    )
    return code


def _as_command(command: click.Command) -> click.Command:
    """For type checkers: click's decorators lose what a command is."""
    return command
