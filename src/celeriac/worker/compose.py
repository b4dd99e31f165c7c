"""Composition: from the application's facts to a running worker.

Layer 5. Loaded after the zygote has been forked, see ``main``; the store is opened only once the
zygote has told which one.
"""

from __future__ import annotations

import logging
import os
import signal
from contextlib import nullcontext

from celeriac import logs
from celeriac.clock import SYSTEM
from celeriac.conf import Settings, without_password
from celeriac.exceptions import ImproperlyConfigured
from celeriac.logs.worker import redirect_prints
from celeriac.records import Manifest
from celeriac.runner import Runner
from celeriac.signing import Signer
from celeriac.stores import connect
from celeriac.stores.base import Store
from celeriac.stores.pair import backend_options, backend_url, broker_options
from celeriac.worker import resources
from celeriac.worker.announce import process_begins, process_ends
from celeriac.worker.banner import banner
from celeriac.worker.duties.hostlock import HostLock, lock_folder
from celeriac.worker.duties.limits import memory_limits
from celeriac.worker.duties.relay import Relay
from celeriac.worker.executor import soft_limit
from celeriac.worker.hooks import LocalHooks
from celeriac.worker.opening import open_store, tell_namesakes, tell_traps
from celeriac.worker.orders import exit_signals
from celeriac.worker.pools.choice import SHARED
from celeriac.worker.pools.nursery import ApplicationBroken, Nursery
from celeriac.worker.pools.solo import Solo, Timing
from celeriac.worker.queues import chosen_queues
from celeriac.worker.sizing import resolve
from celeriac.worker.solo_helm import attend
from celeriac.worker.spec import AppFacts, WorkerOptions, WorkerSpec
from celeriac.worker.supervisor import Plan, Supervisor
from celeriac.worker.zygote import (
    describe,
    explain_import,
    load,
    set_up_logs,
)

logger = logging.getLogger("celeriac.worker")

#: The smallest sensible ``worker_max_memory_per_child``.
LEAST_MEMORY_KIB = 32 * 1024


def supervise(options: WorkerOptions, spec: WorkerSpec, nursery: Nursery, facts: AppFacts) -> int:
    """Be the supervisor of the application that *facts* tell of; returns the exit status."""
    settings = Settings.from_dict(facts.settings)
    pool = options.pool or settings.worker_pool
    if pool == "solo":
        nursery.end_zygote()
        if options.reload:
            raise ImproperlyConfigured(
                "worker_pool = 'solo' and --reload do not go together: the code that it would "
                "replace runs in the worker itself. Use -P prefork -c 1."
            )
        return run_solo(options, spec)
    set_up_logs(spec, settings)
    refuse_memory(facts.broker_url)
    backend = backend_url(settings, facts.broker_url)
    own = broker_options(settings, paired=backend is not None)
    store = open_store(lambda: connect(facts.broker_url, own))
    plan = make_plan(options, spec, facts, settings, pool)
    if options.banner:
        print(banner(facts, store, plan, backend), flush=True)
    tell_namesakes(store, spec.hostname)
    tell_traps(store)
    lock = HostLock(lock_folder(store.url, settings.namespace))
    relay = make_relay(settings, store, backend)
    used = store if relay is None else relay.store
    supervisor = Supervisor(plan, facts, used, nursery, make_signer(settings), lock)
    if relay is None:
        return supervisor.run()
    with relay.running(supervisor.fail):
        return supervisor.run()


def make_relay(settings: Settings, store: Store, backend: str | None) -> Relay | None:
    """The relay from *store* to the store of results at *backend*, which is looked at before the
    worker begins; None if there is one store."""
    if backend is None:
        return None
    url = backend
    options = backend_options(settings)
    relay = Relay(store, lambda: connect(url, options), without_password(url))
    opened = relay.first_look()
    if opened is not None:
        tell_traps(opened)
    return relay


