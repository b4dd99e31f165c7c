"""Results in another store than the tasks: where one is, and what is wrong with the pair.

Layer 4. For ``why`` and ``doctor``; through the seam only, and nothing here changes anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from celeriac import states
from celeriac.control.doctor import Finding
from celeriac.control.phrases import commands, plural
from celeriac.control.why import Explanation
from celeriac.exceptions import BackendError, ImproperlyConfigured, OperationalError
from celeriac.records import StoredResult
from celeriac.stores.base import Store

__all__ = ["WEAKER", "examine_pair", "on_the_way", "whereabouts"]

#: What a pair promises less than one store, in a line.
WEAKER: Final = (
    "tasks and results are in two stores: a worker brings a result there a moment after its task "
    "has ended, and an id that is run again shows its old result until then"
)
_FAILURES: Final = (OperationalError, BackendError, ImproperlyConfigured)
_RELAY: Final = "A worker brings it there: celeriac -A APP worker"


def on_the_way(count: int, url: str) -> str:
    """``3 results are on their way to the store of results URL``."""
    verb = "is on its" if count == 1 else "are on their"
    return f"{plural(count, 'result')} {verb} way to the store of results {url}"


def whereabouts(
    explained: Explanation, store: Store, backend: Callable[[], Store], url: str, app: str = ""
) -> Explanation:
    """*explained*, and where the result is: in the store of results at *url*, which *backend*
    opens, or on its way from *store*."""
    record = explained.record
    if record is not None and record.state not in states.TERMINAL:
        return explained
    if record is not None and store.queue.outgoing([record.id]):
        count = store.inspection.counts(()).outbox
        alive = any(each.alive for each in store.inspection.workers())
        fact = ("result", f"on its way to {url}; {plural(count, 'result')} on the way")
        reason = f"{explained.reason} Its result is on the way to the store of results."
        advice = explained.advice if alive else (*explained.advice, commands(_RELAY, app))
        return replace(explained, reason=reason, facts=(*explained.facts, fact), advice=advice)
    try:
        found = backend().results.get_many([explained.id])[0]
    except _FAILURES as error:
        fact = ("result", f"the store of results {url} does not answer: {error}")
    else:
        fact = ("result", _seen(found, url))
    return replace(explained, facts=(*explained.facts, fact))


def _seen(found: StoredResult | None, url: str) -> str:
    if found is None:
        return f"not in {url}"
    forgotten = ", forgotten" if found.forgotten else ""
    return f"{states.visible(found.state, found.retries)} in {url}{forgotten}"


def examine_pair(store: Store, backend: Callable[[], Store], url: str) -> Iterator[Finding]:
    """What is wrong with the store of results at *url*, which *backend* opens, and with what is on
    its way there from *store*."""
    where = f"store of results {url}"
    count, alive = store.inspection.counts(()).outbox, store.inspection.workers()
    if count and not any(each.alive for each in alive):
        what = f"{plural(count, 'result')} on the way there, and no worker alive brings them"
        yield Finding("outbox", what, where, "Start one: celeriac -A APP worker")
    elif count:
        what = f"{plural(count, 'result')} on the way there"
        advice = "Nothing, if the number falls; else the log of the workers says why it does not."
        yield Finding("outbox", what, where, advice, note=True)
    try:
        opened = backend()
        traps = opened.inspection.traps()
    except _FAILURES as error:
        advice = "Mend what the message names, or name another store with backend=… Tasks go on, "
        yield Finding("result_store", str(error), where, f"{advice}and results wait meanwhile.")
        return
    for each in traps:
        yield Finding(each.code, each.what, where, each.advice, each.note)
    advice = "Nothing, if that is meant; else leave the backend unset."
    yield Finding("two_stores", WEAKER, where, advice, note=True)
