"""Failures: an exception as data, and data as an exception again.

Layer 1: standard library and layers 0 and 1. What a task raised is kept as text and plain values
(:func:`capture`), whatever its class does when it is printed. Reading makes an exception of it
(:func:`revive`) without importing anything and without running a constructor of the application.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Final

import msgspec

from celeriac import exceptions
from celeriac.exceptions import Reject, TaskFailed
from celeriac.outcome import MESSAGE_MAX, TRACEBACK_MAX, Failure
from celeriac.sensitive import Hiding

__all__ = [
    "SAFE_BUILTINS",
    "ExceptionInfo",
    "RemoteTraceback",
    "capture",
    "cleared",
    "describe",
    "from_reason",
    "name_of",
    "our_frames",
    "revive",
    "shown",
]

#: Built-in exceptions that are rebuilt. Not among them: those that end a process, MemoryError,
#: and those whose constructors need particular arguments (UnicodeDecodeError, ImportError …).
SAFE_BUILTINS: Final[dict[str, type[Exception]]] = {
    cls.__name__: cls
    for cls in (
        ArithmeticError, AssertionError, AttributeError, BrokenPipeError, BufferError,
        ConnectionAbortedError, ConnectionError, ConnectionRefusedError, ConnectionResetError,
        EOFError, Exception, FileExistsError, FileNotFoundError, FloatingPointError, IndexError,
        InterruptedError, IsADirectoryError, KeyError, LookupError, NameError, NotADirectoryError,
        NotImplementedError, OSError, OverflowError, PermissionError, ProcessLookupError,
        RecursionError, RuntimeError, TimeoutError, TypeError, UnicodeError, ValueError,
        ZeroDivisionError,
    )
}  # fmt: skip

_OWN: Final = {
    name: cls
    for name in exceptions.__all__
    if isinstance(cls := getattr(exceptions, name), type)
    and issubclass(cls, Exception)
    and not issubclass(cls, Warning)
}
_OWN_MODULE: Final = exceptions.__name__

_LINE_MAX: Final = 1024
_CAUSES_MAX: Final = 8
_NOTES_MAX: Final = 16
_FRAMES_MAX: Final = 100

#: Finds the class of a name that may be rebuilt here, or None.
Allowed = Callable[[str], type[BaseException] | None]


class RemoteTraceback(Exception):
    """The traceback of another process, as text; ``__cause__`` of what ``get()`` raises."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


class ExceptionInfo:
    """What handlers and receivers get as ``einfo``: an exception and its traceback.

    Attributes: ``exception``, ``type`` (its class), ``traceback`` (text), ``tb`` (the traceback
    itself, None where the exception was raised in another process), ``exc_info`` (class, exception
    and ``tb``) and ``internal`` (always False).
    """

    internal = False

    def __init__(self, exception: BaseException, text: str) -> None:
        self.exception = exception
        self.type = type(exception)
        self.traceback = text

    @property
    def tb(self) -> TracebackType | None:
        """The traceback as an object."""
        return self.exception.__traceback__

    @property
    def exc_info(self) -> tuple[type[BaseException], BaseException, TracebackType | None]:
        """What ``sys.exc_info()`` returned where it was raised."""
        return self.type, self.exception, self.tb

    def __str__(self) -> str:
        return self.traceback

    def __repr__(self) -> str:
        return f"<ExceptionInfo: {describe(self.exception)}>"


# -- to data -----------------------------------------------------------------------------------


def capture(error: BaseException, skip: int = 0) -> Failure:
    """Return *error* as data; never raises, whatever the exception's class does.

    The first *skip* frames of the traceback are left out: they are ours, not the task's.
    """
    message = _text(error)
    return Failure(
        type=name_of(type(error)),
        message=_cut(message, MESSAGE_MAX),
        args=_plain_args(error),
        traceback=_traceback(error, skip),
        notes=_notes(error),
        causes=tuple(_causes(error)),
    )


def describe(error: BaseException) -> str:
    """Return one line for logs and ``why``: ``ValueError: no such user``."""
    message = _cut(_text(error), _LINE_MAX)
    name = name_of(type(error)).rpartition(".")[2]
    return " ".join(f"{name}: {message}".split()) if message else name


def shown(error: BaseException) -> str:
    """Return ``repr(error)``, cut, or something that stands for it if that raises."""
    try:
        return _cut(cleared(repr(error)), _LINE_MAX)
    except BaseException:  # noqa: BLE001 - a repr may raise anything
        return f"<unprintable {name_of(type(error))}>"


def name_of(cls: type) -> str:
    """Return the name under which an exception's class travels: ``shop.errors.OutOfStock``."""
    module, name = str(cls.__module__), str(cls.__qualname__)
    return name if module == "builtins" else f"{module}.{name}"


def _text(error: BaseException) -> str:
    try:
        return cleared(str(error))
    except BaseException:  # noqa: BLE001 - a __str__ may raise anything
        return f"<unprintable {name_of(type(error))} object>"


def cleared(text: str) -> str:
    """Return *text* without what the present run hides. To be called before it is cut."""
    hider = Hiding.present()
    return text if hider is None else hider(text)


def _cut(text: str, most: int) -> str:
    """*text*, or its beginning and end around a note of what is missing."""
    if len(text) > most:
        end = most // 4
        text = f"{text[: most - end]}… ({len(text) - most:,} characters left out) …{text[-end:]}"
    # Lone surrogates cannot be written as UTF-8.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _plain_args(error: BaseException) -> tuple[object, ...] | None:
    try:
        args = tuple(error.args)
        if not all(map(_is_plain, args)):
            return None
        hider = Hiding.present()
        if hider is not None:
            args = tuple(hider.inside(each) for each in args)
        return args if len(msgspec.msgpack.encode(args)) <= MESSAGE_MAX else None
    except BaseException:  # noqa: BLE001 - args may be a property of the application's class
        return None


