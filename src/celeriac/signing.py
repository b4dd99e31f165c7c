"""Signatures: who wrote this message, result or command, and has it been changed since?

Layer 1: standard library and layer 0. No IO; any layer above may import it.

Setting ``security_key`` makes a :class:`Signer` of one secret, or of several for rotation.
A signature is HMAC-SHA256 over these fields, each preceded by its length as four big-endian
bytes, so that no two different lists of fields give the same bytes::

    "celeriac 1" | key id | namespace | kind | header | SHA-256(body)

*header* is the bytes as sent: there is no second, canonical form. *kind* keeps a signed result
from being replayed as a message, *namespace* keeps one application's message from another's
queue. The algorithm follows from the key on the verifier's side, never from the message.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from typing import Any, Final, NoReturn

from celeriac.exceptions import ImproperlyConfigured, SecurityError

#: What may be signed.
KINDS: Final = ("message", "result", "command")

#: The shortest secret accepted, in characters (of bytes: in bytes).
MIN_SECRET: Final = 16

MAKE_ONE: Final = 'python -c "import secrets; print(secrets.token_urlsafe(32))"'

_VERSION: Final = b"celeriac 1"
_BLOCK: Final = 64  # SHA-256 works on blocks of 64 bytes; HMAC pads its key to one block.
_INNER: Final = bytes(byte ^ 0x36 for byte in range(256))
_OUTER: Final = bytes(byte ^ 0x5C for byte in range(256))
_KEY_FILE_ENDINGS: Final = (".pem", ".key", ".crt", ".cer", ".txt")
_PATH_STARTS: Final = ("/", "~/", "./", "../", "file:", "env:")

Secret = str | bytes
Keys = Secret | Mapping[str, Secret] | Iterable[tuple[str, Secret]]


class Signer:
    """Signs with the first of *keys* and verifies with all of them.

    *keys* maps key ids to secrets; *namespace* is bound into every signature. Raises
    ``ImproperlyConfigured`` for a secret that is too short or looks like a file's path or content.
    """

    __slots__ = ("_active", "_keys", "namespace")

    def __init__(self, keys: Mapping[str, Secret], namespace: str) -> None:
        if not keys:
            raise ImproperlyConfigured(
                f"security_key holds no key; make one with: {MAKE_ONE} "
                "(or leave the setting out to work without signatures)"
            )
        self.namespace = namespace
        self._keys = {
            _checked_id(key_id): _Key(key_id, _checked_secret(key_id, secret), namespace)
            for key_id, secret in keys.items()
        }
        self._active = next(iter(self._keys.values()))

    @classmethod
    def from_setting(cls, security_key: Keys, namespace: str) -> Signer:
        """Read the setting ``security_key``.

        One string (or bytes): the only key; its id is derived from it. A mapping
        ``{"2026a": "secret", "2025": "old"}`` or a list of such pairs: the first signs, all
        verify. To rotate, add the new key last everywhere, then move it to the front, and remove
        the old one once nothing signed with it is left.
        """
        if isinstance(security_key, str | bytes):
            secret = _checked_secret("", security_key)
            return cls({derived_id(secret): secret}, namespace)
        pairs: list[Any] = list(
            security_key.items() if isinstance(security_key, Mapping) else security_key
        )
        # Checked here, because dict() would take a list of {"id": …, "secret": …} for pairs, too.
        if not all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in pairs):
            raise ImproperlyConfigured(
                "security_key must be one secret, or a mapping of key ids to secrets such as "
                f'{{"2026a": "…", "2025": "…"}}; this is a {type(security_key).__name__} '
                "of another shape"
            )
        return cls(dict(pairs), namespace)

    @property
    def key_id(self) -> str:
        """Id of the key that signs."""
        return self._active.id

    @property
    def key_ids(self) -> tuple[str, ...]:
        """Ids of all keys that verify, the signing one first."""
        return tuple(self._keys)

    def sign(self, kind: str, header: bytes, body: bytes) -> tuple[str, bytes]:
        """Return (key id, signature of 32 bytes) for *header* and *body*.

        *kind* is one of :data:`KINDS`, anything else is a ``KeyError``.
        """
        key = self._active
        return key.id, key.mac(kind, header, body)

    def verify(self, kind: str, header: bytes, body: bytes, key_id: str, signature: bytes) -> None:
        """Return if *signature* is ours; raise :class:`SecurityError` if it is not.

        Call it before anything in *header* or *body* is believed or decoded.
        """
        key = self._keys.get(key_id)
        if key is None or not signature:
            self._refuse_key(kind, key_id, signature)
        if not hmac.compare_digest(key.mac(kind, header, body), signature):
            raise SecurityError(
                f"the signature of this {kind} does not fit it (key {key_id!r}, namespace "
                f"{self.namespace!r}): it was changed on its way, or signed with another secret "
                "under the same key id or in another namespace. It was not executed. Compare "
                "security_key and namespace of the sender with those here"
            )

    def _refuse_key(self, kind: str, key_id: str, signature: bytes) -> NoReturn:
        if not signature:
            raise SecurityError(
                f"this {kind} carries no signature, and security_key is set here, so unsigned "
                "ones are refused. Set the same security_key where it was sent; what was queued "
                "before the key was set must be sent again"
            )
        known = ", ".join(map(repr, self._keys))
        raise SecurityError(
            f"this {kind} is signed with key {key_id[:64]!r}, which is not known here (known: "
            f"{known}). Add that key to security_key after the signing one, or send again with "
            "a key that is known"
        )

    def __repr__(self) -> str:
        return f"<Signer keys={list(self._keys)} namespace={self.namespace!r}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Signer holds secrets and cannot be pickled or copied")


class _Key:
    """One secret, ready to sign: HMAC's two padded states and the fixed fields, made once."""

    __slots__ = ("_inner", "_outer", "id")

    def __init__(self, key_id: str, secret: bytes, namespace: str) -> None:
        self.id = key_id
        block = (hashlib.sha256(secret).digest() if len(secret) > _BLOCK else secret).ljust(
            _BLOCK, b"\0"
        )
        self._outer = hashlib.sha256(block.translate(_OUTER))
        # The key id and namespace never change, so they are hashed here and not per message.
        fixed = _field(_VERSION) + _field(key_id.encode()) + _field(namespace.encode())
        self._inner = {}
        for kind in KINDS:
            self._inner[kind] = hashlib.sha256(
                block.translate(_INNER) + fixed + _field(kind.encode())
            )

    def mac(self, kind: str, header: bytes, body: bytes) -> bytes:
        """HMAC-SHA256 as RFC 2104 defines it; ``hmac.digest`` would cost twice as much."""
        inner = self._inner[kind].copy()
        inner.update(
            b"%b%b\0\0\0\x20%b" % (len(header).to_bytes(4), header, hashlib.sha256(body).digest())
        )
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.digest()


