"""Additions for other programs.

Layer 7: each file stands alone. What Celery has here and this version does not is refused by
name, as a name of this package and as a module, with what to do instead.
"""

from __future__ import annotations

from typing import Final

from celeriac.exceptions import NotInThisVersion
from celeriac.later import absent

__all__ = ["refusal"]

_LATER: Final = {
    "batches": "Send the batch as one call: its argument is a list.",
    "django": "Send when the transaction is through: transaction.on_commit(lambda: task.delay(…)).",
    "migrate": "Let the workers of the old broker empty it while new calls go to the new one.",
    "rdb": "Run the worker with `-P solo` in a terminal; breakpoint() works there.",
    "sphinx": "Write `.. autofunction:: MODULE.TASK`: autodoc documents a task like its function.",
}


def refusal(module: str) -> NotInThisVersion:
    """Return the error that the *module* of this package, which is not built, raises."""
    return NotInThisVersion(module, _LATER[module.rpartition(".")[2]])


def __getattr__(name: str) -> object:
    raise absent(__name__, name, _LATER)
