"""One seed, from the first call to the verdict."""

import logging
import random
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random

from celeriac import states
from celeriac.stores import connect
from celeriac.stores.base import Options
from celeriac.stores.memory import make_store
from celeriac.stores.memory.queue import MemoryQueue
from celeriac.worker.courses import Call
from simulation.clearing import Clearing
from simulation.clients import Client
from simulation.crowd import ROLES, virtual_time
from simulation.doorbell import Doorbell
from simulation.far import Far
from simulation.faults import Faults
from simulation.idle import Idle
from simulation.network import Network
from simulation.operator import Operator
from simulation.oracle import judge
from simulation.watch import Watch
from simulation.work import OLD, Work
from simulation.worker import LEASE, Worker
from simulation.world import BEGIN, Actor, StoreClock, StuckError, World

#: Seconds from the end of the rough time until everything has ended, at the longest, but for what
#: still has to run: leases that run out, delays after crashes and losses, a join that is given up.
PATIENCE = 120.0
#: And so long it goes on at least, so that what is late on its way arrives.
AFTERWARDS = 25.0
#: Seconds of calm after which nobody waits any more for an answer that does not come.
SETTLED = 15.0
#: One seed in so many is played on SQLite.
SQLITE_EVERY = 40

#: What a seed may have besides. One in four has none of it, of the others each some.
FEATURES = ("operator", "stamps", "bells", "lost bells", "bids", "outbox", "boots", "rates",
            "shared", "clearing", "names", "failover")  # fmt: skip


@dataclass
class Played:
    """What became of a seed."""

    seed: int
    problems: list
    lines: list
    #: Seconds of virtual time from the end of the rough time until all had ended.
    settled: float
    simulation: object

    def __str__(self):
        features = ", ".join(sorted(self.simulation.features)) or "nothing besides"
        return "\n".join(
            [*self.lines, "", f"seed {self.seed} ({features}):",
             *(f"  {each}" for each in self.problems),
             f"again: SIM_SEED={self.seed} python -m pytest tests/simulation"]
        )  # fmt: skip


def drawn(seed):
    """The features of *seed*."""
    if seed % 4 == 0:
        return frozenset()
    pick = Random(f"features of {seed}")
    return frozenset(each for each in FEATURES if pick.random() < 0.35)


