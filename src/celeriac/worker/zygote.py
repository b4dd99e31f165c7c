"""The zygote: imports the application once and forks executors from it.

Layer 5. It is forked from the supervisor's main thread before that has threads or connections,
imports the user's code, tells the supervisor what it found (:class:`~.spec.AppFacts`), freezes
the garbage collector so that executors share its pages, and from then on does nothing but fork
on request. It forks twice and lets the process between exit, so that executors become children
of the supervisor (the sub-reaper), which alone waits for them.

It must have exactly one thread when it forks: a lock that another thread holds at that moment
stays locked for ever in the child. If importing the application started threads, it says so and
the supervisor starts executors by exec instead.

A replacement for a zygote that died is started by exec (``python -m celeriac.worker.zygote``),
because by then the supervisor has threads.
"""

from __future__ import annotations

import array
import gc
import importlib
import os
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from typing import NoReturn

import msgspec

from celeriac.exceptions import ImproperlyConfigured
from celeriac.worker import frames
from celeriac.worker.kinship import die_with
from celeriac.worker.slots import Board, Slots
from celeriac.worker.spec import (
    AppFacts,
    WorkerSpec,
    decode_spec,
    encode_facts,
    of_another_version,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from celeriac.app import Celeriac
    from celeriac.conf import Settings

_PID = struct.Struct("<i")
_FD = struct.Struct("<i")


def main(spec: WorkerSpec, sock: socket.socket, slots: Slots) -> NoReturn:
    """Be the zygote until the supervisor closes *sock*; never returns."""
    status = 1
    try:
        os.setpgid(0, 0)
        die_with(spec.supervisor)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        set_title(f"celeriac: zygote {spec.hostname}")
        status = _serve(spec, sock, slots)
    except ConnectionError:
        status = 0  # the supervisor is gone; so are we
    except BaseException:  # noqa: BLE001 - whatever ends this process is told
        traceback.print_exc()
    finally:
        end_process(status)


def end_process(status: int) -> NoReturn:
    """End this process here, without the clean-up of the one it was forked from."""
    from celeriac.logs import restore

    try:
        restore()
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        status = status or 1  # nobody reads what it says, or user code closed the stream
    finally:
        os._exit(status)


def _serve(spec: WorkerSpec, sock: socket.socket, slots: Slots) -> int:
    from celeriac.worker.announce import fork_is_near

    begun = time.time()
    try:
        app = load(spec)
        facts = describe(app)
        if spec.reload:
            facts = msgspec.structs.replace(facts, code=own_folders(), code_read=begun)
    except BaseException as error:  # noqa: BLE001 - SystemExit at import, too
        sock.sendall(frames.encode(frames.Broken(explain_import(spec, error))))
        return 2
    # What every executor needs, imported once: what each of them imported by itself would be memory
    # of its own, more than 1 MiB.
    importlib.import_module("celeriac.runner")
    gc.collect()
    gc.freeze()
    sock.sendall(frames.encode(frames.Loaded(encode_facts(facts), thread_count())))
    while True:
        request, fds = receive_with_fds(sock)
        if request is None:
            return 0
        if isinstance(request, frames.Fork):
            fork_is_near(app, spec)
            pid = _fork_twice(app, spec, slots, request, fds, sock)
            for fd in fds:
                os.close(fd)
            sock.sendall(frames.encode(frames.Forked(request.slot, pid)))


def load(spec: WorkerSpec) -> Celeriac:
    """Import the application as the command line named it, and finish its set-up."""
    from celeriac.app.loading import find_app
    from celeriac.worker.announce import set_up_begins, set_up_ends

    if spec.workdir:
        os.chdir(spec.workdir)
    app = find_app(spec.app)
    if spec.user_args or app.user_options:
        app.take_user_options("worker", spec.user_args)
    app.configure_worker(spec.settings, spec.include)
    set_up_begins(app, spec)
    set_up_logs(spec, app.conf)
    set_up_ends(app, spec)
    return app


def set_up_logs(spec: WorkerSpec, settings: Settings) -> None:
    """Log as the command line and the settings say."""
    from celeriac.logs.worker import begin

    begin(settings, spec.loglevel, spec.color, spec.hostname)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()  # or every process forked from here would write it once more


def describe(app: Celeriac) -> AppFacts:
    """Collect what the supervisor must know."""
    from celeriac.worker.hooks import told

    try:
        tasks = app.facts()
    except ValueError as error:  # options of a task that go against each other or the settings
        raise ImproperlyConfigured(str(error)) from error
    return AppFacts(
        name=app.main or "",
        broker_url=app.broker_url,
        settings=app.conf.as_dict(),
        tasks=tasks,
        hooks=any(fact.hooks for fact in tasks.values()),
        signals=told(),
    )


def own_folders() -> tuple[str, ...]:
    """The folders that hold the application's code: the working directory, and those of modules
    that are neither Python's nor installed nor this library's. None lies within another."""
    import sysconfig

    kinds = ("stdlib", "platstdlib", "purelib", "platlib")
    outside = {os.path.realpath(sysconfig.get_path(kind)) for kind in kinds}
    outside.add(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
    found = {os.path.realpath(os.getcwd())}
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and file.endswith(".py"):
            found.add(os.path.dirname(os.path.realpath(file)))
    kept: list[str] = []
    for folder in sorted(found):
        parts = folder.split(os.sep)
        installed = "site-packages" in parts or "dist-packages" in parts
        above = any(_within(folder, each) for each in kept)
        inner = folder == os.sep or any(_within(folder, each) for each in outside)
        if not (installed or above or inner):
            kept.append(folder)
    return tuple(kept)


def _within(folder: str, other: str) -> bool:
    return folder == other or folder.startswith(other.rstrip(os.sep) + os.sep)


def explain_import(spec: WorkerSpec, error: BaseException) -> str:
    """The user's own traceback, and what was being looked for."""
    from celeriac.app.loading import AppNotFound, describe_failure
    from celeriac.logs.worker import LogFileUnusable

    if isinstance(error, LogFileUnusable):
        return f"Error: {error}"
    if isinstance(error, AppNotFound):
        return describe_failure(error).replace(str(error), f"Error: {error}").rstrip()
    if isinstance(error, ImproperlyConfigured):
        return f"Error: the application {spec.app!r} cannot be used: {error}"
    text = "".join(traceback.format_exception(error))
    return f"The application {spec.app!r} cannot be used.\n\n{text}"


def _fork_twice(
    app: Celeriac,
    spec: WorkerSpec,
    slots: Slots,
    request: frames.Fork,
    fds: list[int],
    control: socket.socket,
) -> int:
    reader, writer = os.pipe()
    between = os.fork()
    if between == 0:
        status = 1
        try:
            child = os.fork()
            if child == 0:
                os.close(reader)
                os.close(writer)
                control.close()
                _become_executor(app, spec, slots, request, fds)
            os.write(writer, _PID.pack(child))
            status = 0
        except BaseException:  # noqa: BLE001 - whatever keeps an executor from starting is told
            traceback.print_exc()
        finally:
            end_process(status)
    os.close(writer)
    data = os.read(reader, _PID.size)
    os.close(reader)
    os.waitpid(between, 0)
    return int(_PID.unpack(data)[0]) if len(data) == _PID.size else 0


def _become_executor(
    app: Celeriac, spec: WorkerSpec, slots: Slots, request: frames.Fork, fds: list[int]
) -> NoReturn:
    from celeriac.worker.executor import Station, make_executor, run_forked

    app.after_fork()
    board = Board(fds[2], request.places) if request.places else None
    station = Station(spec, socket.socket(fileno=fds[0]), slots, request.slot, board)
    run_forked(make_executor(request.role, app, station), request.title, fds[1])


def receive_with_fds(sock: socket.socket) -> tuple[frames.Frame | None, list[int]]:
    """Read one frame and the file descriptors that came with it; (None, []) at end of stream.

    Never a byte more than that frame: what is read along of the next one would lose the file
    descriptors that travel with it.
    """
    fds = array.array("i")
    head, ancillary, _, _ = sock.recvmsg(4, socket.CMSG_SPACE(8 * _FD.size))
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    for fd in fds:
        # Programs that tasks start must not hold an executor's socket open.
        os.set_inheritable(fd, False)
    frame = frames.receive(sock, head) if head else None
    if frame is None:
        for fd in fds:
            os.close(fd)
        return None, []
    return frame, list(fds)


def send_with_fds(sock: socket.socket, frame: frames.Frame, fds: list[int]) -> None:
    """Send one frame with file descriptors."""
    socket.send_fds(sock, [frames.encode(frame)], fds)


def thread_count() -> int:
    """Threads of this process, those without a Python face included where that can be told."""
    try:
        return len(os.listdir("/proc/self/task"))
    except FileNotFoundError:
        return threading.active_count()


def set_title(title: str) -> None:
    """Name the process for ``ps``; arguments of tasks never appear there."""
    from setproctitle import setproctitle

    setproctitle(title)


def start_by_exec() -> NoReturn:
    """Entry of ``python -m celeriac.worker.zygote SPEC SOCKET_FD SLOTS_FD SLOT_COUNT``."""
    spec = decode_spec(sys.argv[1])
    sock_fd, slots_fd, count = (int(text) for text in sys.argv[2:5])
    for fd in (sock_fd, slots_fd):
        os.set_inheritable(fd, False)
    sock = socket.socket(fileno=sock_fd)
    problem = of_another_version(spec)
    if problem:
        sock.sendall(frames.encode(frames.Broken(problem, tried=False)))
        sys.exit(2)
    main(spec, sock, Slots(slots_fd, count))


if __name__ == "__main__":
    start_by_exec()
