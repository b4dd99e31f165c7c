"""Logging: which task a line belongs to, and how a worker writes its own lines.

Layer 4; whoever runs or writes tasks may import it. The root logger is left alone: :func:`setup`
touches the loggers under ``celeriac`` and nothing else, so an application's own set-up stays.

While a task runs, ``context.running`` says which; every record made meanwhile, by any logger, then
carries ``task_id`` and ``task_name`` (see :func:`mark_records`).
"""

from __future__ import annotations

import logging
import sys
from typing import Any, Final, TextIO

from celeriac.context import running

__all__ = [
    "BASE",
    "TASK",
    "Formatter",
    "get_task_logger",
    "hijack_root",
    "mark_records",
    "name_process",
    "setup",
]

#: The logger above all of ours, and the one of what becomes of tasks.
BASE: Final = "celeriac"
TASK: Final = "celeriac.task"

LINE: Final = "[%(asctime)s: %(levelname)s/%(processName)s] %(message)s"
TASK_LINE: Final = (
    "[%(asctime)s: %(levelname)s/%(processName)s] %(task_name)s[%(task_id)s]: %(message)s"
)


_OUTSIDE: Final = "???"
_COLOURS: Final = {
    logging.DEBUG: "\x1b[34m",
    logging.WARNING: "\x1b[33m",
    logging.ERROR: "\x1b[31m",
    logging.CRITICAL: "\x1b[1;35m",
}
_PLAIN: Final = "\x1b[0m"
#: Control characters are shown, not sent: an argument of a task must not draw on an operator's
#: terminal. Line ends and tabs stay, because people do log texts of several lines.
_SHOWN: Final = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {
    ord("\n"): "\n",
    ord("\t"): "\t",
}


class Formatter(logging.Formatter):
    """A worker's lines: one form for its own, another for those that a task logs.

    *line* and *task_line* are %-formats; colours follow the level.
    """

    def __init__(self, line: str = LINE, task_line: str = TASK_LINE, color: bool = False) -> None:
        super().__init__(line)
        self._task = logging.Formatter(task_line)
        self._color = color

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of *record*, with control characters made visible."""
        run = running.get()
        fields = record.__dict__
        fields.setdefault("task_id", _OUTSIDE if run is None else run.id)
        fields.setdefault("task_name", _OUTSIDE if run is None else run.task)
        inside = record.name.startswith(f"{TASK}.")
        text = self._task.format(record) if inside else super().format(record)
        text = text.translate(_SHOWN)
        colour = _COLOURS.get(record.levelno) if self._color else None
        return f"{colour}{text}{_PLAIN}" if colour else text


def get_task_logger(name: str) -> logging.Logger:
    """Return the logger for a module of tasks: ``get_task_logger(__name__)``.

    What it logs inside a task is shown by the worker with the task's name and id.
    """
    return logging.getLogger(name if name.startswith(f"{TASK}.") else f"{TASK}.{name}")


def setup(
    level: str | int = "WARNING",
    *,
    color: bool | None = None,
    line: str = LINE,
    task_line: str = TASK_LINE,
    stream: TextIO | None = None,
) -> None:
    """Let the loggers under ``celeriac`` write to *stream* (default: standard error).

    *color* None means coloured on a terminal. Handlers that the application put on these loggers
    are kept, ours is replaced; records are not passed on to the root logger, which may write them
    a second time.
    """
    stream = stream or sys.stderr
    coloured = stream.isatty() if color is None else color
    handler = _Handler(stream)
    handler.setFormatter(Formatter(line, task_line, coloured))
    base = logging.getLogger(BASE)
    for old in [each for each in base.handlers if isinstance(each, _Handler)]:
        base.removeHandler(old)
    base.addHandler(handler)
    base.setLevel(level.upper() if isinstance(level, str) else level)
    base.propagate = False
    mark_records()


def hijack_root() -> None:
    """Take the root logger's handlers away and put ours in their place, as Celery does by default.

    Call it after :func:`setup`. For applications whose own loggers should show in the worker's
    log without further ado; ``worker_hijack_root_logger`` asks for it.
    """
    root, base = logging.getLogger(), logging.getLogger(BASE)
    for old in list(root.handlers):
        root.removeHandler(old)
    for ours in [each for each in base.handlers if isinstance(each, _Handler)]:
        root.addHandler(ours)
    root.setLevel(base.level)


_process_name = ""


def name_process(name: str) -> None:
    """Have every record of this process carry *name* as its ``processName``."""
    global _process_name
    _process_name = name


class _Handler(logging.StreamHandler[TextIO]):
    """The handler that :func:`setup` puts on, told apart from others by its class."""


def mark_records() -> None:
    """Put ``task_id`` and ``task_name`` on every record made inside a task, by any logger.

    Not through a record factory: ``Logger.makeRecord`` refuses an ``extra`` that names a field
    the factory has set, so ``log.info(…, extra={"task_id": …})`` in a task would raise.
    Repeatable.
    """
    original = logging.Logger.makeRecord
    if getattr(original, "marks_tasks", False):
        return

    def make_record(self: logging.Logger, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record = original(self, *args, **kwargs)
        if _process_name:
            record.processName = _process_name
        run = running.get()
        if run is not None:
            record.__dict__.setdefault("task_id", run.id)
            record.__dict__.setdefault("task_name", run.task)
        return record

    make_record.marks_tasks = True  # type: ignore[attr-defined]  # told apart from the original
    logging.Logger.makeRecord = make_record  # type: ignore[method-assign]  # see the docstring
