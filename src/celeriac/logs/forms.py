"""How a record becomes a line: text with colours for people, JSON for programs.

Layer 4. Pure; :mod:`celeriac.logs` chooses.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Final

import msgspec

from celeriac.context import running

__all__ = ["JSON", "LINE", "REDIRECTED", "TASK", "TASK_LINE", "Formatter", "JsonFormatter"]

#: The logger of what becomes of tasks, and the one of what is printed.
TASK: Final = "celeriac.task"
REDIRECTED: Final = "celeriac.redirected"

LINE: Final = "[%(asctime)s: %(levelname)s/%(processName)s] %(message)s"
TASK_LINE: Final = (
    "[%(asctime)s: %(levelname)s/%(processName)s] %(task_name)s[%(task_id)s]: %(message)s"
)
#: In place of a format: one JSON object a line.
JSON: Final = "json"

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
#: What every record has; the rest came with ``extra=``.
_USUAL: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class Formatter(logging.Formatter):
    """A worker's lines: one form for its own, another for those that a task logs or prints.

    *line* and *task_line* are %-formats, *date* and *task_date* those of their times (None: ISO
    8601 with milliseconds); colours follow the level.
    """

    def __init__(
        self,
        line: str = LINE,
        task_line: str = TASK_LINE,
        color: bool = False,
        date: str | None = None,
        task_date: str | None = None,
    ) -> None:
        super().__init__(line, date)
        self._task = logging.Formatter(task_line, task_date)
        self._color = color

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of *record*, with control characters made visible."""
        run = running.get()
        fields = record.__dict__
        fields.setdefault("task_id", _OUTSIDE if run is None else run.id)
        fields.setdefault("task_name", _OUTSIDE if run is None else run.task)
        name = record.name or ""
        printed = name == REDIRECTED and fields["task_id"] != _OUTSIDE
        inside = printed or name.startswith(f"{TASK}.")
        text = self._task.format(record) if inside else super().format(record)
        text = text.translate(_SHOWN)
        colour = _COLOURS.get(record.levelno) if self._color else None
        return f"{colour}{text}{_PLAIN}" if colour else text


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``time`` (ISO 8601, UTC), ``level``, ``logger``, ``message``,
    ``process``, ``pid``; inside a task ``task_id``, ``task_name``, ``queue``, ``attempt`` and
    ``retries``; the fields of ``extra=``; ``exception`` with the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Return *record* as one line of JSON."""
        moment = datetime.fromtimestamp(record.created, UTC)
        fields: dict[str, object] = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.processName,
            "pid": record.process,
        }
        run = running.get()
        if run is not None:
            fields["task_id"], fields["task_name"] = run.id, run.task
            fields["queue"], fields["attempt"] = run.queue, run.attempt
            fields["retries"] = run.retries
        extra = {name: value for name, value in vars(record).items() if name not in _USUAL}
        fields.update((name, value) for name, value in extra.items() if value != _OUTSIDE)
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if record.exc_text:
            fields["exception"] = record.exc_text
        if record.stack_info:
            fields["stack"] = record.stack_info
        return _as_json(fields)


def _as_json(fields: dict[str, object]) -> str:
    try:
        return msgspec.json.encode(fields, enc_hook=_text).decode()
    except Exception:  # noqa: BLE001 - what came with extra= may be anything
        shown = {name: _text(value) for name, value in fields.items()}
        return msgspec.json.encode(shown).decode()


def _text(value: object) -> str:
    try:
        text = value if isinstance(value, str) else repr(value)
    except Exception:  # noqa: BLE001 - a repr may raise anything
        return f"<unprintable {type(value).__qualname__}>"
    # Lone surrogates cannot be written as UTF-8.
    return text.encode("utf-8", "backslashreplace").decode()
