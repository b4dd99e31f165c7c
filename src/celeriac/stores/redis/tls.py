"""TLS: what was asked for, and the context it becomes.

Part of the Redis store. Certificates and host names are verified unless that is switched off by
name.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import msgspec

from celeriac.exceptions import ImproperlyConfigured

#: What Celery, kombu and redis-py write for ``ssl_cert_reqs``; True: verify.
_REQUIREMENTS: Final[Mapping[str, bool]] = {
    "required": True,
    "optional": True,
    "cert_required": True,
    "cert_optional": True,
    "none": False,
    "cert_none": False,
}
_NAMES: Final = (
    "ssl_cert_reqs",
    "ssl_check_hostname",
    "ssl_ca_certs",
    "ssl_ca_path",
    "ssl_certfile",
    "ssl_keyfile",
    "ssl_password",
    "ssl_ciphers",
)


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """How a connection is secured. Paths are of PEM files."""

    verify: bool = True
    check_hostname: bool = True
    #: File, and folder, of certificates to trust in place of the system's.
    ca_certs: str = ""
    ca_path: str = ""
    #: Our own certificate and key, for servers that ask for one.
    certfile: str = ""
    keyfile: str = ""
    key_password: str | None = None
    ciphers: str = ""

    def __repr__(self) -> str:
        checked = "verified" if self.verify else "not verified"
        return f"<Tls {checked}{'' if self.check_hostname else ', any host name'}>"


def tls_of(options: Mapping[str, Any], shown: str) -> Tls:
    """The record of *options*, named as Celery names them (``ssl_cert_reqs`` …).

    Raises:
        ImproperlyConfigured: one is not known, its value is not, or a file cannot be read.
    """
    for name in options:
        if name not in _NAMES:
            near = get_close_matches(name, _NAMES, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ImproperlyConfigured(
                f"{shown}: there is no option {name!r} of TLS.{hint} Known: {', '.join(_NAMES)}."
            )
    verify = _requirement(options.get("ssl_cert_reqs"), shown)
    made = Tls(
        verify=verify,
        check_hostname=verify and _flag("ssl_check_hostname", options, shown),
        ca_certs=str(options.get("ssl_ca_certs") or ""),
        ca_path=str(options.get("ssl_ca_path") or ""),
        certfile=str(options.get("ssl_certfile") or ""),
        keyfile=str(options.get("ssl_keyfile") or ""),
        key_password=options.get("ssl_password"),
        ciphers=str(options.get("ssl_ciphers") or ""),
    )
    for name in ("ca_certs", "ca_path", "certfile", "keyfile"):
        path = getattr(made, name)
        if path and not Path(path).exists():
            raise ImproperlyConfigured(f"{shown}: ssl_{name} names {path}, which is not there.")
    return made


def _requirement(value: object, shown: str) -> bool:
    if value is None:
        return True
    if isinstance(value, int) and not isinstance(value, bool):
        return value != ssl.CERT_NONE
    found = _REQUIREMENTS.get(str(value).lower())
    if found is None:
        raise ImproperlyConfigured(
            f"{shown}: ssl_cert_reqs is {value!r}; write required (the default), or none to trust "
            "whatever certificate the server shows."
        )
    return found


def _flag(name: str, options: Mapping[str, Any], shown: str) -> bool:
    value = options.get(name)
    if value is None or isinstance(value, bool):
        return value is not False
    text = str(value).lower()
    if text not in {"true", "false", "1", "0", "yes", "no"}:
        raise ImproperlyConfigured(f"{shown}: {name} is {value!r}; write true or false.")
    return text in {"true", "1", "yes"}


def context_of(tls: Tls, shown: str) -> ssl.SSLContext:
    """The context for connections.

    Raises:
        ImproperlyConfigured: a certificate or key cannot be used; the text names the file.
    """
    context = ssl.create_default_context()
    context.check_hostname = tls.check_hostname
    context.verify_mode = ssl.CERT_REQUIRED if tls.verify else ssl.CERT_NONE
    try:
        if tls.ca_certs or tls.ca_path:
            # In place of the system's: with a CA of one's own, nobody else's word counts.
            context = _trusting(tls)
        if tls.certfile or tls.keyfile:
            context.load_cert_chain(
                tls.certfile or tls.keyfile,
                tls.keyfile or None,
                tls.key_password if tls.key_password is not None else "",
            )
        if tls.ciphers:
            context.set_ciphers(tls.ciphers)
    except (ssl.SSLError, OSError) as error:
        files = ", ".join(
            filter(None, (tls.ca_certs, tls.ca_path, tls.certfile, tls.keyfile, tls.ciphers))
        )
        raise ImproperlyConfigured(
            f"{shown}: the certificates cannot be used ({_words(error)}). Look at {files}: PEM "
            "files, the key that belongs to the certificate, its password as ssl_password."
        ) from None
    return context


def _trusting(tls: Tls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = tls.check_hostname
    context.verify_mode = ssl.CERT_REQUIRED if tls.verify else ssl.CERT_NONE
    context.load_verify_locations(tls.ca_certs or None, tls.ca_path or None)
    return context


def _words(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).lower().replace("_", " ")
    return error.strerror or str(error)
