"""The worker's start: from the command line's options to a zygote that imports the application.

Layer 5. The order is the point: the zygote is forked while this process has neither threads nor
connections, and before it has loaded what only a supervisor needs (``compose``), so that both load
their part at the same time.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time

from celeriac import logs
from celeriac.exceptions import ImproperlyConfigured, OperationalError
from celeriac.worker.kinship import become_subreaper
from celeriac.worker.orders import show_stacks_on_request
from celeriac.worker.pools.nursery import ApplicationBroken, Nursery
from celeriac.worker.sizing import SLOTS
from celeriac.worker.slots import Slots
from celeriac.worker.spec import WorkerOptions, WorkerSpec
from celeriac.worker.zygote import set_title

EXIT_FAILURE = 1
EXIT_APP = 2
EXIT_STORE = 3
EXIT_INTERRUPTED = 130


def run(options: WorkerOptions) -> int:
    """Run a worker in this process's main thread until it is told to stop.

    Returns the exit status: 0 after a graceful stop, 1 after a failure, 2 if the application
    cannot be imported or configured, 3 if the store cannot be reached.
    """
    spec = _complete(options)
    begun = time.time()
    set_title(f"celeriac: worker {spec.hostname}")
    show_stacks_on_request()
    try:
        return _run_solo(options, spec) if options.pool == "solo" else _run_prefork(options, spec)
    except ApplicationBroken as error:
        print(error, file=sys.stderr, flush=True)
        return start_over(spec, begun) if options.reload else EXIT_APP
    except ImproperlyConfigured as error:
        print(f"Error: {error}", file=sys.stderr)
        return EXIT_APP
    except KeyboardInterrupt:  # while it waits for its store: nothing has begun
        return EXIT_INTERRUPTED
    except OperationalError as error:
        print(f"Error: the store cannot be used: {error}", file=sys.stderr)
        return EXIT_STORE


def start_over(spec: WorkerSpec, since: float) -> int:  # noqa: RET503 - exec does not return
    """Wait until code has changed *since*, in seconds since the epoch, then run this command once
    more: with ``--reload``, an application that cannot be imported is one that is being written."""
    from celeriac.worker.duties.changes import wait_for_change

    print("The worker starts once this is mended and saved.", file=sys.stderr, flush=True)
    try:
        wait_for_change(os.path.realpath(spec.workdir or os.getcwd()), since)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    if spec.workdir:  # it may be named from where the command was given
        os.chdir(os.environ.get("PWD", "."))
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - no shell is needed


def _run_prefork(options: WorkerOptions, spec: WorkerSpec) -> int:
    become_subreaper()
    nursery = Nursery(spec, Slots.create(SLOTS))
    nursery.fork_zygote()
    logs.setup(spec.loglevel, color=spec.color)
    try:
        # Only now, while the zygote imports the application.
        from celeriac.worker.compose import supervise

        facts = nursery.wait_loaded()
    except KeyboardInterrupt:
        os.kill(nursery.pid, signal.SIGKILL)
        return EXIT_INTERRUPTED
    return supervise(options, spec, nursery, facts)


def _run_solo(options: WorkerOptions, spec: WorkerSpec) -> int:
    from celeriac.worker.compose import run_solo

    return run_solo(options, spec)


def _complete(options: WorkerOptions) -> WorkerSpec:
    spec = options.spec
    import msgspec

    hostname = spec.hostname or f"celeriac@{socket.gethostname()}"
    return msgspec.structs.replace(
        spec, hostname=hostname, supervisor=os.getpid(), reload=options.reload
    )


__all__ = ["EXIT_APP", "EXIT_FAILURE", "EXIT_INTERRUPTED", "EXIT_STORE", "run", "start_over"]
