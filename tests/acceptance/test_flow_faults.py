"""Random workflows on real worker processes that are killed, and whose store breaks meanwhile.

Each graph (``random_canvases.py``) is compared with its direct evaluation. ``FLOW_SEEDS`` is how
many there are for each store, ``FLOW_FIRST`` the first seed.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from chaos_tasks import make
from random_canvases import FAILED, Maker, as_code, build, evaluate, revoked_ids
from workers import HERE, Worker, site

from celeriac import states
from celeriac.crashpoints import ENVIRONMENT, POINTS
from celeriac.message import decode
from celeriac.testing.faults import Faults, Rule, wrap
from celeriac.testing.ledger import Ledger, check

SEEDS = int(os.environ.get("FLOW_SEEDS", "30"))
FIRST = int(os.environ.get("FLOW_FIRST", "0"))
#: Graphs that share workers, and seconds in which all of them must end.
TOGETHER, DEADLINE = 15, 90
DYING = [
    f"{name}:{hit}:kill"
    for name in POINTS
    if name.startswith(("exchange.", "beat.", "delivery.", "outcome."))
    for hit in (2, 9, 30)
]


class Scene:
    """Two workers that are struck and replaced, and a client whose calls are doubled."""

    def __init__(self, place, pick):
        self.place, self.pick = place, pick
        place.environment["PYTHONPATH"] = str(HERE)
        self.ledger = Ledger(place.ledger_path)
        for kind in ("parts", "swaps"):
            Path(f"{place.ledger_path}.{kind}").touch()
        settings = {"namespace": place.options.namespace, "set_as_current": False}
        self.app = make(place.broker, place.ledger_path, **settings)
        doubled = Faults(Rule("queue.enqueue", "after", probability=0.3), seed=pick.random())
        self.app.lend(wrap(place.store, doubled), self.app.client)
        self.workers = []

    def start(self):
        self.workers = [self.worker(True) for _ in range(2)]

    def worker(self, dying):
        """A worker whose store breaks now and then; *dying*: at a crash point of its own, too."""
        number = len(self.place.workers)
        log = self.place.folder / f"worker-{number}.log"
        more = {ENVIRONMENT: self.pick.choice(DYING)} if dying else {}
        command = [sys.executable, str(HERE / "chaos_worker.py"), "-A", "tasks", "worker"]
        with log.open("wb") as file:
            process = subprocess.Popen(
                [*command, "-l", "WARNING", "-c", "2", "-n", f"w{number}"],
                cwd=self.place.folder,
                env={**self.place.environment, "CHAOS": "0.02", **more},
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        made = Worker(process, log)
        self.place.workers.append(made)
        return made

    def strike(self):
        """Kill an executor or a worker; whoever is gone is replaced."""
        at = self.pick.randrange(2)
        if self.pick.random() < 0.2:
            self.workers[at].send(signal.SIGKILL)
        elif executors := self.workers[at].titled("executor"):
            self.pick.choice(executors).kill()
        self.replace(dying=True)

    def replace(self, dying):
        for at, each in enumerate(self.workers):
            if each.process.poll() is not None:
                self.workers[at] = self.worker(dying)

    def check(self, trees):
        """Send all, strike while they run, and judge each."""
        results = {}
        for name, tree in trees:
            self.place.store.queue.revoke(revoked_ids(tree, name))
            results[name] = build(self.app, tree, name).apply_async()
        began = time.monotonic()
        while self.left() and time.monotonic() < began + DEADLINE:
            time.sleep(self.pick.expovariate(2))  # the moment of a strike has to be random
            if time.monotonic() < began + 8:
                self.strike()
            else:
                self.replace(dying=False)
        left = self.left()
        records = self.records()
        problems = [f"{each.id} has not ended: {each}" for each in left]
        # What is replaced runs, and then what has its id from there on.
        again = Counter(Path(f"{self.place.ledger_path}.swaps").read_text().split())
        problems += check((), self.ledger.read(), records, interrupted=again).problems
        problems += self.early(records)
        for name, tree in trees:
            found = [each for each in problems if name in each.split()[0].rpartition(".")]
            found += self.judged(name, tree, results[name])
            assert not found, "\n".join([*found, as_code(tree, name)])
        logs = "\n".join(each.text()[-1500:] for each in self.place.workers)
        assert not problems, "\n".join([*problems, logs])

    def left(self):
        listed = self.place.store.inspection.list(limit=100_000)
        return [each for each in listed if each.state not in states.TERMINAL]

    def records(self):
        inspection = self.place.store.inspection
        found = inspection.get([each.id for each in inspection.list(limit=100_000)])
        return [each for each in found if each is not None]

    def judged(self, name, tree, result):
        """Yield what is not as the direct evaluation says."""
        expected, ran = evaluate(tree), defaultdict(set)
        for line in Path(f"{self.place.ledger_path}.parts").read_text().splitlines():
            id, graph, number = line.split()
            if graph == name:
                ran[int(number)].add(id)
        if ran.keys() != expected.ran:
            yield f"did not run: {expected.ran - ran.keys()}; did: {ran.keys() - expected.ran}"
        yield from (f"part {n} ran as {ids}" for n, ids in ran.items() if len(ids) != 1)
        ended = result.state
        if expected.value is FAILED:
            if ended not in ("FAILURE", "REVOKED"):
                yield f"ended {ended}, should have failed"
        elif ended != "SUCCESS" or result.get(timeout=5) != expected.value:
            yield f"ended {ended} with {result.result!r}, should be {expected.value!r}"

    def early(self, records):
        """Yield parts that began before what releases them had ended once."""
        starts, ends = {}, {}
        for line in self.ledger.read():
            (starts if line.event == "start" else ends).setdefault(line.id, line.time)
        members, bodies = defaultdict(list), {}
        for each in records:
            edges = None if each.wire is None else decode(each.wire).header.edges
            if edges is None:
                continue
            if edges.join is not None:
                members[edges.join[0]].append(each.id)
            if edges.gathers is not None:
                bodies[each.id] = edges.gathers
            if each.state == states.SUCCEEDED:
                for after in edges.success:
                    if after in starts and each.id in ends and starts[after] < ends[each.id]:
                        yield f"{after} began before {each.id} had ended"
        swapped = set(Path(f"{self.place.ledger_path}.swaps").read_text().split())
        for body, join in bodies.items():
            for id in members[join]:
                # Under the id of a body that replaced something, that ran before.
                own = body in starts and body not in swapped
                if own and id in ends and starts[body] < ends[id]:
                    yield f"the body {body} began before the member {id} had ended"


@pytest.fixture(params=["sqlite", "redis"])
def scene(tmp_path, request, shared):
    broker = namespace = ""
    if request.param != "sqlite":
        broker, namespace = shared.url("redis"), shared.namespace()
    seed = random.randrange(1 << 30)
    print(f"strikes: seed {seed}")
    with site(tmp_path, "chaos_tasks.py", broker, namespace) as place:
        made = Scene(place, random.Random(seed))
        made.start()
        yield made


@pytest.mark.parametrize("first", range(FIRST, FIRST + SEEDS, TOGETHER))
def test_every_workflow_ends_as_it_must_whoever_dies(scene, first):
    seeds = range(first, min(first + TOGETHER, FIRST + SEEDS))
    print(f"graphs: seeds {seeds}")
    scene.check(
        [(f"g{seed}", Maker(random.Random(seed), f"g{seed}", processes=True).tree())
         for seed in seeds]
    )  # fmt: skip
