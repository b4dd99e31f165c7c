"""Which pool a worker gets. Layer 5, for the supervisor."""

from __future__ import annotations

import selectors
from typing import TYPE_CHECKING

from celeriac.worker.dispatch import Dispatch
from celeriac.worker.pools.autoscale import Autoscale
from celeriac.worker.pools.nursery import ASYNCIO, THREADS, Nursery
from celeriac.worker.pools.prefork import OnDeath, Prefork
from celeriac.worker.pools.shared import Shape, Shared

if TYPE_CHECKING:
    from celeriac.worker.supervisor import Plan

#: Pools whose executors run several tasks at once.
SHARED = (THREADS, ASYNCIO)


def make_pool(
    plan: Plan,
    nursery: Nursery,
    dispatch: Dispatch,
    selector: selectors.BaseSelector,
    on_death: OnDeath,
) -> Prefork:
    """Return the pool that *plan* names, without executors yet."""
    pool: Prefork
    role = plan.manifest.pool
    if role in SHARED:
        shape = Shape(role, plan.concurrency, plan.pool_drain_grace)
        pool = Shared(nursery, dispatch, selector, shape, on_death, plan.max_tasks)
    else:
        pool = Prefork(nursery, dispatch, selector, plan.concurrency, on_death, plan.max_tasks)
    if plan.least is not None:
        pool.scale = Autoscale(plan.least, plan.concurrency, plan.autoscale_keepalive)
    return pool


__all__ = ["SHARED", "make_pool"]
