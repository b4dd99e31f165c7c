"""Celery's tools for tests, by their names: ``app``, ``tasks``, ``worker``.

Layer 7. ``celeriac.testing`` has more. ``manager`` and ``mocks`` are refused by name.
"""

from __future__ import annotations

from celeriac.later import absent

__all__: list[str] = []

_LATER = {
    "manager": "Wait for results, or run the tasks in the test: celeriac.testing.using(app).",
    "mocks": "Run the task for real: task.apply(…), or celeriac.testing.using(app).",
}


def __getattr__(name: str) -> object:
    raise absent(__name__, name, _LATER)
