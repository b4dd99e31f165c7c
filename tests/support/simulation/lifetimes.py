"""How long owners live without a word: as seen at the store's door."""

LEASE = 15.0


class Lifetimes:
    """Nobody is given up before its lease has run out, whatever clocks say meanwhile."""

    def __init__(self, watch):
        self._watch = watch
        #: Owner → when the store has heard of it last.
        self._heard = {}
        #: Worker → when it has registered first. What time does from then on, it can tell.
        self._since = {}
        #: When time was last not to be trusted: everybody has a whole lease from then on.
        self.disturbed_at = 0.0
        self._extended = True

    def registered(self, actor, owner):
        self._since.setdefault(actor, self._watch.world.now)
        self.heard(owner)

    def passed(self, actor):
        """Who was there before gives everybody a lease. Who came later, or is not there yet, sees
        nothing, and if that one is first, nobody gets one."""
        if not self._extended and self._since.get(actor, self.disturbed_at) >= self.disturbed_at:
            self.disturbed_at = 0.0
        self._extended = True

    def disturb(self, seconds):
        """By more than half a lease, all leases are extended before any runs out."""
        if seconds > LEASE / 2 + 0.1:
            self.disturbed_at = self._watch.world.now
            self._extended = False

    def went_back(self):
        """If everybody still had to be given a lease, then somebody has done so, and it is gone."""
        if not self._extended:
            self.disturbed_at, self._extended = 0.0, True

    def booted(self):
        """Whoever lived has ended with the machine, and the store can tell."""
        self._heard.clear()

    def heard(self, owner):
        self._heard[owner] = self._watch.world.now

    def given_up(self, owner, dead):
        now = self._watch.world.now
        if owner in dead or owner not in self._heard:
            return
        lived = now - max(self._heard[owner], self.disturbed_at)
        if lived < LEASE:
            self._watch.wrong("%s: given up %.1f s after it was heard of", owner, lived)
