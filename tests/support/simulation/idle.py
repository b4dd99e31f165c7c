"""Whether anything waits while somebody is free."""

from celeriac import states
from celeriac.worker.hands import Company
from simulation.world import Actor

#: Seconds between two looks; and that something may stand in the line of one who is busy.
LOOK, IN_LINE = 0.4, 3.0
#: Seconds within which a reaper's pass finds what has fallen due, if whoever was told of it when it
#: was sent has gone on to something else.
PASS = 6.0


class Idle:
    """Looked at all the time, once nothing goes wrong any more."""

    def __init__(self, simulation, bound):
        self._simulation = simulation
        self._bound = bound
        self._actor = Actor("idle")
        #: id → since when it is due and nobody has it.
        self._due = {}
        #: Parked, which a worker that waits does not see: a pass rings for it.
        self._aside = set()
        #: Id → since when it stands in a worker's line; who that is.
        self._line = {}
        self._told = set()
        #: Worker, and how many deliveries it has taken → since when it has room.
        self._free = {}

    def look(self):
        world = self._simulation.world
        world.after(LOOK, self._actor, self.look)
        now = world.now
        self._aside.clear()
        due = dict(self._waiting())
        free = [
            (each, each.dispatch.totals.total())
            for each in self._simulation.workers
            if self._has_room(each)
        ]
        self._due = {each: self._due.get(each, now) for each in sorted(due)}
        self._free = {each: self._free.get(each, now) for each in free}
        latest = now - self._bound
        bored = [each for (each, _), since in self._free.items() if since < latest]
        for id, since in self._due.items():
            before = min(latest, now - due[id])
            able = [
                each
                for (each, _), free in self._free.items()
                if free < (before if id in self._aside else latest) and self._knows(each, id)
            ]
            if able and since < before and id not in self._told:
                self._told.add(id)
                self._simulation.watch.wrong(
                    "%s: due for %.1f s, and %s is free", id, now - since, able[0].name
                )
        self._line = {each: self._line.get(each, now) for each in self._in_line()}
        for (id, worker), since in self._line.items():
            others = [each for each in bored if each is not worker and self._knows(each, id)]
            if others and since < now - IN_LINE and id not in self._told:
                self._told.add(id)
                self._simulation.watch.wrong(
                    "%s: in the line of %s for %.1f s, and %s is free",
                    id, worker.name, now - since, others[0].name,
                )  # fmt: skip

    def _knows(self, worker, id):
        return self._simulation.watch.headers[id].task in worker.manifest.tasks

    def _in_line(self):
        for worker in self._simulation.workers:
            if worker.alive and not worker.paused:
                line = list(worker.dispatch.backlog)
                yield from ((each.delivery.id, worker) for each in line if not each.alone)

    def _waiting(self):
        core = self._simulation.core
        now = core.clock.wall()
        for row in core.rows.values():
            if row.task == "limited":
                continue  # its turn may be later
            queued = row.state == states.QUEUED
            if row.parked:
                self._aside.add(row.id)
            due = row.state == states.SCHEDULED and row.due is not None and row.due <= now
            if queued or due:
                yield row.id, PASS if due or row.parked else 0.0

    def _has_room(self, worker):
        desk = worker.dispatch
        if not worker.alive or worker.paused or desk.closing or not worker.incarnation.trusted:
            return False
        room = sum(each.free for each in desk.hands.values() if each.company is not Company.CELL)
        return room > len(desk.backlog) + len(desk.apart)
