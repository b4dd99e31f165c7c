"""``app.start()`` and ``app.worker_main()``: the command line, from a program that holds the app.

Layer 4. The one place of this layer that opens the door to the command line, and only when called.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from celeriac.app.place import module_name
from celeriac.exceptions import ImproperlyConfigured

__all__ = ["Worker", "read_user_options", "run_command", "run_worker"]


def run_command(app: object, home: dict[str, Any], argv: Sequence[str] | None) -> int:
    """Run a command of the command line for *app*, which the module with globals *home* made.

    Return the exit code. *argv* does not hold the program's name; None: that of this process.
    """
    from celeriac.cli import run

    arguments = list(sys.argv[1:] if argv is None else argv)
    if not {"-A", "--app"} & set(arguments):
        arguments = ["--app", _spec(app, home), *arguments]
    return run(arguments)


def run_worker(app: object, home: dict[str, Any], argv: Sequence[str] | None) -> int:
    """As :func:`run_command`, for a worker, which *argv* must name, as it must in Celery."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if "worker" not in arguments:
        raise ValueError(
            "worker_main() takes the arguments of the command line, the command included: "
            "app.worker_main(['worker', '--loglevel=INFO']). Use app.start() for other commands"
        )
    return run_command(app, home, arguments)


def read_user_options(app: Any, command: str, args: Sequence[str]) -> dict[str, Any]:
    """Return the values of ``app.user_options`` that *args* give for *command*, by name.

    Raises:
        ImproperlyConfigured: *args* hold something else, or a wrong value.
    """
    from celeriac.cli.useroptions import read

    return read(app, command, args)


class Worker:
    """A worker that is yet to run: ``app.Worker(concurrency=4, loglevel="INFO").start()``.

    Args:
        app: the application.
        home: globals of the module that made it.
        options: those of ``celeriac worker``, such as ``hostname``, ``queues``, ``pool``,
            ``concurrency``, ``loglevel``, ``include``; lists or text with commas, True for a flag.

    Raises:
        TypeError: a value that the command line could not say.
    """

    def __init__(self, app: object, home: dict[str, Any], options: Mapping[str, Any]) -> None:
        self.app = app
        #: The exit code, once it has ended.
        self.exitcode: int | None = None
        self._home = home
        self._argv = ["worker"]
        for name, value in options.items():
            self._argv += _argument(name, value)

    def start(self) -> int:
        """Run until told to stop (see ``worker_main``); return the exit code."""
        self.exitcode = run_command(self.app, self._home, self._argv)
        return self.exitcode


def _argument(name: str, value: Any) -> list[str]:
    """An option as the command line says it."""
    option = f"--{name.replace('_', '-')}"
    if value is None or value is False:
        return []
    if value is True:
        return [option]
    if name == "loglevel" and isinstance(value, int):
        from logging import getLevelName

        value = getLevelName(value)
    if isinstance(value, list | tuple | set | frozenset):
        value = ",".join(map(str, value))
    if not isinstance(value, str | int | float):
        raise TypeError(f"Worker({name}={value!r}): expected text, a number, a list or True")
    return [f"{option}={value}"]


def _spec(app: object, home: dict[str, Any]) -> str:
    """What ``-A`` would say, for other processes import the application by name."""
    module = module_name(home)
    attribute = next((name for name, value in home.items() if value is app), "")
    if not module or not attribute:
        raise ImproperlyConfigured(
            "A worker's processes import the application by name, and this app is no attribute of "
            f"the module {module or 'that makes it'!r}. Assign it at the top of a module, such as "
            "app = Celeriac('tasks'), or run `celeriac -A MODULE:NAME …`."
        )
    return f"{module}:{attribute}"
