"""Parts that wait for a time, in small, searched whole: ``Edges.delay`` and ``Edges.lasts``.

Layer 6; standard library only. Beside :mod:`celeriac.testing.model`, which knows no time: a part
*b* that the success of *a* releases, which may run only *delay* after that and until *lasts* after
that. Time may pass at any moment, or none; two workers may die, or lose their leases, at any
moment, with what they hold (what one that lost its lease says later is fenced, see there); whoever
sent the workflow may die as soon as the call has returned, and has no steps here; the queue of *b*
may have no worker. :func:`explore` visits every state. Each rule can be switched off, and the
search must then find what goes wrong.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final, NamedTuple

__all__ = ["Found", "State", "Times", "explore"]

WAITING, SCHEDULED, QUEUED, HELD = "waiting", "scheduled", "queued", "held"
SUCCEEDED, FAILED, EXPIRED = "succeeded", "failed", "expired"
_ENDED: Final = (SUCCEEDED, FAILED, EXPIRED)
#: How far time is for *b*: before its delay is over, in its time, past it.
EARLY, DUE, LATE = 0, 1, 2
#: Losses of a worker that *a* and *b* survive in the model; then they fail.
MAX_LOSSES: Final = 2


class Times(NamedTuple):
    """What is modelled, and which rules of the protocol hold."""

    #: *b* has a delay, and a time that it lasts.
    delay: bool = True
    lasts: bool = True
    #: A worker takes from the queue of *b*.
    served: bool = True
    #: Both count from the release of *b*; else from when it was sent.
    from_release: bool = True
    #: When it is due is part of its record, which any exchange promotes; else the worker that
    #: committed *a* remembers it.
    in_record: bool = True
    #: What is past its time is ended where it lies; else only when a worker would take it.
    swept: bool = True
    #: What runs is not ended by that.
    held_spared: bool = True
    #: What comes back from a lost worker is held against its time as all else is.
    checked_again: bool = True


class State(NamedTuple):
    """Both records, how far time is for *b*, what each worker holds, and who remembers *b*."""

    a: str = QUEUED
    b: str = WAITING
    age: int = EARLY
    #: ``""``, ``"a"`` or ``"b"``.
    held: tuple[str, str] = ("", "")
    losses: tuple[int, int] = (0, 0)
    #: Without the rule ``in_record``: the worker that remembers, -1 for none.
    timer: int = -1
    #: A promise that this state breaks.
    broken: str = ""


class Found(NamedTuple):
    """What a search found: number of states, and the promises that are broken in some."""

    states: int
    broken: set[str]


def explore(rules: Times) -> Found:
    """Visit every state; one that breaks a promise is not gone on from."""
    start = State()
    before: dict[State, list[State]] = {start: []}
    todo = deque([start])
    broken: set[str] = set()
    while todo:
        state = todo.popleft()
        if state.broken:
            broken.add(state.broken)
            continue
        for after, hopeful in _steps(state, rules):
            if after not in before:
                before[after] = []
                todo.append(after)
            if hopeful:
                before[after].append(state)
    ended = [each for each in before if each.a in _ENDED and each.b in _ENDED]
    good = set(ended)
    todo.extend(ended)
    while todo:
        for state in before[todo.popleft()]:
            if state not in good:
                good.add(state)
                todo.append(state)
    if not broken and len(good) < len(before):
        broken.add("cannot end")
    return Found(len(before), broken)


#: A state that may follow, and whether somebody may count on it: nobody may on a worker's death.
Step = tuple[State, bool]


def _steps(state: State, rules: Times) -> Iterator[Step]:
    released = state.b != WAITING or not rules.from_release
    if released and state.b not in _ENDED and state.age < LATE:
        yield state._replace(age=state.age + 1), True
    for worker, held in enumerate(state.held):
        if held:
            yield from _ends(state, worker, held, rules)
            yield _lost(state, worker, held, rules), False
        else:
            yield from _exchange(state, worker, rules)
    lies = (SCHEDULED, QUEUED) if rules.held_spared else (SCHEDULED, QUEUED, HELD)
    if rules.lasts and rules.swept and state.b in lies and state.age == LATE:
        yield state._replace(b=EXPIRED), True  # any pass of a reaper


def _exchange(state: State, worker: int, rules: Times) -> Iterator[Step]:
    """Promote what is due, and lease what is queued."""
    if state.b == SCHEDULED and state.age >= DUE and (rules.in_record or state.timer == worker):
        yield state._replace(b=QUEUED, timer=-1), True
    if not rules.in_record and state.timer == worker:
        yield state._replace(timer=-1), False  # it dies, though it holds nothing
    if state.a == QUEUED:
        yield state._replace(a=HELD, held=_with(state.held, worker, "a")), True
    if state.b == QUEUED and rules.served:
        if rules.lasts and state.age == LATE and (rules.checked_again or not state.losses[1]):
            yield state._replace(b=EXPIRED), True
            return
        after = state._replace(b=HELD, held=_with(state.held, worker, "b"))
        if rules.delay and state.age == EARLY:
            after = after._replace(broken="runs before it is due")
        if rules.lasts and state.age == LATE:
            after = after._replace(broken="begins after its time")
        if state.a != SUCCEEDED:
            after = after._replace(broken="runs without what it waits for")
        yield after, True


def _ends(state: State, worker: int, held: str, rules: Times) -> Iterator[Step]:
    """Commit the end of a run; that of *a* releases or ends *b* in the same step."""
    free = state._replace(held=_with(state.held, worker, ""))
    if held == "b":  # what began in its time may end after it
        if state.b != HELD:
            free = free._replace(broken="ends twice")
        yield free._replace(b=SUCCEEDED), True
        yield free._replace(b=FAILED), True
        return
    yield free._replace(a=FAILED, b=FAILED), True
    after = free._replace(a=SUCCEEDED, b=SCHEDULED if rules.delay else QUEUED)
    if rules.delay and not rules.in_record:
        after = after._replace(timer=worker)
    if not rules.from_release and rules.lasts and state.age == LATE:
        after = after._replace(broken="past its time before it was released")
    yield after, True


def _lost(state: State, worker: int, held: str, rules: Times) -> State:
    """A worker dies; what it held is queued again, or fails at last."""
    at = "ab".index(held)
    losses = state.losses[at] + 1
    after = state._replace(
        held=_with(state.held, worker, ""),
        losses=(losses, state.losses[1]) if at == 0 else (state.losses[0], losses),
        timer=-1 if state.timer == worker else state.timer,
    )
    if losses < MAX_LOSSES:
        return after._replace(a=QUEUED) if held == "a" else after._replace(b=QUEUED)
    return after._replace(a=FAILED, b=FAILED) if held == "a" else after._replace(b=FAILED)


def _with(held: tuple[str, str], worker: int, what: str) -> tuple[str, str]:
    return (what, held[1]) if worker == 0 else (held[0], what)
