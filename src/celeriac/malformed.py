"""What msgspec raises for bytes that are not what they should be.

Layer 1: msgspec. Whoever reads bytes that come from elsewhere catches all of these: one that is
forgotten ends a thread of a worker, and the next worker that reads the same bytes, too.
"""

from __future__ import annotations

from typing import Final

import msgspec

__all__ = ["MALFORMED"]

#: Its own errors; text that is no UTF-8, which it hands on as Python raises it; and values nested
#: deeper than there is stack for.
MALFORMED: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
