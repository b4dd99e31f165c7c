"""What must not be shown: the arguments that a task was told to hide.

Layer 1: standard library. Two things, both pure. A :class:`Mask` says which arguments of a task
are hidden and writes a call without them; it is made once per task. A :class:`Hider` takes the
values of one call out of texts: whatever a task logs, prints or raises may hold them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import inspect

__all__ = [
    "HIDDEN",
    "REPR_MAX",
    "HideAll",
    "Hider",
    "Hiding",
    "Mask",
    "mask_of",
    "shown_args",
    "shown_kwargs",
]

#: What stands in place of a hidden value.
HIDDEN: Final = "***"
#: Characters of a representation of arguments.
REPR_MAX: Final = 1024
#: Shorter values are taken out only where they stand by themselves: "a" is part of every text.
_SHORT: Final = 4
_LINE: Final = 8
#: A call with more values than this has its texts left out altogether.
_VALUES_MAX: Final = 2000
_DEPTH: Final = 12
#: Longer texts are looked for in the usual forms only, which is faster.
_SPELLED_MAX: Final = 8192
_SHORTHAND: Final = {"\n": "n", "\r": "r", "\t": "t", "\b": "b", "\f": "f"}


class Mask:
    """Which arguments a task hides.

    Args:
        names: of the parameters that are hidden; None for all of them.
        parameters: of the function in order, to find arguments by position.
        rest: the name of its ``*`` parameter, if it has one.
        known: names that it can be called with; None for any. Others are hidden: one of them is
            likely a hidden one, misspelt.
        given: how many arguments may come before those that are shown. What one of these numbers
            hides is hidden.
    """

    __slots__ = ("given", "known", "names", "parameters", "rest")

    def __init__(
        self,
        names: frozenset[str] | None,
        parameters: Sequence[str] = (),
        rest: str = "",
        known: frozenset[str] | None = None,
        given: tuple[int, ...] = (0,),
    ) -> None:
        self.names = names
        self.parameters = tuple(parameters)
        self.rest = rest
        self.known = known
        self.given = given

    def behind(self, given: tuple[int, ...]) -> Mask:
        """Return the mask of a call's own arguments, where so many others come before them."""
        if self.names is None or given == self.given:
            return self
        return Mask(self.names, self.parameters, self.rest, self.known, given)

    def partial(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Mask:
        """Return the mask of a call that may get more arguments, before these: as many as there
        are places for."""
        room = len(self.parameters)
        if not self.rest:
            room -= len(args) + sum(each in kwargs for each in self.parameters)
        return self.behind(tuple(range(max(room, 0) + 1)))

    def hides(self, name: str) -> bool:
        """Whether the argument *name* is hidden."""
        if self.names is None or name in self.names:
            return True
        return self.known is not None and name not in self.known

    def hides_place(self, index: int) -> bool:
        """Whether the positional argument *index* is hidden; one that nobody names is."""
        return self.names is None or any(self._hides(index + given) for given in self.given)

    def _hides(self, place: int) -> bool:
        names = self.names or frozenset()
        if place < len(self.parameters):
            return self.parameters[place] in names
        return not self.rest or self.rest in names

    def shown_args(self, args: Sequence[Any]) -> str:
        """Return ``repr(args)`` with the hidden ones as ``***``."""
        return shown_args(args, self.hides_place)

    def shown_kwargs(self, kwargs: Mapping[str, Any]) -> str:
        """Return ``repr(kwargs)`` with the hidden ones as ``***``."""
        return shown_kwargs(kwargs, self.hides)

    def plain(
        self, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments as data, the hidden ones replaced by ``"***"``."""
        return (
            [HIDDEN if self.hides_place(at) else value for at, value in enumerate(args)],
            {name: HIDDEN if self.hides(name) else value for name, value in kwargs.items()},
        )

    def hider(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Hider:
        """Return what takes the hidden ones of these arguments out of texts."""
        hidden = [value for at, value in enumerate(args) if self.hides_place(at)]
        hidden += [value for name, value in kwargs.items() if self.hides(name)]
        return Hider(hidden)


def mask_of(
    sensitive: bool | Iterable[str], parameters: Sequence[inspect.Parameter] | None
) -> Mask | None:
    """Return what hides the arguments that *sensitive* names: True for all, False for none.

    *parameters* are those of the function, None if it does not tell. Raises ``ValueError`` for a
    name that none of them has.
    """
    if isinstance(sensitive, bool):
        return Mask(None) if sensitive else None
    hidden = frozenset(sensitive)
    by_kind: dict[Any, list[str]] = {}
    for each in parameters or ():
        by_kind.setdefault(each.kind.name, []).append(each.name)
    known = [each.name for each in parameters or ()]
    unknown = sorted(hidden.difference(known))
    closed = parameters is not None and "VAR_KEYWORD" not in by_kind
    if unknown and closed:
        has = f"it has {', '.join(known)}" if known else "it has none"
        raise ValueError(f"sensitive names {unknown[0]!r}, which is no parameter; {has}")
    positions = by_kind.get("POSITIONAL_ONLY", []) + by_kind.get("POSITIONAL_OR_KEYWORD", [])
    rest = by_kind.get("VAR_POSITIONAL", [""])[0]
    return Mask(hidden, positions, rest, frozenset(known) if closed else None) if hidden else None


def shown_args(args: Sequence[Any], hides: Callable[[int], bool] | None = None) -> str:
    """Return positional arguments as text, cut; *hides* says which places are left out."""
    words = [
        HIDDEN if hides is not None and hides(at) else _repr(value) for at, value in enumerate(args)
    ]
    return _cut(f"({words[0]},)" if len(words) == 1 else f"({', '.join(words)})")


def shown_kwargs(kwargs: Mapping[str, Any], hides: Callable[[str], bool] | None = None) -> str:
    """Return keyword arguments as text, cut; *hides* says which names are left out."""
    words = [
        f"{name!r}: {HIDDEN if hides is not None and hides(name) else _repr(value)}"
        for name, value in kwargs.items()
    ]
    return _cut(f"{{{', '.join(words)}}}")


def _repr(value: object) -> str:
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 - a repr may raise anything
        return f"<unprintable {type(value).__qualname__}>"


def _cut(text: str) -> str:
    return text if len(text) <= REPR_MAX else f"{text[: REPR_MAX - 1]}…"


class Hider:
    """Takes values out of texts: ``Hider(["hunter2"])("login as hunter2") == "login as ***"``.

    Every text and number within the values counts, as it would be printed, and in the forms that
    ``repr`` and JSON give it. Names of fields in dictionaries stay, True, False and None too. What
    a task derives from a value (a part of it, its upper case, its base64) is another text and is
    not found.
    """

    __slots__ = ("_pattern", "_values")

    def __init__(self, values: Iterable[object]) -> None:
        self._values: list[object] | None = list(values)
        self._pattern: re.Pattern[str] | None = None

    def __call__(self, text: str) -> str:
        """Return *text* without the values."""
        if self._values is not None:
            self._pattern, self._values = _pattern(self._values), None
        pattern = self._pattern
        return text if pattern is None else pattern.sub(HIDDEN, text)

    def inside(self, value: Any, depth: int = _DEPTH) -> Any:
        """Return *value*, a text or a container of texts, without them; anything else as text if
        that holds one."""
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self(value)
        if isinstance(value, list | tuple) and depth and type(value) in (list, tuple):
            return type(value)(self.inside(each, depth - 1) for each in value)
        if type(value) is dict and depth:
            return {
                self(key) if isinstance(key, str) else key: self.inside(each, depth - 1)
                for key, each in value.items()
            }
        text = _repr(value)
        cleared = self(text)
        return value if cleared == text else cleared


class HideAll(Hider):
    """Leaves nothing of any text: for arguments that cannot be read here, so that nobody knows
    which texts to take out."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(())

    def __call__(self, text: str) -> str:
        """Return what stands for a text that is not shown."""
        return HIDDEN


class Hiding:
    """Where lower layers find what the present run hides.

    The context module fills this in when it is loaded; this layer must not import it.
    """

    present: Callable[[], Hider | None] = staticmethod(lambda: None)


def _pattern(values: Iterable[object]) -> re.Pattern[str] | None:
    """The pattern that finds each value in any form, the longest first."""
    texts: set[str] = set()
    for count, leaf in enumerate(_leaves(values, _DEPTH)):
        if count >= _VALUES_MAX:
            return re.compile(r"(?s)\A.+\Z")  # too many to look for: nothing is shown
        texts |= _texts(leaf)
    texts.discard("")
    if not texts:
        return None
    words = []
    for text in sorted(texts, key=lambda each: (-len(each), each)):
        word = "".join(map(_in_any_form, text)) if len(text) <= _SPELLED_MAX else _whole(text)
        if len(text) < _SHORT or text.replace(".", "").replace("-", "").isdigit():
            word = f"(?<!\\w){word}(?!\\w)"
        words.append(word)
    return re.compile("|".join(words))


def _in_any_form(char: str) -> str:
    """A pattern of *char* as it is, and as ``repr``, ``ascii`` and JSON write it, however often
    one of them was applied to what another had written."""
    if char == "\\":
        return r"\\+"
    if char in "'\"":
        return rf"\\*{char}"
    if char.isascii() and char.isprintable():
        return re.escape(char)
    code = ord(char)
    written = [rf"x{code:02x}", rf"u{code:04x}", rf"U{code:08x}"]
    if char in _SHORTHAND:
        written.append(_SHORTHAND[char])
    if code > 0xFFFF:  # JSON writes two halves
        high, low = divmod(code - 0x10000, 0x400)
        written.append(rf"u{0xD800 + high:04x}\\+u{0xDC00 + low:04x}")
    return rf"(?:{re.escape(char)}|\\+(?:{'|'.join(written)}))"


def _whole(text: str) -> str:
    import json  # here, because few tasks hide anything

    forms = {text, repr(text)[1:-1], ascii(text)[1:-1], json.dumps(text)[1:-1]}
    forms.add(json.dumps(text, ensure_ascii=False)[1:-1])
    return f"(?:{'|'.join(map(re.escape, sorted(forms, key=len, reverse=True)))})"


def _leaves(values: Iterable[object], depth: int) -> Iterator[object]:
    for value in values:
        if value is None or isinstance(value, bool):
            continue
        if isinstance(value, Mapping) and depth:
            yield from (key for key in value if not _names_a_field(key))
            yield from _leaves(value.values(), depth - 1)
        elif isinstance(value, list | tuple | set | frozenset) and depth:
            yield from _leaves(value, depth - 1)
        else:
            yield value


def _names_a_field(key: object) -> bool:
    return not isinstance(key, str) or key.isidentifier()


def _texts(leaf: object) -> set[str]:
    """What *leaf* is printed as."""
    if isinstance(leaf, bytes | bytearray):
        data = bytes(leaf)
        return {data.decode("utf-8", "backslashreplace"), data.decode("latin-1")}
    if not isinstance(leaf, str):
        shown = _repr(leaf)
        try:
            moment = getattr(leaf, "isoformat", None)
            return {shown, str(leaf)} | ({moment()} if callable(moment) else set())
        except Exception:  # noqa: BLE001 - a __str__ may raise anything
            return {shown}
    texts = {leaf, leaf.strip()}
    if "\n" in leaf:  # a traceback may indent each line by itself
        texts |= {line.strip() for line in leaf.splitlines() if len(line.strip()) >= _LINE}
    return texts
