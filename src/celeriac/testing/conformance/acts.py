"""What a call of the seam that fails is tried with: acts, cases, and a picture of a store.

Layer 6; see ``lost_answers``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from celeriac.stores.base import Store
from celeriac.testing.conformance.kit import Kit
from celeriac.testing.faults import Kind


class _Same:
    def __repr__(self) -> str:
        return "the same"


_SAME: Final = _Same()


@dataclass(frozen=True)
class Act:
    """One call, ready to be made.

    Args:
        make: makes it.
        first: what it answers.
        again: what it answers if it has been applied before; default: *first*.
        repeat: what is done about an error, if that is not the call itself; it answers *again*.
        proof: shows at the end that the call has had its effect once, however often it was made.
            It is told how the first one failed.
        changes: whether :func:`picture` shows that it was applied.
    """

    make: Callable[[], Any]
    first: Any = None
    again: Any = _SAME
    repeat: Callable[[], Any] | None = None
    proof: Callable[[Kind], None] = lambda kind: None
    changes: bool = True

    def made_again(self) -> Any:
        """Do what is done about an error."""
        return (self.repeat or self.make)()

    @property
    def repeated(self) -> Any:
        """What the repeat of one that was applied answers."""
        return self.first if self.again is _SAME else self.again


@dataclass(frozen=True)
class Case:
    """*call* is as rules of ``testing.faults`` name it; *prepare* makes ready what is needed: of
    the store as the test has it, which keeps an outbox, and as it is called, through the faults."""

    call: str
    name: str
    prepare: Callable[[Kit, Store], Act]


CASES: Final[list[Case]] = []


def case(call: str) -> Callable[[Callable[[Kit, Store], Act]], None]:
    """Add a case of *call*, whose name is that of the function."""

    def add(prepare: Callable[[Kit, Store], Act]) -> None:
        CASES.append(
            Case(call, f"{call}: {prepare.__name__.strip('_').replace('_', ' ')}", prepare)
        )

    return add


def picture(kit: Kit) -> dict[str, Any]:
    """All that the store shows. Of rows and stamps without their numbers, which grow."""
    inspection, queue = kit.store.inspection, kit.store.queue
    ids = [each.id for each in inspection.list(limit=1000)]
    return {
        "records": inspection.get(ids),
        "counts": inspection.counts(),
        "joins": [inspection.join("J")],
        "workers": inspection.workers(),
        "entries": kit.store.schedules.load(),
        "outbox": [(each.id, each.result) for each in queue.outbox(1000)],
        "stamps": [(each.stamp, each.until, each.terminate) for each in queue.revoked_stamps()],
        "results": kit.store.results.get_many([*ids, "far"]),
        "gathered": kit.store.results.join_results("J"),
    }


# -- what proofs ask ---------------------------------------------------------------------------


def state_is(kit: Kit, id: str, state: str) -> None:
    """A proof: the record is in that state."""
    assert kit.state(id) == state


def generation_is(kit: Kit, id: str, generation: int) -> None:
    """A proof: the record was reopened so often."""
    assert kit.get(id).generation == generation


def losses_are(kit: Kit, losses: dict[str, int]) -> None:
    """A proof: the records were lost so often each."""
    assert {id: kit.get(id).losses for id in losses} == losses


__all__ = ["CASES", "Act", "Case", "case", "generation_is", "losses_are", "picture", "state_is"]
