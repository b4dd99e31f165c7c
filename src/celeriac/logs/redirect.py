"""What a task prints becomes log records: standard output and error as faces of a logger.

Layer 4. A record is made of each whole line; a line without its end is kept until that comes, the
task ends or the stream is flushed at the end of the process.
"""

from __future__ import annotations

import io
import logging
import re
import sys
import threading
from collections.abc import Iterable
from typing import Any, Final, TextIO

from celeriac.context import running
from celeriac.logs.forms import REDIRECTED

__all__ = ["LoggingProxy", "redirect", "restore"]

#: A line longer than this is cut into several records.
_LONGEST: Final = 64 * 1024
#: Colours that were meant for a terminal.
_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")


class LoggingProxy(io.TextIOBase):
    """A text stream that logs what is written to it.

    *original* is the stream it stands for: what a handler itself writes while it handles our
    record (``logging`` reports its own errors so) goes there, or it would come back without end.
    """

    def __init__(self, logger: logging.Logger, level: int, original: TextIO | None = None) -> None:
        super().__init__()
        self.logger = logger
        self.loglevel = level
        self.original = original
        self._busy = threading.local()
        #: Begun lines by thread and run. Bound to the run, or coroutines would mix theirs.
        self._begun: dict[tuple[int, int], str] = {}

    def write(self, text: str) -> int:
        """Log the lines of *text*; returns its length."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if getattr(self._busy, "now", False):
            if self.original is not None:
                self.original.write(text)
            return len(text)
        run = running.get()
        key = (threading.get_ident(), id(run))
        whole = self._begun.pop(key, "") + text
        *lines, rest = whole.split("\n")
        if len(rest) > _LONGEST:
            lines.append(rest)
            rest = ""
        if rest:
            self._begun[key] = rest
            if run is not None:
                run.printed = lambda: _finish(key)
        for line in lines:
            self._log(line)
        return len(text)

    def writelines(self, lines: Iterable[Any]) -> None:
        """Write each of *lines*."""
        for line in lines:
            self.write(line)

    def finish(self, key: tuple[int, int]) -> None:
        """The run with *key* has ended: log the line it began."""
        self._log(self._begun.pop(key, ""))

    def _log(self, line: str) -> None:
        line = _COLOUR.sub("", line).rstrip()
        if not line:
            return
        self._busy.now = True
        try:
            self.logger.log(self.loglevel, "%s", line)
        finally:
            self._busy.now = False

    def flush(self) -> None:
        """Do nothing: ``print(…, end="", flush=True)`` would cut a line into words."""

    def drain(self) -> None:
        """Log what has been begun and not ended, at the end of the process."""
        while self._begun:
            self._log(self._begun.popitem()[1])

    def isatty(self) -> bool:
        """Whether a terminal shows it: never directly."""
        return False

    def writable(self) -> bool:
        """Whether it can be written to."""
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]  # read-only here
        """How its text would be encoded."""
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]  # read-only here
        """What is done with text that cannot be encoded."""
        return "backslashreplace"

    @property
    def buffer(self) -> Any:
        """The stream of bytes underneath: what is written there is not logged."""
        return self.original.buffer if self.original is not None else io.BytesIO()

    def fileno(self) -> int:
        """The descriptor of the stream it stands for: programs that a task starts write there."""
        if self.original is None:
            raise io.UnsupportedOperation("fileno")
        return self.original.fileno()


def _finish(key: tuple[int, int]) -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, LoggingProxy):
            stream.finish(key)


def redirect(level: str | int = "WARNING") -> None:
    """Make records of the logger ``celeriac.redirected`` of all that is printed from now on.

    Call it after handlers have been made, which write to the streams as they are. Repeatable.
    """
    number = logging.getLevelName(level) if isinstance(level, str) else level
    logger = logging.getLogger(REDIRECTED)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, LoggingProxy) or stream is None:
            continue
        stream.flush()  # or every process forked from now on would write it again
        setattr(sys, name, LoggingProxy(logger, number, stream))


def restore() -> None:
    """Log what was begun, and let standard output and error be what they were."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, LoggingProxy):
            stream.drain()
            setattr(sys, name, stream.original)