class Simulation:
    """The parts of one seed."""

    def __init__(self, seed, features=frozenset(), folder=None):
        self.features = features
        self.world = World(seed)
        self.clock = StoreClock(self.world)
        self.watch = Watch(self.world, self.clock)
        options = Options(
            clock=self.clock, random=self.world.random.random, lease=LEASE, durability="relaxed",
            mirror="outbox" in features,
        )  # fmt: skip
        self._folder, self._options = folder, options
        if folder is None:
            self.store = make_store("memory://", options)
            self.core = self.store.queue._core
            self.watch.look_into(self.core)
        else:
            self.store = self._open()
        self.watch.store = self.store
        self.network = Network(self.world, self.store, self.watch)
        #: What clients read.
        self.results = self.store.results
        # A replica of SQLite there is none; what a second store was told is not gone with it.
        self.network.tells_run = (
            "failover" in features and folder is None and ("outbox" not in features)
        )
        if "outbox" in features:
            self.network.far = Far(self)
            self.watch.told_later = True
            self.results = self.network.far.results
        self.idle = None
        if folder is None:
            bells = features & {"bells", "lost bells", "bids"}
            if bells:
                lossy = "lost bells" in features
                self.network.doorbell = Doorbell(self.network, self.core, lossy)
            self.idle = Idle(self, self.network.doorbell.bound if bells else 3.0)
        self.work = Work(self.world, self.watch, features)
        self.clients = []
        self.workers = []
        #: Who has the store open as a process of its own.
        self._processes = []
        self._owners = 0
        self._keeper = Actor("keeper")
        self.ended_at = self.calm_at = None

    def _open(self):
        return connect(f"sqlite:///{self._folder}/tasks.db", self._options)

    def reopen(self):
        """The machine starts anew. A store in memory outlives that here: it is another one's."""
        if self._folder is None:
            return
        self.clock.boot()
        self.watch.lifetimes.booted()
        self.store = self.network.store = self.watch.store = self._open()
        for each in self._processes:
            each.queue = None  # what of theirs still arrives does not come from this boot
        if self.network.far is None:
            self.results = self.store.results
        else:
            self.network.far.near = self.store

    def open_for(self, worker):
        """The store's queue as a process of its own has it: what it knows of its own turns, no
        other knows."""
        self._processes.append(worker)
        return MemoryQueue(self.core) if self._folder is None else self._open().queue

    def new_owner(self):
        self._owners += 1
        return f"w{self._owners}"

    def prepare(self):
        """Draw what will happen."""
        world, pick = self.world, self.world.random
        rough = pick.uniform(10.0, 60.0)
        for number in range(1, pick.choice([1, 2, 2, 3, 3]) + 1):
            self.workers.append(self._worker(f"worker-{number}"))
        for number in range(1, pick.randint(1, 2) + 1):
            client = Client(self, f"client-{number}")
            self.clients.append(client)
            world.after(world.between(1.0, 4.0), client, client.read)
        for _ in range(pick.randint(3, 10)):
            self._plan(pick.choice(self.clients), pick.uniform(0.0, rough * 0.7))
        if self.network.doorbell is not None:  # and some when a ring is all that tells of it
            for _ in range(3):
                self._plan(pick.choice(self.clients), rough + pick.uniform(16.0, 22.0))
        Faults(self).draw(rough)
        if "operator" in self.features:
            Operator(self).plan(rough)
        if "clearing" in self.features:
            Clearing(self).plan(rough)
        world.after(rough, self._keeper, self._calm)

    def _worker(self, name):
        pick = self.world.random
        more = {}
        if "shared" in self.features:
            more["role"] = pick.choice([None, *ROLES])
        if "names" in self.features and self.world.rough and pick.random() < 0.6:
            more["tasks"] = OLD
        return Worker(self, name, slots=pick.randint(1, 3), lanes=pick.randint(1, 2), **more)

    def _plan(self, client, when):
        """One thing that a client sends, and perhaps revokes."""
        world, pick, work = self.world, self.world.random, self.work
        kinds = ["single"] * 5 + ["crowd"] * 2 + ["workflow"] * 3 + ["stream"]
        if self.network.tells_run:
            kinds.pop()  # of what is sent piece by piece, a piece may be gone
        kind = pick.choice(kinds)

        def send():
            if kind == "stream":
                join, body, members = work.stream()
                client.send_stream(join, body, members)
                messages = [body, *members]
            else:
                make = {"single": lambda: work.single(self.clock), "crowd": work.crowd,
                        "workflow": work.workflow}  # fmt: skip
                messages, joins = make[kind]()
                client.send(messages, joins)
            ids = [each.id for each in messages]
            if "stamps" in self.features:
                client.plan_stamps(messages)
            if pick.random() < 0.25:
                chosen = [pick.choice(ids)]
                how = pick.choice([None, None, "SIGTERM", "SIGKILL"])
                world.after(pick.expovariate(0.5), client, lambda: client.revoke(chosen, how))

        world.after(when, client, send)

    def died(self, worker):
        """Somebody keeps workers running, and host-mates find out who is dead."""
        world, owner = self.world, worker.incarnation.owner
        pause = world.between(0.5, 20.0) if world.rough else 1.0
        world.after(pause, self._keeper, lambda: self._replace(worker))
        mates = [each for each in self.workers if each.alive]
        if mates and world.chance(0.4):
            mate = world.random.choice(mates)
            call = Call("reap", ([owner],))
            world.after(
                world.between(0.1, 1.0), mate,
                lambda: self.network.call(mate, call, lambda _answer: None),
            )  # fmt: skip

    def _replace(self, worker):
        self.workers[self.workers.index(worker)] = self._worker(worker.name)

    def _calm(self):
        self.world.tell("fate", "nothing goes wrong any more")
        self.world.rough = False
        self.calm_at = self.watch.stamped.calm_at = (
            self.world.now
        )  # later than planned, if everything slept
        self.network.down_until = 0.0
        if self.network.far is not None:
            self.network.far.down_until = 0.0
        for worker in self.workers:
            for each in worker.everything():
                self.world.resume(each)
        if not any("novel" in each.manifest.tasks for each in self.workers if each.alive):
            self._deploy()
        self._look()
        if self.idle is not None:
            self.world.after(SETTLED, self._keeper, self.idle.look)

    def _deploy(self):
        """Replace those who do not know everything, one after the other, by some who do."""
        for worker in self.workers:
            if worker.alive and "novel" not in worker.manifest.tasks:
                worker.stop()
                self.world.after(1.0, self._keeper, self._deploy)
                return

    def _look(self):
        """Has everything ended?"""
        counts = self.store.inspection.counts()
        ended = not counts.outbox and all(
            state in states.TERMINAL for each in counts.states.values() for state in each
        )
        if ended and self.ended_at is None:
            self.ended_at = self.world.now
        elif not ended:
            self.ended_at = None
        self.world.after(1.0, self._keeper, self._look)

    def play(self):
        self.prepare()

        def done():
            if self.calm_at is None:
                return False
            calm_for = self.world.now - self.calm_at
            most = PATIENCE + self.work.calm_seconds
            return calm_for > most or (self.ended_at is not None and calm_for > AFTERWARDS)

        problems = []
        try:
            self.world.run(done)
        except StuckError as error:
            problems.append(str(error))
        settled = (self.ended_at or self.world.now) - (self.calm_at or BEGIN)
        if self.ended_at is None:
            problems.append(f"after {settled:.0f} s of calm not everything has ended")
        return problems + judge(self), settled


@contextmanager
def _quiet():
    """What workers log of each fault says nothing that the trace does not."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def simulate(seed, sqlite=None, features=None):
    """Play *seed*; on SQLite if *sqlite*, by default one in ``SQLITE_EVERY``; with *features*, by
    default what it draws."""
    features = drawn(seed) if features is None else frozenset(features)
    if sqlite is None:
        sqlite = seed % SQLITE_EVERY == SQLITE_EVERY - 1
    with _quiet():
        if sqlite:
            with tempfile.TemporaryDirectory(prefix="celeriac-sim-") as folder:
                return _play(seed, Simulation(seed, features, folder))
        return _play(seed, Simulation(seed, features))


def _play(seed, simulation):
    random.seed(seed)  # of what a bucket turns away, when it is due again
    with virtual_time(simulation.world):
        problems, settled = simulation.play()
    lines = list(simulation.world.lines()) if problems else []
    return Played(seed, problems, lines, settled, simulation)
