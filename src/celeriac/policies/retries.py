"""Retries: when a task runs again, asked for by ``self.retry()`` or by ``autoretry_for``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from random import Random, SystemRandom
from typing import Any, Final

from celeriac import backoff, states
from celeriac.checks import seconds
from celeriac.exceptions import (
    Ignore,
    MaxRetriesExceededError,
    Reject,
    Retry,
    TimeLimitExceeded,
)
from celeriac.failures import cleared
from celeriac.moments import moment
from celeriac.outcome import Outcome
from celeriac.policies.base import Policy, Rules, Run

#: How many waits the manifest lists for a task that retries for ever.
_LISTED: Final = 100
#: What ``retry_kwargs`` may hold: arguments of ``Task.retry`` that a policy can decide by.
RETRY_KWARGS: Final = frozenset({"max_retries", "countdown", "eta", "exc"})


class AskedRetries(Policy):
    """What ``self.retry()`` raised, and a ``Retry`` that the task raised by itself."""

    def on_error(self, task: Rules, run: Run, error: BaseException) -> Outcome | None:
        """Return the repeat that the ``Retry`` asks for.

        ``self.retry()`` has settled time and limit. One raised by hand counts as well, or it would
        never end, and waits ``default_retry_delay`` if it names no time. Raises what the task ends
        with: the reason, or ``MaxRetriesExceededError``, once no repeats are left; ``TypeError``
        or ``ValueError`` for a *when* that is no time.
        """
        if not isinstance(error, Retry):
            return None
        if run.asked is error:
            return outcome_of(error, task, run)
        if exhausted(run.retries, task.max_retries):
            raise error.exc if isinstance(error.exc, Exception) else too_often(task, run)
        wait = wait_of(task.default_retry_delay) if error.when is None else None
        return outcome_of(error, task, run, wait)


class AutoRetries(Policy):
    """``autoretry_for`` and its options."""

    def __init__(self, random: Random | None = None) -> None:
        self._random = random or SystemRandom()  # no state: forked executors must not agree

    def on_error(self, task: Rules, run: Run, error: BaseException) -> Outcome | None:
        """Return a repeat if the task names the class of *error* and has repeats left."""
        if not isinstance(error, task.autoretry_for) or isinstance(error, (Ignore, Reject, Retry)):
            return None
        if isinstance(error, task.dont_autoretry_for):
            return None
        given = task.retry_kwargs
        limit = given.get("max_retries", task.max_retries)
        if exhausted(run.retries, limit):
            return None
        if task.retry_backoff:
            wait = backoff.exponential(
                run.retries, **_curve(task), full_jitter=task.retry_jitter, random=self._random
            )
            return outcome_of(Retry(exc=error, when=wait_of(wait)), task, run)
        when = given.get("eta")
        if when is None:
            when = wait_of(given.get("countdown", task.default_retry_delay))
        return outcome_of(Retry(exc=error, when=when), task, run)


def exhausted(retries: int, limit: int | None) -> bool:
    """Whether a task that was repeated *retries* times may not be repeated again."""
    return limit is not None and retries >= limit


def too_often(task: Rules, run: Run) -> MaxRetriesExceededError:
    """Return the error for a ``self.retry()`` past the limit."""
    return MaxRetriesExceededError(
        f"Cannot retry {task.name}[{run.id}]: it was repeated {run.retries} times, which is "
        "all that max_retries allows",
        task_args=run.args,
        task_kwargs=run.kwargs,
    )


def outcome_of(retry: Retry, task: Rules, run: Run, wait: float | None = None) -> Outcome:
    """Return the repeat that *retry* describes, after *wait* seconds if its *when* is None.

    *when* is seconds, a ``timedelta`` or a moment, which is in the setting ``timezone`` if it has
    no zone. Raises ``TypeError`` and ``ValueError`` for what is none of these.
    """
    when = retry.when
    delay, eta = 0.0 if wait is None else wait, None
    if isinstance(when, datetime):
        eta = moment(when, "when", task.app.conf.timezone)
    elif when is not None:
        delay = max(0.0, _seconds_of(when))
    return Outcome(
        states.SCHEDULED,
        reason=cleared(str(retry))[:1024],
        delay=delay,
        eta=eta,
        charge="retry",
        message=run.replacement,
    )


def _seconds_of(when: Any) -> float:
    if isinstance(when, bool) or not isinstance(when, int | float | timedelta):
        raise TypeError(
            f"Retry(when={when!r}): when is a {type(when).__name__}; it must be seconds, a "
            "timedelta or a datetime"
        )
    return seconds(when, "when")


def waits_on_time_limit(task: Rules) -> tuple[float, ...] | None:
    """Seconds before each repeat after a hard time limit, or None if the task is not repeated.

    The supervisor decides by these, without user code, so there is no jitter in them. A task that
    retries for ever lists a hundred.
    """
    if not _names_time_limit(task):
        return None
    limit = task.retry_kwargs.get("max_retries", task.max_retries)
    count = _LISTED if limit is None else min(limit, _LISTED)
    if task.retry_backoff:
        return tuple(backoff.exponential(each, **_curve(task)) for each in range(count))
    wait = seconds(task.retry_kwargs.get("countdown", task.default_retry_delay), "countdown")
    return (wait,) * count


def wait_of(countdown: float | timedelta) -> float:
    """Return a countdown in seconds, a whole number as an int: log lines say ``in 5s``."""
    wait = seconds(countdown, "countdown")
    return int(wait) if wait.is_integer() else wait


def check_retry_kwargs(given: Mapping[str, Any]) -> None:
    """Raise ``TypeError`` for a key of ``retry_kwargs`` that means nothing."""
    if unknown := sorted(set(given) - RETRY_KWARGS):
        raise TypeError(
            f"retry_kwargs holds {', '.join(unknown)}; "
            f"it may hold {', '.join(sorted(RETRY_KWARGS - {'exc'}))}"
        )


def _names_time_limit(task: Rules) -> bool:
    named = any(issubclass(TimeLimitExceeded, each) for each in task.autoretry_for)
    return named and not any(
        issubclass(TimeLimitExceeded, each) for each in task.dont_autoretry_for
    )


def _curve(task: Rules) -> dict[str, Any]:
    # Celery's rule: True is a factor of 1, and factors are whole numbers of at least 1.
    factor = int(max(1.0, float(task.retry_backoff)))
    return {"factor": factor, "maximum": task.retry_backoff_max}
