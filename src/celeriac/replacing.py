"""Replacing: what a running task puts in its place, or adds to the chord that it is a member of.

Layer 4; for ``Task.replace`` and ``Task.add_to_chord``. Nothing is stored before the run ends: what
is made here goes into the commit of the run's outcome, so a run that fails or dies leaves nothing.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import msgspec

from celeriac import states
from celeriac.canvas import Signature, chain
from celeriac.canvas.lines import Given, line_of
from celeriac.context import Context
from celeriac.exceptions import ImproperlyConfigured
from celeriac.flows import Sender, result_of
from celeriac.message import ADDED, Edges, Header
from celeriac.outcome import Outcome
from celeriac.stamps import options_of
from celeriac.workflow import Member, Part, Plan, Planner

if TYPE_CHECKING:
    from celeriac.app.base import Celeriac

__all__ = ["Added", "add", "check_replacement", "replacement"]

_NO_EDGES: Final = Edges()
#: Members that one run may add to its chord, and how those are numbered that an added one adds.
_PLACES: Final = 4096
_ADDED_BY_ADDED: Final = 2**52


def check_replacement(signature: Signature[Any]) -> None:
    """Raise ``ImproperlyConfigured`` for what cannot take the place of a run."""
    if isinstance(signature, chain) and not signature.tasks:
        raise ImproperlyConfigured("replace(): a chain without tasks cannot take a task's place")
    if signature.options.get("chord") is not None:
        raise ImproperlyConfigured(
            "replace(): the signature is the member of a chord already (its option chord), and "
            "takes the place of one; leave the option out"
        )


def replacement(app: Celeriac, run: Context, signature: Signature[Any]) -> Outcome:
    """Return the outcome of *run* in which *signature* takes its place.

    The last part has the run's id, and with it all that waits for it. Raises as ``apply_async``.
    """
    header = run.header
    assert header is not None, "a worker runs it"
    before = header.edges or _NO_EDGES
    planner = Planner(run.root_id or header.id, header.id)
    # What takes its place can be found, and revoked, by what it was stamped with.
    line = line_of(signature, Given(id=header.id, under=options_of(header.stamps)))
    around = before.join or before.within
    member = Member(around, header.group, header.index)
    last, _ = planner.line(line, None, member, single=True)
    assert last is not None, "there is something in it"
    _take_over(last, before)
    made_of = Plan(planner.parts, list(planner.joins.values()), None)
    sender = Sender(app, made_of, _flow(header), at_once=_here(run))
    parts = []
    for part in planner.parts.values():
        if part is last:
            before_it = header.added + (0 if run.added is None else run.added.members)
            more = {"stamps": header.stamps} if part.call is None else {}
            made = sender.message(
                part, nonce=header.nonce, parent=header.parent, added=before_it, **more
            )
            renewed = made.encode()
            eta = made.header.eta
        else:
            parts.append(sender.message(part).encode())
    state = states.WAITING if last.waits else states.QUEUED if eta is None else states.SCHEDULED
    outcome = Outcome(
        state,
        reason=f"Replaced by {signature!r}"[:_SHOWN],
        eta=None if last.waits else eta,
        message=renewed,
        parts=tuple(parts),
        joins=tuple(planner.joins.values()),
    )
    return outcome if run.added is None else run.added.joined_to(outcome)


#: Characters of a replacement that the record's reason shows.
_SHOWN: Final = 200


def _take_over(last: Part, before: Edges) -> None:
    """Let what waited for a record wait for its replacement.

    The record had begun, so all that comes before the last part is part of the replacement: if that
    fails, the record's own errbacks are due, too.
    """
    last.success += before.success
    last.failure += (*before.failure, *before.own)
    last.join, last.within = before.join, before.within


def _flow(header: Header) -> str:
    return header.flow or header.id


def _here(run: Context) -> bool:
    """Whether what is made is run in this process, without waiting for any time."""
    return run.is_eager and not run.is_replay


class Added:
    """What a run adds to the workflow that it is a part of."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.joins: list[Any] = []
        self.members = 0

    def joined_to(self, outcome: Outcome) -> Outcome:
        """Return *outcome* with it."""
        return msgspec.structs.replace(
            outcome, parts=(*outcome.parts, *self.parts), joins=(*outcome.joins, *self.joins)
        )


def add(app: Celeriac, run: Context, signature: Signature[Any]) -> Any:
    """Add *signature* as a member to the chord that *run* is a member of; return its result object.

    Raises ``ValueError`` if it is a member of none, and as ``apply_async``.
    """
    header = run.header
    edges = None if header is None else header.edges
    around = None if edges is None else edges.join or edges.within
    if header is None or around is None:
        raise ValueError(
            f"add_to_chord(): task {run.task}[{run.id}] is not a member of a chord's header"
        )
    if run.added is None:
        run.added = Added()
    added: Added = run.added
    number = header.added + added.members
    if number >= _PLACES:
        raise ValueError(f"add_to_chord(): one task can add {_PLACES} members")
    join, own = around
    if edges is not None and edges.join is None:
        own = ADDED  # the place of its branch is that of the branch's last part
    planner = Planner(run.root_id or header.id, header.id)
    member = Member((join, _index(own, header.id, number)), join, None)
    last, shown = planner.line(line_of(signature, Given()), None, member)
    if last is None or shown is None:
        raise ValueError("add_to_chord(): there is no task in it")
    sender = Sender(app, Plan(planner.parts, [], None), _flow(header), at_once=_here(run))
    made = [sender.message(part).encode() for part in planner.parts.values()]
    added.members += 1
    added.parts += made
    added.joins += planner.joins.values()
    return result_of(app, shown, sender.dropped)


def _index(own: int, id: str, number: int) -> int:
    """The place of a member that member *own* adds: behind all that were sent, unlike all others,
    and the same if the run is repeated."""
    if own < ADDED - _PLACES:
        return min(ADDED + own * _PLACES + number, _ADDED_BY_ADDED - 1)
    digest = hashlib.blake2b(f"{id}|{number}".encode(), digest_size=8).digest()
    return _ADDED_BY_ADDED + int.from_bytes(digest, "big") % _ADDED_BY_ADDED
