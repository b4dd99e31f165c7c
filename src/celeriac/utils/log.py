"""Door: ``from celeriac.utils.log import get_task_logger``."""

import logging

from celeriac.logs import BASE, get_task_logger

__all__ = ["base_logger", "get_logger", "get_task_logger"]

base_logger = logging.getLogger(BASE)


def get_logger(name: str) -> logging.Logger:
    """Return the logger *name*, below this library's own."""
    return logging.getLogger(name if name.startswith(BASE) else f"{BASE}.{name}")
