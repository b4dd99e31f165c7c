"""Writes ``docs/reference/cli.md`` from the commands themselves.

``python -m celeriac.cli.reference`` prints it, ``… reference help`` prints ``help.txt`` of this
folder; tests hold the files to it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from celeriac.cli import exits, refused, session
from celeriac.cli.root import root

__all__ = ["render", "render_help"]

_WIDTH = 96

_OUTPUT = (
    "What was asked for goes to standard output, notices and errors to standard error. "
    "With `--json`, standard output holds one JSON value with stable keys; times in it are "
    "ISO 8601 in UTC. Colour is used on a terminal only, and not if `NO_COLOR` is set."
)


def render() -> str:
    """The page, as Markdown."""
    everywhere = refused.everywhere()
    asked = [each for each in everywhere if isinstance(each, refused.RefusedOption)]
    moot = [each for each in everywhere if isinstance(each, refused.MootOption)]
    lines = [
        "# Command line",
        "",
        "Printed by `python -m celeriac.cli.reference`; change the commands, not this page.",
        "",
        *_help("celeriac", root, None),
        "",
        "The options that stand here are taken by every command as well, and not repeated below.",
    ]
    for path, command, parent in _commands():
        with _without_shared(command):
            lines += ["", f"## `{path}`", "", *_help(path, command, parent)]
    lines += ["", "## Exit codes", "", "| code | meaning |", "|---|---|"]
    lines += [f"| {code} | {text} |" for code, text in exits.MEANINGS.items()]
    lines += [
        "",
        "## Output",
        "",
        _OUTPUT,
        "",
        "## Commands of Celery that are not in this version",
        "",
        "Each is refused by name with exit code 2.",
        "",
        "| command | what to do |",
        "|---|---|",
        *(f"| `{name}` | {_cell(text)} |" for name, text in refused.COMMANDS.items()),
        "",
        "## Options of Celery that are not in this version",
        "",
        "| option | what to do |",
        "|---|---|",
        *(_option(each.opts, each.instead) for each in asked),
        *(_option(list(names), instead) for names, _, instead in refused.WORKER),
        *(_option(list(names), instead) for names, _, instead in refused.CALL),
        "",
        "## Options of Celery that change nothing",
        "",
        "They are taken with a notice, because what they mend does not occur.",
        "",
        "| option | because |",
        "|---|---|",
        *(_option(each.opts, each.reason) for each in (*moot, *refused.moot())),
    ]
    return "\n".join(lines) + "\n"


def render_help() -> str:
    """What ``celeriac --help`` prints, 80 columns wide."""
    context = click.Context(
        root, info_name="celeriac", terminal_width=78, help_option_names=["-h", "--help"]
    )
    return root.get_help(context) + "\n"


def _commands() -> Iterator[tuple[str, click.Command, click.Context]]:
    top = click.Context(root, info_name="celeriac")
    for name in root.list_commands(top):
        command = root.get_command(top, name)
        assert command is not None
        yield f"celeriac {name}", command, top
        if isinstance(command, click.Group):
            inner = click.Context(command, info_name=name, parent=top)
            for each in command.list_commands(inner):
                found = command.get_command(inner, each)
                assert found is not None
                yield f"celeriac {name} {each}", found, inner


@contextmanager
def _without_shared(command: click.Command) -> Iterator[None]:
    """Hide the options of *command* that all have, for the length of the block."""
    shared = {each.name for each in session.options(environment=False)}
    hidden = [
        each
        for each in command.params
        if isinstance(each, click.Option) and each.name in shared and not each.hidden
    ]
    for each in hidden:
        each.hidden = True
    try:
        yield
    finally:
        for each in hidden:
            each.hidden = False


def _help(path: str, command: click.Command, parent: click.Context | None) -> list[str]:
    context = click.Context(
        command,
        info_name=path.rpartition(" ")[2],
        parent=parent,
        terminal_width=_WIDTH,
        max_content_width=_WIDTH,
        help_option_names=["-h", "--help"],
    )
    return ["```text", *command.get_help(context).splitlines(), "```"]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _option(names: list[str], instead: str) -> str:
    return f"| {', '.join(f'`{each}`' for each in names)} | {_cell(instead)} |"


if __name__ == "__main__":
    click.echo(render_help() if sys.argv[1:] == ["help"] else render(), nl=False)
