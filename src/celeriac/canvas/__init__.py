"""Canvas: calls as values. In this version, of a single task.

Layer 3: no IO of its own. A signature sends itself through the app it belongs to.
"""

from typing import Final

from celeriac.canvas.signature import Signature, maybe_signature, signature, subtask
from celeriac.later import absent

__all__ = ["Signature", "maybe_signature", "signature", "subtask"]

_LATER: Final = dict.fromkeys(
    ["StampingVisitor", "chain", "chord", "chunks", "group", "xmap", "xstarmap"],
    "Until workflows are, let the first task call the next one's delay().",
)


def __getattr__(name: str) -> object:
    raise absent(__name__, name, _LATER)
