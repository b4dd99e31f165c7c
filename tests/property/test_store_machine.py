"""A store is held against the memory store, step by step, under random calls and faults.

Both stores see the same calls on the same clock; after each step every record, join and worker,
and what the call answered, must be the same. "Error before" raises without applying, "error
after" applies and raises; both are then repeated, as a worker does that lost a reply.
"""

import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec.structs import replace
from random_plans import random_plan

from celeriac import states
from celeriac.clock import ManualClock
from celeriac.exceptions import CeleriacError, OperationalError
from celeriac.message import ADDED, Edges, NewJoin
from celeriac.outcome import Outcome
from celeriac.records import Beat, Commit, Fence, Manifest, TaskFacts, Want
from celeriac.stores import connect
from celeriac.stores.base import Entry, Options
from celeriac.stores.memory import make_store
from celeriac.testing.conformance import message
from celeriac.testing.faults import Faults, wrap

TASKS = ("job", "once", "fragile", "strange")
#: What every worker knows. One name alone is parked: in which order several names come back from
#: there is each store's own affair.
FAMILIAR = TASKS[:3]
FACTS = {
    "job": TaskFacts(),
    "strange": TaskFacts(),
    "once": TaskFacts(late=False),
    "fragile": TaskFacts(requeue_lost=False),
}
NO_FAULT = ""
FAULTS = [NO_FAULT] * 6 + ["before", "after"]
QUEUES = ["q", "q", "r"]
OFFSETS = [None, None, None, None, -1.0, 3.0, 20.0]
#: A rule makes its choices from a seed, so that hypothesis spends its effort on the order of
#: steps, and a walk can take the same steps without it.
seeds = st.integers(0, 2**48)
#: Workflows; "" is none.
FLOWS = ["F", "G", ""]
OUTCOMES = (
    [states.SUCCEEDED] * 6
    + [states.FAILED] * 3
    + [states.QUEUED, states.SCHEDULED] * 2
    + [states.CANCELLED, states.SKIPPED, states.REFUSED, states.DEAD, states.WAITING]
)


@dataclass
class Owner:
    name: str
    seqs: dict[int, int] = field(default_factory=dict)
    last: dict[int, tuple] = field(default_factory=dict)


