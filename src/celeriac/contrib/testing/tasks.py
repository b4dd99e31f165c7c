"""Celery's task for tests: ``ping``, which every app has once this is imported.

Layer 7.
"""

from celeriac.app import shared_task

__all__ = ["ping"]


@shared_task(name="celery.ping")
def ping() -> str:
    """Return ``"pong"``."""
    return "pong"
