"""Revoking by stamp: what carries one now, wherever it is, and what will be sent with it.

Layer 4; for ``app.control``. The stamps are kept in the store first, so nothing that is sent
meanwhile slips through; then what is there already is revoked by id, page by page.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from celeriac import states
from celeriac.exceptions import DecodeError
from celeriac.message import decode
from celeriac.records import RevokeEffect
from celeriac.stamps import keys_of
from celeriac.stores.base import Store

__all__ = ["revoke_stamped"]

#: Records that are read at once, with their messages: few, since arguments may be large.
_PAGE: Final = 100
#: States of the store that are no end.
_UNFINISHED: Final = states.STORE_STATES - states.TERMINAL


def revoke_stamped(
    store: Store, stamps: Sequence[str], terminate: str | None
) -> dict[str, RevokeEffect]:
    """Revoke what carries one of *stamps*, each ``NAME=VALUE``; return what each id met that is
    there now. With *terminate*, the name of a signal, what runs is ended by it."""
    store.queue.revoke_stamps(stamps, terminate)
    met: dict[str, RevokeEffect] = {}
    for ids in _carrying(store, frozenset(stamps)):
        met |= store.queue.revoke(ids, terminate)
    return met


def _carrying(store: Store, wanted: frozenset[str]) -> Iterator[list[str]]:
    """Yield the ids of unfinished records that carry a stamp of *wanted*, page by page."""
    after: str | None = None
    while page := store.inspection.list(states=_UNFINISHED, limit=_PAGE, after=after):
        after = page[-1].id
        found = []
        for record in store.inspection.get([each.id for each in page]):
            if record is None or record.wire is None:
                continue
            try:
                stamps = decode(record.wire).header.stamps
            except DecodeError:
                continue  # nobody can read it: a worker that leases it ends it, and says why
            if stamps is not None and not wanted.isdisjoint(keys_of(stamps)):
                found.append(record.id)
        if found:
            yield found
