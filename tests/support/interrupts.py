"""Calls that are interrupted at any step, as by Ctrl-C or a soft time limit."""

import gc
import sys


class Interrupted(BaseException):
    """As a soft time limit raises it, wherever the thread just is."""


def interrupted_at(event: int, call) -> bool:
    """Make *call* and raise at the *event*-th step of the interpreter (a line, the begin of a
    function); whether it took as many."""
    left = event

    def trace(*_: object):
        nonlocal left
        left -= 1
        if left == 0:
            raise Interrupted
        return trace

    # What others have left for the collector would be interrupted in its finalizers.
    gc.disable()
    sys.settrace(trace)
    try:
        call()
    except Interrupted:
        return True
    finally:
        sys.settrace(None)
        gc.enable()
    return False
