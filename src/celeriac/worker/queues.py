"""Which queues a worker reads: those it was told, else those declared, less those excluded.

Layer 5. Pure.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from difflib import get_close_matches

from celeriac.conf import Settings
from celeriac.exceptions import ImproperlyConfigured

logger = logging.getLogger("celeriac.worker")


def chosen_queues(
    settings: Settings, only: Sequence[str] | None = None, without: Sequence[str] | None = None
) -> tuple[str, ...]:
    """Return the queues to read: *only* (``-Q``), else all of ``task_queues``, else the default
    one; less *without* (``-X``).

    Raises ``ImproperlyConfigured`` if a queue has to be declared and is not, and if none is left.
    """
    declared = tuple(each.name for each in settings.task_queues or ())
    declared = declared or (settings.task_default_queue,)
    wanted = tuple(only or declared)
    if not settings.task_create_missing_queues:
        for queue in wanted:
            if queue not in declared:
                raise ImproperlyConfigured(
                    f"-Q names the queue {queue!r}, which task_queues does not declare, and "
                    f"task_create_missing_queues is False{_near(queue, declared)}. It declares "
                    f"{', '.join(declared)}"
                )
    for queue in without or ():
        if queue not in wanted:
            logger.warning(
                "-X names the queue %s, which this worker would not read%s (it reads %s)",
                queue, _near(queue, wanted), ", ".join(wanted),
            )  # fmt: skip
    left = tuple(queue for queue in wanted if queue not in (without or ()))
    if not left:
        raise ImproperlyConfigured(
            f"-X leaves no queue to read: it excludes {', '.join(wanted)}. Name fewer, or name "
            "with -Q what to read"
        )
    return left


def _near(queue: str, known: Sequence[str]) -> str:
    found = get_close_matches(queue, known, n=1)
    return f"; did you mean {found[0]}?" if found else ""


__all__ = ["chosen_queues"]
