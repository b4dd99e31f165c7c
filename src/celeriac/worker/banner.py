"""What a worker says when it starts: where it works, on what, and with what guarantee.

Layer 5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celeriac.stores.base import Store
    from celeriac.worker.spec import AppFacts
    from celeriac.worker.supervisor import Plan

_TASKS_SHOWN = 50


def banner(facts: AppFacts, store: Store, plan: Plan) -> str:
    """The banner's text."""
    manifest = plan.manifest
    lines = [
        "",
        f" celeriac {manifest.version}  {manifest.hostname}  (pid {manifest.pid})",
        "",
        f" - app:         {facts.name or '(unnamed)'}",
        f" - store:       {store.url}",
        f" - durability:  {store.capabilities.durability}",
        f" - queues:      {', '.join(plan.queues)}",
        f" - pool:        {manifest.pool}, {plan.concurrency} executor(s)",
    ]
    if manifest.pool == "solo":
        lines.append(
            " - limits:      no hard time limit, no memory limit: tasks run in this process"
        )
    lines += ["", " [tasks]"]
    names = sorted(facts.tasks)
    lines += [f"   . {name}" for name in names[:_TASKS_SHOWN]]
    if len(names) > _TASKS_SHOWN:
        lines.append(f"   … and {len(names) - _TASKS_SHOWN} more")
    if not names:
        lines.append("   (none: is the module that defines them imported or in `include`?)")
    return "\n".join([*lines, ""])


__all__ = ["banner"]
