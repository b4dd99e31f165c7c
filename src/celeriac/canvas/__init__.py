"""Canvas: calls as values, and workflows of them.

Layer 3: no IO of its own. A signature sends itself through the app it belongs to. Read
``signature`` (one call), ``flow`` (what workflows have in common), ``chain``, ``group``, ``chord``,
``maps``, ``joining`` for ``|``, and ``stamping``. What is stored of them is worked out in
``celeriac.workflow``.
"""

from celeriac.canvas.chain import chain
from celeriac.canvas.chord import chord
from celeriac.canvas.group import group
from celeriac.canvas.joining import join as _join  # noqa: F401 - it makes | work
from celeriac.canvas.maps import chunks, xmap, xstarmap
from celeriac.canvas.signature import Signature, maybe_signature, signature, subtask
from celeriac.canvas.stamping import StampingVisitor

__all__ = [
    "Signature",
    "StampingVisitor",
    "chain",
    "chord",
    "chunks",
    "group",
    "maybe_signature",
    "signature",
    "subtask",
    "xmap",
    "xstarmap",
]

_chain = chain  # Celery's names for the classes behind the functions
_chord = chord
