"""The root of the command line: global options and the list of commands."""

from __future__ import annotations

from typing import Final

import click

from celeriac import __version__
from celeriac.cli.command import LazyGroup

_HERE: Final = "celeriac.cli"

#: Name → (module, attribute, the line in `celeriac --help`).
COMMANDS: Final = {
    "worker": (f"{_HERE}.worker", "worker", "Run tasks until told to stop."),
    "dev": (f"{_HERE}.dev", "dev", "Run tasks while you write them."),
    "call": (f"{_HERE}.tasks", "call", "Send a task by its name."),
    "result": (f"{_HERE}.tasks", "result", "Wait for a task and print its result."),
    "why": (f"{_HERE}.tasks", "why", "Say why a task is where it is."),
    "tree": (f"{_HERE}.tree", "tree", "Show a workflow, and why it has not ended."),
    "replay": (f"{_HERE}.replay", "replay_", "Run a recorded task here, for a look at it."),
    "revoke": (f"{_HERE}.revoke", "revoke", "Call tasks off."),
    "retry": (f"{_HERE}.retry", "retry", "Run what failed again, its workflow from there."),
    "status": (f"{_HERE}.queues", "status", "Show workers and queues."),
    "purge": (f"{_HERE}.queues", "purge", "Empty queues."),
    "dead": (f"{_HERE}.dead", "dead", "Look at, retry or discard tasks that were put aside."),
    "doctor": (f"{_HERE}.doctor", "doctor", "Find what is wrong with a set-up."),
    "settings": (f"{_HERE}.settings", "settings", "Print the settings and where each comes from."),
    "inspect": (f"{_HERE}.inspect", "inspect", "Ask the workers that live."),
    "control": (f"{_HERE}.control", "control", "Steer the workers that live."),
    "events": (f"{_HERE}.events", "events", "Print what happens while it happens."),
    "list": (f"{_HERE}.listing", "listing", "List tasks, queues or workers."),
    "shell": (f"{_HERE}.shell", "shell", "Open a Python prompt with the application at hand."),
    "report": (f"{_HERE}.report", "report", "Print versions and settings for a bug report."),
    "completion": (f"{_HERE}.completion", "completion", "Print the completion of a shell."),
}

root = LazyGroup(
    name="celeriac",
    lazy=COMMANDS,
    help=(
        "Celeriac: background tasks for Python.\n\n"
        "-A/--app names the module that creates the application. It may stand before or after "
        "the command: `celeriac -A tasks worker` is `celeriac worker -A tasks`. "
        "The working directory is on the import path."
    ),
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            help="Print the version and exit.",
            callback=lambda ctx, _, value: _print_version(ctx) if value else None,
        )
    ],
)


def _print_version(ctx: click.Context) -> None:
    click.echo(f"celeriac {__version__}")
    ctx.exit()
