"""Compression: arguments and return values made smaller for the wire, and read back within bounds.

Layer 1: standard library and layer 0; the package zstandard where Python has no zstd of its own.
Any layer above may import it. Nothing is loaded before the first value is packed or unpacked.

What is written is serialised, then compressed, then signed. Whoever reads has verified the
signature, if there is one, before anything is unpacked; and unpacking stops at a bound whatever
the bytes claim, so that a few of them cannot take all memory.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol

from celeriac.exceptions import DecodeError, ImproperlyConfigured, NotInThisVersion

__all__ = ["COMPRESSIONS", "UNPACKED_MAX", "compression_of", "pack", "unpack"]

#: The most bytes that anything may have once unpacked: what ``serialization.decode`` reads.
UNPACKED_MAX: Final = 64 * 1024 * 1024

#: The most memory that a stream may ask for to remember what came before: more than every level
#: that people use needs.
_WINDOW_LOG: Final = 26
_LZMA_MEMORY: Final = 96 * 1024 * 1024


class _Stream(Protocol):
    """A decompressor of the standard library."""

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...


class _BrokenError(Exception):
    """The bytes are not what they should be; says how."""


class _TooMuchError(Exception):
    """There is more in them than is allowed."""


def _drained(stream: _Stream, data: bytes, most: int, broken: type[Exception]) -> bytes:
    """Return what *data* holds; no more than one byte above *most* is ever made."""
    try:
        found = stream.decompress(data, most + 1)
    except broken as error:
        raise _BrokenError(str(error)) from None
    if len(found) > most:
        raise _TooMuchError
    if not stream.eof:
        raise _BrokenError("it is cut short")
    if stream.unused_data:
        raise _BrokenError(f"{len(stream.unused_data)} bytes follow its end")
    return found


def _pack_gzip(data: bytes) -> bytes:
    import zlib

    stream = zlib.compressobj(wbits=31)  # as a gzip file, which has no name and no time
    return stream.compress(data) + stream.flush()


def _unpack_gzip(data: bytes, most: int) -> bytes:
    import zlib

    return _drained(zlib.decompressobj(wbits=31), data, most, zlib.error)


def _pack_bzip2(data: bytes) -> bytes:
    import bz2

    return bz2.compress(data)


def _unpack_bzip2(data: bytes, most: int) -> bytes:
    import bz2

    return _drained(bz2.BZ2Decompressor(), data, most, OSError)


def _pack_lzma(data: bytes) -> bytes:
    import lzma

    # No more memory than the data can use: the preset alone takes 94 MiB for ten bytes.
    size = max(4096, min(len(data), 8 * 1024 * 1024))
    return lzma.compress(data, filters=[{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": size}])


def _unpack_lzma(data: bytes, most: int) -> bytes:
    import lzma

    stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_LZMA_MEMORY)
    return _drained(stream, data, most, lzma.LZMAError)


if sys.version_info >= (3, 14):

    def _check_zstd() -> None:
        """Python has it."""

    def _pack_zstd(data: bytes) -> bytes:
        from compression import zstd

        return zstd.compress(data)

    def _unpack_zstd(data: bytes, most: int) -> bytes:
        from compression import zstd

        options = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}
        return _drained(zstd.ZstdDecompressor(options=options), data, most, zstd.ZstdError)

else:

    def _zstandard() -> Any:
        try:
            import zstandard
        except ImportError:
            raise ImproperlyConfigured(
                'the compression zstd needs the package zstandard: pip install "celeriac[zstd]"'
            ) from None
        return zstandard

    def _check_zstd() -> None:
        _zstandard()

    def _pack_zstd(data: bytes) -> bytes:
        packed: bytes = _zstandard().ZstdCompressor().compress(data)
        return packed

    def _unpack_zstd(data: bytes, most: int) -> bytes:
        zstandard = _zstandard()
        reader = zstandard.ZstdDecompressor(max_window_size=1 << _WINDOW_LOG)
        try:
            size = zstandard.frame_content_size(data)  # -1: it does not say
            if size > most:
                raise _TooMuchError
            found: bytes = reader.decompress(data, max_output_size=most, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise _BrokenError(str(error)) from None
        return found


class _Codec(NamedTuple):
    pack: Callable[[bytes], bytes]
    #: Unpacks into at most so many bytes.
    unpack: Callable[[bytes, int], bytes]
    #: Raises ``ImproperlyConfigured`` if the package for it is missing.
    check: Callable[[], None] = lambda: None


_CODECS: Final = {
    "gzip": _Codec(_pack_gzip, _unpack_gzip),
    "bzip2": _Codec(_pack_bzip2, _unpack_bzip2),
    "lzma": _Codec(_pack_lzma, _unpack_lzma),
    "zstd": _Codec(_pack_zstd, _unpack_zstd, _check_zstd),
}
#: The names that stand on the wire.
COMPRESSIONS: Final = tuple(_CODECS)

_NAMES: Final = {
    "zlib": "gzip",
    "application/x-gzip": "gzip",
    "bzip": "bzip2",
    "application/x-bz2": "bzip2",
    "xz": "lzma",
    "application/x-lzma": "lzma",
    "zstandard": "zstd",
    "application/zstd": "zstd",
}
_LATER: Final = frozenset(["brotli", "application/x-brotli"])


def compression_of(value: object) -> str:
    """Return the wire's name of a compression, which may be given by any that Celery knows.

    Raises ``TypeError`` for what is no text, ``NotInThisVersion`` for brotli, and
    ``ImproperlyConfigured`` for a name that nobody knows and for a package that is missing.
    """
    if not isinstance(value, str):
        raise TypeError(f"compression is {value!r}; it is a name, such as 'gzip'")
    name = _NAMES.get(value, value)
    codec = _CODECS.get(name)
    if codec is None:
        known = ", ".join(COMPRESSIONS)
        if value in _LATER:
            raise NotInThisVersion("The compression 'brotli'", f"There are {known}.")
        from difflib import get_close_matches

        near = get_close_matches(value, [*COMPRESSIONS, *_NAMES], n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ImproperlyConfigured(
            f"there is no compression {value!r}; this version has {known}{hint}"
        )
    codec.check()
    return name


def pack(name: str, data: bytes) -> bytes:
    """Return *data* compressed; *name* is one that :func:`compression_of` has returned."""
    return _CODECS[name].pack(data)


def unpack(name: str, data: bytes, most: int = UNPACKED_MAX) -> bytes:
    """Return what was compressed, at most *most* bytes of it.

    Raises ``DecodeError`` for a compression that cannot be read here, for bytes that are not what
    *name* says, and for more of them than *most*, which are not made first.
    """
    codec = _CODECS.get(name)
    if codec is None:
        raise DecodeError(
            f"the content is compressed as {name[:64]!r}, and this version reads "
            f"{', '.join(COMPRESSIONS)}; a newer one may have written it: update whoever reads it"
        )
    try:
        return codec.unpack(data, most)
    except _TooMuchError:
        raise DecodeError(
            f"{len(data):,} bytes of {name} are refused: they unpack to more than the {most:,} "
            "bytes allowed"
        ) from None
    except _BrokenError as error:
        raise DecodeError(f"the content is not {name}, as its message says: {error}") from None
    except ImproperlyConfigured as error:
        raise DecodeError(f"the content cannot be read: {error}") from None
