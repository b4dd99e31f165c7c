"""Settings of what is written and read: serializers, signatures, sizes.

Layer L1. One record per setting; read them through `celeriac.conf`.
"""

from typing import Any, Literal

from celeriac.conf.record import Setting, count, flag

__all__ = ["FAMILY"]

MIB = 1024 * 1024


def _serializer(name: str, kind: Literal["choice", "choices"], **facts: Any) -> Setting:
    known, later = ("json", "msgpack"), ("pickle", "yaml")
    return Setting(name=name, kind=kind, choices=known, later=later, **facts)


FAMILY = (
    _serializer(
        "task_serializer",
        "choice",
        default="json",
        where="sending",
        help="How arguments are written.",
    ),
    _serializer(
        "result_serializer",
        "choice",
        default="json",
        where="worker",
        help="How results are written.",
    ),
    Setting(
        name="task_compression",
        kind="compression",
        default=None,
        none="as they were written",
        where="sending",
        help="How arguments are made smaller: `gzip` (also called `zlib`), `bzip2`, `lzma` (`xz`) "
        'or `zstd` (`zstandard`; before Python 3.14: `pip install "celeriac[zstd]"`). Workers '
        "read all of them, whatever they are set to; `zstd` if they have the package.",
    ),
    Setting(
        name="result_compression",
        kind="compression",
        default=None,
        none="as they were written",
        where="worker",
        help="How return values, and what `update_state` shows, are made smaller; the same names.",
    ),
    _serializer(
        "accept_content",
        "choices",
        default=("json",),
        help="The serializers whose messages are read; a message in another is refused.",
    ),
    _serializer(
        "result_accept_content",
        "choices",
        default=None,
        none="as `accept_content`",
        help="The serializers whose results are read.",
    ),
    Setting(
        name="security_key",
        kind="key",
        default=None,
        none="messages are not signed",
        secret=True,
        help="The secret that signs every message, result and command; once set, unsigned ones "
        "are refused. One text, or a mapping of key id to secret, of which the first signs and "
        "all verify. Celery's setting of this name is a path; this one is the secret itself.",
    ),
    count(
        "payload_max",
        default=MIB,
        unit="bytes",
        least=1024,
        where="sending",
        help="The most that the arguments of one call may take once written, and compressed if "
        "they are; a larger call is refused before anything is stored. Compressed ones may unpack "
        "to 64 MiB, whatever this says.",
    ),
    count(
        "result_max",
        default=16 * MIB,
        unit="bytes",
        least=1024,
        where="worker",
        help="The most that one result may take once written, and compressed if it is; a larger "
        "one ends its task as FAILURE with ResultTooLarge. A compressed value may unpack to "
        "64 MiB, whatever this says.",
    ),
    flag(
        "strict_typing",
        default=True,
        where="sending",
        help="Check arguments against the task's signature when it is called, before anything is "
        "stored.",
    ),
)
