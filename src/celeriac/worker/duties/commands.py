"""The ear: hears commands on the store's Bus and sends back what is to be answered.

Layer 5. One thread of the supervisor; it runs no user code. What is heard is read and verified
here and obeyed elsewhere (``steering``), so that nothing a sender writes reaches the worker
unchecked: what is not signed with our key, too old, heard before or not meant for this worker is
left.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, Final

from celeriac.backoff import reconnect
from celeriac.clock import SYSTEM
from celeriac.control.wire import (
    COMMANDS,
    LIFETIME,
    Command,
    Reply,
    open_command,
    reply_channel,
    seal_reply,
)
from celeriac.exceptions import DecodeError, OperationalError, PayloadTooLarge, SecurityError
from celeriac.signing import Signer
from celeriac.stores.base import Store, Subscription
from celeriac.worker.incarnation import Incarnation

logger = logging.getLogger("celeriac.worker.control")

#: How long one look at the bus lasts; a stop does not wait for it.
_LISTEN_SECONDS: Final = 10.0
#: How long a start waits for the bus at most: a store that is away says so within its own budget.
_START_SECONDS: Final = 10.0
_INSTEAD: Final = "ask the store: `celeriac status`, `celeriac why ID`"
#: A command may come from so far ahead, seconds: clocks differ.
_AHEAD: Final = 3600.0
#: Refusals are logged at most so often: whoever can write to the bus could fill the log.
_TELL_SECONDS: Final = 10.0


class Ear:
    """Listens until stopped. *obey* carries a command out and returns the answer."""

    def __init__(
        self,
        store: Store,
        incarnation: Incarnation,
        hostname: str,
        signer: Signer | None,
        obey: Callable[[Command], Any],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._store = store
        self._incarnation = incarnation
        self._hostname = hostname
        self._signer = signer
        self._obey = obey
        self._failed = failed
        self._stopping = threading.Event()
        #: It listens, or the store is away.
        self._settled = threading.Event()
        self._subscription: Subscription | None = None
        self._heard: dict[str, float] = {}
        self._tell_again = 0.0
        self._outage = False
        self._thread = threading.Thread(target=self._run, name="ear", daemon=True)

    def start(self) -> None:
        """Begin to listen; returns once commands are heard, or the store is known to be away.

        However slow the machine: what is said to a worker that is ready but deaf is lost, and who
        said it waits in vain for an answer.
        """
        self._thread.start()
        self._settled.wait(_START_SECONDS)

    def stop(self, timeout: float) -> None:
        """Listen no more. The command at hand is answered first, if that takes no longer."""
        self._stopping.set()
        if self._subscription is not None:
            self._subscription.close()
        self._thread.join(timeout)

    def _run(self) -> None:
        attempt = 0
        try:
            while not self._stopping.is_set():
                try:
                    self._subscription = self._store.bus.listen(COMMANDS)
                    self._settled.set()
                    attempt = 0
                    self._listen(self._subscription)
                except OperationalError as error:
                    self._outage_begins(error)
                    attempt += 1
                    self._stopping.wait(reconnect(attempt))
        except BaseException as error:  # noqa: BLE001 - the main thread raises it
            self._settled.set()
            self._failed(error)

    def _listen(self, subscription: Subscription) -> None:
        if self._outage:
            self._outage = False
            logger.warning("Commands are heard again")
        try:
            while not self._stopping.is_set():
                data = subscription.get(_LISTEN_SECONDS)
                if data is not None:
                    self._hear(data)
        finally:
            subscription.close()

    def _outage_begins(self, error: OperationalError) -> None:
        self._settled.set()
        if not self._outage:
            self._outage = True
            logger.error("No commands can be heard: %s", error)

    def _hear(self, data: bytes) -> None:
        try:
            command = open_command(self._signer, data)
        except (DecodeError, SecurityError) as error:
            self._refused(error)
            return
        if not command.concerns(self._hostname) or not self._fresh(command):
            return
        answer = self._obey(command)
        if command.reply:
            self._answer(command, answer)

    def _refused(self, error: Exception) -> None:
        now = SYSTEM.monotonic()
        if now >= self._tell_again:
            self._tell_again = now + _TELL_SECONDS
            logger.error("A command was refused: %s", error)

    def _fresh(self, command: Command) -> bool:
        """Neither too old to be meant, nor played back."""
        now = SYSTEM.wall()
        # Not "<": nothing is true of NaN. What comes from far ahead could be played back for as
        # long, and would be kept in mind as long.
        if not now - LIFETIME <= command.sent <= now + _AHEAD or command.ticket in self._heard:
            return False
        # What has been forgotten here is too old by then.
        self._heard = {ticket: at for ticket, at in self._heard.items() if at > now - LIFETIME}
        self._heard[command.ticket] = max(now, command.sent)
        return True

    def _answer(self, command: Command, answer: Any) -> None:
        def publish(said: Any) -> None:
            reply = Reply(self._incarnation.owner, self._hostname, said)
            sealed = seal_reply(self._signer, command.ticket, reply)
            self._store.bus.publish(reply_channel(command.ticket), sealed)

        try:
            try:
                publish(answer)
            except PayloadTooLarge as error:
                size = f"{error.size:,} bytes"
                publish({"error": f"the answer takes {size}, too many for the bus; {_INSTEAD}"})
        except OperationalError as error:
            logger.warning("An answer to %s could not be sent: %s", command.method, error)


__all__ = ["Ear"]
