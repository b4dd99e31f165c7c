"""The memory store: the whole seam in one process, for tests and for trying things out.

Layer 2. ``memory://`` and ``memory://name`` name one store each within a process; nothing of it
survives the process or reaches another one. It is written to be read: where another store is in
doubt, it does what this one does, and a state machine in the tests holds them against each other.
"""

from __future__ import annotations

import os
import threading
from typing import Final

from celeriac.exceptions import ImproperlyConfigured
from celeriac.stores.base import Capabilities, Options, Store
from celeriac.stores.memory.bus import MemoryBus
from celeriac.stores.memory.coordinator import MemoryCoordinator, MemorySchedules
from celeriac.stores.memory.core import Core
from celeriac.stores.memory.inspection import MemoryInspection
from celeriac.stores.memory.queue import MemoryQueue
from celeriac.stores.memory.results import MemoryResults

_CAPABILITIES: Final = Capabilities(
    survives_kill=False,
    survives_power_loss=False,
    shared=False,
    lanes=1,
    durability="memory: gone when the process ends",
)

_stores: dict[tuple[int, str, str], Store] = {}
_opening = threading.Lock()


def open_store(url: str, options: Options) -> Store:
    """Return the store *url* names, the same one for the same URL and namespace in a process.

    *options* count for the first call; a later call with other options raises
    :class:`~celeriac.exceptions.ImproperlyConfigured`.
    """
    key = (os.getpid(), url, options.keyprefix + options.namespace)
    with _opening:
        store = _stores.get(key)
        if store is None:
            store = _stores[key] = make_store(url, options)
    if store.options != options:
        raise ImproperlyConfigured(
            f"{url} is open in this process with other options. "
            "Give this app another name behind memory://, or the same settings."
        )
    return store


def place_of(url: str, options: Options) -> object:
    """What two URLs of one store have in common; opens nothing."""
    return url, options.keyprefix + options.namespace


def make_store(url: str, options: Options) -> Store:
    """Make a new store that no URL leads to."""
    core = Core(options)
    return Store(
        url=url,
        capabilities=_CAPABILITIES,
        options=options,
        queue=MemoryQueue(core),
        results=MemoryResults(core),
        coordinator=MemoryCoordinator(core),
        schedules=MemorySchedules(core),
        inspection=MemoryInspection(core),
        bus=MemoryBus(core),
    )


__all__ = ["make_store", "open_store", "place_of"]
