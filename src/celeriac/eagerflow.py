"""Eager workflows: all parts in the process that calls them, one after the other.

Layer 4; for ``apply()`` of chains, groups and chords, and ``task_always_eager``. The plan goes into
a store of its own in memory, which no URL leads to and which ends with the call: so what follows
what, which errbacks run and what a chord's body gets is decided as it would be in production. Each
part runs as ``Task.apply()`` runs it, with its repeats, and without waiting for any time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from celeriac import states
from celeriac.canvas import Signature
from celeriac.eager import EagerResult, Trial
from celeriac.exceptions import NotRegistered
from celeriac.failures import describe
from celeriac.flows import Sender, planned, shaped
from celeriac.ids import new_owner_id
from celeriac.message import decode
from celeriac.outcome import Outcome
from celeriac.records import Commit, Delivery, Manifest, TaskFacts, Want
from celeriac.stores.base import Options, Store
from celeriac.stores.memory import make_store
from celeriac.upstream import Stored

if TYPE_CHECKING:
    from celeriac.app.base import Celeriac
    from celeriac.message import Message
    from celeriac.workflow import Plan

__all__ = ["apply_here"]

_LANE: Final = 1


def apply_here(
    canvas: Signature[Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    options: Mapping[str, Any],
    *,
    sent: bool = True,
) -> Any:
    """Run *canvas* here; return the result object, of results that are there.

    With ``task_eager_propagates``, or the option ``throw``, the first failure is raised once all
    that can run has. *sent*: it was to be sent (``task_always_eager``).
    """
    app: Celeriac = canvas.app
    given = dict(options)
    throw = given.pop("throw", None)
    made = planned(canvas, args, kwargs, given)
    if made.shown is None:
        return None
    runs = _Runs(app, made, sent)
    runs.run()
    result = shaped(made.shown, runs.result)
    if app.conf.task_eager_propagates if throw is None else throw:
        for each in runs.in_order():
            if each.state == states.FAILURE and isinstance(each.result, BaseException):
                raise each.result
    return result


class _Runs:
    """All runs of one plan."""

    def __init__(self, app: Celeriac, made: Plan, sent: bool) -> None:
        self._app = app
        self._plan = made
        self._sent = sent
        self._store = _own_store(app)
        self._reader = Stored(app, self._store, self._store.results)
        self._results: dict[str, EagerResult[Any]] = {}
        self._queues: set[str] = set()
        self._facts: dict[str, TaskFacts] = {}
        #: By id of what has run: ids of what its success releases.
        self._released: dict[str, tuple[str, ...]] = {}

    def run(self) -> None:
        """Run until nothing is left that can, and tell each result what came after it."""
        sender = Sender(self._app, self._plan, at_once=True)
        messages = [sender.message(each) for each in self._plan.parts.values()]
        if not messages:
            return
        self._store.queue.enqueue(messages, joins=self._plan.joins)
        owner = new_owner_id()
        self._know(owner, messages)
        commits: list[Commit] = []
        number = 0
        while True:
            number += 1
            got = self._store.queue.exchange(
                owner, _LANE, number, commits, (), sorted(self._queues), Want(free=1)
            )
            if not got.deliveries:
                break
            commits = [
                Commit(each.fence, self._run(each, decode(each.wire))) for each in got.deliveries
            ]
            for each in commits:
                made = (each.outcome.message, *each.outcome.parts)
                self._know(owner, [decode(wire) for wire in made if wire is not None])
        for id, released in self._released.items():
            self.result(id).released = tuple(map(self.result, released))

    def _know(self, owner: str, messages: Iterable[Message]) -> None:
        """Take from the queues of *messages*, and know their tasks, from now on."""
        before = len(self._facts)
        for each in messages:
            self._queues.add(each.header.queue)
            self._facts.setdefault(each.header.task, TaskFacts())
        if len(self._facts) > before:
            self._store.queue.register(owner, Manifest(tasks=dict(self._facts)))

    def _run(self, delivery: Delivery, message: Message) -> Outcome:
        header = message.header
        task = self._app.tasks.get(header.task)
        if task is None:
            error = NotRegistered(header.task, list(self._app.tasks))
            self._results[header.id] = EagerResult(
                header.id, error, states.FAILURE, None, header.task, app=self._app
            )
            return Outcome(states.FAILED, reason=describe(error))
        trial = Trial(task, message, sent=self._sent, reader=self._reader, delivery=delivery)
        trial.run()
        if trial.outcome.terminal:  # else it is replaced, and its result is to come
            self._results[header.id] = trial.result(throw=False)
            self._released[header.id] = () if header.edges is None else header.edges.success
        return trial.outcome

    def result(self, id: str) -> EagerResult[Any]:
        """Return the result of one part, whether it has run or not."""
        found = self._results.get(id)
        if found is not None:
            return found
        from celeriac.ends import meaning_of

        record = self._store.inspection.get([id])[0]
        stored = self._store.results.get_many([id])[0]
        state = states.PENDING if stored is None else states.visible(stored.state)
        value = meaning_of(self._app, stored, self._reader)
        name = None if record is None else record.task
        made: EagerResult[Any] = EagerResult(id, value, state, None, name, app=self._app)
        self._results[id] = made
        return made

    def in_order(self) -> list[EagerResult[Any]]:
        """Return the results of what has run, in the order in which it has ended."""
        return list(self._results.values())


def _own_store(app: Celeriac) -> Store:
    options = msgspec.structs.replace(Options.from_settings(app.conf), result_expires=None)
    return make_store("memory://", options)
