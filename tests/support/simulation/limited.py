"""Rate limits: how often each worker hands out what has one."""

from collections import defaultdict

from simulation.work import PER_SECOND

#: A token that comes late by no more than this is not lost, so that much is forgiven.
LATE = 0.1 + 1e-6


class Limited:
    """When each worker handed what has a limit to an executor."""

    def __init__(self, watch):
        self._watch = watch
        self._times = defaultdict(list)
        self._given = set()

    def gives(self, worker, delivery):
        id, fence = delivery.id, delivery.fence
        if self._watch.header(id).task != "limited" or fence in self._given:
            return  # what was taken back before it began has its token
        self._given.add(fence)
        self._watch.counts["limited"] += 1
        now, times = self._watch.world.now, self._times[worker]
        times.append(now)
        for back in (1, 4):
            if len(times) > back and now - times[-1 - back] < back / PER_SECOND - LATE:
                self._watch.wrong("%s: begun before its token was there", id)
