"""What the tests of the shared pools have in common."""

from __future__ import annotations

from typing import Any

from workers import Site, eventually

from celeriac.bodies import unseal
from celeriac.serialization import decode


def value_of(place: Site, task_id: str) -> Any:
    """What the task returned."""
    record = place.record(task_id)
    assert record.state == "succeeded", record.reason
    assert record.body is not None
    body = unseal(record.body, task_id, None)
    assert body.value is not None
    return decode(body.serializer, body.value, ("json",))


def began(place: Site, ids: list[str]) -> None:
    """Wait until all of *ids* have begun."""
    eventually(lambda: set(ids) <= {line.id for line in place.ledger("start")}, "all begun")


def attempts(place: Site, task_id: str) -> list[int]:
    """Processes in which the task began, in order."""
    return [line.pid for line in place.ledger("start", task_id)]
