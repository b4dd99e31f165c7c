"""The app: doors of what a user holds.

Layer 4. ``base`` is the application, ``task`` the tasks, ``current`` which app and task are the
current ones, ``options`` the names of task options, ``registry`` the tasks by name.
"""

from typing import Final

from celeriac.app.base import Celeriac, Celery
from celeriac.app.current import (
    app_or_default,
    bugreport,
    current_app,
    current_task,
    shared_task,
)
from celeriac.app.task import Task
from celeriac.later import absent as _absent

__all__ = [
    "Celeriac",
    "Celery",
    "Task",
    "app_or_default",
    "bugreport",
    "current_app",
    "current_task",
    "shared_task",
]

_LATER: Final = {
    "default_app": "Make an app; current_app is the one that was made last.",
    **dict.fromkeys(("enable_trace", "disable_trace"), ""),
    **dict.fromkeys(("push_current_task", "pop_current_task"), ""),
    "AppPickler": "Name the app's module instead of sending the app.",
}


def __getattr__(name: str) -> object:
    raise _absent(__name__, name, _LATER)
