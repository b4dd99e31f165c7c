"""What is sent, and what its runs come to: decided by the seed when it is sent."""

from dataclasses import dataclass

from msgspec.structs import replace
from random_plans import random_plan

from celeriac import states
from celeriac.message import ADDED, Edges, NewJoin, compose, decode
from celeriac.outcome import Outcome
from celeriac.records import Delivery, TaskFacts
from celeriac.testing.conformance import message

QUEUES = ("q", "r")
#: Of the task that has a rate limit, one worker begins so many a second.
PER_SECOND = 2
TASKS = {
    "job": TaskFacts(),
    "quick": TaskFacts(),
    "once": TaskFacts(late=False),
    "frail": TaskFacts(requeue_lost=False),
    "limited": TaskFacts(rate_limit=f"{PER_SECOND}/s"),
    "novel": TaskFacts(),
}
#: What workers know that were not replaced since it was written.
OLD = {name: facts for name, facts in TASKS.items() if name != "novel"}

#: What single tasks are like; how often, by how often it stands here.
SINGLE = [
    "plain", "plain", "plain", "plain", "fails", "retries", "retries", "poison", "crashes",
    "dies after", "replaced", "overruns", "expires", "eta", "frail", "shows",
    *["once"] * 7,
]  # fmt: skip
#: And parts of workflows.
PART = ["plain"] * 8 + ["fails", "retries", "crashes", "dies after", "replaced", "adds"]

#: Values of the stamp ``batch``.
STAMPS = [1, 2, 3]

#: How long runs last: brief enough to be sent ahead, or longer than a lease.
SECONDS = [(0.0002, 0.01), (0.0002, 0.01), (0.05, 4.0), (4.0, 30.0)]


@dataclass
class Program:
    """What a task does when it runs."""

    kind: str
    seconds: float
    times: int = 1


@dataclass
class Run:
    """One run of it."""

    delivery: Delivery
    seconds: float
    outcome: Outcome
    dies: bool = False
    then_dies: bool = False
    update: bytes | None = None


