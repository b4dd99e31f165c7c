"""Doors for names that Celery's users import from ``utils``; nothing else lives here."""

from celeriac.ids import new_task_id as uuid

__all__ = ["uuid"]
