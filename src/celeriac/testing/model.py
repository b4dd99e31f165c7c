"""The protocol in small, searched whole: every order of events, crashes and lost replies.

Layer 6; standard library only. One or two tasks, two workers, a reaper that may fire at any moment
while the owner still runs, crashes at every step, requests and replies that are lost and sent
again. :func:`explore` visits every reachable state and says which promise is broken in any of
them. A rule of the protocol is changed here first. Each rule can be switched off
(:class:`Rules`), and the search must then find what goes wrong: that shows that it can.

Nonces are numbered anew in each state, so that the number of leases needs no bound, and states
that differ only in which worker or which task is which count as one. Losses and retries are
bounded, as in the protocol. What parts of workflows may run when is in ``timemodel``.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

MAX_LOSSES: Final = 2
MAX_RETRIES: Final = 1

# Row states. HELD rows are leased or running; the model does not tell these apart, because the
# store does not rely on the difference.
QUEUED, HELD, SUCCEEDED, FAILED, REVOKED, DEAD = "queued", "held", "succ", "fail", "revo", "dead"
_TERMINAL: Final = (SUCCEEDED, FAILED, REVOKED, DEAD)
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


class State(NamedTuple):
    """Everything there is."""

    rows: tuple[Row, ...]
    workers: tuple[Worker, ...]
    #: Join: members counted, and how often the body was released.
    members: tuple[int, ...] = ()
    bodies: int = 0


class Found(NamedTuple):
    """What a search found: number of states, and broken promises with how many states show it."""

    states: int
    broken: dict[str, int]


def explore(rules: Rules, until: str = "") -> Found:
    """Visit every state. A state that breaks a promise is counted and not gone on from.

    With *until* the search ends as soon as that promise is seen broken.
    """
    rows = (Row(),) * (rules.tasks - rules.grows) + (Row(ABSENT),) * rules.grows
    start = State(rows, (Worker(), Worker()))
    broken: Counter[str] = Counter()
    reached_from: dict[State, list[State]] = {start: []}
    todo = deque([start])
    ended: list[State] = []
    while todo:
        state = todo.popleft()
        problem = _broken(state, rules)
        if problem:
            broken[problem] += 1
            if problem == until:
                break
            continue
        if _all_ended(state):
            ended.append(state)
        for after, hopeful in _steps(state, rules):
            known = after in reached_from
            # Nobody may be needed to revoke a task before it can end.
            if hopeful:
                reached_from.setdefault(after, []).append(state)
            elif not known:
                reached_from[after] = []
            if not known:
                todo.append(after)
    stuck = len(reached_from) - len(_can_reach(ended, reached_from)) - sum(broken.values())
    if stuck > 0 and not broken:
        broken["cannot end"] = stuck
    return Found(len(reached_from), dict(broken))


def _can_reach(ended: list[State], reached_from: dict[State, list[State]]) -> set[State]:
    """States from which one of *ended* can be reached."""
    good = set(ended)
    todo = deque(ended)
    while todo:
        for before in reached_from[todo.popleft()]:
            if before not in good:
                good.add(before)
                todo.append(before)
    return good


# --- the promises -----------------------------------------------------------------------------


def _all_ended(state: State) -> bool:
    return all(row.state in (*_TERMINAL, ABSENT) for row in state.rows) and all(
        worker.phase in ("idle", "asks") for worker in state.workers
    )


def _broken(state: State, rules: Rules) -> str:
    for task, row in enumerate(state.rows):
        problem = _row_broken(row, rules) or _lease_broken(state, task, row)
        if problem:
            return problem
    if not rules.join:
        return ""
    done = all(row.state == SUCCEEDED for row in state.rows)
    if state.bodies > 1:
        return "body twice"
    if state.bodies and not done:
        return "body before its members"
    if rules.join_set and done and not state.bodies:
        return "body never"
    return "body never" if done and not state.bodies and _all_ended(state) else ""


def _row_broken(row: Row, rules: Rules) -> str:
    if row.commits > 1:
        return "two terminal commits"
    if row.starts > 1 + row.retries:  # a retry that the task asked for is a start of its own
        return "at-most-once started twice"
    if row.released > 1:
        return "successor twice"
    if row.released and row.state in _TERMINAL and row.state != SUCCEEDED:
        return "successor of a task that did not succeed"
    if row.state == SUCCEEDED and not row.released:
        return "success without its successor"
    return ""


def _lease_broken(state: State, task: int, row: Row) -> str:
    """Whoever holds a record is known to the store, and knows it himself or may be reaped."""
    if row.state != HELD:
        return ""
    assert row.owner is not None
    index, incarnation = row.owner
    worker = state.workers[index]
    if not (worker.before if incarnation else worker.present):
        return "held by nobody"
    knows = worker.nonce == row.nonce and worker.task == task
    return "held by a worker that does not know" if not incarnation and not knows else ""


# --- the steps --------------------------------------------------------------------------------

#: A state that may follow, and whether a task may count on this step to end.
Step = tuple[State, bool]


def _steps(state: State, rules: Rules) -> Iterator[Step]:
    for index, worker in enumerate(state.workers):
        for after in _worker_steps(state, index, worker, rules):
            yield _canonical(after), True
        if worker.before:
            yield _canonical(_reap(state, index, 1, rules)), True
        if worker.present:
            yield _canonical(_reap(state, index, 0, rules)), True
    if rules.revoke:
        for task, row in enumerate(state.rows):
            if row.state == QUEUED:
                yield _canonical(_end(state, task, REVOKED, rules)), False
            elif row.state == HELD and not row.revoked:
                yield _canonical(_put_row(state, task, row._replace(revoked=True))), False


def _worker_steps(state: State, index: int, worker: Worker, rules: Rules) -> Iterator[State]:
    if not worker.before:
        # The process dies; its next incarnation registers, the old one is yet to be reaped.
        yield _become(_outdate(state, index), index, Worker(before=worker.present))
    if worker.phase in ("idle", "asks"):
        yield from _exchange(state, index, worker, rules)
    elif worker.phase == "has":
        row = state.rows[worker.task]
        begun = row._replace(starts=min(row.starts + rules.at_most_once, 3))
        yield _become(_put_row(state, worker.task, begun), index, worker._replace(phase="ran"))
        if rules.release:
            yield _become(state, index, worker._replace(phase="back"))
    elif worker.phase == "ran":
        for outcome in rules.outcomes:
            yield _become(state, index, worker._replace(phase="sent", outcome=outcome))
        if rules.release:  # interrupted by a graceful stop
            yield _become(state, index, worker._replace(phase="back", outcome="begun"))
    elif worker.phase == "sent":
        yield from _commit(state, index, worker, rules)
    elif worker.phase == "back":
        yield from _hand_back(state, index, worker, rules)
    elif worker.phase == "frees":
        row = state.rows[worker.task]
        applied = _put_row(state, worker.task, row._replace(released=min(row.released + 1, 2)))
        yield _become(applied, index, worker._replace(phase="sent", applied=True))
    else:
        counted = _count(state, worker.task, rules)
        yield counted  # the reply is lost: it will be counted again
        yield _rest(counted, index)


def _exchange(state: State, index: int, worker: Worker, rules: Rules) -> Iterator[State]:
    if not worker.present:  # told LOST: it takes a new incarnation
        if not worker.before:
            yield _become(state, index, Worker())
        return
    if worker.phase == "asks" and rules.replay:
        yield _replayed(state, index, worker)
        return
    # A request that is lost changes nothing: the worker is where it was.
    if worker.phase == "asks":
        yield _rest(state, index)  # rule switched off: a new exchange that brings nothing
    for task, row in enumerate(state.rows):
        if row.state != QUEUED:
            continue
        nonce = 1 + max(_nonces(state), default=NONE)
        leased = row._replace(state=HELD, owner=(index, 0), nonce=nonce)
        after = _put_row(state, task, leased)
        yield _become(after, index, Worker("has", task, nonce, before=worker.before))
        lost = Worker("asks", task, nonce, before=worker.before)
        yield _become(after, index, lost)  # the reply is lost


def _replayed(state: State, index: int, worker: Worker) -> State:
    """The same seq again: what is still leased under its nonce."""
    row = state.rows[worker.task]
    if row.state == HELD and row.nonce == worker.nonce:
        return _become(state, index, worker._replace(phase="has"))
    return _rest(state, index)


def _is_mine(row: Row, worker: Worker, rules: Rules) -> bool:
    if rules.fence:
        return row.state == HELD and row.nonce == worker.nonce
    return row.applied != worker.nonce  # a store that trusts whoever comes, resends aside


def _commit(state: State, index: int, worker: Worker, rules: Rules) -> Iterator[State]:
    """Commit the outcome. The reply comes, or is lost and the commit sent again."""
    row = state.rows[worker.task]
    if not _is_mine(row, worker, rules):
        yield _rest(state, index)  # ALREADY or FENCED
        return
    if worker.outcome == SUCCEEDED and not rules.one_commit and not worker.applied:
        yield _become(state, index, worker._replace(phase="frees"))  # successors first
        return
    row = row._replace(applied=worker.nonce)
    state = _put_row(state, worker.task, row)
    if worker.outcome == QUEUED and row.revoked:
        after = _end(state, worker.task, REVOKED, rules)
    elif worker.outcome == QUEUED and row.retries < MAX_RETRIES:
        again = row._replace(state=QUEUED, owner=None, nonce=NONE, retries=row.retries + 1)
        after = _put_row(state, worker.task, again)
    else:
        final = FAILED if worker.outcome == QUEUED else worker.outcome
        after = _end(state, worker.task, final, rules)
        if rules.join and not rules.join_set and final == SUCCEEDED:
            yield _become(after, index, worker._replace(phase="counts"))
            return
    yield _rest(after, index)
    yield _become(after, index, worker._replace(phase="sent"))


def _hand_back(state: State, index: int, worker: Worker, rules: Rules) -> Iterator[State]:
    row = state.rows[worker.task]
    if not _is_mine(row, worker, rules):
        yield _rest(state, index)
        return
    row = row._replace(applied=worker.nonce)
    state = _put_row(state, worker.task, row)
    if row.revoked:
        after = _end(state, worker.task, REVOKED, rules)
    elif rules.at_most_once and worker.outcome == "begun":
        after = _end(state, worker.task, FAILED, rules)
    else:
        freed = row._replace(state=QUEUED, owner=None, nonce=NONE)
        after = _put_row(state, worker.task, freed)
    yield _rest(after, index)
    yield _become(after, index, worker._replace(phase="back"))


def _reap(state: State, index: int, incarnation: int, rules: Rules) -> State:
    """Take everything from one incarnation and forget it, whether it lives or not."""
    for task, row in enumerate(state.rows):
        if row.state != HELD or row.owner != (index, incarnation):
            continue
        losses = row.losses + 1
        if row.revoked:
            state = _end(state, task, REVOKED, rules)
        elif rules.at_most_once and rules.fail_lost:
            state = _end(state, task, FAILED, rules)
        elif losses >= MAX_LOSSES:
            state = _end(state, task, DEAD, rules)
        else:
            freed = row._replace(state=QUEUED, owner=None, nonce=NONE, losses=losses)
            state = _put_row(state, task, freed)
    worker = state.workers[index]
    known = worker._replace(before=False) if incarnation else worker._replace(present=False)
    return _become(state, index, known)


def _end(state: State, task: int, final: str, rules: Rules) -> State:
    """The one routine `finish`: state, successor and join in one step."""
    row = state.rows[task]
    released = row.released
    if final == SUCCEEDED and rules.one_commit:
        released = min(released + 1, 2)
    row = row._replace(
        state=final,
        owner=None,
        nonce=NONE,
        commits=min(row.commits + 1, 2),
        released=released,
        revoked=False,
    )
    state = _put_row(state, task, row)
    state = _grow(state, final) if rules.grow_first else state
    if rules.join and rules.join_set and final == SUCCEEDED:
        state = _count(state, task, rules)
    return _grow(state, final)


def _grow(state: State, final: str) -> State:
    """Send what the success of a member adds to the join."""
    added = ABSENT if final == SUCCEEDED else ""
    return state._replace(rows=tuple(Row() if r.state == added else r for r in state.rows))


def _count(state: State, task: int, rules: Rules) -> State:
    """Count a member; the one that completes the join releases the body."""
    members = (
        tuple(sorted({*state.members, task}))
        if rules.join_set
        else (*state.members, -1)[: rules.tasks + 1]
    )
    size = sum(row.state != ABSENT for row in state.rows)
    complete = len(members) == size and len(members) != len(state.members)
    return state._replace(members=members, bodies=min(state.bodies + complete, 2))


# --- small tools ------------------------------------------------------------------------------


def _put_row(state: State, task: int, row: Row) -> State:
    rows = (*state.rows[:task], row, *state.rows[task + 1 :])
    return State(rows, state.workers, state.members, state.bodies)


def _become(state: State, index: int, worker: Worker) -> State:
    one, two = state.workers
    workers = (worker, two) if index == 0 else (one, worker)
    return State(state.rows, workers, state.members, state.bodies)


def _rest(state: State, index: int) -> State:
    worker = state.workers[index]
    return _become(state, index, Worker(present=worker.present, before=worker.before))


def _outdate(state: State, index: int) -> State:
    """What the present incarnation of a worker held is now held by the one before."""
    rows = tuple(
        row._replace(owner=(index, 1)) if row.owner == (index, 0) else row for row in state.rows
    )
    return state._replace(rows=rows)


def _nonces(state: State) -> list[int]:
    found = [worker.nonce for worker in state.workers]
    found.extend(row.nonce for row in state.rows)
    found.extend(row.applied for row in state.rows)
    return found


def _canonical(state: State) -> State:
    """One of the states that differ from this one only by names."""
    if len(state.rows) > 1:
        state = _sort_tasks(state)
    state = _sort_workers(state)
    # A nonce that only `applied` remembers can never come again: it counts as none.
    living = [worker.nonce for worker in state.workers] + [row.nonce for row in state.rows]
    names = {NONE: NONE}
    for nonce in living:
        names.setdefault(nonce, len(names))
    if all(old == new for old, new in names.items()) and all(
        row.applied in names for row in state.rows
    ):
        return state
    rows = tuple(
        row._replace(nonce=names[row.nonce], applied=names.get(row.applied, NONE))
        for row in state.rows
    )
    workers = tuple(
        each._replace(nonce=names[each.nonce]) if each.nonce else each for each in state.workers
    )
    return State(rows, workers, state.members, state.bodies)


def _sort_workers(state: State) -> State:
    one, two = state.workers
    if _rank(state, 0, one) <= _rank(state, 1, two):
        return state
    rows = tuple(
        row._replace(owner=(1 - row.owner[0], row.owner[1])) if row.owner else row
        for row in state.rows
    )
    return State(rows, (two, one), state.members, state.bodies)


def _rank(state: State, index: int, worker: Worker) -> tuple[object, ...]:
    late = [row.owner == (index, 1) for row in state.rows]
    return (worker.phase, worker.task, worker.outcome, worker.present, worker.before, late)


def _sort_tasks(state: State) -> State:
    def rank(task: int) -> tuple[object, ...]:
        row = state.rows[task]
        held_as = sorted(worker.phase for worker in state.workers if worker.task == task)
        return (
            *row._replace(owner=None, nonce=NONE, applied=NONE, starts=0)[4:],
            row.state,
            held_as,
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
    return State(rows, workers, members, state.bodies)


__all__ = ["FAILED", "QUEUED", "SUCCEEDED", "Found", "Row", "Rules", "State", "Worker", "explore"]
