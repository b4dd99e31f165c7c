"""Bodies of results: from a :class:`~celeriac.outcome.ResultBody` to stored bytes and back.

Layer 1: msgspec and layers 0 and 1. A body is signed for the task whose result it is, so that one
task's result cannot be put in the place of another's.
"""

from __future__ import annotations

import msgspec

from celeriac.exceptions import DecodeError, SecurityError
from celeriac.outcome import ResultBody, decode_body, encode_body
from celeriac.signing import Signer

__all__ = ["seal", "unseal"]


def seal(body: ResultBody, id: str, signer: Signer | None) -> bytes:
    """Return *body* as bytes, signed for the task *id* if there is a *signer*."""
    data = encode_body(body)
    if signer is None:
        return data
    key_id, signature = signer.sign("result", id.encode(), data)
    return encode_body(ResultBody(body.serializer, body.value, body.failure, key_id, signature))


def unseal(data: bytes, id: str, signer: Signer | None) -> ResultBody:
    """Read the body of the task *id*.

    Raises ``DecodeError`` if it cannot be read and, with a *signer*, ``SecurityError`` unless a
    key that is known signed it for this task: an unsigned one is refused.
    """
    try:
        body = decode_body(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DecodeError(f"the stored result of task {id} cannot be read: {error}") from None
    if signer is not None:
        plain = encode_body(ResultBody(body.serializer, body.value, body.failure))
        try:
            signer.verify("result", id.encode(), plain, body.key_id, body.signature)
        except SecurityError as error:
            error.add_note(f"It is the result of task {id}.")
            raise
    return body
