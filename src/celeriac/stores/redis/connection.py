"""Talking to the server: scripts and commands within a budget of time, from any thread.

Part of the Redis store. Idle links are kept on a stack, so there are as many as calls were ever
in flight at once. Each call of the seam can be repeated, so one that broke off is sent once more
on a new link, within the same budget; nothing beneath repeats anything.

After a fork the child begins with no links: those it inherited are let go of, which closes the
child's descriptors and leaves the parent's connections as they are.
"""

from __future__ import annotations

import logging
import os
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import redis

from celeriac.backoff import reconnect
from celeriac.clock import SYSTEM
from celeriac.exceptions import CeleriacError
from celeriac.stores.base import Options, ends_by
from celeriac.stores.redis import schema, troubles
from celeriac.stores.redis.link import BROKEN, Argument, Link, Server, moved, pack
from celeriac.stores.redis.location import Location
from celeriac.stores.redis.nodes import Nodes
from celeriac.stores.redis.script import Script
from celeriac.stores.redis.troubles import ScriptError

#: Answers that pass by themselves within moments: asked again within the budget.
_PASSING: Final = frozenset(
    {"LOADING", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN", "FAILOVER", "NOREPLICAS"}
)
#: Attempts a wait between attempts counts as at most: pauses stay below 0.8 s within a call.
_LONGEST_PAUSE: Final = 3
_log: Final = logging.getLogger(__name__)


class Connection:
    """The server as the other parts of the store see it; usable from any thread and after a fork.

    Args:
        location: where the server is.
        options: `namespace` and `keyprefix` make the prefix of all keys, `timeout` is the budget of
            each call, connecting included.

    Opens nothing until the first call.
    """

    def __init__(self, location: Location, options: Options) -> None:
        self.location = location
        self.options = options
        self.prefix = f"{options.keyprefix}{{{options.namespace}}}:".encode()
        self._nodes = Nodes(location, self.prefix)
        self._idle: deque[Link] = deque()
        #: Those that others block on.
        self._lent: weakref.WeakValueDictionary[int, Link] = weakref.WeakValueDictionary()
        self._pid = os.getpid()
        #: Whether any link was ever good: an outage is waited out, a wrong address is not.
        self.met = False
        if location.moot:
            _log.warning(
                "%s: %s change nothing here: publish_timeout is the whole budget of a call, and "
                "there is no visibility timeout.", location.shown, ", ".join(location.moot),
            )  # fmt: skip

    # -- calls

    def run(self, script: Script, *args: Argument) -> Any:
        """Run *script* with the prefix as its one key.

        Raises:
            ScriptError: the script refused.
            StoreFull: no room; nothing was changed.
            OperationalError: not reached, or not let in; whether it was applied is not known.
            StoreError: the script failed: a fault of ours, or keys of another program's.
        """
        packed = pack((b"EVALSHA", script.sha, b"1", self.prefix, *args))
        return self._ask(packed, script.name, lambda: self._whole(script, args))

    def call(self, *command: Argument) -> Any:
        """Run one plain command. Raises as :meth:`run` does."""
        return self._ask(pack(command), str(command[0]), None)

    def pipeline(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Run several in one write: ``(command, …)`` or ``(script, …)``. Not one step.

        Raises as :meth:`run` does, the first error of all, after all have been run.
        """
        if not commands:
            return []
        packed = b"".join(self._packed(each) for each in commands)
        deadline = ends_by(self.options.timeout)
        replies = self._attempt(lambda link, by: link.ask_all(packed, len(commands), by), deadline)
        first: CeleriacError | None = None
        for number, (command, reply) in enumerate(zip(commands, replies, strict=True)):
            if isinstance(reply, redis.ResponseError):
                try:
                    replies[number] = self._once_more(command, str(reply), deadline)
                except CeleriacError as error:
                    # Those behind it may be scripts that the server did not know yet.
                    first = first or error
        if first is not None:
            raise first
        return list(replies)

    def link(self) -> Link:
        """A link of its own, for one thread that blocks on it (BLPOP, SUBSCRIBE); the caller
        closes it. :meth:`packed` makes what is sent on it."""
        link = self._dial(ends_by(self.options.timeout))
        self.met = True
        self._lent[id(link)] = link
        return link

    blocking = pubsub = link

    def packed(self, *commands: tuple[Any, ...]) -> bytes:
        """Commands and script calls as the bytes :meth:`Link.send` takes."""
        return b"".join(self._packed(each) for each in commands)

    def refused(self, reply: redis.ResponseError, asked: str) -> CeleriacError:
        """The error for an error reply that was received on a :meth:`link`."""
        return troubles.refused(str(reply), self.location, asked)

    def now(self) -> bytes:
        """The time for a script, in milliseconds: b"" for the server's own, which decides unless
        a test has put a clock of its own in its place."""
        clock = self.options.clock
        return b"" if clock is SYSTEM else b"%d" % round(clock.monotonic() * 1000)

    def server(self) -> Server:
        """What the server says of itself, as of the newest link."""
        deadline = ends_by(self.options.timeout)
        return self._attempt(lambda link, by: link.server, deadline)  # type: ignore[no-any-return]

    def where(self) -> str:
        """The address of the server that answers now, or the path of its socket."""
        deadline = ends_by(self.options.timeout)
        return str(self._attempt(lambda link, by: link.where, deadline))

    def close(self) -> None:
        """Close the idle links. The next call opens one anew."""
        self._drop_idle()

    # -- how

    def _packed(self, command: tuple[Any, ...]) -> bytes:
        first = command[0]
        if isinstance(first, bytes | str):
            return pack(command)
        return pack((b"EVALSHA", first.sha, b"1", self.prefix, *command[1:]))

    def _whole(self, script: Script, args: Sequence[Argument]) -> bytes:
        return pack((b"EVAL", script.text, b"1", self.prefix, *args))

    def _ask(self, packed: bytes, name: str, whole: Callable[[], bytes] | None) -> Any:
        deadline = ends_by(self.options.timeout)
        try:
            return self._attempt(lambda link, by: link.ask(packed, by), deadline)
        except redis.ResponseError as error:
            reply = str(error)
        return self._answer(reply, name, packed, whole, deadline)

    def _answer(
        self,
        reply: str,
        name: str,
        packed: bytes,
        whole: Callable[[], bytes] | None,
        deadline: float,
    ) -> Any:
        """Deal with an error reply: send again what passes by itself, raise the rest."""
        pauses = 0
        while True:
            kind = troubles.kind_of(reply)
            if kind == "NOSCRIPT" and whole is not None:
                packed = whole()
            elif self._redirected(reply, kind) or self._outdated(reply, kind):
                self._drop_idle()
            elif kind in _PASSING and self._pause(pauses, deadline):
                pauses += 1
            else:
                raise troubles.refused(reply, self.location, name)
            if SYSTEM.monotonic() >= deadline:
                raise troubles.refused(reply, self.location, name)
            try:
                return self._attempt(partial(_ask, packed), deadline)
            except redis.ResponseError as error:
                reply = str(error)

    def _once_more(self, command: tuple[Any, ...], reply: str, deadline: float) -> Any:
        first = command[0]
        if isinstance(first, bytes | str):
            return self._answer(reply, str(first), pack(command), None, deadline)
        return self._answer(
            reply,
            first.name,
            self._packed(command),
            lambda: self._whole(first, command[1:]),
            deadline,
        )

    def _redirected(self, reply: str, kind: str) -> bool:
        """Whether another server is the one to ask; the next link goes there."""
        if self.location.kind == "cluster" and kind in {"MOVED", "ASK"}:
            to = moved(reply, "")
            if to is not None and to.host:
                self._nodes.moved(to)
            return True
        # After a failover the old primary is a replica.
        return self.location.kind != "single" and kind == "READONLY"

    def _outdated(self, reply: str, kind: str) -> bool:
        """Whether what is stored has an older version than ours: whoever emptied the server may
        have been followed by an older process. The next link migrates it. Raises if it is newer."""
        if kind != "SCHEMA":
            return False
        found = reply.partition(" ")[2]
        if not found.isdigit():
            raise troubles.foreign(self.location, f"the key schema holds {found[:40]!r}")
        if int(found) > schema.VERSION:
            raise schema.newer(self.location.shown, int(found))
        return True

    def _pause(self, number: int, deadline: float) -> bool:
        """Wait a little, with full jitter; False if there is no time left for it."""
        pause = reconnect(min(number, _LONGEST_PAUSE))
        if SYSTEM.monotonic() + pause >= deadline:
            return False
        time.sleep(pause)
        return True

    # -- links

    def _attempt(self, talk: Callable[[Link, float], Any], deadline: float) -> Any:
        """Let *talk* use a link until a moment; once more on a new one if the link broke off.

        A link that has been idle may be dead without a word, as behind a firewall that has
        forgotten it: so it gets half of the time, and what is sent again has the rest. One that
        has just been opened gets all: a server that is slow would only have more to do.
        """
        resent = False
        while True:
            link, idle = self._take(deadline)
            by = deadline
            if idle:
                now = SYSTEM.monotonic()
                by = now + (deadline - now) / 2
            good = False
            try:
                answer = talk(link, by)
                good = True
                return answer
            except redis.ResponseError:
                good = True
                raise
            except BROKEN as error:
                problem = troubles.broken(self.location, link.where, error)
                # What was idle beside it is most likely as dead.
                self._drop_idle()
                if isinstance(error, TimeoutError):
                    self._hang_up()
                if resent or SYSTEM.monotonic() >= deadline:
                    raise problem from None
                resent = True
            finally:
                # Anything else, a soft time limit among it, may have come in mid-reply.
                if good:
                    self._idle.append(link)
                else:
                    link.close()

    def _take(self, deadline: float) -> tuple[Link, bool]:
        """A link, and whether it has been idle."""
        if self._pid != os.getpid():
            self._begin_in_child()
        try:
            return self._idle.pop(), True
        except IndexError:
            pass
        attempt = 0
        while True:
            try:
                link = self._dial(deadline)
            except troubles.Unreachable as error:
                known = self.met or isinstance(error, troubles.NotNow)
                if not known or not self._pause(attempt, deadline):
                    raise
                attempt += 1
            else:
                self.met = True
                return link, False

    def _dial(self, deadline: float) -> Link:
        return self._nodes.open(deadline)

    def _begin_in_child(self) -> None:
        self._idle = deque()
        self._lent = weakref.WeakValueDictionary()
        self._pid = os.getpid()

    def _hang_up(self) -> None:
        """End what others wait for on links of their own; whoever does so asks again on a new one.

        A bell would not find out before its ten seconds are over that nothing rings any more.
        """
        for found in self._lent.valuerefs():  # a list: others may come meanwhile
            link = found()
            if link is not None:
                link.hang_up()

    def _drop_idle(self) -> None:
        if self._pid != os.getpid():
            self._begin_in_child()
        while True:
            try:
                self._idle.pop().close()
            except IndexError:
                return


def _ask(packed: bytes, link: Link, by: float) -> Any:
    return link.ask(packed, by)


__all__ = ["Connection", "Script", "ScriptError"]
