"""A door for a name that Celery's users import: see :mod:`celeriac.graph`."""

from celeriac.graph import CycleError, DependencyGraph

__all__ = ["CycleError", "DependencyGraph"]
