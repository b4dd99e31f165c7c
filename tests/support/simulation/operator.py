"""Somebody who looks at what has failed and has it run again, over the same bad network."""

from msgspec.structs import replace

from celeriac import states
from celeriac.exceptions import OperationalError
from celeriac.message import compose, decode
from celeriac.worker.courses import Call
from simulation.world import Actor

#: Seconds of calm after which nothing is asked for any more.
LAST = 20.0


class Operator(Actor):
    """Retries what has ended without success, now and then, and mends what was wrong with it."""

    def __init__(self, simulation):
        super().__init__("operator")
        self.simulation = simulation
        self.world = simulation.world

    def plan(self, rough):
        """Draw when it looks."""
        for _ in range(self.world.random.randint(2, 6)):
            self.world.after(self.world.between(5.0, rough + LAST), self, self.look)

    def look(self):
        """Retry some of what has failed; sometimes all of it, or with other arguments."""
        pick, store = self.world.random, self.simulation.store
        ids = list(self.simulation.watch.headers)
        records = [each for each in store.inspection.get(ids) if each is not None]
        failed = [each for each in records if each.state in states.REOPENABLE]
        if not failed:
            return
        chosen = failed if pick.random() < 0.2 else [pick.choice(failed)]
        for each in chosen:
            if each.id in self.simulation.work.programs and pick.random() < 0.7:
                self.simulation.work.mend(each.id)
        messages = {}
        if pick.random() < 0.3:
            one = chosen[0]
            header = replace(decode(one.wire).header, nonce="by hand", expires=None)
            messages[one.id] = compose(header, b"[[1],{}]")
        self.ask([each.id for each in chosen], messages, records)

    def ask(self, ids, messages, records):
        """As a person does it: without an answer it is asked for again later, or not at all."""

        def then(answer):
            if isinstance(answer, OperationalError) and self.world.chance(0.5):
                self.world.after(self.world.between(1.0, 5.0), self, self.look)
            elif answer == [] and not self.world.rough:
                self._refused(ids, records)

        self.simulation.network.call(self, Call("retry", (ids, messages)), then)

    def _refused(self, ids, before):
        """Nothing was reopened: something that these hang on was still to be called."""
        watch = self.simulation.watch
        known = {each.id: each for each in before}
        if any(each.state not in states.TERMINAL for each in before):
            return
        for id in ids:
            root = known[known[id].cause or id]
            if root.state not in states.REOPENABLE or root.cause or watch.waits(root.id):
                continue
            if watch.same(root):
                watch.wrong("%s: it failed and cannot be retried, though all has ended", root.id)