class Work:
    """Makes messages, remembers what they do, and runs them."""

    def __init__(self, world, watch, features=frozenset()):
        self.world = world
        self.features = features
        self.pick = world.random
        self.watch = watch
        self.programs = {}
        #: Seconds of all runs that began once nothing went wrong any more.
        self.calm_seconds = 0.0
        self._number = 0

    def fresh(self, prefix):
        self._number += 1
        return f"{prefix}{self._number}"

    def program(self, id, kind):
        pick = self.pick
        low, high = pick.choice(SECONDS)
        seconds = pick.uniform(low, high)
        if kind == "overruns":
            seconds = 30.0
        self.programs[id] = Program(kind, seconds, pick.randint(1, 3))

    def mend(self, id):
        """What *id* does from now on has no fault any more."""
        self.programs[id].kind = "plain"
        self.programs[id].seconds = min(self.programs[id].seconds, 2.0)

    def stamps(self):
        """The field of a header for some stamps, or none."""
        if "stamps" not in self.features or self.pick.random() < 0.4:
            return {}
        return {"stamps": {"batch": [self.pick.choice(STAMPS)]}}

    def stamped(self, plain):
        """*plain* with stamps, or without."""
        found = self.stamps()
        if not found:
            return plain
        return compose(replace(plain.header, **found), plain.payload)

    def named(self, task):
        """The name of a task, which may be one that not everybody knows."""
        return "novel" if "names" in self.features and self.pick.random() < 0.4 else task

    # --- what is sent -------------------------------------------------------------------------
    def single(self, clock):
        """A task of its own."""
        pick, id = self.pick, self.fresh("t")
        kind = pick.choice(SINGLE)
        self.program(id, kind)
        fields = {}
        if kind == "eta":
            fields["eta"] = clock.wall() + pick.uniform(0.5, 20.0)
        if kind == "expires":
            fields["expires"] = clock.wall() + pick.uniform(0.1, 15.0)
        if kind == "overruns":
            fields["time_limit"] = 1.0
        task = kind if kind in TASKS else "job"
        if task == "job":
            task = self.named(task)
        if kind == "once":
            self.programs[id].kind = pick.choice(["plain", "plain", "plain", "retries", "poison"])
        return [message(id, task=task, queue=pick.choice(QUEUES), **fields, **self.stamps())], []

    def crowd(self):
        """Many that take no time."""
        ids = [self.fresh("c") for _ in range(self.pick.randint(4, 12))]
        for id in ids:
            brief = self.pick.random() < 0.9  # what was brief need not stay so
            seconds = self.pick.uniform(0.0001, 0.002) if brief else self.pick.uniform(1.0, 9.0)
            self.programs[id] = Program("plain", seconds)
        stamps = self.stamps()
        task = "limited" if "rates" in self.features and self.pick.random() < 0.5 else "quick"
        return [message(id, task=task, queue="q", **stamps) for id in ids], []

    def workflow(self):
        """Chains, groups and chords, with errbacks, put together at random."""
        messages, joins = random_plan(self.pick, self.fresh, self.fresh("F"))
        for each in messages:
            self.program(each.id, self.pick.choice(PART))
        if "names" in self.features:
            messages = [
                compose(replace(each.header, task=self.named(each.header.task)), each.payload)
                for each in messages
            ]
        if "stamps" in self.features:
            messages = [self.stamped(each) for each in messages]
        return messages, joins

    def stream(self):
        """A header that is sent in pieces: its join, body and members."""
        join = self.fresh("J")
        body = message(
            self.fresh("b"), queue="q", edges=Edges(waits=True, gathers=join), nonce="streamed"
        )
        members = [
            message(self.fresh("m"), queue="q", edges=Edges(join=(join, at), within=(join, at)))
            for at in range(self.pick.randint(1, 4))
        ]
        self.program(body.id, self.pick.choice(["plain", "fails", "retries", "replaced"]))
        for each in members:
            self.program(each.id, self.pick.choice(PART))
        return join, body, members

    # --- what runs ----------------------------------------------------------------------------
    def run(self, delivery, process):
        """One run begins."""
        program = self.programs[delivery.id]
        self.watch.started(delivery, process)
        body = f"{delivery.id}/{delivery.attempt}/{delivery.nonce}".encode()
        run = Run(delivery, program.seconds, Outcome(states.SUCCEEDED, body))
        kind = program.kind
        if kind == "fails":
            run.outcome = Outcome(states.FAILED, body, reason="ended by itself")
        elif kind == "retries" and delivery.retries < program.times:
            run.outcome = Outcome(
                states.SCHEDULED, delay=self.pick.uniform(0.1, 4.0), charge="retry"
            )
        elif kind == "poison" or (kind == "crashes" and delivery.crashes < program.times):
            run.dies = True
        elif kind == "dies after":
            run.then_dies = self.pick.random() < 0.7
        elif kind == "replaced" and decode(delivery.wire).header.nonce != "replaced":
            run.outcome = self._replaced(delivery)
        elif kind == "adds":
            run.outcome = self._adding(delivery, body)
        elif kind == "shows":
            run.update = body
        if not self.world.rough:
            self.calm_seconds += run.seconds
        if run.dies:
            run.seconds *= self.pick.random()
        return run

    def ended(self, run, process):
        self.watch.ended(run.delivery, process)

    def _adding(self, delivery, body):
        edges = decode(delivery.wire).header.edges
        if edges is None or edges.join is None:
            return Outcome(states.SUCCEEDED, body)
        at = (edges.join[0], ADDED + self._number)
        part = message(self.fresh("x"), queue="q", edges=Edges(join=at, within=at))
        self.program(part.id, "plain")
        return Outcome(states.SUCCEEDED, body, parts=(part.encode(),))

    def _replaced(self, delivery):
        """A group in place of the record: its parts first, then itself once more."""
        join, header = self.fresh("R"), decode(delivery.wire).header
        before = header.edges or Edges()
        edges = Edges(
            waits=True, gathers=join, success=before.success, failure=before.failure,
            own=before.own, join=before.join, within=before.within,
        )  # fmt: skip
        parts = [
            message(self.fresh("p"), queue="q", edges=Edges(join=(join, index)))
            for index in range(self.pick.randint(0, 2))
        ]
        for part in parts:
            self.program(part.id, self.pick.choice(["plain", "plain", "fails", "crashes"]))
        new = message(delivery.id, task=header.task, queue="q", nonce="replaced", edges=edges)
        return Outcome(
            states.WAITING,
            message=new.encode(),
            parts=tuple(each.encode() for each in parts),
            joins=(NewJoin(join, delivery.id, len(parts)),),
        )
