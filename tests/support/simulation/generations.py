"""What an operator's retry makes of records, as seen at the store's door."""

from collections import Counter

from celeriac import states


class Generations:
    """Which generation of each record there is, and what belongs to which."""

    def __init__(self, watch):
        self._watch = watch
        #: id → how often it was reopened.
        self.number = Counter()
        #: (id, generation) → deliveries, and runs that began.
        self.leased = Counter()
        self.starts = Counter()
        #: Fence → generation in which it was given out.
        self.given = {}
        #: id → crashes, losses and repeats of generations before.
        self.before = Counter()
        #: id → how generations before ended.
        self.past = {}
        #: What had run out when it was reopened: its expiry has gone.
        self.timeless = set()

    def lease(self, id, fence):
        self.leased[id, self.number[id]] += 1
        self.given[fence] = self.number[id]

    def start(self, fence):
        self.starts[fence.id, self.given.get(fence, 0)] += 1

    def delivered(self):
        """(id, generation) of all that was given out."""
        return {each for each, count in self.leased.items() if count}

    def explained(self, id):
        """Starts that generations before explain."""
        begun = sum(1 for each in self.starts if each[0] == id)
        return self.before[id] + max(0, begun - 1)

    def snapshot(self):
        """What may be reopened, as it is."""
        records = self._watch.store.inspection.get(list(self._watch.headers))
        return {each.id: each for each in records if each is not None}

    def reopen(self, ids, before):
        """*ids* were reopened; *before* is the snapshot from before."""
        watch = self._watch
        now = {each.id: each for each in watch.store.inspection.get(ids) if each is not None}
        for id in ids:
            was = before[id]
            if was.state not in states.TERMINAL or id in watch.leases:
                watch.wrong("%s: reopened, and it was %s", id, was.state)
            if now[id].generation != was.generation + 1:
                watch.wrong("%s: reopened in generation %d", id, now[id].generation)
            self._check_once(id, was)
            self.number[id] += 1
            if watch.told_later:
                self.past.setdefault(id, set()).add((was.state, was.body))
            self.before[id] += was.retries + was.crashes + was.losses
            expires = watch.headers[id].expires
            if expires is not None and expires <= watch.clock.wall():
                self.timeless.add(id)
            watch.ends.pop(id, None)
            watch.released.pop(id, None)
            watch.revoked.discard(id)
            watch.counts[f"reopened {was.state}"] += 1
        if ids and any(before[id].cause for id in ids):
            watch.counts["reopened with what hung on it"] += 1

    def _check_once(self, id, record):
        """What may begin once at most has begun once in the generation that ends here."""
        watch = self._watch
        if watch.headers[id].task != "once":
            return
        count = self.starts[id, self.number[id]]
        if count > 1 + record.retries:
            watch.wrong("%s: at most once, and started %d times", id, count)
