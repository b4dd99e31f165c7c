"""Whatever shape a workflow has and whatever its parts come to: it ends, and as its edges say.

What must have become of a part is worked out here from the parts before it, not by ``finish``.
"""

import tempfile
from dataclasses import dataclass, field
from random import Random

import pytest
from edge_rules import check_as_the_edges_say
from hypothesis import given, settings
from hypothesis import strategies as st
from random_plans import random_plan

from celeriac import states
from celeriac.clock import ManualClock
from celeriac.exceptions import HeaderIncomplete
from celeriac.message import ADDED, Edges, Header, NewJoin, decode
from celeriac.outcome import Outcome
from celeriac.records import Commit, Manifest, TaskFacts, Want
from celeriac.stores import connect
from celeriac.stores.base import Options
from celeriac.stores.memory import make_store
from celeriac.testing.conformance import message

QUEUES = ["q", "r"]
#: How a run may end; most succeed.
ENDS = [states.SUCCEEDED] * 8 + [
    states.FAILED,
    states.DEAD,
    states.SKIPPED,
    states.REFUSED,
    states.CANCELLED,
]


@dataclass
class Run:
    """One store, one workflow or more, and a worker that ends what it gets at random."""

    store: object
    clock: ManualClock
    pick: Random
    number: int = 0
    seq: int = 0
    headers: dict[str, Header] = field(default_factory=dict)
    joins: dict[str, NewJoin] = field(default_factory=dict)
    grown: dict[str, set[str]] = field(default_factory=dict)
    #: By id and generation, how often a part was run, and how many of these runs were replaced.
    runs: dict[tuple[str, int], int] = field(default_factory=dict)
    replacements: dict[tuple[str, int], int] = field(default_factory=dict)
    #: What is not replaced by anything.
    lasting: set[str] = field(default_factory=set)

    def fresh(self, prefix):
        self.number += 1
        return f"{prefix}{self.number}"

    def know(self, messages, joins=()):
        self.headers |= {each.id: each.header for each in messages}
        self.joins |= {each.id: each for each in joins}

    def exchange(self, commits=(), free=0):
        self.seq += 1
        return self.store.queue.exchange("w", 0, self.seq, commits, [], QUEUES, Want(free=free))

    def work(self, kind):
        """Run what is queued until nothing is; *kind* makes an outcome of a delivery."""
        while held := self.exchange(free=self.pick.randint(1, 4)).deliveries:
            for each in self.pick.sample(held, len(held)):
                self.end(each, kind)

    def end(self, held, kind):
        """End the run of what is held; now and then say so twice."""
        (record,) = self.store.inspection.get([held.id])
        at = held.id, record.generation
        self.runs[at] = self.runs.get(at, 0) + 1
        outcome = kind(held.id, decode(held.wire).header)
        if outcome.message is not None:
            self.replacements[at] = self.replacements.get(at, 0) + 1
        for _ in range(2 if self.pick.random() < 0.1 else 1):
            self.exchange([Commit(held.fence, outcome)])

    def at_random(self, id, header):
        state = self.pick.choice(ENDS)
        lasts = id.startswith("p") or id in self.lasting
        if state == states.SUCCEEDED and self.pick.random() < 0.15 and not lasts:
            return self.replaced(id, header)
        parts = ()
        if header.edges is not None and header.edges.join is not None and self.pick.random() < 0.3:
            parts = (self.added(header.edges.join[0]),)
        return Outcome(state, b"r", reason="ended by itself", parts=parts)

    def added(self, join):
        at = (join, ADDED + self.number)
        part = message(self.fresh("x"), queue="q", edges=Edges(join=at, within=at))
        self.know([part])
        self.grown.setdefault(join, set()).add(part.id)
        return part.encode()

    def replaced(self, id, header):
        """A group in place of the record: its parts first, then itself once more."""
        join = self.fresh("R")
        before = header.edges or Edges()
        edges = Edges(
            waits=True,
            gathers=join,
            success=before.success,
            failure=before.failure,
            own=before.own,
            join=before.join,
            within=before.within,
        )
        parts = [
            message(self.fresh("p"), queue="q", edges=Edges(join=(join, index)))
            for index in range(self.pick.randint(0, 2))
        ]
        new = message(id, queue="q", nonce="replaced", edges=edges)
        joins = (NewJoin(join, id, len(parts)),)
        self.know([*parts, new], joins)
        return Outcome(
            states.WAITING,
            message=new.encode(),
            parts=tuple(each.encode() for each in parts),
            joins=joins,
        )

    def succeed(self, _id, _header):
        return Outcome(states.SUCCEEDED, b"r")

    def pass_time(self, seconds):
        for _ in range(int(seconds // 2) + 1):
            self.clock.advance(2.0)
            self.store.queue.beat("w")
            self.store.queue.reap()

    def records(self):
        found = {}
        ids = list(self.headers)
        for each in self.store.inspection.get(ids):
            if each is not None:
                found[each.id] = each
        return found


def check_all_ended(run):
    records = run.records()
    left = {id: each.state for id, each in records.items() if each.state not in states.TERMINAL}
    assert not left, f"never ended: {left}"
    return records


def go(store, clock, seed):
    run = Run(store, clock, Random(seed))
    store.queue.register("w", Manifest({"job": TaskFacts()}))
    for _ in range(run.pick.randint(1, 3)):
        messages, joins = random_plan(run.pick, run.fresh, "F")
        run.know(messages, joins)
        revoked = [run.pick.choice(messages).id] if run.pick.random() < 0.3 else []
        before = run.pick.random() < 0.5
        if before:
            store.queue.revoke(revoked)
        store.queue.enqueue(messages, joins=joins)
        if not before:
            store.queue.revoke(revoked)
    run.work(run.at_random)
    records = check_all_ended(run)
    check_as_the_edges_say(run, records)
    for id in sorted(records):
        if run.pick.random() < 0.2:
            store.inspection.retry([id])
    run.work(run.succeed)
    check_all_ended(run)


def errbacks_of(headers, joins):
    """Errbacks, and all that follows one."""
    bodies = {each.id: each.body for each in joins}
    found = set()
    todo = [id for each in headers if each.edges for id in (*each.edges.failure, *each.edges.own)]
    edges = {each.id: each.edges for each in headers}
    while todo:
        id = todo.pop()
        if id not in found:
            found.add(id)
            after = edges[id] or Edges()
            todo += (*after.success, *after.failure, *after.own)
            todo += [bodies[after.join[0]]] if after.join is not None else []
    return found


def retry_in_the_middle(store, clock, seed):
    """An operator retries what has failed while other parts, errbacks too, wait or run.

    Errbacks are not replaced: of one that was, only the last part runs in a new generation.
    """
    run = Run(store, clock, Random(seed))
    pick = run.pick
    store.queue.register("w", Manifest({"job": TaskFacts()}))
    messages, joins = random_plan(pick, run.fresh, "F")
    run.know(messages, joins)
    run.lasting = errbacks_of(run.headers.values(), joins)
    store.queue.enqueue(messages, joins=joins)
    held = []
    for _ in range(60):
        what = pick.random()
        if what < 0.35:
            held += run.exchange(free=pick.randint(1, 3)).deliveries
        elif what < 0.75 and held:
            run.end(held.pop(pick.randrange(len(held))), run.at_random)
        else:
            store.inspection.retry([pick.choice(sorted(run.headers))])
    for each in held:
        run.end(each, run.at_random)
    run.work(run.at_random)
    check_as_the_edges_say(run, check_all_ended(run))
    for at, times in run.runs.items():
        assert times - run.replacements.get(at, 0) <= 1, f"{at} ended {times} times"


def stop_sending(store, clock, seed):
    """The producer of an open header dies somewhere, or goes on too late."""
    run = Run(store, clock, Random(seed))
    pick = run.pick
    store.queue.register("w", Manifest({"job": TaskFacts()}))
    body = message("body", queue="q", edges=Edges(waits=True, gathers="J", success=("z",)))
    behind = message("z", queue="q", edges=Edges(waits=True, takes="body"))
    run.know([body, behind])
    store.queue.open_join("J", body, [behind])
    waiting = []
    for index in range(pick.randint(0, 6)):
        first, last, at = run.fresh("m"), run.fresh("n"), ("J", index)
        waits = pick.random() < 0.5
        chunk = [
            message(first, queue="q", edges=Edges(waits, success=(last,), within=at)),
            message(last, queue="q", edges=Edges(waits=True, join=at, within=at)),
        ]
        waiting += [first] if waits else []
        run.know(chunk)
        if pick.random() < 0.2:
            run.work(run.at_random)
        if pick.random() < 0.1:
            run.pass_time(30)
        try:
            store.queue.enqueue(chunk, "J")
        except HeaderIncomplete:
            break
    if waiting and pick.random() < 0.5:
        releaser = message("a", queue="q", edges=Edges(success=tuple(waiting)))
        run.know([releaser])
        store.queue.enqueue([releaser])
    run.work(run.at_random)
    run.pass_time(30)
    run.work(run.at_random)
    check_all_ended(run)


def memory():
    clock = ManualClock()
    options = Options(clock=clock, random=lambda: 0.25, join_seal_timeout=20.0)
    return make_store("memory://", options), clock


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**48))
def test_every_workflow_ends_as_its_edges_say(seed):
    go(*memory(), seed)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**48))
def test_what_is_retried_in_the_middle_runs_once_in_each_generation(seed):
    retry_in_the_middle(*memory(), seed)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**48))
def test_what_is_never_sent_leaves_nothing_waiting(seed):
    stop_sending(*memory(), seed)


@pytest.mark.parametrize("scene", [go, retry_in_the_middle, stop_sending])
def test_on_sqlite(scene):
    for seed in range(25):
        with tempfile.TemporaryDirectory(prefix="celeriac-ends-") as folder:
            clock = ManualClock()
            options = Options(
                clock=clock, random=lambda: 0.25, join_seal_timeout=20.0, durability="relaxed"
            )
            scene(connect(f"sqlite:///{folder}/tasks.db", options), clock, seed)


@pytest.mark.parametrize("kind", ["redis", "valkey", "redis-6.2"])
@pytest.mark.parametrize("scene", [go, retry_in_the_middle, stop_sending])
def test_on_redis(shared, kind, scene):
    for seed in range(25):
        clock = ManualClock()
        options = Options(
            clock=clock,
            random=lambda: 0.25,
            join_seal_timeout=20.0,
            namespace=shared.namespace(),
        )
        scene(connect(shared.url(kind), options), clock, seed)
