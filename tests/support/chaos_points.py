"""Workflows in the middle of which somebody dies at a named crash point, and nothing else fails."""

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from contextlib import nullcontext
from pathlib import Path

import noting_worker
from chaos_scene import DEADLINE, Scene
from random_canvases import Maker, as_code, build, evaluate, mendable, mended, revoked_ids
from workers import eventually

from celeriac import states
from celeriac.crashpoints import ENVIRONMENT

#: How often a part fails by itself, in turn.
ILL = (0.0, 0.04, 0.12)
#: Calls of which a wide workflow has one part for every two: more parts than three steps may touch.
WIDE = 2_200
#: Sends one workflow, which stands in a file as JSON, by its name.
CLIENT = (
    "import json, sys, tasks\n"
    "from random_canvases import build\n"
    "build(tasks.app, json.load(open(sys.argv[2])), sys.argv[1]).apply_async()\n"
)


def wide(do="ok"):
    """A workflow of a part, a thousand that are released by its end, and one that gathers them."""
    part = {"k": "part", "do": "ok", "imm": False, "link": [], "err": []}
    calls = {"k": "chunks", "calls": [[n, 0] for n in range(10, 10 + WIDE)]}
    of = [{**part, "n": 1, "do": do, "err": [3]}, calls, {**part, "n": 2}]
    return {"k": "chain", "of": of, "err": []}


class Mortal(Scene):
    """Workflows that are sent one after the other, and workers each of which may die at a point.

    *first* is the seed of the first workflow.
    """

    CHAOS = 0.0

    def __init__(self, place, seed, first, **settings):
        super().__init__(place, seed, nullcontext, **settings)
        self.next = first
        #: Whether what fails does so until it is mended.
        self.mendable = False
        self.trees, self.results, self.uncertain = [], {}, set()

    # -- workflows ---------------------------------------------------------------------------------

    def make(self):
        """The next workflow: its name and its tree."""
        seed, self.next = self.next, self.next + 1
        name = f"g{seed}"
        tree = Maker(random.Random(seed), name, processes=True, ill=ILL[seed % len(ILL)]).tree()
        return name, mendable(tree) if self.mendable else tree

    def begin(self, *more, count=2):
        """Send so many workflows, and *more*, which are trees; return their names."""
        made = [self.make() for _ in range(count)]
        for tree in more:
            made.append((f"t{self.next}", tree))
            self.next += 1
        for name, tree in made:
            self.note(name, tree, self.send(name, tree))
        return [name for name, _ in made]

    def note(self, name, tree, result):
        self.trees.append((name, tree))
        self.results[name] = result

    def ids(self, name):
        """The ids of all parts of a workflow that has that name."""
        found, after = [], None
        while True:
            page = self.place.store.inspection.flow(self.results[name].id, after, 1000)
            found += [each.id for each in page]
            if len(page) < 1000:
                return found
            after = page[-1].id

    def under_way(self, starts):
        """Wait until so many parts have begun."""
        eventually(lambda: len(self.ledger.read()) >= starts, "the workflows are under way")

    # -- who dies ----------------------------------------------------------------------------------

    def victim(self, point, hit, action):
        """A worker that dies there."""
        made = self.worker(dying=False, at=f"{point}:{hit}:{action}")
        self.workers = [made]
        return made

    def killed(self, worker, what="worker"):
        """Wait until it has been killed, and no other way."""
        status = worker.process.wait(DEADLINE)
        assert status == -signal.SIGKILL, f"{status}: {worker.text()}"
        self.struck[what] += 1

    def client(self, point):
        """A process that sends one workflow and is killed at *point*; another sends it if need be:
        all of it is stored, or nothing."""
        name, tree = self.make()
        file = self.place.folder / f"{name}.json"
        file.write_text(json.dumps(tree))
        self.place.store.queue.revoke(revoked_ids(tree, name))
        done = self._run(["-c", CLIENT, name, str(file)], f"{point}:1:kill")
        assert done.returncode == -signal.SIGKILL, done.stderr
        self.struck["client"] += 1
        last = f"{name}.{tree['of'][-1]['n']}"
        stored = self.place.store.inspection.flow(last)
        assert bool(stored) == (point == "enqueue.applied"), stored
        result = self.app.AsyncResult(last) if stored else build(self.app, tree, name).apply_async()
        self.note(name, tree, result)

    def command(self, *words, point=""):
        """Run a command of ``celeriac``; killed at *point*."""
        done = self._run(["-m", "celeriac", "-A", "tasks", *words], point and f"{point}:1:kill")
        assert done.returncode == (-signal.SIGKILL if point else 0), (done.stdout, done.stderr)
        self.struck["command"] += bool(point)

    def _run(self, words, at):
        return subprocess.run(
            [sys.executable, *words],
            cwd=self.place.folder, env={**self.place.environment, ENVIRONMENT: at},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE,
            check=False,
        )  # fmt: skip

    # -- the end -----------------------------------------------------------------------------------

    def finish(self):
        """Let a worker end what is left, and judge all; return counts and problems."""
        self.end()
        return self.judge(self.trees, self.results, self.uncertain)

    def end(self):
        """Let a worker that does not die end what is left."""
        self.workers = [self.worker(dying=False)]
        began = time.monotonic()
        while self.left() and time.monotonic() < began + DEADLINE:
            self.keep(dying=False)
            time.sleep(0.05)


