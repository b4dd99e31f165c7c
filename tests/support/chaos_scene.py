"""The scene of workflows that meet faults: workers that are struck, and a client that dies and
whose calls are doubled."""

import random
import signal
import time
from collections import Counter, defaultdict

import aftermath
from chaos_oracle import Graph, flow_of, read
from chaos_tasks import make
from crew import Crew
from random_canvases import as_code, build, revoked_ids
from tallies import Onlooker

from celeriac import crashpoints, states
from celeriac.crashpoints import POINTS
from celeriac.exceptions import OperationalError
from celeriac.testing.faults import Faults, Rule, wrap
from celeriac.testing.ledger import Ledger

#: Seconds in which faults are injected, and in which everything must have ended.
STRIKING, DEADLINE = 8, 90
SENDING = [name for name in POINTS if name.startswith("enqueue.")]
#: What a strike is, and how often.
STRIKES = {"executor": 16, "worker": 3, "zygote": 1, "stop": 2, "term": 2, "revoke": 4, "stall": 1}


class Scene(Crew):
    """Two workers that are struck and replaced, and a client that dies and whose calls are doubled.

    *seed* is what strikes are chosen by, *stall* a context in which the store does not answer,
    *settings* are those of the client's application.
    """

    def __init__(self, place, seed, stall, **settings):
        super().__init__(place, random.Random(seed))
        self.stall = stall
        self.ledger = Ledger(place.ledger_path)
        settings |= {"namespace": place.options.namespace, "set_as_current": False}
        self.app = make(place.broker, place.ledger_path, **settings)
        self.doubled = Faults(
            Rule("queue.enqueue", "after", probability=0.3),
            Rule("queue.enqueue", "before", probability=0.1),
            seed=self.pick.getrandbits(30),
        )
        self.app.lend(wrap(place.store, self.doubled), self.app.client)
        self.onlooker = Onlooker()

    def start(self):
        self.workers = [self.worker(dying=True) for _ in range(2)]

    # -- strikes -----------------------------------------------------------------------------------

    def strike(self, victims):
        """Do harm of one kind; *victims* are names of workflows parts of which may be revoked."""
        kind = self.pick.choices([*STRIKES], [*STRIKES.values()])[0]
        at = self.workers[self.pick.randrange(2)]
        # A stop or stall is for less than the lease of 3 s, or for more.
        if kind == "revoke":
            self.struck[kind] += self.revoke(victims)
        elif kind == "stall":
            self.resume(everyone=True)  # one that has the file locked would hold us up
            with self.stall():
                time.sleep(self.pick.uniform(0.5, 4.5))
            self.struck[kind] += 1
        elif kind == "worker":
            at.send(signal.SIGKILL)
            self.struck[kind] += 1
        elif kind == "term":
            self.struck[kind] += self.ask_to_leave(at)
        elif kind == "stop":
            self.stop(at, self.pick.uniform(0.5, 5))
            self.struck[kind] += 1
        elif found := at.titled(kind):
            self.struck[kind] += self.kill(self.pick.choice(found))
        self.keep(dying=True)

    def revoke(self, victims):
        """Revoke some part of one of *victims*, which may run just now."""
        left = [each for each in self.left() if self.pick.random() < 0.5]
        found = [each.id for each in left if self.belongs(each, victims)]
        if not found:
            return False
        ending = self.pick.choice([None, "SIGTERM", "SIGKILL"])
        try:
            self.place.store.queue.revoke([self.pick.choice(found)], ending)
        except OperationalError:
            return False  # a worker was stopped in the middle of a transaction
        return True

    def belongs(self, record, victims):
        whole = self.place.store.inspection.get([record.id])[0]
        return whole is not None and whole.wire is not None and flow_of(whole) in victims

    # -- the course of it --------------------------------------------------------------------------

    def send(self, name, tree):
        """Send *tree*, and return its result. Its sender may die as it does so, or give up: then
        all of it is stored, or nothing, and another one sends it."""
        self.place.store.queue.revoke(revoked_ids(tree, name))
        canvas, last = build(self.app, tree, name), f"{name}.{tree['of'][-1]['n']}"
        point = self.pick.choice([*SENDING, *[""] * 8])
        self.struck["client"] += bool(point)
        while True:
            try:
                crashpoints.arm(f"{point}:1:raise" if point else "")
                return canvas.apply_async()
            except (crashpoints.CrashpointReached, OperationalError):
                stored = self.place.store.inspection.flow(last)
                assert bool(stored) == (point == "enqueue.applied") or not point, (point, stored)
                if stored:
                    return self.app.AsyncResult(last)
            finally:
                crashpoints.arm("")
                point = ""

    def check(self, trees, uncertain=()):
        """Send *trees*, strike while they run, and judge each; return counts and problems.

        *trees* is (name, tree); *uncertain* are names of those parts of which are revoked as they
        run, or expire, so that what comes of them is not for the tree to say.
        """
        results = {name: self.send(name, tree) for name, tree in trees}
        victims = {results[name].id for name in uncertain}
        began = time.monotonic()
        while self.left() and time.monotonic() < began + DEADLINE:
            time.sleep(self.pick.expovariate(6))  # the moment of a strike has to be random
            if time.monotonic() < began + STRIKING:
                self.strike(victims)
            else:
                self.keep(dying=False)
        return self.judge(trees, results, uncertain)

    def judge(self, trees, results, uncertain):
        """Counts and problems of what has come of *trees*; *results* are what their callers have.
        What is left over is a problem, too."""
        logs = "".join(each.text() for each in self.place.workers)
        flows, ran = self.flows(), read(self.ledger, logs)
        ran.onlooker = self.onlooker
        faults = self.struck.total() + len(self.doubled.injected) + ran.broken
        counts, problems = Counter(faults=faults), aftermath.problems(self.place)
        for name, tree in trees:
            graph = Graph(name, flows[results[name].id], ran)
            if name not in uncertain:
                graph.as_the_tree_says(tree, results[name])
            counts.update(graph.counts)
            if graph.problems:
                problems += [*graph.problems, as_code(tree, name)]
        return counts, problems

    def left(self):
        listed = self.place.store.inspection.list(limit=100_000)
        self.onlooker.see(listed)
        return [each for each in listed if each.state not in states.TERMINAL]

    def flows(self):
        """All records by their workflow."""
        inspection, found = self.place.store.inspection, defaultdict(list)
        for each in inspection.get([each.id for each in inspection.list(limit=100_000)]):
            if each is not None:
                found[flow_of(each)].append(each)
        return found

    def logs(self):
        return "\n".join(
            f"--- {each.log.name}\n{each.text()[-1500:]}" for each in self.place.workers
        )
