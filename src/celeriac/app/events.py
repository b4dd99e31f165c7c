"""Celery's module of the app's events: a door to :mod:`celeriac.control.events`.

Layer 4.
"""

from celeriac.control.events import Events

__all__ = ["Events"]
