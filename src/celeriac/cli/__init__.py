"""The command line: ``celeriac`` and ``python -m celeriac``.

Layer 6. One module for each family of commands, imported when one of them is asked for; so
``celeriac --help`` imports neither the user's application nor a store. The ``worker`` command
never imports the application in its own process: the supervisor runs no user code.

What a command finds out goes to standard output, notices and errors go to standard error.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

__all__ = ["main", "print_help", "run"]


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with the code that ``celeriac.cli.exits`` documents."""
    given = sys.argv[1:] if args is None else list(args)
    if given in (["--help"], ["-h"]):
        print_help()
        sys.exit(0)
    from celeriac.cli.root import root

    root.main(args=given, prog_name="celeriac")
    raise AssertionError("the command line exits by itself")


def print_help() -> None:
    """Print the help of ``celeriac`` itself as it was written down.

    People ask for it more often than for anything else, and to work it out takes four times as
    long as to print it. A test holds the file to what the commands say.
    """
    text = Path(__file__).with_name("help.txt").read_text(encoding="utf-8")
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader went away. Python would say so once more when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def run(args: Sequence[str]) -> int:
    """Run the command line within a program; return the exit code."""
    from celeriac.cli.root import root

    return root.run(list(args))
