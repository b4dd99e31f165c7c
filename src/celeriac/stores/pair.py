"""Two stores: tasks in one, what came of them in another (protocol section 7).

Layer 2; through the seam only. Records, joins and references are in the *broker's* store. The step
that ends a record puts it into the outbox there (``Options.mirror``); a relay of the workers
(``worker/duties/relay.py``) brings it to the *backend*, where results are read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final, TypeVar

from msgspec.structs import replace

from celeriac import states
from celeriac.clock import SYSTEM
from celeriac.conf import SAME_AS_BROKER, Settings
from celeriac.exceptions import OperationalError
from celeriac.records import StoredResult
from celeriac.stores import same_place
from celeriac.stores.base import Options, Results, Store

T = TypeVar("T")

#: Values of ``result_backend`` that name no second store. The last is Celery's for results in
#: memory, which beside a broker in memory is where they are.
_NO_OTHER: Final = frozenset({None, "disabled://", "rpc://", SAME_AS_BROKER, "cache+memory://"})
#: Seconds until whoever waits asks the broker's store again, at first and at most: nobody wakes
#: him if a record goes without an end, or ends while no relay runs.
_NET: Final = 0.25
_NET_MOST: Final = 5.0


def backend_url(settings: Settings, broker: str) -> str | None:
    """The URL of the store of results if it is another one than that at *broker*, else None."""
    url = settings.result_backend
    if url is None or url in _NO_OTHER:
        return None
    pair = broker_options(settings, paired=True), backend_options(settings)
    return None if same_place(broker, url, *pair) else url


def broker_options(settings: Settings, *, paired: bool) -> Options:
    """How the broker's store is opened, by whoever opens it: what ends a task keeps the outbox."""
    options = Options.from_settings(settings)
    return replace(options, mirror=True, ssl=settings.broker_use_ssl) if paired else options


def backend_options(settings: Settings) -> Options:
    """How the store of results is opened if it is another one."""
    return replace(
        Options.from_settings(settings),
        transport=settings.result_backend_transport_options,
        ssl=settings.redis_backend_use_ssl,
    )


@contextmanager
def named(which: str) -> Iterator[None]:
    """Say in an ``OperationalError`` which of both stores it is about."""
    try:
        yield
    except OperationalError as error:
        error.args = (f"{which}: {error}", *error.args[1:])
        raise


#: What errors call the two.
BROKER: Final = "the store of tasks (broker_url)"
BACKEND: Final = "the store of results (result_backend)"


class PairedResults:
    """``stores.base.Results`` of two stores.

    What has ended is read from the backend. What is not there (it has not ended, is on its way,
    never was, or is not kept there any more) is what the broker's record says. Both are opened when
    they are first needed, so what the backend has can be read where it alone can be reached.

    Args:
        broker: returns the store that holds the records.
        backend: returns the store of results.
    """

    def __init__(self, broker: Callable[[], Store], backend: Callable[[], Store]) -> None:
        self._broker = broker
        self._backend = backend

    def get_many(self, ids: Sequence[str]) -> list[StoredResult | None]:
        """From the backend; of what has not ended there, from the record."""
        found = self._at_backend(lambda results: results.get_many(ids))
        missing = [id for id, each in zip(ids, found, strict=True) if not _ended(each)]
        if not missing:
            return found
        recorded = self._at_broker(lambda results: results.get_many(missing))
        own = dict(zip(missing, recorded, strict=True))
        return [own.get(id, each) for id, each in zip(ids, found, strict=True)]

    def wait(
        self, ids: Collection[str], timeout: float | None, patient: bool = False
    ) -> dict[str, StoredResult | None]:
        """Until one has ended, woken by the backend; None for what neither store knows."""
        wanted = tuple(dict.fromkeys(ids))
        until = None if timeout is None else SYSTEM.monotonic() + timeout
        net = _NET
        while True:
            found = dict(zip(wanted, self.get_many(wanted), strict=True))
            ended = {
                id: each
                for id, each in found.items()
                if _ended(each) or (each is None and not patient)
            }
            left = net if until is None else until - SYSTEM.monotonic()
            if ended or left <= 0 or not wanted:
                return ended
            pause = min(net, left)
            # It listens first and reads then, so what was brought there meanwhile is not missed.
            ended = self._at_backend(partial(_wait, wanted, pause))
            if ended:
                return ended
            net = min(2 * net, _NET_MOST)

    def forget(self, ids: Sequence[str]) -> None:
        """In both."""
        # The record first: what a relay still brings of it says then that it was forgotten.
        self._at_broker(lambda results: results.forget(ids))
        self._at_backend(lambda results: results.forget(ids))

    def put_many(self, results: Iterable[StoredResult]) -> None:
        """In the backend."""
        self._at_backend(lambda backend: backend.put_many(results))

    def join_results(self, join: str) -> list[StoredResult | None]:
        """From the broker's store, where joins are."""
        return self._at_broker(lambda results: results.join_results(join))

    def _at_broker(self, call: Callable[[Results], T]) -> T:
        return _ask(BROKER, self._broker, call)

    def _at_backend(self, call: Callable[[Results], T]) -> T:
        return _ask(BACKEND, self._backend, call)


def _ask(which: str, open_store: Callable[[], Store], call: Callable[[Results], T]) -> T:
    with named(which):
        results = open_store().results
        try:
            return call(results)
        except OperationalError as error:
            # It was there when it was opened: whoever waits goes on waiting for what passes.
            error.outage = error.passing
            raise


def _wait(ids: tuple[str, ...], seconds: float, results: Results) -> dict[str, StoredResult | None]:
    return results.wait(ids, seconds, patient=True)


def _ended(result: StoredResult | None) -> bool:
    return result is not None and result.state in states.TERMINAL


__all__ = [
    "BACKEND",
    "BROKER",
    "PairedResults",
    "backend_options",
    "backend_url",
    "broker_options",
    "named",
]
