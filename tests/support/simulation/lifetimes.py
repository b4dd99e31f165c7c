"""How long owners live without a word: as seen at the store's door."""

LEASE = 15.0


class Lifetimes:
    """Nobody is given up before its lease has run out, whatever clocks say meanwhile."""

    def __init__(self, watch):
        self._watch = watch
        #: Owner → when the store has heard of it last.
        self._heard = {}
        #: When time was last not to be trusted: everybody has a whole lease from then on.
        self.disturbed_at = 0.0
        #: There has been a pass: what time has done since can be told from it.
        self._passed = False

    def passed(self):
        self._passed = True

    def disturb(self, seconds):
        """By more than half a lease, all leases are extended before any runs out."""
        if seconds > LEASE / 2 + 0.1 and self._passed:
            self.disturbed_at = self._watch.world.now

    def booted(self):
        """Whoever lived has ended with the machine, and the store can tell."""
        self._heard.clear()
        self._passed = False

    def heard(self, owner):
        self._heard[owner] = self._watch.world.now

    def given_up(self, owner, dead):
        now = self._watch.world.now
        if owner in dead or owner not in self._heard:
            return
        lived = now - max(self._heard[owner], self.disturbed_at)
        if lived < LEASE:
            self._watch.wrong("%s: given up %.1f s after it was heard of", owner, lived)
