"""Which server to connect to: the one that is named, the sentinels' primary, a cluster's node.

Part of the Redis store. All keys of a namespace are under one hash tag, so even of a cluster one
node is enough; which one, the cluster tells by MOVED.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, Final

import msgspec
import redis

from celeriac.clock import SYSTEM
from celeriac.exceptions import CeleriacError
from celeriac.stores.redis import troubles
from celeriac.stores.redis.link import BROKEN, Link, Moved, pack
from celeriac.stores.redis.location import Location, address_text

Address = tuple[str, int]
#: More redirections than this in a row, and a cluster sends us in circles.
_MOST_MOVES: Final = 5
#: Part of the time that is left which one of several servers may take before the next is tried.
_SHARE: Final = 0.5


class Nodes:
    """Opens links to where our keys are."""

    def __init__(self, location: Location, prefix: bytes) -> None:
        self.location = location
        self.prefix = prefix
        #: Where the last link was good.
        self._last: Address | None = None
        #: Nodes of the cluster that were told of.
        self._told: tuple[Address, ...] = ()

    def open(self, deadline: float) -> Link:
        """A greeted link to the primary; see :class:`Link` for what it raises."""
        match self.location.kind:
            case "single":
                host, port = self.location.nodes[0] if self.location.nodes else ("", 0)
                return self._link(host, port, deadline)
            case "sentinel":
                return self._by_sentinel(deadline)
            case _:
                return self._by_cluster(deadline)

    def moved(self, to: Moved) -> None:
        """A reply told that our keys are elsewhere."""
        self._last = (to.host, to.port)

    def _link(self, host: str, port: int, deadline: float) -> Link:
        link = Link(self.location, host, port, deadline, self.prefix)
        self._last = (host, port)
        return link

    # -- sentinels

    def _by_sentinel(self, deadline: float) -> Link:
        problems, tried = [], set()
        sentinels = _shuffled(self.location.nodes)
        for number, (host, port) in enumerate(sentinels, 1):
            try:
                found = self._ask_sentinel(host, port, _part(deadline))
            except CeleriacError as error:
                problems.append(str(error))
                continue
            if found is None:
                problems.append(f"{address_text(host, port)} knows no {self.location.master!r}.")
                continue
            if found in tried:
                continue
            tried.add(found)
            last = number == len(sentinels)
            try:
                link = self._link(*found, deadline if last else _part(deadline))
            except troubles.Unreachable as error:
                # Another sentinel may know of a failover that this one has not heard of.
                problems.append(str(error))
                continue
            if link.server.role in {"slave", "replica"}:
                # The sentinels are about to make up their minds.
                link.close()
                problems.append(f"{address_text(*found)} is a replica by now.")
                continue
            return link
        raise troubles.Unreachable(
            f"{self.location.shown}: no sentinel leads to the primary {self.location.master!r}. "
            f"{' '.join(problems)}"
        )

    def _ask_sentinel(self, host: str, port: int, deadline: float) -> Address | None:
        here = self.location
        who = msgspec.structs.replace(
            here, username=here.sentinel_username, password=here.sentinel_password
        )
        link = Link(who, host, port, deadline)
        try:
            command = pack((b"SENTINEL", b"get-master-addr-by-name", here.master))
            found = link.ask(command, deadline)
        except redis.ResponseError as error:
            raise troubles.refused(str(error), who, "SENTINEL") from None
        except BROKEN as error:
            raise troubles.broken(who, link.where, error) from None
        finally:
            link.close()
        return None if found is None else (found[0].decode(), int(found[1]))

    # -- clusters

    def _by_cluster(self, deadline: float) -> Link:
        problem: CeleriacError | None = None
        for host, port in self._candidates():
            if SYSTEM.monotonic() >= deadline:
                break
            try:
                link = self._follow(host, port, deadline)
            except troubles.Unreachable as error:
                problem = error
                continue
            self._told = _primaries(link, deadline) or self._told
            return link
        raise problem or troubles.Unreachable(f"{self.location.shown}: no node answers in time.")

    def _candidates(self) -> Iterator[Address]:
        """The last good node, then the others that are known."""
        last = [self._last] if self._last is not None else []
        others = _shuffled((*self._told, *self.location.nodes))
        yield from dict.fromkeys([*last, *others])

    def _follow(self, host: str, port: int, deadline: float) -> Link:
        for _ in range(_MOST_MOVES):
            try:
                return self._link(host, port, _part(deadline))
            except Moved as to:
                host, port = to.host, to.port
        raise troubles.Unreachable(
            f"{self.location.shown}: the cluster sends us in circles, last to "
            f"{address_text(host, port)}. CLUSTER NODES shows what each node thinks."
        )


def _primaries(link: Link, deadline: float) -> tuple[Address, ...]:
    """The nodes a cluster knows, for when this one is gone; none if it does not tell."""
    try:
        slots: Any = link.ask(pack((b"CLUSTER", b"SLOTS")), deadline)
    except redis.ResponseError:  # denied to this user: the seeds have to do
        return ()
    found = []
    for span in slots:
        for node in span[2:]:
            host = (node[0] or b"").decode()
            found.append((host or link.address[0], int(node[1])))
    return tuple(dict.fromkeys(found))


def _part(deadline: float) -> float:
    now = SYSTEM.monotonic()
    return now + (deadline - now) * _SHARE


def _shuffled(nodes: tuple[Address, ...]) -> list[Address]:
    return random.sample(nodes, len(nodes))
