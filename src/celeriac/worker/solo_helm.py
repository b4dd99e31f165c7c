"""The helm of a solo worker: what remote control sees and may do of a worker in one thread.

Layer 5. Commands are carried out in the thread that hears them, because the worker's own runs the
task; so what is asked is answered while one runs, too.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from celeriac.clock import SYSTEM
from celeriac.conf import Settings
from celeriac.exceptions import NotInThisVersion
from celeriac.records import Manifest
from celeriac.signing import Signer
from celeriac.stores.base import Store
from celeriac.worker.duties.events import Events
from celeriac.worker.duties.steering import Seen
from celeriac.worker.pools.solo import Solo
from celeriac.worker.remote import Remote


def attend(solo: Solo, store: Store, settings: Settings, signer: Signer | None) -> None:
    """Have *solo* hear commands and tell events while it runs."""

    def heed(events: Events | None) -> None:
        solo.events = events

    solo.remote = Remote(
        SoloHelm(solo), store, solo.incarnation, settings, signer, heed, solo.failed, None
    )


class SoloHelm:
    """Implements ``steering.Steered``."""

    def __init__(self, solo: Solo) -> None:
        self._solo = solo

    @property
    def manifest(self) -> Manifest:
        """What the worker says of itself."""
        return self._solo.manifest

    def hands(self) -> list[Seen]:
        """What it runs."""
        lag = SYSTEM.wall() - time.monotonic()
        return [
            Seen(
                present.delivery.id, present.name, present.delivery.queue,
                self.manifest.tasks[present.name].late, since + lag, os.getpid(),
            )
            for present, since in list(self._solo.running)
            if present.name in self.manifest.tasks
        ]  # fmt: skip

    def totals(self) -> Mapping[str, int]:
        """How many of each task it has taken."""
        return self._solo.totals

    def load(self) -> tuple[int, int]:
        """How many run now and how many were taken."""
        return len(self._solo.running), self._solo.totals.total()

    def pool(self) -> dict[str, Any]:
        """In Celery's words."""
        return {
            "implementation": "celeriac.worker.pools.solo",
            "max-concurrency": 1,
            "processes": [os.getpid()],
            "max-tasks-per-child": "N/A",
            "put-guarded-by-semaphore": False,
            "writes": "N/A",
        }

    def stop(self) -> None:
        """Finish the task at hand, then end."""
        self._solo.stop()

    def resize(self, by: int) -> int:
        """Refuse: it is one."""
        raise _one("Growing or shrinking the pool")

    def renew(self) -> None:
        """Refuse: there is no executor."""
        raise _one("Restarting the pool")

    def autoscale(self, most: int, least: int) -> tuple[int, int]:
        """Refuse: it is one."""
        raise _one("autoscale")

    def limit(self, task: str, soft: float | None, hard: float | None) -> None:
        """Refuse: there is no hard limit here, and the soft one is the task's own."""
        raise _one("time_limit")

    def rate(self, task: str, limit: str | float | None) -> None:
        """Set the rate limit of a task."""
        self._solo.rates.set(task, limit)

    def read(self, queues: tuple[str, ...]) -> None:
        """Nothing yet: :meth:`declare` tells the worker, too."""

    def hurry(self) -> None:
        """Look for revokes now."""
        self._solo.hurry()

    def declare(self, manifest: Manifest) -> None:
        """Be what *manifest* says, and tell the store."""
        self._solo.declare(manifest)


def _one(what: str) -> NotInThisVersion:
    return NotInThisVersion(f"{what} of a solo worker", "It runs one task in its own process.")


__all__ = ["SoloHelm", "attend"]
