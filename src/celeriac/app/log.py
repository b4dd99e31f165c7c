"""Celery's module of the app's logging: a door to :mod:`celeriac.logs`.

Layer 4. How workers write their logs is said by settings (``worker_log_format``, …) and signals.
"""

from __future__ import annotations

from typing import Final

from celeriac.later import absent
from celeriac.logs import Formatter

__all__ = ["TaskFormatter"]

_LATER: Final = {
    "Logging": "Use the settings worker_log_*, or the signals setup_logging and after_setup_logger."
}


class TaskFormatter(Formatter):
    """Lines in *fmt*, which may name ``%(task_id)s`` and ``%(task_name)s``.

    Outside a task both are ``???``. Coloured unless *use_color* is False.
    """

    def __init__(self, fmt: str | None = None, use_color: bool = True) -> None:
        line = fmt or "%(message)s"
        super().__init__(line, line, use_color)


def __getattr__(name: str) -> object:
    raise absent(__name__, name, _LATER)
