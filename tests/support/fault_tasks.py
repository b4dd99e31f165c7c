"""Tasks that do harm, for the fault matrix; copied into each test's folder as ``tasks.py``."""

import asyncio
import locale
import logging
import os
import resource
import signal
import socket
import threading
import time
from pathlib import Path

from celeriac import Celeriac, Task
from celeriac.exceptions import SoftTimeLimitExceeded
from celeriac.signals import after_setup_logger, after_setup_task_logger

app = Celeriac(
    "tasks",
    broker=os.environ["BROKER"],
    lease=float(os.environ.get("LEASE", "4")),
    heartbeat=float(os.environ.get("LEASE", "4")) / 8,
    lease_margin=float(os.environ.get("LEASE", "4")) / 4,
    crash_delay=0.3,
    grace=20,
    result_max=int(os.environ.get("RESULT_MAX", "100000")),
)
_ledger = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND)


def note(event, request):
    line = f"{event} {request.id} {request.attempt} {os.getpid()} {time.monotonic()}\n"
    os.write(_ledger, line.encode())


@app.task(bind=True)
def traced(self, value=None):
    note("start", self.request)
    note("end", self.request)
    return value


@app.task(bind=True)
def nap(self, seconds):
    note("start", self.request)
    time.sleep(seconds)
    note("end", self.request)
    return seconds


@app.task(bind=True)
def wait_for(self, gate, size=4):
    note("start", self.request)
    while not Path(gate).exists():
        time.sleep(0.01)
    note("end", self.request)
    return "x" * size


@app.task(bind=True)
async def await_for(self, gate):
    note("start", self.request)
    while not Path(gate).exists():  # noqa: ASYNC110, ASYNC240 - the gate is for other processes
        await asyncio.sleep(0.01)
    note("end", self.request)
    return gate


@app.task(bind=True, acks_late=False)
def wait_once_for(self, gate):
    note("start", self.request)
    while not Path(gate).exists():
        time.sleep(0.01)
    note("end", self.request)


@app.task
def pid():
    return os.getpid()


@app.task(bind=True)
def pid_behind(self, gate):
    note("start", self.request)
    while not Path(gate).exists():
        time.sleep(0.01)
    note("end", self.request)
    return os.getpid()


@app.task(bind=True)
def fork(self, gate):
    """Both processes return; the child after the parent."""
    child = os.fork()
    if child:
        return "parent"
    note("child", self.request)
    while not Path(gate).exists():
        time.sleep(0.01)
    note("back", self.request)
    return "child"


