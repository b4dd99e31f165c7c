"""Admission: a delivery's header is read and verified before anything else is done with it.

Layer 5. Pure.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from celeriac.client import verify
from celeriac.exceptions import CeleryError, DecodeError
from celeriac.message import Message, decode
from celeriac.records import Delivery, TaskFacts
from celeriac.signing import Signer
from celeriac.worker.hands import Held

received_logger = logging.getLogger("celeriac.worker.strategy")

#: What is assumed of a task that this worker does not know.
UNKNOWN: Final = TaskFacts()


def marks(delivery: Delivery, name: str) -> dict[str, str]:
    """The fields by which a log line outside a run is found with those of the task."""
    return {"task_id": delivery.id, "task_name": name}


def read(delivery: Delivery, signer: Signer | None) -> Message:
    """Return the message of *delivery*; nothing in it is to be believed before.

    Raises ``DecodeError`` if it cannot be read or is another task's, and ``SecurityError`` if
    *signer* is given and has not signed it.
    """
    message = decode(delivery.wire)
    verify(message, signer)
    # A signature does not tell: a message that was copied to another record is well signed, too.
    if message.header.id != delivery.id:
        raise DecodeError(
            f"the message under this id is that of task {message.header.id[:128]!r}: it was "
            "changed or mixed up in the store"
        )
    return message


def admit(delivery: Delivery, tasks: Mapping[str, TaskFacts], signer: Signer | None) -> Held | str:
    """Return what is held of *delivery*; if it cannot be read or trusted, why."""
    try:
        message = read(delivery, signer)
    except CeleryError as error:
        return f"{type(error).__name__}: {error}"
    header = message.header
    facts = tasks.get(header.task, UNKNOWN)
    if received_logger.isEnabledFor(logging.INFO):
        received_logger.info(
            "Task %s[%s] received", header.task, delivery.id, extra=marks(delivery, header.task)
        )
    hard = header.time_limit if header.time_limit is not None else facts.time_limit
    return Held(delivery, header.task, facts, hard)


__all__ = ["UNKNOWN", "admit", "marks", "read"]
