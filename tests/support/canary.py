"""A module that nobody imports: only bytes name it (`baits.py`).

Whoever imports it has obeyed what was read, and leaves a mark in `harm.DONE`, as does whoever makes
its class.
"""

import harm

harm.DONE.append("the canary was imported")


class Trap(Exception):
    """Would be whatever the bytes say it is: an exception, an enum, something with fields."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        harm.DONE.append("the class of the canary was called")


def run(*_: object, **__: object) -> None:
    """Would be a task."""
    harm.DONE.append("the function of the canary was called")
