"""Those who send, revoke and read, each over the same bad network."""

from celeriac.exceptions import CeleriacError, HeaderIncomplete, OperationalError
from celeriac.stamps import keys_of
from celeriac.worker.courses import Call, Pause
from simulation.network import play
from simulation.world import Actor

#: Seconds within which a client repeats a call, as ``publish_timeout`` has it.
BUDGET = 5.0
READ_SECONDS = 4.0


class Client(Actor):
    """Sends in its own time; *acknowledged* are ids whose call returned."""

    def __init__(self, simulation, name):
        super().__init__(name)
        self.simulation = simulation
        self.world = simulation.world
        self.acknowledged = []
        #: What it was told of results that had ended: (id, generation) → (state, body).
        self.seen = {}
        #: What the store refused to do for it.
        self.refused = []

    def send(self, messages, joins):
        def then(answer):
            if not isinstance(answer, Exception):
                self.acknowledged += [each.id for each in messages]

        self._play(self._persist(Call("enqueue", (messages, None, joins))), then)

    def send_stream(self, join, body, members):
        """Open, send the members in pieces, seal; perhaps it dies on the way."""
        steps = [Call("open_join", (join, body))]
        steps += [Call("enqueue", ([each], join)) for each in members]
        steps.append(Call("seal", (join, len(members))))
        if self.world.chance(0.2):
            del steps[self.world.random.randint(1, len(steps)) :]
        ids = [[body.id], *([each.id] for each in members), []]

        def course():
            for call, sent in zip(steps, ids, strict=False):
                answer = yield from self._persist(call)
                if isinstance(answer, Exception):
                    return answer
                self.acknowledged += sent
                yield Pause(3)
            return None

        self._play(course(), lambda _answer: None)

    def revoke(self, ids, terminate):
        self._play(self._persist(Call("revoke", (ids, terminate))), lambda _answer: None)

    def plan_stamps(self, messages):
        """Perhaps revoke, later, what carries the stamps of one of these."""
        world, stamps = self.world, messages[0].header.stamps
        if stamps is None or world.chance(0.6):
            return
        how = world.random.choice([None, None, "SIGTERM", "SIGKILL"])
        call = Call("revoke_stamps", (keys_of(stamps), how))
        world.after(
            world.random.expovariate(0.3), self,
            lambda: self._play(self._persist(call), lambda _answer: None),
        )  # fmt: skip

    def _persist(self, call):
        deadline, attempt = self.world.now + BUDGET, 0
        while True:
            try:
                return (yield call)
            except OperationalError as error:
                attempt += 1
                yield Pause(attempt)
                if self.world.now > deadline:
                    return error
            except HeaderIncomplete as error:
                return error  # it was too slow; the body has failed, and it is told so
            except CeleriacError as error:
                if attempt and call.method == "seal":
                    return None  # as ``streaming`` has it: the first one was applied
                self.refused.append(f"{call.method}: {error}")
                return error

    def _play(self, course, then):
        play(self.world, self.simulation.network, self, course, then)

    def read(self):
        """Look at the results of all that it has sent."""
        ids = list(self.acknowledged)
        network = self.simulation.network
        ways = [network] if network.far is None else [network, network.far]
        if all(self.world.now >= each.down_until for each in ways):
            for result in self.simulation.results.get_many(ids):
                self._note(result)
        self.world.after(READ_SECONDS, self, self.read)

    def _note(self, result):
        if result is None or result.ended_at is None:
            return
        found = (result.state, result.body)
        if found in self.simulation.watch.generations.past.get(result.id, ()):
            return  # the store of results has not been told yet that it was reopened
        generation = self.simulation.watch.generations.number[result.id]
        before = self.seen.setdefault((result.id, generation), found)
        if before != found:
            self.simulation.watch.wrong("%s: read %s and later %s", result.id, before, found)