def _is_plain(value: object, depth: int = 3) -> bool:
    if isinstance(value, list | tuple):
        return depth > 0 and all(_is_plain(each, depth - 1) for each in value)
    return value is None or type(value) in (str, int, float, bool)


def _notes(error: BaseException) -> tuple[str, ...]:
    notes = getattr(error, "__notes__", ())
    if not isinstance(notes, list):
        return ()
    texts = [cleared(each) for each in notes[:_NOTES_MAX] if isinstance(each, str)]
    return tuple(_cut(each, _LINE_MAX) for each in texts)


def _causes(error: BaseException) -> Iterator[str]:
    seen = {id(error)}
    inner = _cause_of(error)
    while inner is not None and id(inner) not in seen and len(seen) <= _CAUSES_MAX:
        seen.add(id(inner))
        yield describe(inner)
        inner = _cause_of(inner)


def _cause_of(error: BaseException) -> BaseException | None:
    return error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _traceback(error: BaseException, skip: int) -> str:
    frames: TracebackType | None = error.__traceback__
    for _ in range(skip):
        frames = frames.tb_next if frames is not None else None
    try:
        import traceback  # here, because it takes longer to load than to use

        lines = traceback.TracebackException(
            type(error), error, frames, limit=-_FRAMES_MAX, compact=True
        ).format()
        return _cut(cleared("".join(lines)), TRACEBACK_MAX)
    except BaseException:  # noqa: BLE001 - source files and classes may be anything
        return f"{describe(error)} (its traceback could not be written)\n"


# -- from data ---------------------------------------------------------------------------------


def revive(failure: Failure, allowed: Allowed) -> BaseException:
    """Return an exception for *failure*, with the remote traceback as its cause.

    It is a :class:`~celeriac.exceptions.TaskFailed`. If *allowed* knows the class it is an
    instance of that class, too, so that ``except TaskFailed`` and ``except ValueError`` both
    catch it. Constructors of the application do not run: only ``args`` and the text are set.
    """
    cls = _class_of(failure.type, allowed)
    if cls is None:
        error: BaseException = TaskFailed(failure.type, failure.message, failure.traceback or None)
    else:
        remote = failure.traceback or None
        try:
            error = _both(cls, failure.args, failure.type, failure.message, remote)
        except Exception:  # noqa: BLE001 - the class may forbid subclasses, or do anything then
            error = TaskFailed(failure.type, failure.message, remote)
    for note in failure.notes:
        error.add_note(note)
    if failure.traceback:
        error.__cause__ = RemoteTraceback(failure.traceback)
    return error


def from_reason(reason: str, fallback: str, failed: bool = True) -> BaseException:
    """Return an exception for an end that a store or supervisor made.

    *reason* is ``ClassName: text`` with a name from ``celeriac.exceptions`` or a safe built-in;
    without one, *fallback* is the name. *failed* makes it a ``TaskFailed``, too.
    """
    name, colon, text = reason.partition(": ")
    if not colon or not (name in _OWN or name in SAFE_BUILTINS):
        name, text = (fallback, reason) if not colon or " " in name else (name, text)
    if name == "Reject":
        return Reject(text)
    cls = _OWN.get(name) or SAFE_BUILTINS.get(name)
    if cls is None:
        return TaskFailed(name, text)
    if not failed:
        return cls(text)
    return _both(cls, None, name_of(cls), text, None)


def _class_of(name: str, allowed: Allowed) -> type[BaseException] | None:
    module, _, short = name.rpartition(".")
    if not module and short in SAFE_BUILTINS:
        return SAFE_BUILTINS[short]
    if module == _OWN_MODULE and short in _OWN:
        return _OWN[short]
    return allowed(name)


def _both(
    cls: type[BaseException],
    args: tuple[Any, ...] | None,
    name: str,
    text: str,
    remote: str | None,
) -> BaseException:
    """An instance of *cls* and of ``TaskFailed``, made without the constructor of *cls*.

    *args* None: they are not known, and the text stands for them.
    """
    if issubclass(cls, TaskFailed):
        return TaskFailed(name, text, remote)
    joined = type(cls.__name__, (_Revived, cls), {"__module__": cls.__module__})
    joined.__qualname__ = cls.__qualname__
    known = (text,) if args is None else args
    # The constructor of the nearest built-in class is C code and sets what it promises (errno).
    builtin: Any = next(each for each in cls.__mro__ if each.__module__ == "builtins")
    error: BaseException = builtin.__new__(joined, *known)
    builtin.__init__(error, *known)
    if cls.__module__ == _OWN_MODULE:
        # Our own classes promise attributes; their constructors do no harm.
        error.__dict__.update(vars(cls() if args is None else cls(*args)))
    error.args = known
    error.__dict__.update(type_name=name, message=text, remote_traceback=remote, revived_class=cls)
    return error


class _Revived(TaskFailed):
    """What the joined classes share: the text as it was, and how they are pickled."""

    revived_class: type[BaseException]

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return _both, (
            self.revived_class, self.args, self.type_name, self.message, self.remote_traceback
        )  # fmt: skip


def our_frames(error: BaseException) -> int:
    """How many frames at the top of the traceback are this library's, if others follow."""
    count, frames = 0, error.__traceback__
    while frames is not None:
        name = frames.tb_frame.f_globals.get("__name__", "")
        if not name.startswith("celeriac."):
            return count
        count += 1
        frames = frames.tb_next
    return 0
