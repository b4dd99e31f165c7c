"""Bodies of results: from a :class:`~celeriac.outcome.ResultBody` to stored bytes and back.

Layer 1: msgspec and layers 0 and 1. Unsigned, a body is stored as its MessagePack map; signed, as
the array ``[1, map as bytes, key id, signature]``. The signature is for the task whose result it
is, so that one task's result cannot be put in the place of another's, and covers exactly the
bytes that are stored, so that fields may be added later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from celeriac.compression import UNPACKED_MAX, pack
from celeriac.exceptions import DecodeError, ResultTooLarge, SecurityError
from celeriac.malformed import MALFORMED
from celeriac.outcome import ResultBody, decode_body, encode_body

if TYPE_CHECKING:
    from celeriac.signing import Signer

__all__ = ["SIGNED_VERSION", "compressed", "seal", "unseal"]

#: Version of the signed form.
SIGNED_VERSION: Final = 1

_encode = msgspec.msgpack.Encoder().encode
_decode_signed = msgspec.msgpack.Decoder(tuple[int, bytes, str, bytes]).decode


def compressed(body: ResultBody, compression: str, id: str) -> ResultBody:
    """Return *body*, of the task *id*, with its value made smaller.

    Raises ``ResultTooLarge`` for a value that nobody would unpack again.
    """
    value = body.value
    if value is None:
        return body
    if len(value) > UNPACKED_MAX:
        raise ResultTooLarge(len(value), UNPACKED_MAX, id)
    return msgspec.structs.replace(body, value=pack(compression, value), compression=compression)


def seal(body: ResultBody, id: str, signer: Signer | None) -> bytes:
    """Return *body* as bytes, signed for the task *id* if there is a *signer*."""
    data = encode_body(body)
    if signer is None:
        return data
    return _encode((SIGNED_VERSION, data, *signer.sign("result", id.encode(), data)))


def unseal(data: bytes, id: str, signer: Signer | None) -> ResultBody:
    """Read the body of the task *id*.

    Raises ``DecodeError`` if it cannot be read and, with a *signer*, ``SecurityError`` unless a
    key that is known signed it for this task: an unsigned one is refused.
    """
    try:
        plain, key_id, signature = _open(data)
        if signer is not None:
            signer.verify("result", id.encode(), plain, key_id, signature)
        return decode_body(plain)
    except MALFORMED as error:
        raise DecodeError(f"the stored result of task {id} cannot be read: {error}") from None
    except SecurityError as error:
        error.add_note(f"It is the result of task {id}.")
        raise


def _open(data: bytes) -> tuple[bytes, str, bytes]:
    """The body's own bytes, and what signed them."""
    if data[:1] and data[0] & 0xF0 == 0x90:  # a MessagePack array of up to 15 elements
        version, plain, key_id, signature = _decode_signed(data)
        if version != SIGNED_VERSION:
            raise DecodeError(
                f"a signed result of version {version} is not known to this version (it knows "
                f"{SIGNED_VERSION}); a newer worker may have written it: update the clients first"
            )
        return plain, key_id, signature
    return data, "", b""
