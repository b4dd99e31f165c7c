"""What the model's states are made of, and which of them count as one.

Layer 6; standard library only. For ``model``, which says what they mean and how they follow one
another. Nonces are numbered anew in each state, so that the number of leases needs no bound, and
states that differ only in which worker or which task is which count as one.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

MAX_LOSSES: Final = 2
MAX_RETRIES: Final = 1

# Row states. HELD rows are leased or running; the model does not tell these apart, because the
# store does not rely on the difference.
QUEUED, HELD, SUCCEEDED, FAILED, REVOKED, DEAD = "queued", "held", "succ", "fail", "revo", "dead"
TERMINAL: Final = (SUCCEEDED, FAILED, REVOKED, DEAD)
ABSENT: Final = "absent"  # a member that another one's success adds to the join

#: No lease.
NONE: Final = 0


class Rules(NamedTuple):
    """Which task is modelled, and which rules of the protocol hold."""

    tasks: int = 1
    at_most_once: bool = False
    #: The tasks are the members of one join.
    join: bool = False
    #: The last of them comes with the success of another one.
    grows: bool = False
    #: How a run may end; ``QUEUED`` is a retry.
    outcomes: tuple[str, ...] = (SUCCEEDED, FAILED, QUEUED)
    release: bool = True
    revoke: bool = True
    #: Writes are checked against (id, attempt, nonce).
    fence: bool = True
    #: The same seq again returns the same deliveries.
    replay: bool = True
    #: Result and release of the successor are one step.
    one_commit: bool = True
    #: A join is a set changed by the member's commit; else a counter, counted up afterwards.
    join_set: bool = True
    #: What is added counts before the member that adds it.
    grow_first: bool = True
    #: A reaped at-most-once record fails; else it is queued again.
    fail_lost: bool = True
    #: A request may arrive late: when its sender has had the answer to a repeat, leased anew, or
    #: died and been reaped.
    late: bool = False
    #: What is compared is the nonce of the exchange that leased; else who holds the record.
    nonce: bool = True
    #: An exchange that comes after a later one of its lane is refused.
    refuse_old: bool = True
    #: An operator retries what has ended without success, once; each task has an errback.
    operator: bool = False
    #: Nothing is retried before its errback has ended.
    errback_first: bool = True
    #: An errback that has ended waits again once its task is retried.
    errback_again: bool = True
    #: The task carries a stamp that somebody revokes.
    stamped: bool = False
    #: A worker learns what is revoked before it leases anything.
    learn_first: bool = True
    #: What meets a revoked stamp is revoked in the store before it is ended.
    revoke_met: bool = True
    #: The store becomes once what it was: it loses its last writes. One task, without requests that
    #: come late. What is counted is what happened in the history that is kept.
    goes_back: bool = False
    #: A worker then compares what it holds with what the store has.
    compare: bool = True


class Row(NamedTuple):
    """A record, and what an observer has seen of it (starts, commits, released)."""

    state: str = QUEUED
    #: Counted for at-most-once tasks alone.
    starts: int = 0
    #: (worker, incarnation): 0 is the present one, 1 the one before.
    owner: tuple[int, int] | None = None
    nonce: int = NONE
    applied: int = NONE
    losses: int = 0
    retries: int = 0
    revoked: bool = False
    commits: int = 0
    released: int = 0
    #: Counted from 0 by retries of an operator.
    generation: int = 0
    #: Of its errback: it waits, is due, or has ended; and how many calls it owes.
    errback: Literal["waits", "due", "ended"] = "waits"
    owed: int = 0
    #: A worker has found that it carries a revoked stamp.
    met: bool = False
    #: What somebody did who must not: it shows in no other place.
    wrong: str = ""


Phase = Literal["idle", "asks", "has", "ran", "sent", "back", "frees", "counts"]


class Worker(NamedTuple):
    """A worker: what it holds, and which of its incarnations the store knows."""

    phase: Phase = "idle"
    task: int = -1
    nonce: int = NONE
    outcome: str = ""
    #: `sent`: the successors are out already (rule `one_commit` switched off).
    applied: bool = False
    present: bool = True
    before: bool = False
    #: It has heard of the revoked stamp; it came after that was revoked.
    knows: bool = False
    later: bool = False
    #: Of a request on the wire: who sent it, as an owner.
    sender: tuple[int, int] | None = None


class State(NamedTuple):
    """Everything there is."""

    rows: tuple[Row, ...]
    workers: tuple[Worker, ...]
    #: Join: members counted, and how often the body was released.
    members: tuple[int, ...] = ()
    bodies: int = 0
    #: Requests under way that nobody waits for any more, as their senders were: one at most.
    wire: tuple[Worker, ...] = ()
    #: The stamp is revoked.
    revoked: bool = False
    #: What the store may go back to: its rows, and of each worker `present` and `before`.
    saved: tuple[tuple[Row, ...], tuple[tuple[bool, bool], ...]] | None = None
    #: It did; and which workers have not compared since.
    back: bool = False
    doubt: tuple[bool, bool] = (False, False)


def nonces_of(state: State) -> list[int]:
    """Every nonce that is known anywhere."""
    found = [worker.nonce for worker in state.workers]
    found.extend(row.nonce for row in state.rows)
    found.extend(row.applied for row in state.rows)
    found.extend(request.nonce for request in state.wire)
    for row in state.saved[0] if state.saved else ():
        found += (row.nonce, row.applied)
    return found


def canonical(state: State) -> State:
    """One of the states that differ from this one only by names."""
    if len(state.rows) > 1:
        state = _sort_tasks(state)
    state = _sort_workers(state)
    # A nonce that only `applied` remembers can never come again: it counts as none.
    living = [worker.nonce for worker in state.workers] + [row.nonce for row in state.rows]
    living += [request.nonce for request in state.wire]
    saved = state.saved[0] if state.saved else ()
    living += [row.nonce for row in saved]
    names = {NONE: NONE}
    for nonce in living:
        names.setdefault(nonce, len(names))
    if all(old == new for old, new in names.items()) and all(
        row.applied in names for row in (*state.rows, *saved)
    ):
        return state

    def renamed(rows: tuple[Row, ...]) -> tuple[Row, ...]:
        return tuple(
            row._replace(nonce=names[row.nonce], applied=names.get(row.applied, NONE))
            for row in rows
        )

    rows = renamed(state.rows)
    if state.saved:
        state = state._replace(saved=(renamed(saved), state.saved[1]))
    workers = tuple(
        each._replace(nonce=names[each.nonce]) if each.nonce else each for each in state.workers
    )
    wire = tuple(each._replace(nonce=names[each.nonce]) for each in state.wire)
    return state._replace(rows=rows, workers=workers, wire=wire)


def _sort_workers(state: State) -> State:
    one, two = state.workers
    if _rank(state, 0, one) <= _rank(state, 1, two):
        return state

    def swapped(rows: tuple[Row, ...]) -> tuple[Row, ...]:
        return tuple(
            row._replace(owner=(1 - row.owner[0], row.owner[1])) if row.owner else row
            for row in rows
        )

    wire = tuple(
        each._replace(sender=(1 - each.sender[0], each.sender[1])) if each.sender else each
        for each in state.wire
    )
    if state.saved:
        state = state._replace(saved=(swapped(state.saved[0]), state.saved[1][::-1]))
    return state._replace(
        rows=swapped(state.rows), workers=(two, one), wire=wire, doubt=state.doubt[::-1]
    )


def _rank(state: State, index: int, worker: Worker) -> tuple[object, ...]:
    late = [row.owner == (index, 1) for row in state.rows]
    known = worker.present, worker.before, worker.knows, worker.later
    return (worker.phase, worker.task, worker.outcome, *known, late)


def _sort_tasks(state: State) -> State:
    def rank(task: int) -> tuple[object, ...]:
        row = state.rows[task]
        held_as = sorted(worker.phase for worker in state.workers if worker.task == task)
        return (
            *row._replace(owner=None, nonce=NONE, applied=NONE, starts=0)[4:],
            row.state,
            held_as,
            [request.phase for request in state.wire if request.task == task],
        )

    order = sorted(range(len(state.rows)), key=rank)
    if order == list(range(len(state.rows))):
        return state
    workers = tuple(
        each._replace(task=order.index(each.task)) if each.task >= 0 else each
        for each in state.workers
    )
    members = tuple(sorted(order.index(each) if each >= 0 else each for each in state.members))
    rows = tuple(state.rows[each] for each in order)
    wire = tuple(each._replace(task=order.index(each.task)) for each in state.wire)
    return state._replace(rows=rows, workers=workers, members=members, wire=wire)


# --- small tools ------------------------------------------------------------------------------


def put_row(state: State, task: int, row: Row) -> State:
    """The state with another *row*."""
    rows = (*state.rows[:task], row, *state.rows[task + 1 :])
    return state._replace(rows=rows)


def become(state: State, index: int, worker: Worker) -> State:
    """The state with another *worker*."""
    one, two = state.workers
    workers = (worker, two) if index == 0 else (one, worker)
    return state._replace(workers=workers)


def assured(state: State, index: int) -> State:
    """A worker has compared, or has nothing to compare."""
    one, two = state.doubt
    return state._replace(doubt=(one and index != 0, two and index != 1))


def rest(state: State, index: int) -> State:
    """The state with a worker that does nothing."""
    idle = state.workers[index]._replace(
        phase="idle", task=-1, nonce=NONE, outcome="", applied=False
    )
    return become(state, index, idle)


def outdate(state: State, index: int) -> State:
    """What the present incarnation of a worker held is now held by the one before."""

    def older(rows: tuple[Row, ...]) -> tuple[Row, ...]:
        return tuple(
            row._replace(owner=(index, 1)) if row.owner == (index, 0) else row for row in rows
        )

    rows = older(state.rows)
    if state.saved:
        known = list(state.saved[1])
        known[index] = (False, known[index][0])
        state = state._replace(saved=(older(state.saved[0]), tuple(known)))
    state = assured(state, index)
    wire = tuple(
        each._replace(sender=(index, min(each.sender[1] + 1, 2)))
        if each.sender and each.sender[0] == index
        else each
        for each in state.wire
    )
    return state._replace(rows=rows, wire=wire)


__all__ = [
    "ABSENT",
    "DEAD",
    "FAILED",
    "HELD",
    "MAX_LOSSES",
    "MAX_RETRIES",
    "NONE",
    "QUEUED",
    "REVOKED",
    "SUCCEEDED",
    "TERMINAL",
    "Phase",
    "Row",
    "Rules",
    "State",
    "Worker",
    "assured",
    "become",
    "canonical",
    "nonces_of",
    "outdate",
    "put_row",
    "rest",
]
