"""Policies: what becomes of a run, one small class each.

Layer 3. They decide and touch nothing: no store, no clock, no user code. ``crashes``,
``time_limits`` and ``results`` are plain functions, because the supervisor asks the first two by
itself. The runner asks the others, in the order of :data:`DEFAULT`.
"""

from __future__ import annotations

from typing import Final

from celeriac.policies.base import Policy
from celeriac.policies.crashes import on_death
from celeriac.policies.expiry import Expiry
from celeriac.policies.predicates import Predicates
from celeriac.policies.replacing import Replacing
from celeriac.policies.results import keeps
from celeriac.policies.retries import AskedRetries, AutoRetries
from celeriac.policies.time_limits import on_hard_limit

__all__ = [
    "DEFAULT",
    "AskedRetries",
    "AutoRetries",
    "Expiry",
    "Policy",
    "Predicates",
    "Replacing",
    "keeps",
    "on_death",
    "on_hard_limit",
]

#: The first that answers decides; a run that none of them claims has failed.
DEFAULT: Final[tuple[Policy, ...]] = (
    Expiry(),
    Replacing(),
    Predicates(),
    AskedRetries(),
    AutoRetries(),
)
