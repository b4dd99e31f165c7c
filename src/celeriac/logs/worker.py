"""How a worker's processes set up logging: as the settings say, unless the application does it.

Layer 4; for the processes of a worker. The application may connect to three signals, as with
Celery: ``setup_logging`` (its receiver does everything, we do nothing), ``after_setup_logger``
and ``after_setup_task_logger`` (to change what we did).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from celeriac import signals
from celeriac.exceptions import ImproperlyConfigured
from celeriac.logs import (
    BASE,
    TASK,
    adopt_homeless,
    colored,
    hijack_root,
    mark_records,
    node_path,
    redirect,
    setup,
)

if TYPE_CHECKING:
    from celeriac.conf import Settings

__all__ = ["LogFileUnusable", "WorkerLogs", "begin", "enter_executor", "redirect_prints"]

_present: WorkerLogs | None = None


class LogFileUnusable(ImproperlyConfigured):
    """The log file cannot be opened. No fault of the application."""


def begin(settings: Settings, level: str, color: bool | None, node: str) -> None:
    """Set up the logging of this process; see :class:`WorkerLogs`."""
    global _present
    _present = WorkerLogs(settings, level, color, node)
    _present.set_up()


def enter_executor(number: int) -> None:
    """This process was forked to be the executor *number*: it logs, and prints, as one."""
    if _present is not None:
        _present.enter_executor(number)
        _present.redirect()


def redirect_prints() -> None:
    """Make records of what is printed from now on, if the settings say so."""
    if _present is not None:
        _present.redirect()


class WorkerLogs:
    """The logging of one process of a worker.

    Args:
        settings: of the application.
        level: the least that is logged.
        color: None: as the settings say, else as the terminal is.
        node: the worker's name, for the name of a log file.
    """

    def __init__(self, settings: Settings, level: str, color: bool | None, node: str) -> None:
        self._conf = settings
        self._level = level
        self._color = settings.worker_log_color if color is None else color
        self._node = node
        #: A receiver of ``setup_logging`` has set up everything.
        self.handled = False

    def set_up(self) -> None:
        """Set up, or let the application do it. Call it once the application is imported."""
        conf = self._conf
        mark_records()
        path = self._path()
        given = {
            "loglevel": logging.getLevelName(self._level),
            "logfile": path or None,
            "format": conf.worker_log_format,
            "colorize": not path and colored(None, self._color),
        }
        if signals.setup_logging.has_listeners():
            self.handled = True
            signals.setup_logging.send(None, **given)
            return
        self._apply(path)
        logger = logging.getLogger(None if conf.worker_hijack_root_logger else BASE)
        signals.after_setup_logger.send(None, logger=logger, **given)
        given["format"] = conf.worker_task_log_format
        task_logger = logging.getLogger(TASK)
        signals.after_setup_task_logger.send(None, logger=task_logger, **given)

    def redirect(self) -> None:
        """Make records of what is printed, if the settings say so and logging is ours."""
        if self._conf.worker_redirect_stdouts and not self.handled:
            redirect(self._conf.worker_redirect_stdouts_level)

    def enter_executor(self, index: int) -> None:
        """It is that of executor *index* now, which may have a log file of its own."""
        if not self.handled and self._path(index) != self._path():
            self._apply(self._path(index))

    def _path(self, index: int = 0) -> str:
        pattern = self._conf.worker_logfile
        return node_path(pattern, self._node, index) if pattern else ""

    def _apply(self, path: str) -> None:
        conf = self._conf
        try:
            setup(
                self._level,
                color=self._color,
                line=conf.worker_log_format,
                task_line=conf.worker_task_log_format,
                date=conf.worker_log_datefmt,
                task_date=conf.worker_task_log_datefmt,
                path=path,
            )
        except OSError as error:
            if not path:
                raise
            raise LogFileUnusable(
                f"the log file {path} cannot be opened: {error.strerror or error}. Name another "
                "with -f/--logfile or the setting worker_logfile, or make its folder writable for "
                "this user."
            ) from error
        if conf.worker_hijack_root_logger:
            hijack_root()
        else:
            adopt_homeless()
