"""Celery's mocks of messages: not in this version; importing it says what to do.

Layer 7.
"""

from celeriac.exceptions import NotInThisVersion

raise NotInThisVersion(
    __name__, "Run the task for real: task.apply(…), or celeriac.testing.using(app)."
)
