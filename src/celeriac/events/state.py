"""Celery's module of what events add up to: a door to :mod:`celeriac.control.eventstate`.

Layer 4.
"""

from celeriac.control.eventstate import State, Task, Worker
from celeriac.later import absent

__all__ = ["State", "Task", "Worker"]


def __getattr__(name: str) -> object:
    later = {"heartbeat_expires": "Whether a worker lives is `alive` of a Worker of this state."}
    raise absent(__name__, name, later)
