"""What a worker says when it starts: where it works, on what, and with what guarantee.

Layer 5.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from celeriac.conf import without_password
from celeriac.records import BUILT_IN
from celeriac.worker.pools.choice import SHARED

if TYPE_CHECKING:
    from celeriac.stores.base import Store
    from celeriac.worker.spec import AppFacts
    from celeriac.worker.supervisor import Plan

_TASKS_SHOWN = 50


def _size(plan: Plan) -> str:
    """How many tasks run at once, and where."""
    number = f"{plan.concurrency}" if plan.least is None else f"{plan.least} to {plan.concurrency}"
    if plan.manifest.pool in SHARED:
        return f"{number} task(s) at once in one executor"
    return f"{number} executor(s)"


def banner(facts: AppFacts, store: Store, plan: Plan, backend: str | None = None) -> str:
    """The banner's text. *backend* is the store of results if it is another one."""
    manifest = plan.manifest
    lines = [
        "",
        f" celeriac {manifest.version}  {manifest.hostname}  (pid {manifest.pid})",
        "",
        f" - app:         {facts.name or '(unnamed)'}",
        f" - store:       {store.url}",
        f" - durability:  {store.capabilities.durability}",
        f" - queues:      {', '.join(plan.queues)}",
        f" - pool:        {manifest.pool}, {_size(plan)}",
    ]
    if backend is not None:
        lines.insert(6, f" - results:     {without_password(backend)}, brought there by workers")
    if manifest.pool == "solo":
        lines.append(
            " - limits:      no hard time limit, no memory limit: tasks run in this process"
        )
    if plan.reload:
        lines.append(f" - reload:      when code changes in {', '.join(facts.code)}")
    lines += ["", " [tasks]"]
    names = sorted(facts.tasks.keys() - BUILT_IN)
    lines += [f"   . {name}" for name in names[:_TASKS_SHOWN]]
    if len(names) > _TASKS_SHOWN:
        lines.append(f"   … and {len(names) - _TASKS_SHOWN} more")
    if not names:
        lines.append("   (none: is the module that defines them imported or in `include`?)")
    return "\n".join([*lines, ""])


def tell_ready(fd: int) -> None:
    """Write a byte to *fd*, where the command that detached this worker waits; -1: nobody does."""
    if fd >= 0:
        os.write(fd, b"R")
        os.close(fd)


__all__ = ["banner", "tell_ready"]
