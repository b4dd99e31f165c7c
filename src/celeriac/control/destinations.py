"""Queues that lead nowhere, and rate limits: what to say of a task that nobody takes from a queue.

Layer 4. Pure; `why` and `doctor` use it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Final

from celeriac.control.phrases import plural
from celeriac.control.reading import header_of
from celeriac.records import Record, WorkerView

__all__ = ["NOWHERE", "Destinations", "no_worker", "rate_limited", "token_note"]


@dataclass(frozen=True)
class Destinations:
    """Where the application sends its tasks, as its settings say."""

    #: The queues of ``task_queues``; empty if it declares none.
    declared: tuple[str, ...] = ()
    #: Queue → tasks that go there whatever they are called with.
    tasks: Mapping[str, Sequence[str]] = field(default_factory=dict)
    #: Queue → keys of ``task_routes`` that lead there.
    routes: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def undeclared(self, queue: str) -> bool:
        """Whether queues are declared and *queue* is not among them."""
        return bool(self.declared) and queue not in self.declared

    def described(self, queue: str) -> str:
        """Say who leads to *queue* and that it is not declared; empty if there is nothing to."""
        text = ""
        if self.routes.get(queue):
            text = f" task_routes[{self.routes[queue][0]!r}] leads there."
        if self.undeclared(queue):
            text += f" task_queues does not declare it; it declares {', '.join(self.declared)}."
        return text


#: Nothing is known of the application.
NOWHERE: Final = Destinations()


def no_worker(
    record: Record, alive: Sequence[WorkerView], known: Destinations
) -> tuple[str, list[str]]:
    """Say that no worker alive reads the queue of *record*, and what to do."""
    others = hint = ""
    queues = sorted({queue for view in alive for queue in view.manifest.queues})
    if alive:
        others = f" ({plural(len(alive), 'worker')} alive, on {', '.join(queues) or 'no queue'})"
    near = get_close_matches(record.queue, [*queues, *known.declared], n=1)
    if near:
        hint = f" Near: {near[0]!r}."
    text = f"Waiting for a worker: none alive reads queue {record.queue!r}{others}."
    advice = [f"Start one: celeriac -A APP worker -Q {record.queue}"]
    if known.undeclared(record.queue):
        advice.append(
            f"If the queue is wrong, correct who names it and call this one off: celeriac revoke "
            f"{record.id}"
        )
    return text + known.described(record.queue) + hint, advice


def token_note(record: Record, view: WorkerView) -> str:
    """Say that *record*, which *view* has taken, waits for its rate limit, if it may."""
    facts = view.manifest.tasks.get(record.task)
    if facts is None or not facts.rate_limit:
        return ""
    return f" It begins when its rate limit of {facts.rate_limit} lets it."


def rate_limited(record: Record, workers: Sequence[WorkerView]) -> str | None:
    """Say that a rate limit holds *record*, which is scheduled, back; None if it does not."""
    if record.retries or record.crashes or record.losses or record.due is None:
        return None
    header = header_of(record)
    if header is not None and header.eta is not None and header.eta >= record.due:
        return None  # it was sent for that time
    for view in workers:
        facts = view.manifest.tasks.get(record.task)
        if view.alive and facts is not None and facts.rate_limit:
            name = view.manifest.hostname or view.owner
            return (
                f"Held back by its rate limit: worker {name} (pid {view.manifest.pid}) begins at "
                f"most {facts.rate_limit} of {record.task}."
            )
    return None
