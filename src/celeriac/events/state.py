"""Celery's module of what events add up to: a door to :mod:`celeriac.control.eventstate`.

Layer 4.
"""

from celeriac.control.eventstate import State, Task, Worker

__all__ = ["State", "Task", "Worker"]
