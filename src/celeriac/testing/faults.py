"""A store that fails on purpose: before a call, after it was applied, or late.

Layer 6; needs no pytest. :func:`wrap` puts a :class:`Faults` between a store and its users. What
is raised is what a real store raises when a connection breaks: ``OperationalError``, after which
nobody knows whether the call was applied. "After" is the most valuable fault there is: the call
*was* applied and is reported as failed.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, cast, get_type_hints

import msgspec

from celeriac.exceptions import OperationalError
from celeriac.stores import base
from celeriac.stores.base import Store, Subscription

Kind = Literal["before", "after", "delay"]

FACES: Final = ("queue", "results", "coordinator", "schedules", "inspection", "bus")


def _calls() -> Iterator[str]:
    hints = get_type_hints(Store)
    faces = {hints[face]: face for face in FACES} | {Subscription: "subscription"}
    for protocol in vars(base).values():
        if getattr(protocol, "_is_protocol", False) and protocol is not Protocol:
            # One that only some stores have extends the one that all have.
            face = next((faces[each] for each in protocol.__mro__ if each in faces), None)
            if face is None:
                raise LookupError(f"{protocol} is no face of a store: rules cannot name its calls")
            for name, value in vars(protocol).items():
                if callable(value) and not name.startswith("_"):
                    yield f"{face}.{name}"


#: Those that say of themselves that a store that is away does not make them fail.
NEVER_FAIL: Final = frozenset({"queue.wake", "subscription.close"})
#: Every call of the seam that may fail, as rules name it: ``queue.enqueue``, …,
#: ``subscription.get``. Read from the protocols, so that one that is added to them is here, too.
CALLS: Final = frozenset(_calls()) - NEVER_FAIL


@dataclass(frozen=True)
class Rule:
    """Which calls fail, and how.

    *method* is ``"queue.exchange"``, ``"queue.*"`` or ``"*"``. With *hit* only the n-th call that
    matches fails, counting from 1; else each one does with *probability*. *seconds* is the length
    of a delay.
    """

    method: str
    kind: Kind
    hit: int | None = None
    probability: float = 1.0
    seconds: float = 0.05

    def matches(self, method: str) -> bool:
        """Whether this rule speaks of *method*."""
        face = method.partition(".")[0]
        return self.method in ("*", method, f"{face}.*")


class Faults:
    """Decides which calls fail. May be used from any thread.

    Args:
        rules: the rules; all that match a call apply.
        seed: where the rules' probabilities come from; one seed, one course of events.

    Attributes:
        injected: what was done, as (method, kind), in order.
    """

    def __init__(self, *rules: Rule, seed: int = 0) -> None:
        self.injected: list[tuple[str, Kind]] = []
        self._rules = list(rules)
        self._hits = [0] * len(rules)
        self._random = random.Random(seed)
        self._lock = threading.Lock()

    def arm(self, kind: Kind, method: str = "*") -> None:
        """Let the next call of *method* fail."""
        with self._lock:
            self._rules.append(Rule(method, kind, hit=1))
            self._hits.append(0)

    def disarm(self) -> None:
        """Let nothing fail any more."""
        with self._lock:
            self._rules.clear()
            self._hits.clear()

    def run(self, method: str, call: Callable[[], Any]) -> Any:
        """Make *call*, with what the rules say for *method*."""
        chosen = self._choose(method)
        for rule in chosen:
            if rule.kind == "delay":
                time.sleep(rule.seconds)
        kinds = {rule.kind for rule in chosen}
        if "before" in kinds:
            raise _broken(f"injected fault: {method} was not applied")
        answer = call()
        if "after" in kinds:
            raise _broken(f"injected fault: {method} was applied, its answer is lost")
        return answer

    def _choose(self, method: str) -> list[Rule]:
        chosen = []
        with self._lock:
            for index, rule in enumerate(self._rules):
                if not rule.matches(method):
                    continue
                self._hits[index] += 1
                if rule.hit is not None:
                    applies = self._hits[index] == rule.hit
                else:
                    applies = self._random.random() < rule.probability
                if applies:
                    chosen.append(rule)
                    self.injected.append((method, rule.kind))
        return chosen


def _broken(text: str) -> OperationalError:
    error = OperationalError(text)
    error.passing = True  # another attempt may succeed, as on a new connection
    return error


class _Face:
    """One face of the store, or a subscription: each of its methods through the faults."""

    def __init__(self, name: str, face: object, faults: Faults) -> None:
        self._name = name
        self._face = face
        self._faults = faults

    def __getattr__(self, method: str) -> Any:
        inner = getattr(self._face, method)
        if not callable(inner):
            return inner
        name = f"{self._name}.{method}"

        def call(*args: Any, **kwargs: Any) -> Any:
            answer = self._faults.run(name, lambda: inner(*args, **kwargs))
            return _Face("subscription", answer, self._faults) if method == "listen" else answer

        return call


def wrap(store: Store, faults: Faults) -> Store:
    """The same store, with *faults* in between."""
    faces = {name: cast(Any, _Face(name, getattr(store, name), faults)) for name in FACES}
    return msgspec.structs.replace(store, **faces)


__all__ = ["CALLS", "FACES", "NEVER_FAIL", "Faults", "Kind", "Rule", "wrap"]