def derived_id(secret: Secret) -> str:
    """Return the key id of a secret given without one: 8 hexadecimal digits of its hash."""
    raw = secret.encode() if isinstance(secret, str) else secret
    return hashlib.sha256(b"celeriac key id" + raw).hexdigest()[:8]


def _field(value: bytes) -> bytes:
    return len(value).to_bytes(4) + value


def _checked_id(key_id: object) -> str:
    if not isinstance(key_id, str) or not 0 < len(key_id) <= 64 or not key_id.isprintable():
        raise ImproperlyConfigured(
            f"security_key: a key id is a string of 1 to 64 printable characters, "
            f"not {str(key_id)[:64]!r}"
        )
    return key_id


def _checked_secret(key_id: str, secret: object) -> bytes:
    """Return the secret as bytes; messages name the key, never the secret."""
    name = f"security_key {key_id!r}" if key_id else "security_key"
    if not isinstance(secret, str | bytes):
        raise ImproperlyConfigured(f"{name} must be a string or bytes, not {type(secret).__name__}")
    if len(secret) < MIN_SECRET:
        raise ImproperlyConfigured(
            f"{name} has {len(secret)} characters and needs at least {MIN_SECRET}; "
            f"make one with: {MAKE_ONE}"
        )
    if isinstance(secret, bytes):
        if secret.lstrip().startswith(b"-----BEGIN "):
            raise _not_a_secret(name, "the content of a PEM file")
        return secret
    if secret.lstrip().startswith("-----BEGIN "):
        raise _not_a_secret(name, "the content of a PEM file")
    if secret.startswith(_PATH_STARTS) or secret.endswith(_KEY_FILE_ENDINGS):
        raise _not_a_secret(name, "the path of a file")
    return secret.encode()


def _not_a_secret(name: str, what: str) -> ImproperlyConfigured:
    # A path taken for the secret would be a "secret" that everybody can guess.
    return ImproperlyConfigured(
        f"{name} looks like {what}; key files are not in this version. Pass the secret itself "
        f"(read the file and pass what it holds), as bytes if it only looks like one; "
        f"make one with: {MAKE_ONE}"
    )


__all__ = ["KINDS", "MIN_SECRET", "Signer", "derived_id"]
