"""A store that goes back to what it was a moment before: its replica takes over, which lacks the
last writes. What was acknowledged since is gone, and nobody is told."""

from copy import copy

from celeriac.stores.memory.rows import Join, Owner, Row

#: What a memory store keeps. And what of its core belongs to the process, or is put over its
#: methods by who watches, rings or breaks it.
KEPT = (
    "rows", "joins", "owners", "tombstones", "stamps", "foreign", "outbox", "readers", "parents",
    "flows", "queues", "ready", "parked", "due", "expiring", "dropping", "counts", "set_aside",
    "_last_number", "last_pass",
)  # fmt: skip
_OWN = {
    "options", "clock", "pid", "lock", "work", "rings", "waiters", "ring", "summon", "move",
    "_apply_one", "_reopen",
}  # fmt: skip
#: What the watch knows of the store, and not of those who run: it holds again as it was.
SEEN = {
    "": ("headers", "joins", "parents", "members", "sealed", "leases", "given", "applied", "ends",
         "interrupted", "replaced", "released", "revoked", "gone", "stored", "reaped"),
    "generations": ("number", "leased", "given", "before", "past", "timeless"),
    "stamped": ("revoked",),
    "lifetimes": ("_heard", "disturbed_at", "_extended"),
}  # fmt: skip


def copied(value):
    """So deep that whatever is changed in place is another one; the rest never changes."""
    if not isinstance(value, (dict, list, set, Row, Join, Owner)):
        return value
    made = copy(value)
    if isinstance(value, (Join, Owner)):
        for name in value.__slots__:
            setattr(made, name, copied(getattr(value, name)))
    elif isinstance(value, dict):
        for key, each in value.items():
            made[key] = copied(each)
    return made


class Past:
    """The store as it is now, to be gone back to."""

    def __init__(self, simulation):
        self._simulation = simulation
        self._core, self._watch = simulation.core, simulation.watch
        unknown = vars(self._core).keys() - _OWN - {*KEPT}
        assert not unknown, f"does a replica have {unknown}?"
        self._era = simulation.network.era
        self._store = {name: copied(getattr(self._core, name)) for name in KEPT}
        self._seen = {
            part: {name: copied(getattr(self._part(part), name)) for name in names}
            for part, names in SEEN.items()
        }

    def _part(self, name):
        return getattr(self._watch, name) if name else self._watch

    def come_back(self):
        """Go back to it; False if the store has gone back further meanwhile."""
        network = self._simulation.network
        if self._era != network.era:
            return False
        network.era += 1
        if network.doorbell is not None:
            network.doorbell.cut()
            network.doorbell.forget()
        seen = self._seen[""]
        self._forget(self._watch.headers.keys() - seen["headers"].keys())
        self._watch.undo(self._watch.given - seen["given"])
        self._watch.through |= self._watch.applied - seen["applied"]
        before, after = self._watch.leases.items(), seen["leases"].items()
        self._watch.counts["went back"] += 1
        self._watch.counts["went back: leased again"] += len(after - before)
        self._watch.counts["went back: leased no more"] += len(before - after)
        for part, found in self._seen.items():
            for name, value in found.items():
                setattr(self._part(part), name, value)
        for name, value in self._store.items():
            setattr(self._core, name, value)
        self._watch.stamped.forget()
        self._watch.lifetimes.went_back()
        for client in self._simulation.clients:
            client.seen = {
                (id, number): found for (id, number), found in client.seen.items()
                if self._ended(id) and number == self._watch.generations.number[id]
            }  # fmt: skip
        return True

    def _ended(self, id):
        row = self._core.rows.get(id)
        return row is not None and row.ended_at is not None

    def _forget(self, ids):
        """Nobody answers for these, unless they are sent once more."""
        self._watch.counts["went back: not sent"] += len(ids)
        self._watch.forgotten.update((id, self._watch.headers[id]) for id in ids)
        for client in self._simulation.clients:
            client.acknowledged = [id for id in client.acknowledged if id not in ids]