class Again:
    """What an operator's retry of the workflows of *scene* does: all that failed is mended, and
    has to succeed. Made when the first generation has ended."""

    def __init__(self, scene):
        self.scene = scene
        self.before = {each.id: each for of in scene.flows().values() for each in of}
        self.lines = len(scene.ledger.read())
        self.verdicts = len(noting_worker.read(scene.ledger.path))
        Path(f"{scene.ledger.path}.mended").touch()
        for each in scene.workers:
            each.kill()  # who has ended all until now

    def failed(self):
        """Names of the workflows that have failed."""
        return [name for name, result in self.scene.results.items() if result.state != "SUCCESS"]

    def judge(self):
        """Counts and problems of the second generation."""
        scene = self.scene
        lines = scene.ledger.read()[self.lines :]
        starts = Counter(each.id for each in lines if each.event == "start")
        ends = defaultdict(set)
        for each in noting_worker.read(scene.ledger.path)[self.verdicts :]:
            if each.decides:
                ends[each.id].add((each.attempt, each.nonce))
        counts, problems = Counter(faults=scene.struck.total()), []
        flows = scene.flows()
        for name, tree in scene.trees:
            records = flows[scene.results[name].id]
            found = [each for one in records for each in self._problems(one, starts, ends)]
            value = evaluate(mended(tree)).value
            # One that was read before keeps the end that it has seen.
            result = scene.app.AsyncResult(scene.results[name].id)
            state = result.state
            if state != "SUCCESS" or result.get(timeout=5) != value:
                found.append(f"it ended {state}, and should have succeeded with {value!r:.200}")
            counts.update({"workflows": 1, "workflows that succeeded": state == "SUCCESS"})
            if found:
                problems += [*(f"{name}: {each}" for each in found), as_code(tree, name)]
        return counts, problems

    def _problems(self, record, starts, ends):
        """What is wrong with one record: an end for each generation, and runs that are due."""
        was = self.before.get(record.id)
        reopened = record.generation - (was.generation if was else 0)
        if record.state not in (states.SUCCEEDED, states.SKIPPED):
            yield f"{record.id} has not ended well: {record} {record.reason!r}"
        if was is not None and not reopened and (starts[record.id] or ends[record.id]):
            yield f"{record.id} was not reopened, and ran or ended again"
        if len(ends[record.id]) > max(reopened, was is None):
            yield f"{record.id} was reopened {reopened} times, and ended {len(ends[record.id])}"
