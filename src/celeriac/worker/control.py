"""Celery's module of commands of one's own: refused by name.

Layer 5. The process that hears commands runs no user code (that is why a task cannot keep a worker
from answering), so there is nowhere for a command of one's own to run yet.
"""

from __future__ import annotations

from typing import Any, Final

from celeriac.later import absent

_OWN: Final = (
    "What hears commands runs no user code. Let a task do it, sent to a queue that only the "
    "worker meant reads (-Q)."
)
_LATER: Final = dict.fromkeys(("control_command", "inspect_command", "Panel"), _OWN)


def __getattr__(name: str) -> Any:
    raise absent("celeriac.worker.control", name, _LATER)
