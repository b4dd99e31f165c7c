"""Pools: how a worker's executors come into being and end.

Layer 5. ``prefork`` (processes, the default) and ``solo`` (in this process, for debugging and
tests).
"""
