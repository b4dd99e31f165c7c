"""Tools for tests: of applications (``using``, the pytest plugin), and of stores.

Layer 6. Nothing in Celeriac imports this package. pytest finds the plugin by itself. Of stores:
``conformance`` (needs pytest), ``faults``, ``ledger``, ``model``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from celeriac.testing.enqueued import Enqueued
    from celeriac.testing.harness import Harness, Ran, using
    from celeriac.testing.virtual import VirtualClock
    from celeriac.testing.worker import ThreadWorker, start_worker

__all__ = [
    "Enqueued",
    "Harness",
    "Ran",
    "ThreadWorker",
    "VirtualClock",
    "start_worker",
    "using",
]

#: Where each name is; looked up at first use, since pytest imports this package at every start.
_HOMES: Final = {
    "Enqueued": "enqueued",
    "Harness": "harness",
    "Ran": "harness",
    "ThreadWorker": "worker",
    "VirtualClock": "virtual",
    "start_worker": "worker",
    "using": "harness",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
