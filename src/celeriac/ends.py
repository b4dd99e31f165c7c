"""Ends as values: what a record that has ended means to the caller.

Layer 4; for ``result``. Here a body is opened, its signature verified, its value read or its
failure made an exception again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from celeriac import states
from celeriac.bodies import unseal
from celeriac.client import verify
from celeriac.exceptions import Retry
from celeriac.failures import from_reason, revive
from celeriac.message import decode as decode_message
from celeriac.outcome import ResultBody
from celeriac.progress import Progress
from celeriac.records import Record, StoredResult
from celeriac.serialization import decode
from celeriac.upstream import Reader, error_of

if TYPE_CHECKING:
    from celeriac.app.base import Celeriac

__all__ = ["RAISES", "arguments_of", "body_of", "meaning_of", "progress_of"]

#: States whose end is raised by ``get()``, and as what, where no failure was stored.
RAISES: Final = {
    states.FAILED: "TaskFailed",
    states.DEAD: "DeadTaskError",
    states.CANCELLED: "TaskRevokedError",
    states.EXPIRED: "TaskRevokedError",
    states.REFUSED: "Reject",
}


def body_of(app: Celeriac, found: StoredResult | None) -> ResultBody | None:
    """Return the stored body, its signature verified; None if there is none."""
    if found is None or found.body is None:
        return None
    return unseal(found.body, found.id, app.signer)


def meaning_of(app: Celeriac, found: StoredResult | None, reader: Reader | None = None) -> Any:
    """Return the value, the exception if it failed, the metadata of ``update_state``, or None.

    *reader* is where other parts of a workflow are read; by default the app's stores.
    """
    if found is None:
        return None
    if found.state in states.TERMINAL:
        return _end_of(app, found, reader)
    if found.meta is not None:
        shown = unseal(found.meta, found.id, app.signer)
        if shown.value is not None:  # else it has said how far it is, and nothing besides
            return _loaded(app, shown)
    if found.retries and found.reason:
        return Retry(found.reason)
    return None


def progress_of(app: Celeriac, found: StoredResult | Record | None) -> Progress | None:
    """Return what the last run said last of how far it is; None if it said nothing.

    Of a run that has ended its body tells, or, if that was not left behind, what was shown last.
    """
    if found is None:
        return None
    for data in (found.body, found.meta):
        said = None if data is None else unseal(data, found.id, app.signer).progress
        if said is not None:
            return said
    return None


def arguments_of(app: Celeriac, record: Record | None) -> tuple[Any, Any]:
    """Return positional and keyword arguments a record was sent with; None for both if gone."""
    if record is None or record.wire is None:
        return None, None
    message = decode_message(record.wire)
    verify(message, app.signer)
    args, kwargs = decode(message.header.serializer, message.content(), app.conf.accept_content)
    return args, kwargs


def _end_of(app: Celeriac, ended: StoredResult, reader: Reader | None) -> Any:
    body = body_of(app, ended)
    if body is not None and body.failure is not None and ended.state == states.FAILED:
        return revive(body.failure, app.known_exception)
    if ended.state in RAISES:
        if ended.reason.startswith(("UpstreamFailed", "ChordError")):
            error = error_of(app, ended, reader)
            if error is not None:
                return error
        failed = ended.state in {states.FAILED, states.DEAD}
        return from_reason(ended.reason, RAISES[ended.state], failed)
    if body is None or ended.state != states.SUCCEEDED:
        return None
    return _loaded(app, body)


def _loaded(app: Celeriac, body: ResultBody) -> Any:
    conf = app.conf
    accept = conf.result_accept_content or conf.accept_content
    content = body.content()
    return None if content is None else decode(body.serializer, content, accept)
