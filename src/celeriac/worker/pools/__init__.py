"""Pools: how a worker's executors come into being and end.

Layer 5. ``prefork`` (processes, the default), ``threads`` and ``asyncio`` (a process that runs
several tasks at once) and ``solo`` (in the worker's own process, for debugging and tests).
"""
