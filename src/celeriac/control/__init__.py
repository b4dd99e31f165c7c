"""Control: reading and steering from outside the worker, through the seam only.

Layer 4. ``inspect`` reads, ``why`` and ``doctor`` explain what was read (pure). The command line
and whatever shows the same things elsewhere import these modules; nothing here names a store.
"""

__all__: list[str] = []
