"""Logging: which task a line belongs to, and how a worker writes its own lines.

Layer 4; whoever runs or writes tasks may import it. The root logger is left alone: :func:`setup`
touches the loggers under ``celeriac`` and nothing else, so an application's own set-up stays.

While a task runs, ``context.running`` says which; every record made meanwhile, by any logger, then
carries ``task_id`` and ``task_name`` (see :func:`mark_records`), and what the task was told to
hide (``sensitive=``) is taken out of it.

``forms`` holds the formatters, ``redirect`` what becomes of ``print()``.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Any, Final, TextIO

from celeriac.context import running
from celeriac.logs.forms import JSON, LINE, REDIRECTED, TASK, TASK_LINE, Formatter, JsonFormatter
from celeriac.logs.redirect import LoggingProxy, redirect, restore
from celeriac.sensitive import Hiding

__all__ = [
    "BASE",
    "JSON",
    "LINE",
    "REDIRECTED",
    "TASK",
    "TASK_LINE",
    "Formatter",
    "JsonFormatter",
    "LoggingProxy",
    "adopt_homeless",
    "colored",
    "get_task_logger",
    "hijack_root",
    "mark_records",
    "name_process",
    "node_path",
    "redirect",
    "restore",
    "setup",
]

#: The logger above all of ours.
BASE: Final = "celeriac"
_NAME: Final = "celeriac.worker"
_PYTHONS_BASIC_CONFIG: Final = logging.basicConfig


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
    date: str | None = None,
    task_date: str | None = None,
    stream: TextIO | None = None,
    path: str = "",
) -> None:
    """Let the loggers under ``celeriac`` write to the file *path*, else to *stream* (default:
    standard error).

    *line* ``"json"`` means one JSON object a line. *color* None means coloured on a terminal,
    unless ``NO_COLOR`` is set. A file is opened anew when it was moved away, as logrotate does.
    Handlers that the application put on these loggers are kept, ours is replaced; records are not
    passed on to the root logger, which may write them a second time.
    """
    handler: logging.Handler
    if path:
        from logging.handlers import WatchedFileHandler  # late: it loads a good deal

        handler = WatchedFileHandler(path, encoding="utf-8")
    else:
        stream = stream or sys.stderr
        if isinstance(stream, LoggingProxy) and stream.original is not None:
            stream = stream.original
        handler = logging.StreamHandler(stream)
    handler.set_name(_NAME)
    if line == JSON:
        handler.setFormatter(JsonFormatter())
    else:
        coloured = not path and colored(stream, color)
        handler.setFormatter(Formatter(line, task_line, coloured, date, task_date))
    base = logging.getLogger(BASE)
    for old in _ours():
        base.removeHandler(old)
        old.close()
    base.addHandler(handler)
    base.setLevel(level.upper() if isinstance(level, str) else level)
    base.propagate = False
    mark_records()


def colored(stream: TextIO | None, asked: bool | None) -> bool:
    """Whether lines on *stream* are coloured, if *asked* for or, None, by what it is."""
    if asked is not None:
        return asked
    return stream is not None and stream.isatty() and not os.environ.get("NO_COLOR")


def hijack_root() -> None:
    """Take the root logger's handlers away and put ours in their place, as Celery does by default.

    Call it after :func:`setup`. For applications whose own loggers should show in the worker's
    log without further ado; ``worker_hijack_root_logger`` asks for it.
    """
    root, base = logging.getLogger(), logging.getLogger(BASE)
    for old in list(root.handlers):
        root.removeHandler(old)
    for ours in _ours():
        root.addHandler(ours)
    root.setLevel(base.level)


def adopt_homeless() -> None:
    """Show records of an application that has set up no logging at all, in our form.

    Python writes them to standard error, from WARNING on, without a time or a task. The root
    logger gets no handler by this, so ``basicConfig()`` goes on working wherever it is called;
    its level becomes ours if it has none of its own. Call it after :func:`setup`.
    """
    root, base = logging.getLogger(), logging.getLogger(BASE)
    if root.handlers:
        return
    for ours in _ours():
        logging.lastResort = ours
    logging.basicConfig = _basic_config
    if root.level == logging.WARNING:  # the level that Python gives it
        root.setLevel(base.level)


def _basic_config(**given: Any) -> None:
    """Do nothing where nothing was asked for and records show in our form.

    ``logging.info()`` and the like, the functions of the module, call it so before they make their
    record. Python's form for that record, and from then on for all, is nobody's wish.
    """
    if given or logging.getLogger().handlers or logging.lastResort not in _ours():
        _PYTHONS_BASIC_CONFIG(**given)


def _ours() -> list[logging.Handler]:
    """The handlers that :func:`setup` put on, told apart from others by their name."""
    return [each for each in logging.getLogger(BASE).handlers if each.get_name() == _NAME]


def node_path(pattern: str, node: str, index: int = 0) -> str:
    """Put a worker's name into the name of a file, as Celery's ``--logfile=%n%I.log`` does.

    ``%n`` is what stands before the ``@`` of *node*, ``%h`` what stands after it, ``%d`` the
    domain in that, ``%p`` all of it; ``%i`` the number of the executor (0: none), ``%I`` the same
    with a dash before it, and nothing where it is 0.
    """
    name, _, host = node.partition("@")
    known = {
        "n": name,
        "h": host or name,
        "d": (host or name).partition(".")[2],
        "p": node,
        "i": str(index),
        "I": f"-{index}" if index else "",
        "%": "%",
    }
    text, rest = "", pattern
    while rest:
        before, percent, rest = rest.partition("%")
        text += before
        if percent:
            letter, rest = rest[:1], rest[1:]
            text += known.get(letter, f"%{letter}")
    return text


_process_name = ""


def name_process(name: str) -> None:
    """Have every record of this process carry *name* as its ``processName``."""
    global _process_name
    _process_name = name


def mark_records() -> None:
    """Put ``task_id`` and ``task_name`` on every record made inside a task, by any logger, and
    take out of it what the task hides.

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
            if Hiding.present() is not None:
                _hide(record)
        return record

    make_record.marks_tasks = True  # type: ignore[attr-defined]  # told apart from the original
    logging.Logger.makeRecord = make_record  # type: ignore[method-assign]  # see the docstring


_PLAIN: Final = logging.Formatter()
_KEPT: Final = frozenset(vars(logging.makeLogRecord({}))) | {"task_id", "task_name"}


def _hide(record: logging.LogRecord) -> None:
    """Take what the present run hides out of *record*, whoever is going to write it."""
    hider = Hiding.present()
    if hider is None:
        return
    try:
        text = record.getMessage()
    except Exception:  # noqa: BLE001 - the arguments may not fit the format, or fail to print
        text = f"{record.msg} (its arguments could not be put in)"
    record.msg, record.args = hider(text), None
    if record.exc_info and record.exc_info[1] is not None:
        record.exc_text = hider(_PLAIN.formatException(record.exc_info))
        # Handlers that print the exception themselves would print what it says.
        record.exc_info = None
    for name, value in vars(record).items():
        if name not in _KEPT:
            record.__dict__[name] = hider.inside(value)
