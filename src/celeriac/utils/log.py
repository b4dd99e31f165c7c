"""Door: ``from celeriac.utils.log import get_task_logger``, and what else Celery has there."""

import logging

from celeriac.later import absent
from celeriac.logs import BASE, Formatter, LoggingProxy, get_task_logger

__all__ = [
    "LOG_LEVELS",
    "ColorFormatter",
    "LoggingProxy",
    "base_logger",
    "get_logger",
    "get_task_logger",
    "mlevel",
    "task_logger",
]

base_logger = logging.getLogger(BASE)
task_logger = logging.getLogger(f"{BASE}.task")

#: Names of levels to numbers and back.
LOG_LEVELS: dict[str | int, str | int] = {}
for _name, _number in logging.getLevelNamesMapping().items():
    LOG_LEVELS[_name] = _number
    LOG_LEVELS[_number] = logging.getLevelName(_number)


class ColorFormatter(Formatter):
    """A worker's lines, coloured unless *use_color* is False."""

    def __init__(self, fmt: str | None = None, use_color: bool = True) -> None:
        line = fmt or "%(levelname)s: %(message)s"
        super().__init__(line, line, use_color)


def get_logger(name: str) -> logging.Logger:
    """Return the logger *name*, below this library's own."""
    return logging.getLogger(name if name.startswith(BASE) else f"{BASE}.{name}")


def mlevel(level: str | int | None) -> int:
    """Return the number of a level that may be a name; 0 for None.

    Raises ``KeyError`` for a name that no level has.
    """
    if isinstance(level, str):
        return logging.getLevelNamesMapping()[level.upper()]
    return level or 0


def __getattr__(name: str) -> object:
    later = dict.fromkeys(
        ("in_sighandler", "set_in_sighandler"), "No code of yours runs in a signal handler."
    )
    raise absent(__name__, name, later)
