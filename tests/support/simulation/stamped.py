"""Revokes by stamp, as seen at the store's door: who must know of them, and when at the latest."""

from celeriac.stamps import keys_of

#: Seconds of calm after which every worker has heard of a revoke: two beats, and what is held then.
KNOWN_AFTER = 8.0


class Stamped:
    """What was revoked by stamp, and who was told."""

    def __init__(self, watch):
        self._watch = watch
        #: Stamp → when it was revoked first.
        self.revoked = {}
        #: Worker → stamp → since when it knows.
        self._told = {}
        #: Owner → when the store came to know it; fence → when it was leased.
        self._came = {}
        self._leased = {}
        #: Since when nothing goes wrong any more.
        self.calm_at = None

    def revoke(self, stamps):
        for each in stamps:
            self.revoked.setdefault(each, self._watch.world.now)

    def forget(self):
        """The store has gone back: what it does not have any more is known by nobody, or wrongly,
        until all of it has been read again."""
        for known in self._told.values():
            for each in known.keys() - self.revoked.keys():
                del known[each]

    def tell(self, worker, found):
        known = self._told.setdefault(worker, {})
        for each in found:
            known.setdefault(each.stamp, self._watch.world.now)

    def came(self, owner):
        self._came.setdefault(owner, self._watch.world.now)

    def lease(self, fence):
        self._leased[fence] = self._watch.world.now

    def gives(self, worker, delivery):
        """A worker hands a delivery to an executor: not if it has known before it leased it."""
        known, leased = self._told.get(worker, {}), self._leased[delivery.fence]
        for each in self._carried(delivery.id):
            if each in known and known[each] < leased:
                self._watch.wrong("%s: begun though its worker knew of %s", delivery.id, each)

    def start(self, delivery):
        watch, now = self._watch, self._watch.world.now
        for each in self._carried(delivery.id):
            since = self.revoked[each]
            if self._came[delivery.nonce.split(".")[0]] > since:
                watch.wrong("%s: begun by who came after %s was revoked", delivery.id, each)
            elif self.calm_at is not None and now > max(since, self.calm_at) + KNOWN_AFTER:
                watch.wrong("%s: begun long after %s was revoked", delivery.id, each)

    def _carried(self, id):
        stamps = self._watch.header(id).stamps
        return [each for each in keys_of(stamps or {}) if each in self.revoked]
