"""Asking workers: publish a command, collect the answers of those that live.

Layer 4, through the seam only. The store knows which workers are registered, so the collecting
ends when the last living one has answered and not after a fixed time; one that is stuck is waited
for until the timeout and then named.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from celeriac.clock import SYSTEM
from celeriac.control.wire import (
    COMMANDS,
    Command,
    Reply,
    matches,
    open_reply,
    reply_channel,
    seal_command,
    seal_reply,
)
from celeriac.exceptions import DecodeError, SecurityError
from celeriac.ids import new_nonce

if TYPE_CHECKING:
    from celeriac.records import WorkerView
    from celeriac.signing import Signer
    from celeriac.stores.base import Store

__all__ = ["Answers", "Callback", "Mailbox", "Scope", "check_timeout", "seal_reply"]

#: Called with each answer as it comes: {worker: answer}.
Callback = Callable[[dict[str, Any]], object]


@dataclass(frozen=True)
class Scope:
    """Which workers are meant: those named, or those whose name matches; else all."""

    destination: tuple[str, ...] | None = None
    pattern: str = ""
    matcher: str = "glob"

    @classmethod
    def of(
        cls,
        destination: str | Iterable[str] | None = None,
        pattern: str | None = None,
        matcher: str | None = None,
    ) -> Scope:
        """As people give it: one name, names separated by commas, or a list of names.

        Raises ``ValueError`` for a matcher that nobody knows and a pattern that is none,
        ``TypeError`` for a destination that is no name and no list.
        """
        if isinstance(destination, str):
            destination = [each.strip() for each in destination.split(",") if each.strip()]
        if destination is not None and not isinstance(destination, Iterable):
            raise TypeError(
                f"destination is {destination!r}; it must be a worker's name or a list of names"
            )
        names = None if destination is None else tuple(str(each) for each in destination)
        matches(pattern or "", matcher or "glob", "")
        return cls(names, pattern or "", matcher or "glob")

    def covers(self, hostname: str) -> bool:
        """Is the worker *hostname* meant?"""
        if self.destination is not None:
            return hostname in self.destination
        return not self.pattern or matches(self.pattern, self.matcher, hostname)

    def by_name(self, hostnames: Iterable[str]) -> Scope:
        """The same without a regular expression, which workers would have to match: those of
        *hostnames* that it means. Other scopes as they are."""
        if self.destination is not None or not self.pattern or self.matcher == "glob":
            return self
        return Scope(tuple(each for each in hostnames if self.covers(each)))


@dataclass
class Answers:
    """What came back: in the order in which it came, and who said nothing."""

    replies: list[Reply] = field(default_factory=list)
    #: Names of living workers that had not answered in time.
    silent: list[str] = field(default_factory=list)
    #: How many living workers were meant.
    asked: int = 0

    def by_worker(self) -> dict[str, Any]:
        """{worker: answer}. What several workers of one name list is listed together."""
        found: dict[str, Any] = {}
        for reply in self.replies:
            before = found.get(reply.hostname)
            if isinstance(before, list) and isinstance(reply.answer, list):
                found[reply.hostname] = before + reply.answer
            else:
                found[reply.hostname] = reply.answer
        return found


class Mailbox:
    """Publishes commands on one store."""

    def __init__(self, store: Store, signer: Signer | None) -> None:
        self._store = store
        self._signer = signer

    def living(self, scope: Scope) -> list[WorkerView]:
        """The workers meant whose lease has not run out, by name."""
        views = [each for each in self._store.inspection.workers() if each.alive]
        meant = [each for each in views if scope.covers(each.manifest.hostname)]
        return sorted(meant, key=lambda each: each.manifest.hostname)

    def tell(
        self, method: str, arguments: Mapping[str, Any] | None = None, scope: Scope = Scope()
    ) -> None:
        """Publish a command and do not wait."""
        if scope.matcher != "glob":
            scope = scope.by_name(each.manifest.hostname for each in self.living(scope))
        self._publish(_command(method, arguments, scope, reply=False))

    def ask(
        self,
        method: str,
        arguments: Mapping[str, Any] | None = None,
        scope: Scope = Scope(),
        *,
        timeout: float = 1.0,
        limit: int | None = None,
        callback: Callback | None = None,
    ) -> Answers:
        """Publish a command and collect what the living workers answer, for at most *timeout*
        seconds, or until *limit* answers are in."""
        check_timeout(timeout)
        expected = {each.owner: each.manifest.hostname for each in self.living(scope)}
        answers = Answers(asked=len(expected))
        if not expected:
            return answers
        command = _command(method, arguments, scope.by_name(expected.values()), reply=True)
        ears = self._store.bus.listen(reply_channel(command.ticket))
        try:
            until = SYSTEM.monotonic() + timeout
            self._publish(command)
            while expected and (limit is None or len(answers.replies) < limit):
                data = ears.get(max(0.0, until - SYSTEM.monotonic()))
                if data is None:
                    break
                reply = self._read(command.ticket, data)
                if reply is None or expected.pop(reply.owner, None) is None:
                    continue
                answers.replies.append(reply)
                if callback is not None:
                    callback({reply.hostname: reply.answer})
        finally:
            ears.close()
        if limit is None or len(answers.replies) < limit:
            answers.silent = sorted(expected.values())
        return answers

    def _publish(self, command: Command) -> None:
        self._store.bus.publish(COMMANDS, seal_command(self._signer, command))

    def _read(self, ticket: str, data: bytes) -> Reply | None:
        try:
            return open_reply(self._signer, ticket, data)
        except (DecodeError, SecurityError):
            return None  # not from a worker of ours: whoever sent it did not answer


def check_timeout(timeout: object) -> None:
    """Raise unless *timeout* is seconds from 0 on: ``TypeError`` for no number at all."""
    said = f"timeout is {timeout!r}; it must be seconds from 0 on"
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise TypeError(said)
    if not (math.isfinite(timeout) and timeout >= 0):
        raise ValueError(said)


def _command(
    method: str, arguments: Mapping[str, Any] | None, scope: Scope, *, reply: bool
) -> Command:
    return Command(
        ticket=new_nonce(),
        method=method,
        sent=SYSTEM.wall(),
        arguments=dict(arguments or {}),
        destination=scope.destination,
        pattern=scope.pattern,
        reply=reply,
    )
