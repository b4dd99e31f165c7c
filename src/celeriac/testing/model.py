"""The protocol in small, searched whole: every order of events, crashes and lost replies.

Layer 6; standard library only. One or two tasks, two workers, a reaper that may fire at any moment
while the owner still runs, crashes at every step, requests and replies that are lost and sent
again. :func:`explore` visits every reachable state and says which promise is broken in any of
them. A rule of the protocol is changed here first. Each rule can be switched off
(:class:`Rules`), and the search must then find what goes wrong: that shows that it can.

Losses and retries are bounded, as in the protocol; which states count as one is in
``protocol_states``.

What this covers is the rules, in every order, for one or two tasks: leases, fences, commits,
retries, hand-backs, revokes (by id and by stamp), reaping, one join that may grow, an operator's
retry with errbacks, requests that are lost, repeated or come late. The simulation in the tests has
what is too large to be searched whole, and plays the product itself: time (leases that run out,
trust, due times, expiry, clocks that are set), executors and what is sent ahead to them, several
lanes, workflows of any shape, headers sent in pieces.
What parts of workflows may run when is in ``timemodel``.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from typing import NamedTuple

from celeriac.testing.protocol_states import (
    ABSENT,
    DEAD,
    FAILED,
    HELD,
    MAX_LOSSES,
    MAX_RETRIES,
    NONE,
    QUEUED,
    REVOKED,
    SUCCEEDED,
    TERMINAL,
    Row,
    Rules,
    State,
    Worker,
    assured,
    become,
    canonical,
    nonces_of,
    outdate,
    put_row,
    rest,
)


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
    return all(
        row.state in (*TERMINAL, ABSENT) and row.errback != "due" for row in state.rows
    ) and all(worker.phase in ("idle", "asks") for worker in state.workers)


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
    if row.wrong:
        return row.wrong
    if row.errback == "ended" and row.owed:
        return "an end that no errback was called for"
    if row.errback == "due" and row.state == SUCCEEDED:
        return "errback of a task that succeeded"
    if row.commits > 1:
        return "two terminal commits"
    if row.starts > 1 + row.retries:  # a retry that the task asked for is a start of its own
        return "at-most-once started twice"
    if row.released > 1:
        return "successor twice"
    if row.released and row.state in TERMINAL and row.state != SUCCEEDED:
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
    if state.doubt[index]:
        return ""  # it is about to compare
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
            yield canonical(after), True
        if worker.before:
            yield canonical(_reap(state, index, 1, rules)), True
        if worker.present:
            yield canonical(_reap(state, index, 0, rules)), True
    for after in _late_steps(state, rules):
        yield canonical(after), True
    if rules.goes_back:
        yield from _back_steps(state, rules)
    if rules.operator:
        yield from _operator_steps(state, rules)
    if rules.stamped and not state.revoked:
        yield canonical(state._replace(revoked=True)), False
    if rules.revoke:
        for task, row in enumerate(state.rows):
            if row.state == QUEUED:
                yield canonical(_end(state, task, REVOKED, rules)), False
            elif row.state == HELD and not row.revoked:
                yield canonical(put_row(state, task, row._replace(revoked=True))), False


def _back_steps(state: State, rules: Rules) -> Iterator[Step]:
    """The store becomes what it was at some moment; workers find out, each when it does."""
    if not (state.saved or state.back):
        known = tuple((worker.present, worker.before) for worker in state.workers)
        yield canonical(state._replace(saved=(state.rows, known))), False
    if state.saved:
        yield canonical(state._replace(saved=None, back=True)), True  # it never does
        rows, known = state.saved
        # What began under a lease that is kept has begun.
        rows = tuple(
            old._replace(starts=now.starts) if old.state == HELD else old
            for old, now in zip(rows, state.rows, strict=True)
        )
        workers = tuple(
            worker._replace(present=present, before=before)
            for worker, (present, before) in zip(state.workers, known, strict=True)
        )
        doubt = (rules.compare and known[0][0], rules.compare and known[1][0])
        past = state._replace(rows=rows, workers=workers, saved=None, back=True, doubt=doubt)
        yield canonical(past), False
    for index, worker in enumerate(state.workers):
        if state.doubt[index]:
            yield canonical(_compared(state, index, worker, rules)), True


def _compared(state: State, index: int, worker: Worker, rules: Rules) -> State:
    """A worker hands back leases that it knows nothing of, and ends what is not its own."""
    for task, row in enumerate(state.rows):
        knows = worker.nonce == row.nonce and worker.task == task
        if row.state == HELD and row.owner == (index, 0) and not knows:
            stray = Worker(task=task, nonce=row.nonce, outcome="begun")
            state = _handed_back(state, stray, rules)
    state = assured(state, index)
    gone = worker.phase in ("has", "ran") and state.rows[worker.task].nonce != worker.nonce
    return rest(state, index) if gone else state


def _operator_steps(state: State, rules: Rules) -> Iterator[Step]:
    for task, row in enumerate(state.rows):
        if row.errback == "due":  # it runs, as any task does
            called = row._replace(errback="ended", owed=row.owed - 1)
            yield canonical(put_row(state, task, called)), True
        failed = row.state in TERMINAL and row.state != SUCCEEDED
        if failed and not row.generation and (row.errback == "ended" or not rules.errback_first):
            yield canonical(put_row(state, task, _reopened(row, rules))), False


def _reopened(row: Row, rules: Rules) -> Row:
    """The next generation: what was counted is forgotten, the last fence is not."""
    waits = rules.errback_again and row.errback == "ended"
    return Row(
        applied=row.applied,
        generation=1,
        errback="waits" if waits else row.errback,
        owed=row.owed,
    )


def _worker_steps(state: State, index: int, worker: Worker, rules: Rules) -> Iterator[State]:
    if not worker.before and _may_be_anew(state, index):
        # The process dies; its next incarnation registers, the old one is yet to be reaped.
        yield become(outdate(state, index), index, _anew(state, rules, before=worker.present))
    if worker.present and state.revoked and not worker.knows:
        yield become(state, index, worker._replace(knows=True))  # a beat told
    if worker.phase in ("idle", "asks"):
        yield from _exchange(state, index, worker, rules)
    elif worker.phase == "has" and worker.knows:
        yield _called_off(state, index, worker, rules)
    elif worker.phase == "has":
        row = state.rows[worker.task]
        # What was given out before may still begin with who has lost it and does not know.
        mine = _is_mine(row, worker, (index, 0), rules)
        if mine and (worker.later or row.met):
            who = "who came after its stamp was revoked" if worker.later else "whoever else"
            row = row._replace(wrong=f"begun by {who}")
        counts = rules.at_most_once and (mine or not (row.generation or state.back))
        begun = row._replace(starts=min(row.starts + counts, 3))
        yield become(put_row(state, worker.task, begun), index, worker._replace(phase="ran"))
        if rules.release:
            yield become(state, index, worker._replace(phase="back"))
    elif worker.phase == "ran":
        for outcome in rules.outcomes:
            yield become(state, index, worker._replace(phase="sent", outcome=outcome))
        if rules.release:  # interrupted by a graceful stop
            yield become(state, index, worker._replace(phase="back", outcome="begun"))
    elif worker.phase == "sent":
        yield from _commit(state, index, worker, rules)
    elif worker.phase == "back":
        yield from _hand_back(state, index, worker, rules)
    elif worker.phase == "frees":
        row = state.rows[worker.task]
        applied = put_row(state, worker.task, row._replace(released=min(row.released + 1, 2)))
        yield become(applied, index, worker._replace(phase="sent", applied=True))
    else:
        counted = _count(state, worker.task, rules)
        yield counted  # the reply is lost: it will be counted again
        yield rest(counted, index)


def _exchange(state: State, index: int, worker: Worker, rules: Rules) -> Iterator[State]:
    if not worker.present:  # told LOST: it takes a new incarnation
        if not worker.before and _may_be_anew(state, index):
            yield become(outdate(state, index), index, _anew(state, rules))
        return
    if worker.phase == "asks" and rules.replay:
        yield _replayed(state, index, worker)
        return
    # A request that is lost changes nothing: the worker is where it was.
    if worker.phase == "asks":
        yield rest(state, index)  # rule switched off: a new exchange that brings nothing
    for after, task, nonce in _leases(state, index):
        yield become(after, index, worker._replace(phase="has", task=task, nonce=nonce))
        lost = worker._replace(phase="asks", task=task, nonce=nonce)
        yield become(after, index, lost)  # the reply is lost


def _may_be_anew(state: State, index: int) -> bool:
    """No more than two incarnations of a worker are in the model at once."""
    return not (state.saved and state.saved[1][index][1])


def _anew(state: State, rules: Rules, before: bool = False) -> Worker:
    """A new incarnation, which has registered."""
    knows = state.revoked and rules.learn_first
    return Worker(before=before, knows=knows, later=state.revoked)


def _called_off(state: State, index: int, worker: Worker, rules: Rules) -> State:
    """What a worker has carries a revoked stamp: it is revoked, and does not run."""
    row = state.rows[worker.task]
    if _is_mine(row, worker, (index, 0), rules):
        row = row._replace(met=True, revoked=row.revoked or rules.revoke_met)
        state = put_row(state, worker.task, row)
    return become(state, index, worker._replace(phase="sent", outcome=REVOKED))


def _leases(state: State, index: int) -> Iterator[tuple[State, int, int]]:
    """Each task that the store may lease to a worker now, and under which nonce."""
    for task, row in enumerate(state.rows):
        if row.state == QUEUED:
            nonce = 1 + max(nonces_of(state), default=NONE)
            leased = row._replace(state=HELD, owner=(index, 0), nonce=nonce)
            yield put_row(state, task, leased), task, nonce


def _replayed(state: State, index: int, worker: Worker) -> State:
    """The same seq again: what is still leased under its nonce."""
    row = state.rows[worker.task]
    if row.state == HELD and row.nonce == worker.nonce:
        return become(state, index, worker._replace(phase="has"))
    return rest(state, index)


def _late_steps(state: State, rules: Rules) -> Iterator[State]:
    """What arrives when nobody waits for it any more."""
    for index, worker in enumerate(state.workers):
        if rules.late and worker.phase in ("sent", "back") and not state.wire:
            # The request is sent again; the first one is still under way.
            request = worker._replace(present=True, before=False, sender=(index, 0))
            yield state._replace(wire=(request,))
        asked_before = worker.phase not in ("idle", "asks")
        if asked_before and worker.present and not rules.refuse_old:
            yield from (after for after, *_ in _leases(state, index))
    for request in state.wire:
        arrived = state._replace(wire=())
        if not _is_mine(state.rows[request.task], request, request.sender, rules):
            yield arrived  # ALREADY or FENCED
        elif request.phase == "back":
            yield _handed_back(arrived, request, rules)
        else:
            yield _committed(arrived, request, rules)


def _is_mine(row: Row, worker: Worker, owner: tuple[int, int] | None, rules: Rules) -> bool:
    if rules.fence:
        same = row.nonce == worker.nonce if rules.nonce else row.owner == owner
        return row.state == HELD and same
    return row.applied != worker.nonce  # a store that trusts whoever comes, resends aside


def _commit(state: State, index: int, worker: Worker, rules: Rules) -> Iterator[State]:
    """Commit the outcome. The reply comes, or is lost and the commit sent again."""
    row = state.rows[worker.task]
    if not _is_mine(row, worker, (index, 0), rules):
        yield rest(state, index)  # ALREADY or FENCED
        return
    if worker.outcome == SUCCEEDED and not rules.one_commit and not worker.applied:
        yield become(state, index, worker._replace(phase="frees"))  # successors first
        return
    after = _committed(state, worker, rules)
    if rules.join and not rules.join_set and after.rows[worker.task].state == SUCCEEDED:
        yield become(after, index, worker._replace(phase="counts"))
        return
    yield rest(after, index)
    yield become(after, index, worker._replace(phase="sent"))


def _committed(state: State, worker: Worker, rules: Rules) -> State:
    row = state.rows[worker.task]._replace(applied=worker.nonce)
    state = put_row(state, worker.task, row)
    if worker.outcome == QUEUED and row.revoked:
        return _end(state, worker.task, REVOKED, rules)
    if worker.outcome == QUEUED and row.retries < MAX_RETRIES:
        again = row._replace(state=QUEUED, owner=None, nonce=NONE, retries=row.retries + 1)
        return put_row(state, worker.task, again)
    final = FAILED if worker.outcome == QUEUED else worker.outcome
    return _end(state, worker.task, final, rules)


def _hand_back(state: State, index: int, worker: Worker, rules: Rules) -> Iterator[State]:
    if not _is_mine(state.rows[worker.task], worker, (index, 0), rules):
        yield rest(state, index)
        return
    after = _handed_back(state, worker, rules)
    yield rest(after, index)
    yield become(after, index, worker._replace(phase="back"))


def _handed_back(state: State, worker: Worker, rules: Rules) -> State:
    row = state.rows[worker.task]._replace(applied=worker.nonce)
    state = put_row(state, worker.task, row)
    if row.revoked:
        return _end(state, worker.task, REVOKED, rules)
    if rules.at_most_once and worker.outcome == "begun":
        return _end(state, worker.task, FAILED, rules)
    return put_row(state, worker.task, row._replace(state=QUEUED, owner=None, nonce=NONE))


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
            state = put_row(state, task, freed)
    worker = state.workers[index]
    known = worker._replace(before=False) if incarnation else worker._replace(present=False)
    return become(state, index, known)


def _end(state: State, task: int, final: str, rules: Rules) -> State:
    """The one routine `finish`: state, successor and join in one step."""
    row = state.rows[task]
    released = row.released
    if final == SUCCEEDED and rules.one_commit:
        released = min(released + 1, 2)
    if rules.operator:
        row = _with_errback(row, final)
    row = row._replace(
        state=final,
        owner=None,
        nonce=NONE,
        commits=min(row.commits + 1, 2),
        released=released,
        revoked=False,
    )
    state = put_row(state, task, row)
    state = _grow(state, final) if rules.grow_first else state
    if rules.join and rules.join_set and final == SUCCEEDED:
        state = _count(state, task, rules)
    return _grow(state, final)


def _with_errback(row: Row, final: str) -> Row:
    """Its errback is due, or is not needed; only one that waits can be called."""
    waits = row.errback == "waits"
    if final == SUCCEEDED:
        return row._replace(errback="ended") if waits else row
    return row._replace(errback="due" if waits else row.errback, owed=min(row.owed + 1, 2))


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


__all__ = ["FAILED", "QUEUED", "SUCCEEDED", "Found", "Row", "Rules", "State", "Worker", "explore"]
