"""The command line: ``celeriac`` and ``python -m celeriac``.

Layer 6. One module for each family of commands, imported when one of them is asked for; so
``celeriac --help`` imports neither the user's application nor a store. The ``worker`` command
never imports the application in its own process: the supervisor runs no user code.

What a command finds out goes to standard output, notices and errors go to standard error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

__all__ = ["main", "run"]


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with the code that ``celeriac.cli.exits`` documents."""
    from celeriac.cli.root import root

    root.main(args=None if args is None else list(args), prog_name="celeriac")
    raise AssertionError("the command line exits by itself")


def run(args: Sequence[str]) -> int:
    """Run the command line within a program; return the exit code."""
    from celeriac.cli.root import root

    return root.run(list(args))