def run_solo(options: WorkerOptions, spec: WorkerSpec) -> int:
    """Everything in this process, the user's code too: for debugging."""
    try:
        app = load(spec)
    except BaseException as error:
        raise ApplicationBroken(explain_import(spec, error)) from error
    refuse_memory(app.broker_url)
    facts, settings = describe(app), app.conf
    plan = make_plan(options, spec, facts, settings, pool="solo")
    store = open_store(lambda: app.store)
    if options.banner:
        print(banner(facts, store, plan, app.backend_url), flush=True)
    redirect_prints()
    relay = make_relay(settings, store, app.backend_url)
    store = store if relay is None else relay.store
    runner = Runner(app, spec.hostname, update=store.queue.update, limiter=soft_limit)
    tell_namesakes(store, spec.hostname)
    tell_traps(store)
    lock = HostLock(lock_folder(store.url, settings.namespace))
    solo = Solo(
        store, runner, plan.manifest, make_signer(settings), timing=timing(settings), lock=lock,
        burst=options.burst, ready_fd=options.ready_fd,
    )  # fmt: skip
    attend(solo, store, settings, make_signer(settings))
    solo.notices = hooks = LocalHooks(runner, app, spec)
    process_begins(spec.hostname)
    for number in exit_signals():
        signal.signal(number, lambda n, _frame: solo.stop(signal.Signals(n).name))
    with nullcontext() if relay is None else relay.running(solo.failed):
        solo.run()
    hooks.close()
    process_ends(0)
    logs.restore()
    return 0


def refuse_memory(url: str) -> None:
    """Raise if nobody else could ever send to a worker on the store *url*."""
    if url.startswith("memory:"):
        raise ImproperlyConfigured(
            "a memory:// store lives inside one process, so no other could send to this worker. "
            "Use a SQLite file (leave broker= unset), or celeriac.testing.worker.start_worker in "
            "tests."
        )


def timing(settings: Settings) -> Timing:
    """How often a worker beats and how long its lease lasts."""
    return Timing(settings.heartbeat, settings.lease, settings.lease_margin)


def make_plan(
    options: WorkerOptions,
    spec: WorkerSpec,
    facts: AppFacts,
    settings: Settings,
    pool: str = "prefork",
) -> Plan:
    """Resolve settings and command line into what the supervisor needs."""
    size = resolve(options, settings, pool, resources.cpu_budget())
    if pool == "solo" and (options.concurrency or 1) > 1:
        logger.warning(
            "-c %d has no effect: the pool solo runs one task at a time. For several use the "
            "pool prefork, threads or asyncio", options.concurrency,
        )  # fmt: skip
    concurrency = size.most
    per_child = settings.worker_max_memory_per_child
    if per_child is not None and per_child < LEAST_MEMORY_KIB:
        raise ImproperlyConfigured(
            f"worker_max_memory_per_child is {per_child} KiB, and an executor that has done "
            f"nothing needs about 25 MiB: give at least {LEAST_MEMORY_KIB} KiB, or each one is "
            "replaced as soon as it starts"
        )
    queues = chosen_queues(settings, options.queues, options.exclude)
    manifest = Manifest(
        tasks=facts.tasks,
        hostname=spec.hostname,
        pid=os.getpid(),
        boot_id=SYSTEM.boot_id(),
        pool=pool,
        concurrency=concurrency,
        queues=queues,
        app=facts.name,
        version=spec.version,
    )
    return Plan(
        queues=queues,
        concurrency=concurrency,
        lease=settings.lease,
        margin=settings.lease_margin,
        heartbeat=settings.heartbeat,
        grace=settings.grace,
        crash_delay=settings.crash_delay,
        max_tasks=settings.worker_max_tasks_per_child,
        memory=memory_limits(
            settings.worker_max_memory_per_child,
            1 if pool in SHARED else concurrency,
            settings.memory_limit_fraction,
            settings.memory_kill_fraction,
        ),
        manifest=manifest,
        least=size.least,
        autoscale_keepalive=settings.autoscale_keepalive,
        pool_drain_grace=settings.pool_drain_grace,
        burst=options.burst,
        reload=options.reload,
        ready_fd=options.ready_fd,
    )


def make_signer(settings: Settings) -> Signer | None:
    """The signer of ``security_key``, None if messages are not signed."""
    if settings.security_key is None:
        return None
    return Signer.from_setting(settings.security_key, settings.namespace)


__all__ = [
    "LEAST_MEMORY_KIB",
    "make_plan",
    "make_relay",
    "make_signer",
    "refuse_memory",
    "run_solo",
    "supervise",
    "timing",
]
