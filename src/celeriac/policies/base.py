"""What a policy is, and what it may know of a task and its run.

Layer 3: no IO. A policy looks at a run and returns a decision, or None for "not mine"; the runner
asks them in the order of ``policies.DEFAULT`` and takes the first answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from celeriac.outcome import Outcome

__all__ = ["Policy", "Rules", "Run"]


class Rules(Protocol):
    """What a policy reads of a task's definition."""

    #: Whose settings hold.
    app: Any
    name: str
    max_retries: int | None
    default_retry_delay: float
    autoretry_for: tuple[type[BaseException], ...]
    dont_autoretry_for: tuple[type[BaseException], ...]
    retry_kwargs: Mapping[str, Any]
    retry_backoff: bool | float
    retry_backoff_max: float
    retry_jitter: bool


class Run(Protocol):
    """What a policy reads of a run; a ``Context`` is one."""

    id: str | None
    args: Any
    kwargs: Any
    retries: int
    #: Which start of the call this is, the first is 1.
    attempt: int
    #: When the call expires, epoch seconds.
    expiry: float | None
    #: The signed message that takes this one's place in a retry with other arguments.
    replacement: bytes | None
    #: The ``Retry`` that ``self.retry()`` made in this run, or None.
    asked: Any
    #: The outcome that ``self.replace()`` prepared in this run, or None.
    replaced: Any


class Policy:
    """The hooks. Each returns None where the policy has nothing to say."""

    def on_start(self, task: Rules, run: Run, now: float) -> Outcome | None:
        """Decide, before anything of the task runs, that it shall not run."""
        return None

    def on_error(self, task: Rules, run: Run, error: BaseException) -> Outcome | None:
        """Decide what becomes of a run that ended with *error*; what it raises is what the task
        fails with instead."""
        return None
