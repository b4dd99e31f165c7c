"""Remote control of one worker: the ear that hears, the steering that obeys, the events it sends.

Layer 5. What supervisor and solo pool hold of all three: begin, a look at each turn, end.
"""

from __future__ import annotations

from collections.abc import Callable

from celeriac.conf import Settings
from celeriac.records import Manifest
from celeriac.signing import Signer
from celeriac.stores.base import Store
from celeriac.worker.duties.commands import Ear
from celeriac.worker.duties.events import Events
from celeriac.worker.duties.steering import Steered, Steering
from celeriac.worker.incarnation import Incarnation

_STOP_SECONDS = 2.0


class Remote:
    """See the module's docstring.

    *worker* is what is steered. *heed* is told the events to notify while somebody listens, and
    None when nobody does. *wake* makes the main thread call :meth:`turn`; None where no thread
    does, and commands are carried out where they are heard.
    """

    def __init__(
        self,
        worker: Steered,
        store: Store,
        incarnation: Incarnation,
        settings: Settings,
        signer: Signer | None,
        heed: Callable[[Events | None], None],
        failed: Callable[[BaseException], None],
        wake: Callable[[], None] | None,
    ) -> None:
        self._worker = worker
        hostname = worker.manifest.hostname
        self.events = Events(
            store, hostname, signer, heed, worker.load, enabled=settings.worker_send_task_events
        )
        self._steering = Steering(worker, settings, store.url, self.events, wake or _nobody)
        obey = self._steering.obey if wake is not None else self._steering.carry_out
        self._ear: Ear | None = None
        if settings.worker_enable_remote_control:
            self._ear = Ear(store, incarnation, hostname, signer, obey, failed)

    @property
    def manifest(self) -> Manifest:
        """What the worker says of itself, as commands have changed it."""
        return self._worker.manifest

    def start(self) -> None:
        """Hear and tell from now on."""
        if self._ear is not None:
            self._ear.start()
        self.events.start()

    def turn(self) -> None:
        """In the main thread, at each turn: carry out what was heard."""
        self._steering.turn()

    def stop(self) -> None:
        """Hear no more; tell what there is to tell, and that the worker goes."""
        self._steering.close()
        if self._ear is not None:
            self._ear.stop(_STOP_SECONDS)
        self.events.stop(_STOP_SECONDS)


def _nobody() -> None:
    """There is no main thread to wake."""


__all__ = ["Remote"]