def fork_and_wait(request):
    """Both processes return; the parent after it has seen the child's end."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return "parent"
    note("child", request)
    return "child"


@app.task(bind=True)
def fork_first(self):
    return fork_and_wait(self.request)


@app.task(bind=True)
async def afork_first(self):
    return fork_and_wait(self.request)


@app.task(bind=True)
async def afork(self, gate):
    """The child goes on in the loop of its parent, which it lets turn all the time."""
    loop = asyncio.get_running_loop()
    if os.fork():
        return "parent"
    note("child", self.request)
    while not Path(gate).exists():  # noqa: ASYNC240 - the gate is for other processes
        turn = loop.create_future()  # asyncio's own sleep() would say that no loop runs here
        loop.call_soon(turn.set_result, None)
        await turn
    note("back", self.request)
    return "child"


@app.task(bind=True)
def fork_and_stay(self, gate):
    """Both processes stay, at the first attempt."""
    note("start", self.request)
    if self.request.attempt > 1:
        note("end", self.request)
        return "again"
    child = os.fork()
    if not child:
        note("child", self.request)
    while not Path(gate).exists():
        time.sleep(0.01)
    note("parent" if child else "back", self.request)
    return "first"


# -- exceptions -----------------------------------------------------------------------------------


class Needs(Exception):
    """Cannot be made again from its arguments alone."""

    def __init__(self, one, two):
        super().__init__()
        self.one, self.two = one, two


class Unspeakable(Exception):
    def __str__(self):
        raise ValueError("not even its text")

    __repr__ = __str__


class Base(BaseException):
    pass


class Unpicklable(Exception):
    def __init__(self):
        super().__init__(threading.Lock(), lambda: None)

    def __reduce__(self):
        raise TypeError("not to be pickled")


def cycle():
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    return first


def many_causes():
    made = ValueError("0")
    for number in range(1, 2000):
        outer = ValueError(str(number))
        outer.__cause__ = made
        made = outer
    return made


ZOO = {
    "KeyboardInterrupt": KeyboardInterrupt,
    "GeneratorExit": GeneratorExit,
    "SystemExit": lambda: SystemExit(3),
    "Base": Base,
    "MemoryError": MemoryError,
    "RecursionError": RecursionError,
    "StopIteration": StopIteration,
    "CancelledError": asyncio.CancelledError,
    "Needs": lambda: Needs(1, 2),
    "Unspeakable": Unspeakable,
    "Unpicklable": Unpicklable,
    "ValueError, 50 MB": lambda: ValueError("x" * 50_000_000),
    "ValueError, cycle": cycle,
    "ValueError, many causes": many_causes,
    "ValueError, surrogate": lambda: ValueError("\ud800 \x00 \x1b[31m"),
    "ExceptionGroup": lambda: ExceptionGroup("several", [ValueError(1), Needs(1, 2)]),
    "UnicodeDecodeError": lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
    "OSError": lambda: OSError(5, "input/output", "file"),
    "KeyError": lambda: KeyError(object()),
    "Local": type("Local", (Exception,), {}),
}


@app.task
def zoo(kind):
    raise ZOO[kind]()  # noqa: RSE102 - it makes the exception


@app.task
async def azoo(kind):
    raise ZOO[kind]()  # noqa: RSE102 - it makes the exception


@app.task
def too_much_memory():
    return len(bytearray(1 << 50))


# -- results --------------------------------------------------------------------------------------


def recursive():
    made = []
    made.append(made)
    return made


def give_function():
    return cycle


RESULTS = {
    "function": give_function,
    "generator": lambda: (n for n in range(3)),
    "lock": threading.Lock,
    "NaN": lambda: float("nan"),
    "recursive": recursive,
    "socket": socket.socket,
    "object": object,
    "surrogate": lambda: "\ud800",
}


@app.task
def bad_result(kind):
    return RESULTS[kind]()


@app.task
def sized_result(size):
    return "x" * size


@app.task
def give(value):
    return value


@app.task
def typed(first: int, second: str = ""):
    return [first, second]


@app.task(bind=True)
def again(self):
    """Sends itself for ever."""
    note("start", self.request)
    self.delay()


@app.task(bind=True)
def again_in(self, seconds):
    """Has itself repeated then."""
    note("start", self.request)
    raise self.retry(countdown=seconds)


# -- what a task leaves behind --------------------------------------------------------------------


@app.task
def leak(what):
    if what == "threads":
        for _ in range(100):
            threading.Thread(target=threading.Event().wait, daemon=True).start()
    elif what == "descriptors":
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        while True:
            os.open("/dev/null", os.O_RDONLY)
    elif what == "surroundings":
        os.chdir("/")
        os.umask(0o777)
        os.environ["LEFT_BEHIND"] = "1"
        locale.setlocale(locale.LC_ALL, "C.UTF-8")
    elif what == "signals":
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_IGN)
    elif what == "loop":
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        loop.close()  # of no use to anybody any more
    elif what == "running loop":
        asyncio._set_running_loop(asyncio.new_event_loop())


@app.task
def surroundings():
    """What a task finds in its process."""
    mask = os.umask(0o22)
    os.umask(mask)
    return {
        "threads": threading.active_count(),
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
        "folder": str(Path.cwd()),
        "mask": mask,
        "left": os.environ.get("LEFT_BEHIND", ""),
        "locale": locale.setlocale(locale.LC_ALL),
        "loop": asyncio._get_running_loop() is not None,
        "SIGTERM": signal.getsignal(signal.SIGTERM) == signal.SIG_DFL,
    }


@app.task(soft_time_limit=0.5, time_limit=30)
def swallows():
    """Takes the soft limit for an error like any other, and goes on."""
    for _ in range(2):
        try:
            time.sleep(1.5)
        except Exception:
            logging.getLogger("shop").info("passed over")
    return "went on"


@app.task(soft_time_limit=0.3, time_limit=2)
def swallows_for_ever():
    while True:
        try:
            time.sleep(30)
        except SoftTimeLimitExceeded:
            continue


@app.task(bind=True, soft_time_limit=0.5, time_limit=30)
def hears_nothing(self):
    """Waits at a peer that says nothing."""
    note("start", self.request)
    one, other = socket.socketpair()
    with one, other:
        one.recv(1)


@app.task(bind=True, soft_time_limit=0.5, time_limit=30)
def asks_the_store(self, id, waits):
    """Is at the store whenever it is interrupted."""
    note("start", self.request)
    while True:
        result = self.app.AsyncResult(id)
        if waits:
            result.get(timeout=30, disable_sync_subtasks=False)
        assert result.state == "PENDING"


@app.task(bind=True)
def reads(self, id):
    """What the store has of another task, asked for on the connection of this process."""
    note("start", self.request)
    result = self.app.AsyncResult(id)
    return [result.state, result.get(timeout=30, disable_sync_subtasks=False)]


if os.environ.get("LOCKING_THREAD"):
    #: The import leaves a thread that holds the lock of logging most of the time.
    def hold():
        lock = logging._lock
        while True:
            with lock:
                time.sleep(0.01)

    threading.Thread(target=hold, daemon=True).start()


# -- handlers and formatters that do harm ---------------------------------------------------------


def do_harm(how):
    if how == "raise":
        raise ValueError("no good")
    if how == "exit":
        raise SystemExit(3)
    if how == "die":
        os._exit(3)
    if how == "hang":
        time.sleep(600)


class Handled(Task):
    """Its handlers do what the second argument says, by their names."""

    def before_start(self, task_id, args, kwargs):
        do_harm(args[1].get("before_start"))

    def on_success(self, retval, task_id, args, kwargs):
        do_harm(args[1].get("on_success"))

    def on_failure(self, exc, task_id, args, kwargs, einfo):
        do_harm(args[1].get("on_failure"))

    def on_retry(self, exc, task_id, args, kwargs, einfo):
        do_harm(args[1].get("on_retry"))

    def after_return(self, status, retval, task_id, args, kwargs, einfo):
        do_harm(args[1].get("after_return"))


@app.task(bind=True, base=Handled)
def handled(self, end, harm):
    note("start", self.request)
    logging.getLogger("shop").warning("spoilt: %s", self.request.id)
    if end == "fails":
        raise ValueError("by itself")
    if end == "retries" and not self.request.retries:
        raise self.retry(countdown=0)
    note("end", self.request)
    return "well"


class Spoilt(logging.Formatter):
    """Raises for each line that names a task, and what the task itself says."""

    def format(self, record):
        text = super().format(record)
        if "tasks." in text or "spoilt" in text:
            raise ValueError("no good")
        return text


def spoil(logger, **_):
    for handler in logger.handlers:
        handler.setFormatter(Spoilt())


if os.environ.get("FORMATTER"):
    after_setup_logger.connect(spoil)
    after_setup_task_logger.connect(spoil)
