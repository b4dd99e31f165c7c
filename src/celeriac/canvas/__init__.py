"""Canvas: calls as values. In this version, of a single task.

Layer 3: no IO of its own. A signature sends itself through the app it belongs to.
"""

from celeriac.canvas.signature import Signature, maybe_signature, signature, subtask

__all__ = ["Signature", "maybe_signature", "signature", "subtask"]
