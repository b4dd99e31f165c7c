"""The app: doors of what a user holds.

Layer 4. ``base`` is the application, ``task`` the tasks, ``current`` which app and task are the
current ones, ``options`` the names of task options, ``registry`` the tasks by name.
"""

from celeriac.app.base import Celeriac
from celeriac.app.current import app_or_default, current_app, current_task, shared_task
from celeriac.app.task import Task

#: The name that Celery users import.
Celery = Celeriac

__all__ = [
    "Celeriac",
    "Celery",
    "Task",
    "app_or_default",
    "current_app",
    "current_task",
    "shared_task",
]