class StoreMachine(RuleBasedStateMachine):
    """Drives the store under test and the reference."""

    def open_store(self, options):
        raise NotImplementedError

    def close_store(self):
        raise NotImplementedError

    @initialize()
    def begin(self):
        self.clock = ManualClock()
        self.injector = Faults()
        options = Options(
            clock=self.clock,
            random=lambda: 0.25,
            max_losses=3,
            result_max=50,
            result_expires=40.0,
            tombstone_expires=25.0,
            revoke_expires=30.0,
            dead_expires=60.0,
            join_seal_timeout=20.0,
            durability="relaxed",
        )
        self.reference = make_store("memory://", options)
        self.plain = self.open_store(options)
        self.subject = wrap(self.plain, self.injector)
        self.ids = set()
        #: Joins opened, with the number of members sent; and those stored whole.
        self.joins = {}
        self.planned = set()
        self.owners = {}
        self.fences = []
        self.number = 0
        self.pick = Random(0)
        self.ended = {}
        self.register(0, TASKS)
        self.register(1, FAMILIAR)

    def teardown(self):
        if hasattr(self, "plain"):
            self.close_store()

    # -- calling both

    def both(self, path, *args, fault=NO_FAULT, **kwargs):
        """Make one call on both stores, perhaps with a fault first; the answers must agree."""
        if fault:
            self.injector.arm(fault, path)
            expected = answer(self.reference, path, args, kwargs) if fault == "after" else None
            raised = expected if isinstance(expected, type) else OperationalError
            assert answer(self.subject, path, args, kwargs) is raised
            self.injector.disarm()
        expected = answer(self.reference, path, args, kwargs)
        found = answer(self.subject, path, args, kwargs)
        assert found == expected, f"{path}{args}: {found} instead of {expected}"
        return expected

    def fresh(self, prefix):
        self.number += 1
        return f"{prefix}{self.number}"

    def when(self, offset):
        return None if offset is None else self.clock.wall() + offset

    # -- sending

    @rule(seed=seeds)
    def enqueue(self, seed):
        self.pick = Random(seed)
        id = f"t{self.pick.randint(0, 5)}"
        nonce = self.pick.choice(["1", "2", "unique"])
        task = self.pick.choice(["job", *TASKS])
        queue = self.pick.choice(QUEUES)
        priority = self.pick.choice([0, 5])
        eta = self.pick.choice(OFFSETS)
        expires = self.pick.choice(OFFSETS)
        fault = self.pick.choice(FAULTS)
        self.ids.add(id)
        sent = message(
            id,
            task=task,
            nonce=id if nonce == "unique" else nonce,
            queue=queue,
            priority=priority,
            eta=self.when(eta),
            expires=self.when(expires),
        )
        self.both("queue.enqueue", [sent], fault=fault)

    @rule(seed=seeds)
    def enqueue_chain(self, seed):
        self.pick = Random(seed)
        expires = self.pick.choice(OFFSETS)
        eta = self.pick.choice(OFFSETS)
        errback = self.pick.random() < 0.5
        task = self.pick.choice(TASKS)
        queue = self.pick.choice(QUEUES)
        a, b, c, e = (self.fresh("c") for _ in range(4))
        self.ids |= {a, b, c, e}
        failure = (e,) if errback else ()
        self.both(
            "queue.enqueue",
            [
                message(a, task=task, queue="q", edges=Edges(success=(b,), failure=failure)),
                message(
                    b,
                    queue="q",
                    eta=self.when(eta),
                    expires=self.when(expires),
                    edges=Edges(waits=True, success=(c,), takes=a),
                ),
                message(c, queue=queue, edges=Edges(waits=True, takes=b)),
                *([message(e, queue="r", edges=Edges(waits=True))] if errback else []),
            ],
        )

    @rule(seed=seeds)
    def enqueue_plan(self, seed):
        self.pick = Random(seed)
        fault = self.pick.choice(FAULTS)
        flow = self.pick.choice(FLOWS)
        messages, joins = random_plan(self.pick, self.fresh, flow)
        self.ids |= {each.id for each in messages}
        self.planned |= {each.id for each in joins}
        if self.pick.random() < 0.1:
            self.both("queue.revoke", [self.pick.choice(messages).id])
        self.both("queue.enqueue", messages, None, joins, fault=fault)
        if self.pick.random() < 0.2:
            self.both("queue.enqueue", messages, None, joins)

    @rule(seed=seeds)
    def enqueue_join(self, seed):
        self.pick = Random(seed)
        size = self.pick.randint(0, 3)
        sealed = self.pick.random() < 0.5
        fault = self.pick.choice(FAULTS)
        join = self.fresh("J")
        body, behind, errback = (self.fresh("b") for _ in range(3))
        self.ids |= {body, behind, errback}
        edges = Edges(waits=True, gathers=join, success=(behind,), failure=(errback,))
        self.both(
            "queue.open_join",
            join,
            message(body, queue="q", edges=edges),
            [message(errback, queue="r", edges=Edges(waits=True))],
            fault=fault,
        )
        self.both(
            "queue.enqueue",
            [message(behind, queue="q", edges=Edges(waits=True, takes=body))],
        )
        self.joins[join] = 0
        for _ in range(size):
            self.add_member(join, fault)
        if sealed:
            self.both("queue.seal", join, size, fault=fault)

    def add_member(self, join, fault=NO_FAULT):
        first, last, index = self.fresh("m"), self.fresh("m"), self.joins[join]
        self.ids |= {first, last}
        self.joins[join] += 1
        within = (join, index)
        waits = self.pick.random() < 0.25
        # Every other branch has two parts; some wait for what is sent later, or never.
        branch = (
            [
                message(first, queue="q", edges=Edges(waits, success=(last,), within=within)),
                message(last, queue="q", edges=Edges(waits=True, join=within, within=within)),
            ]
            if index % 2
            else [message(first, queue="q", edges=Edges(waits, join=within, within=within))]
        )
        self.both("queue.enqueue", branch, join, fault=fault)
        if waits and self.pick.random() < 0.5:
            releaser = self.fresh("r")
            self.ids.add(releaser)
            sent = message(releaser, queue="q", flow="F", edges=Edges(success=(first,)))
            self.both("queue.enqueue", [sent])

    @precondition(lambda self: self.joins)
    @rule(seed=seeds)
    def go_on_with_a_join(self, seed):
        self.pick = Random(seed)
        more = self.pick.random() < 0.5
        join = self.pick.choice(sorted(self.joins))
        view = self.reference.inspection.join(join)
        if more and view is not None and view.size is None:
            self.add_member(join)
        self.both("queue.seal", join, self.joins[join])

    # -- workers

    def register(self, index, knows):
        owner = self.owners.get(index)
        if owner is None:
            owner = self.owners[index] = Owner(self.fresh(f"w{index}."))
        manifest = Manifest({name: FACTS[name] for name in knows}, hostname="box", pid=index)
        self.both("queue.register", owner.name, manifest)

    @rule(seed=seeds)
    def a_worker_starts(self, seed):
        self.pick = Random(seed)
        index = self.pick.randint(0, 2)
        knows = self.pick.choice([TASKS, TASKS, FAMILIAR])
        self.register(index, knows)

    def draw_owner(self):
        if not self.owners:
            self.register(0, TASKS)
        return self.pick.choice([self.owners[key] for key in sorted(self.owners)])

    def forget_owner(self, owner):
        self.owners = {key: each for key, each in self.owners.items() if each is not owner}

    @rule(seed=seeds)
    def exchange(self, seed):
        self.pick = Random(seed)
        lane = self.pick.randint(0, 1)
        free = self.pick.choice([1, 2, 4, 0])
        ahead = self.pick.randint(0, 2)
        queue = self.pick.choice(QUEUES)
        fault = self.pick.choice(FAULTS)
        owner = self.draw_owner()
        commits = [Commit(fence, self.draw_outcome(fence)) for fence in self.draw_fences()]
        seq = owner.seqs[lane] = owner.seqs.get(lane, 0) + 1
        call = (
            owner.name,
            lane,
            seq,
            commits,
            self.draw_fences(),
            [queue],
            Want(free, ahead, frozenset({"job"})),
        )
        owner.last[lane] = call
        self.exchanged(owner, call, fault)

    def exchanged(self, owner, call, fault=NO_FAULT):
        given = self.both("queue.exchange", *call, fault=fault)
        if isinstance(given, type):
            return
        self.fences.extend(each.fence for each in given.deliveries)
        if given.lost:
            self.forget_owner(owner)

    @precondition(lambda self: any(owner.last for owner in self.owners.values()))
    @rule(seed=seeds)
    def resend(self, seed):
        self.pick = Random(seed)
        owner = self.draw_owner()
        if owner.last:
            lane = self.pick.choice(sorted(owner.last))
            self.exchanged(owner, owner.last[lane])

    def draw_fences(self):
        """Up to three fences: of what is held, and sometimes of what was held once."""
        held = [
            Fence(each.id, each.attempt, each.nonce)
            for each in self.reference.inspection.get(sorted(self.ids))
            if each is not None and each.state in states.HELD
        ]
        old = self.fences[-8:]
        if self.pick.random() < 0.2:
            held = [*old, Fence("t0", 1, "nobody.0.1")]
        held = list(dict.fromkeys(held))  # no worker commits one delivery twice in a call
        return self.pick.sample(held, self.pick.randint(0, min(3, len(held))))

    def draw_outcome(self, fence):
        state = self.pick.choice(OUTCOMES)
        body = self.pick.choice([None, b"result", b"result", b"x" * 60])
        charge = self.pick.choice(["", "retry", "crash"])
        if state in states.TERMINAL:
            keep = self.pick.random() < 0.5
            return Outcome(
                state, body, keep, "ValueError: no", charge=charge, parts=self.additions()
            )
        if state == states.WAITING:
            return self.replacement(fence)
        rewritten = self.pick.choice([None, None, None, "r", "q", "broken"])
        sent = message(fence.id, nonce="rewritten", queue=rewritten or "q", priority=2).encode()
        return Outcome(
            state,
            delay=self.pick.choice([0.0, 2.0, 15.0]),
            charge=charge,
            reason="ValueError: again",
            message=b"broken" if rewritten == "broken" else sent if rewritten else None,
        )

    def additions(self):
        """Sometimes a member that is added to a join that is there, or was."""
        known = sorted(self.planned | self.joins.keys())
        if not known or self.pick.random() < 0.8:
            return ()
        join, index = self.pick.choice(known), ADDED + self.number // 8
        part = self.fresh("x")
        self.ids.add(part)
        at = (join, index)
        edges = Edges(join=at, within=at if self.pick.random() < 0.5 else None)
        return (message(part, queue="q", flow="F", edges=edges).encode(),)

    def replacement(self, fence):
        return self.chain_instead(fence) if self.pick.random() < 0.5 else self.group_instead(fence)

    def group_instead(self, fence):
        join, size = self.fresh("J"), self.pick.randint(0, 2)
        body = self.pick.choice([fence.id, fence.id, fence.id, "nobody"])
        members = [self.fresh("p") for _ in range(size)]
        self.ids.update(members)
        self.planned.add(join)
        if members and self.pick.random() < 0.1:
            self.both("queue.revoke", [members[0]])
        return Outcome(
            states.WAITING,
            message=message(
                fence.id,
                nonce="replaced",
                queue="q",
                flow=self.pick.choice(FLOWS),
                edges=Edges(waits=True, gathers=join),
            ).encode(),
            parts=tuple(
                message(each, queue="q", edges=Edges(join=(join, index))).encode()
                for index, each in enumerate(members)
            ),
            joins=(NewJoin(join, body, size),),
        )

    def chain_instead(self, fence):
        part = self.fresh("p")
        self.ids.add(part)
        return Outcome(
            states.WAITING,
            message=message(
                fence.id,
                nonce="replaced",
                queue="q",
                edges=self.pick.choice([None, Edges(waits=True, takes=part)]),
            ).encode(),
            parts=(message(part, queue="q", edges=Edges(success=(fence.id,))).encode(),),
        )

    @rule(seed=seeds)
    def release(self, seed):
        self.pick = Random(seed)
        started = self.pick.random() < 0.5
        delay = self.pick.choice([0.0, 0.0, 4.0])
        fault = self.pick.choice(FAULTS)
        self.both("queue.release", "w", self.draw_fences(), started, delay, fault=fault)

    @rule(seed=seeds)
    def beat(self, seed):
        self.pick = Random(seed)
        fault = self.pick.choice(FAULTS)
        owner = self.draw_owner()
        for fence in self.draw_fences():
            self.both("queue.update", fence, "PROGRESS", b"half")
        given = self.both("queue.beat", owner.name, self.draw_fences(), fault=fault)
        if given.lost:
            self.forget_owner(owner)

    @rule(seed=seeds)
    def a_worker_ends(self, seed):
        self.pick = Random(seed)
        how = self.pick.choice(["close", "kill", "kill"])
        fault = self.pick.choice(FAULTS)
        owner = self.draw_owner()
        if how == "close":
            self.both("queue.close_owner", owner.name, fault=fault)
        else:
            self.both("queue.reap", [owner.name, "never"], fault=fault)
        self.forget_owner(owner)

    # -- time

    @rule(seed=seeds)
    def time_passes(self, seed):
        self.pick = Random(seed)
        seconds = self.pick.choice([0.5, 2.0, 2.0, 6.0, 100.0, -100.0])
        fault = self.pick.choice(FAULTS)
        self.both("queue.reap", fault=fault)
        if abs(seconds) > 10:
            self.clock.jump_wall(seconds)
        else:
            self.clock.advance(seconds)

    @rule(seed=seeds)
    def much_time_passes(self, seed):
        self.pick = Random(seed)
        seconds = self.pick.choice([10.0, 22.0, 64.0])
        alive = self.pick.random() < 0.5
        while seconds > 0:
            self.clock.advance(2.0)
            seconds -= 2.0
            if alive:
                for owner in list(self.owners.values()):
                    self.both("queue.beat", owner.name)
            self.both("queue.reap")

    # -- people

    @rule(seed=seeds)
    def revoke(self, seed):
        self.pick = Random(seed)
        terminate = self.pick.choice([None, "SIGTERM"])
        fault = self.pick.choice(FAULTS)
        self.both("queue.revoke", self.some_ids(), terminate, fault=fault)

    @rule(seed=seeds)
    def operator_retries(self, seed):
        self.pick = Random(seed)
        rewrite = self.pick.choice([False, False, True])
        ids = self.some_ids()
        messages = {id: message(id, nonce="operator", queue="q") for id in ids if rewrite}
        self.both("inspection.retry", ids, messages)

    @rule(seed=seeds)
    def tidy(self, seed):
        self.pick = Random(seed)
        what = self.pick.choice(["forget", "forget", "discard", "purge"])
        if what == "purge":
            self.both("queue.purge", ["r"])
        elif what == "discard":
            self.both("inspection.discard", self.some_ids()[:1])
        else:
            self.both("results.forget", self.some_ids())

    def some_ids(self):
        known = sorted(self.ids) or ["t0"]
        return self.pick.sample(known, min(len(known), self.pick.randint(1, 3)))

    @rule(seed=seeds)
    def the_small_faces(self, seed):
        self.pick = Random(seed)
        key = self.pick.choice("kl")
        holder = self.pick.choice("xyz")
        limit = self.pick.randint(1, 2)
        tick = self.pick.randint(1, 5)
        self.both("coordinator.acquire", key, holder, limit, 5.0)
        self.both("coordinator.take", key, 1.0, 0.5, 2.0)
        if limit == 1:
            self.both("coordinator.release", key, "x")
            self.both("schedules.save", Entry("e", b"definition"))
        id = f"tick{tick}"
        self.ids.add(id)
        self.both("schedules.claim", "e", float(tick), [message(id, nonce=id, queue="q")])
        self.both("schedules.load")

    # -- what must hold

    @invariant()
    def the_stores_agree(self):
        if not hasattr(self, "ids"):
            return
        ids = sorted(self.ids)
        records = self.plain.inspection.get(ids)
        for expected, found in zip(self.reference.inspection.get(ids), records, strict=True):
            assert found == expected, difference(found, expected)
        for flow in FLOWS:
            parts = self.plain.inspection.flow(flow)
            assert parts == self.reference.inspection.flow(flow)
            if parts:
                half = parts[len(parts) // 2].id
                page = self.plain.inspection.flow(flow, half, 3)
                assert page == self.reference.inspection.flow(flow, half, 3)
        for join in sorted(self.planned | self.joins.keys()):
            assert self.plain.inspection.join(join) == self.reference.inspection.join(join)
            assert self.plain.results.join_results(join) == self.reference.results.join_results(
                join
            )
        owners = {each.owner: each for each in self.plain.inspection.workers()}
        assert owners == {each.owner: each for each in self.reference.inspection.workers()}
        counts = self.plain.inspection.counts()
        assert counts == self.reference.inspection.counts()
        self.check([each for each in records if each is not None], owners, counts)

    def check(self, records, owners, counts):
        """What must hold of any store, whatever another one does."""
        held = Counter(each.owner for each in records if each.state in states.HELD)
        assert held.keys() <= owners.keys()
        assert all(each.held == held[name] for name, each in owners.items())
        counted = Counter((each.queue, each.state) for each in records)
        told = {
            (queue, state): number
            for queue, numbers in counts.states.items()
            for state, number in numbers.items()
        }
        assert told == counted
        parked = Counter((each.queue, each.task) for each in records if each.parked)
        assert parked == {
            (queue, task): number
            for queue, numbers in counts.parked.items()
            for task, number in numbers.items()
        }
        for each in records:
            assert not each.parked or each.state == states.QUEUED
            assert (each.state in states.TERMINAL) == (each.ended_at is not None)
            generation, before = self.ended.get(each.id, (-1, ""))
            assert before == each.state or generation < each.generation, (
                f"{each.id} was {before}, is {each.state}"
            )
        # What retention or an operator removed may come again from its first generation.
        self.ended = {
            each.id: (each.generation, each.state)
            for each in records
            if each.state in states.TERMINAL
        }


def difference(found, expected):
    """Where two records part, for whoever reads the failure."""
    if found is None or expected is None:
        return f"{found} instead of {expected}"
    parts = [
        f"{name} is {getattr(found, name)!r} instead of {getattr(expected, name)!r}"
        for name in expected.__struct_fields__
        if getattr(found, name) != getattr(expected, name)
    ]
    return f"{expected.id} ({expected.task}): " + ", ".join(parts)


def answer(store, path, args, kwargs):
    """What a call answers: its value, or the class of the error it raises."""
    face, _, method = path.partition(".")
    try:
        given = getattr(getattr(store, face), method)(*args, **kwargs)
    except CeleriacError as error:
        return type(error)
    # Which run of a server it is, is each store's own.
    return replace(given, run="") if isinstance(given, Beat) else given


SETTINGS = settings(
    max_examples=15,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
#: Steps of a walk and their weights: mostly work, sometimes trouble.
STEPS = {
    "exchange": 12,
    "enqueue": 5,
    "enqueue_chain": 3,
    "enqueue_plan": 3,
    "enqueue_join": 2,
    "go_on_with_a_join": 2,
    "a_worker_starts": 2,
    "resend": 1,
    "release": 2,
    "beat": 2,
    "a_worker_ends": 2,
    "time_passes": 4,
    "much_time_passes": 1,
    "revoke": 2,
    "operator_retries": 3,
    "tidy": 1,
    "the_small_faces": 1,
}


class SqliteMachine(StoreMachine):
    def open_store(self, options):
        self.folder = tempfile.mkdtemp(prefix="celeriac-machine-")
        return connect(f"sqlite:///{self.folder}/tasks.db", options)

    def close_store(self):
        shutil.rmtree(self.folder)


class RedisMachine(StoreMachine):
    """On servers that others use, too; each run has a namespace of its own."""

    shared = None
    kind = ""

    def open_store(self, options):
        own = replace(options, namespace=self.shared.namespace(), durability="full")
        return connect(self.shared.url(self.kind), own)

    def close_store(self):
        """What is left goes with the server."""


@pytest.fixture(params=["redis", "valkey", "redis-6.2", "sentinel", "cluster", "valkey-cluster"])
def redis_machine(request, shared):
    return type("RedisMachine", (RedisMachine,), {"shared": shared, "kind": request.param})


@pytest.fixture(params=["redis", "valkey"])
def far_machine(request, shared):
    return type("RedisMachine", (RedisMachine,), {"shared": shared, "kind": request.param})


def walk(machine_class, seed, steps=120):
    """A random walk over the rules of a machine; the seed is all it takes to repeat it."""
    choose = Random(seed)
    machine = machine_class()
    machine.begin()
    try:
        for _ in range(steps):
            (step,) = choose.choices(list(STEPS), list(STEPS.values()))
            if step != "go_on_with_a_join" or machine.joins:
                getattr(machine, step)(choose.getrandbits(48))
                machine.the_stores_agree()
    finally:
        machine.teardown()


def test_every_rule_is_a_step_of_the_walks():
    assert {rule.function.__name__ for rule in SqliteMachine().rules} == STEPS.keys()


def test_sqlite_does_what_memory_does():
    run_state_machine_as_test(SqliteMachine, settings=SETTINGS)


@pytest.mark.parametrize("seed", range(6))
def test_sqlite_walks_with_memory(seed):
    walk(SqliteMachine, seed, steps=100)


def test_redis_does_what_memory_does(redis_machine):
    run_state_machine_as_test(redis_machine, settings=SETTINGS)


@pytest.mark.parametrize("seed", range(6))
def test_redis_walks_with_memory(redis_machine, seed):
    walk(redis_machine, seed, steps=100)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("block", range(5))
def test_redis_walks_far_with_memory(far_machine, block):
    for seed in range(2000 + block * 10, 2010 + block * 10):
        walk(far_machine, seed)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("block", range(5))
def test_sqlite_walks_far_with_memory(block):
    for seed in range(1000 + block * 10, 1010 + block * 10):
        walk(SqliteMachine, seed)
