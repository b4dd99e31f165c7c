"""What reading must not do, whatever is read: run programs or other code, connect, write, remove.

It is looked for by an audit hook. One cannot be taken out again, so there is one for the process,
and it minds only the thread that is within :func:`watched`.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

#: What was done, in words. Traps that are sprung say so here, too.
DONE: list[str] = []

#: How the names of events begin that nothing that is read may cause. See Python's table of them.
EVENTS = (
    "os.chdir", "os.chmod", "os.chown", "os.exec", "os.fork", "os.kill", "os.link", "os.mkdir",
    "os.posix_spawn", "os.putenv", "os.remove", "os.rename", "os.rmdir", "os.spawn", "os.startfile",
    "os.symlink", "os.system", "os.truncate", "os.unsetenv", "pty.spawn", "subprocess.", "shutil.",
    "signal.", "resource.", "tempfile.", "socket.bind", "socket.connect", "socket.get",
    "socket.send", "urllib.", "http.", "ftplib.", "smtplib.", "webbrowser.", "ctypes.", "mmap.",
    "code.__new__", "pickle.", "sqlite3.", "sys.addaudithook", "cpython.run_",
)  # fmt: skip
#: To say who one is takes no look at another host.
_HARMLESS = ("socket.gethostname",)
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def _folders(package: str) -> list[str]:
    found = find_spec(package)
    return [*(found.submodule_search_locations or ())] if found is not None else []


#: Modules that may be loaded when they are first needed, for errors and other compressions, come
#: from here.
_LIBRARIES = (
    *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib")),
    *_folders("celeriac"),
    *_folders("zstandard"),
)


class Harm(BaseException):
    """It is stopped, too. No ``Exception``: no input that is refused looks like it."""


class _Watch:
    """Who is watched: a thread, or nobody."""

    thread: int | None = None
    hooked = False


@contextmanager
def watched() -> Iterator[None]:
    """This thread reads something. Raises ``AssertionError`` if that did harm."""
    if not _Watch.hooked:
        sys.addaudithook(_hook)
        _Watch.hooked = True
    # What is loaded meanwhile is not written down as byte code.
    wrote, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    _Watch.thread = threading.get_ident()
    try:
        yield
    finally:
        _Watch.thread = None
        sys.dont_write_bytecode = wrote
        done, DONE[:] = DONE[:], []
        assert not done, f"reading did harm: {done}"


def _hook(event: str, args: tuple[object, ...]) -> None:
    if _Watch.thread != threading.get_ident() or not _is_harm(event, args):
        return
    DONE.append(f"{event} {args!r:.300}")
    raise Harm(DONE[-1])


def _is_harm(event: str, args: tuple[object, ...]) -> bool:
    if event == "open":
        mode, flags = args[1], args[2]
        return bool(int(flags or 0) & _WRITES) or bool(set(str(mode or "r")) & set("wax+"))  # type: ignore[call-overload]
    if event == "exec":
        return not _comes_from_a_library(args[0])
    return event.startswith(EVENTS) and event not in _HARMLESS


def _comes_from_a_library(code: object) -> bool:
    """Of a module that is loaded, and of what one makes of text as it is loaded."""
    name = str(getattr(code, "co_filename", ""))
    if name.startswith((*_LIBRARIES, "<frozen ")):
        return True
    frame = sys._getframe(2)
    while name.startswith("<") and frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False
