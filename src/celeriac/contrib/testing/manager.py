"""Celery's manager of integration tests: not in this version; importing it says what to do.

Layer 7.
"""

from celeriac.exceptions import NotInThisVersion

raise NotInThisVersion(
    __name__, "Wait for results, or run the tasks in the test: celeriac.testing.using(app)."
)
