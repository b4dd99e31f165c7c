"""A second store, for results: what is on the way to it, and the relays that bring it there."""

from celeriac.stores.base import Options
from celeriac.stores.memory import make_store
from celeriac.stores.pair import PairedResults
from celeriac.worker.duties.relay import Relay, Turn
from simulation.network import Network, play


class Unwatched:
    """What is asked of the store of results proves nothing by itself."""

    def listening(self, actor, call, answer):
        return answer

    def before(self, call):
        return None

    def after(self, actor, call, result, before):
        pass


class Far(Network):
    """The store of results and the way to it, which is as bad as the other."""

    def __init__(self, simulation):
        options = Options(clock=simulation.clock, random=simulation.world.random.random)
        super().__init__(simulation.world, make_store("memory://", options), Unwatched())
        self.near = simulation.store
        self.results = PairedResults(lambda: self.near, lambda: self.store)

    def call(self, actor, call, answer):
        if not call.face:  # only to be opened
            self.world.after(0.0, actor, lambda: answer(None))
            return
        super().call(actor, call, answer)

    def face(self, actor, call):
        return getattr(self.store, call.face)


class Bringing:
    """The relay of one worker."""

    def __init__(self, worker, far):
        self.worker = worker
        self.far = far
        self.world = worker.world
        self.relay = Relay(worker.simulation.store, lambda: far.store, "memory://")
        self.relay._sweep_due = float("inf")  # by the machine's clock
        self.look()

    def look(self):
        """One turn, and the next one some time later."""

        def then(turn):
            more = turn is Turn.MORE
            pause = 0.0 if more else self.world.between(1.0, 4.0)
            self.world.after(pause, self.worker, self.look)

        play(self.world, self.worker.network, self.worker, self.relay.turn(), then)
