"""Options that an application adds to the command line: ``app.user_options``.

A command that imports the application in its own process learns them there. The worker's does
not: what its command line holds beyond its own options is checked in a process that is forked for
it and ends, and read again where the application is imported for good.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from celeriac.app import Celeriac
    from celeriac.cli.session import Session

__all__ = ["added", "check_apart", "find_app_option", "parse", "read", "show"]


def added(app: Celeriac, command: str) -> list[click.Option]:
    """The options that *app* adds to *command*: its own and those of every command.

    Raises:
        TypeError: something else than an option of click.
    """
    kinds = ("preload", command)
    found = {id(each): each for kind in kinds for each in app.user_options.get(kind, ())}
    for each in found.values():
        if not isinstance(each, click.Option):
            raise TypeError(
                f"app.user_options holds {each!r}; it takes options of click, such as "
                "click.Option(('--template',), default='plain')"
            )
    return sorted(found.values(), key=lambda each: str(each.name))


def parse(app: Celeriac, command: str, args: Sequence[str]) -> dict[str, Any]:
    """Return the values of the options that *app* adds to *command*, by name.

    Raises:
        click.UsageError: *args* hold something else, or a wrong value.
    """
    options = added(app, command)
    reader = click.Command(command, params=list[click.Parameter](options), add_help_option=False)
    with reader.make_context(command, list(args)) as ctx:
        return dict(ctx.params)


def read(app: Celeriac, command: str, args: Sequence[str]) -> dict[str, Any]:
    """As :func:`parse`, where no command line runs; raises ``ImproperlyConfigured``."""
    from celeriac.exceptions import ImproperlyConfigured

    try:
        return parse(app, command, args)
    except click.ClickException as error:
        raise ImproperlyConfigured(f"{command}: {error.format_message()}") from error


def check_apart(session: Session, command: str, args: Sequence[str]) -> str:
    """Read *args* in a process of its own; return what is wrong with them, or nothing."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reader)
            answer = _answer(session, command, args)
            with os.fdopen(writer, "w") as pipe:
                json.dump(answer, pipe)
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return str(json.loads(text)) if text else "the application ended the process that imported it"


def _answer(session: Session, command: str, args: Sequence[str]) -> str:
    from celeriac.app.loading import find_app
    from celeriac.exceptions import CeleriacError

    try:
        session.enter_workdir()
        parse(find_app(session.spec()), command, args)
    except click.ClickException as error:
        return error.format_message()
    except CeleriacError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - whatever the user's code raises is told
        return f"{type(error).__name__}: {error}"
    return ""


def find_app_option(args: Iterable[str]) -> str:
    """What ``-A/--app`` says in *args*, which are not parsed yet; nothing if it is not there."""
    words = iter(args)
    for word in words:
        if word in ("-A", "--app"):
            return next(words, "")
        if word.startswith("--app="):
            return word.removeprefix("--app=")
        if word.startswith("-A") and not word.startswith("--"):
            return word.removeprefix("-A")
    return ""


def show(session: Session, command: str, formatter: click.HelpFormatter) -> None:
    """Write the options that the application adds, if one was named, into a command's help."""
    if not session.app:
        return
    from celeriac.app.loading import find_app
    from celeriac.exceptions import CeleriacError

    try:
        session.enter_workdir()
        options = added(find_app(session.app), command)
    except (CeleriacError, click.UsageError) as error:
        line = str(error).partition("\n")[0]
        formatter.write_paragraph()
        formatter.write_text(f"Options of the application are not shown: {line}")
        return
    context = click.get_current_context()
    records = [record for each in options if (record := each.get_help_record(context))]
    if records:
        with formatter.section("Options of the application"):
            formatter.write_dl(records)
