"""How long to wait before trying again: pure arithmetic, randomness handed in. For anybody."""

from random import Random, SystemRandom
from typing import Final

__all__ = ["exponential", "jittered", "reconnect"]

# SystemRandom has no state, so forked executors do not all draw the same "random" delay and
# come back as one herd.
_RANDOM: Final = SystemRandom()

# Doubling further cannot matter below any sensible maximum, but would cost memory without bound:
# `retries` may come from a task that retries for ever.
_MOST_DOUBLINGS: Final = 62

_RECONNECT_FIRST: Final = 0.1
# A worker goes on within five seconds of its store's return, and the jitter spares the store.
_RECONNECT_LONGEST: Final = 4.0


def exponential(
    retries: int,
    factor: float = 1,
    maximum: float = 600,
    full_jitter: bool = False,
    random: Random = _RANDOM,
) -> float:
    """Seconds to wait before repeat number `retries` + 1 of a task.

    The formula is Celery's: ``min(maximum, factor * 2**retries)``; with `full_jitter` a whole
    number of seconds drawn evenly from 0 to that, both included.

    Args:
        retries: repeats made so far; 0 for the first.
        factor: wait before the first repeat, seconds.
        maximum: longest wait, seconds.
        full_jitter: draw the wait at random, so that tasks that failed together part.
        random: where the draw comes from.

    Raises:
        ValueError: if `retries`, `factor` or `maximum` is negative.
    """
    for name, value in (("retries", retries), ("factor", factor), ("maximum", maximum)):
        if value < 0:
            raise ValueError(f"{name} is {value}; a backoff needs 0 or more")
    longest = min(maximum, factor * 2 ** min(retries, _MOST_DOUBLINGS))
    return random.randrange(int(longest) + 1) if full_jitter else longest


def reconnect(attempt: int, random: Random = _RANDOM) -> float:
    """Seconds to wait before connecting again to a store that is away, with full jitter.

    The wait lies between 0 and a bound that starts at 0.1 s and doubles up to 4 s.

    Args:
        attempt: attempts that have failed since the last success, less one; 0 for the first.
        random: where the draw comes from.

    Raises:
        ValueError: if `attempt` is negative.
    """
    bound = exponential(attempt, factor=_RECONNECT_FIRST, maximum=_RECONNECT_LONGEST)
    return random.uniform(0.0, bound)


def jittered(seconds: float, fraction: float, random: Random = _RANDOM) -> float:
    """`seconds`, made longer or shorter by up to `fraction` of itself.

    Raises:
        ValueError: if `seconds` is negative or `fraction` is not between 0 and 1.
    """
    if seconds < 0:
        raise ValueError(f"seconds is {seconds}; a wait needs 0 or more")
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction is {fraction}; it must lie between 0 and 1")
    return seconds * random.uniform(1 - fraction, 1 + fraction)
