"""Somebody who empties queues and discards records, over the same bad network."""

from msgspec.structs import replace

from celeriac import states
from celeriac.stores.fates import DISCARDED_REASON
from celeriac.worker.courses import Call
from simulation.work import QUEUES
from simulation.world import Actor

#: Seconds of calm after which nothing is asked for any more.
LAST = 15.0
#: Seconds after which no copy of a call that stored something is on its way any more: it would be
#: stored anew. Where nothing is repeated or slow, and where it may be.
SETTLED, UNSETTLED = 12.0, 45.0


class Clearing(Actor):
    """Purges and discards now and then."""

    def __init__(self, simulation):
        super().__init__("clearing")
        self.simulation = simulation
        self.world = simulation.world

    def plan(self, rough):
        """Draw when it acts, and how."""
        for _ in range(self.world.random.randint(2, 6)):
            act = self.purge if self.world.chance(0.4) else self.discard
            self.world.after(self.world.between(3.0, rough + LAST), self, act)

    def purge(self):
        queues = self.world.random.choice([[QUEUES[0]], [QUEUES[1]], [*QUEUES]])
        self._ask(Call("purge", (queues,)))

    def discard(self):
        """Some of what is there, whatever it does; a worker's is refused."""
        pick, watch = self.world.random, self.simulation.watch
        network = self.simulation.network
        age = UNSETTLED if network.repeat or network.slow else SETTLED
        old = [id for id, since in watch.stored.items() if self.world.now - since > age]
        found = [id for id in old if id not in watch.gone and self._may_go(watch.headers[id])]
        if found:
            self._ask(Call("discard", (pick.sample(found, min(len(found), pick.randint(1, 4))),)))

    def _may_go(self, header):
        """What is retried by somebody else, or still being sent, must find what belongs to it."""
        edges = header.edges
        if edges is None:
            return True
        joins = {edges.gathers} | {each[0] for each in (edges.join, edges.within) if each}
        sealed = joins - {None} <= self.simulation.watch.sealed.keys()
        return sealed and "operator" not in self.simulation.features

    def _ask(self, call):
        self.simulation.network.call(self, call, lambda answer: None)


class Cleared:
    """What purges and discards do, as seen at the store's door."""

    def __init__(self, watch):
        self._watch = watch

    def purged(self, count, before, queues):
        watch = self._watch
        after = watch.generations.snapshot()
        due = [each for each in before.values() if each.queue in queues
               and each.state in (states.QUEUED, states.SCHEDULED)]  # fmt: skip
        for each in due:
            watch.counts[f"purged {'parked' if each.parked else each.state}"] += 1
            if after[each.id].state not in states.TERMINAL:
                watch.wrong("%s: purged when it was %s, and has not ended", each.id, each.state)
        self._untouched(before, after)

    def discarded(self, removed, before, ids):
        watch = self._watch
        after = watch.generations.snapshot()
        for each in (before[id] for id in ids if id in before):
            if each.state in states.HELD:
                continue
            if each.id in after or each.id not in removed:
                watch.wrong("%s: discarded when it was %s, and is there", each.id, each.state)
            watch.counts[f"discarded {'parked' if each.parked else each.state}"] += 1
            ended = each.state in states.TERMINAL
            watch.gone[each.id] = (
                each if ended else replace(each, state=states.CANCELLED, reason=DISCARDED_REASON)
            )
        self._untouched(before, after)

    def _untouched(self, before, after):
        """What somebody holds stays with him."""
        for id, was in before.items():
            now = after.get(id)
            if was.state in states.HELD and (now is None or now.state != was.state):
                self._watch.wrong("%s: taken from who held it", id)
                if now is None:
                    self._watch.gone[id] = replace(was, state=states.CANCELLED)
