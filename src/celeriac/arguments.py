"""The arguments of a task's function: are they the right ones, and of the annotated types?

Layer 1: standard library, msgspec and layer 0. No IO; any layer above may import it.

:class:`Arguments` is made once per task. ``check`` runs in the caller, before anything is
written; ``convert`` runs in the executor, before the body. Both are prepared ahead, because
``inspect.Signature.bind`` would be most of what a small task costs.
"""

from __future__ import annotations

import collections.abc
import functools
import inspect
import sys
import types
import typing
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Final, NoReturn
from uuid import UUID

import msgspec

from celeriac.sensitive import Mask, mask_of

_EMPTY: Final = inspect.Parameter.empty

#: Turns one value into what the annotation says; raises ValueError or TypeError.
_Converter = Callable[[Any], Any]


class Arguments:
    """What *function* accepts, worked out once.

    *skip_first* leaves out the first parameter, which a bound task (``bind=True``) fills itself.
    A callable without a signature that can be read accepts everything. A decorator that hides the
    signature behind ``*args, **kwargs`` is believed: it may add arguments of its own. *leave*
    names parameters whose values are not converted.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        skip_first: bool = False,
        leave: Collection[str] = (),
    ) -> None:
        self._leave = leave
        self.name: str = getattr(function, "__qualname__", type(function).__qualname__)
        self._function = function
        self._converters: tuple[tuple[int, str | None, _Converter], ...] | None = None
        parameters = _parameters(function)
        self._checked = parameters is not None
        parameters = parameters or []
        if skip_first and parameters and parameters[0].kind in _BY_POSITION:
            del parameters[0]
        self._parameters = parameters
        self._measure()

    def _measure(self) -> None:
        """Count and name what ``check`` needs to know."""
        by_position = [each for each in self._parameters if each.kind in _BY_POSITION]
        by_keyword = [each for each in self._parameters if each.kind is each.KEYWORD_ONLY]
        kinds = {each.kind for each in self._parameters}
        self._positions = by_position
        self._any_position = inspect.Parameter.VAR_POSITIONAL in kinds
        self._any_keyword = inspect.Parameter.VAR_KEYWORD in kinds
        self._keyword_only = by_keyword
        needed = frozenset(each.name for each in by_keyword if each.default is _EMPTY)
        self._fewest = sum(each.default is _EMPTY for each in by_position)
        self._most = sys.maxsize if self._any_position else len(by_position)
        self._no_keyword_needed = not needed
        #: Parameters that only a position can fill and that have no default.
        self._fewest_by_position = sum(
            each.default is _EMPTY and each.kind is each.POSITIONAL_ONLY for each in by_position
        )
        self._keywords = frozenset(
            each.name
            for each in (*by_position, *by_keyword)
            if each.kind is not each.POSITIONAL_ONLY
        )
        #: For 0, 1, 2 … positional arguments: the names they fill, and those still to be given.
        self._taken: list[frozenset[str]] = []
        self._missing: list[frozenset[str]] = []
        for count in range(len(by_position) + 1):
            filled, rest = by_position[:count], by_position[count:]
            self._taken.append(frozenset(each.name for each in filled) & self._keywords)
            self._missing.append(
                needed
                | (frozenset(each.name for each in rest if each.default is _EMPTY) & self._keywords)
            )

    def check(self, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        """Return if the function can be called so; raise the ``TypeError`` Python would raise.

        The only difference: a parameter that is left out is not counted.
        """
        given = len(args)
        if not kwargs:
            if self._fewest <= given <= self._most and self._no_keyword_needed:
                return
        elif self._fewest_by_position <= given <= self._most:
            at = min(given, len(self._positions))
            names = kwargs.keys()
            if (
                (self._any_keyword or names <= self._keywords)
                and self._missing[at] <= names
                and self._taken[at].isdisjoint(names)
            ):
                return
        if self._checked:
            self._explain(args, kwargs)

    def _explain(self, args: Sequence[Any], kwargs: dict[str, Any]) -> NoReturn:
        """Raise the error of a wrong call, in the order and words of Python's own."""
        at = min(len(args), len(self._positions))
        if not self._any_keyword:
            self._explain_unknown(kwargs, at)
        for name in kwargs:
            if name in self._taken[at]:
                self._fail(f"got multiple values for argument '{name}'")
        if len(args) > self._most:
            self._explain_too_many(len(args), kwargs)
        by_position = [
            each.name
            for each in self._positions[at:]
            if each.default is _EMPTY
            and (each.name not in kwargs or each.kind is each.POSITIONAL_ONLY)
        ]
        if by_position:
            self._fail(f"missing {_names(by_position, 'positional')}")
        by_keyword = [
            each.name
            for each in self._keyword_only
            if each.default is _EMPTY and each.name not in kwargs
        ]
        self._fail(f"missing {_names(by_keyword, 'keyword-only')}")

    def _explain_unknown(self, kwargs: dict[str, Any], at: int) -> None:
        for name in kwargs:
            if name in self._taken[at]:
                return  # Python goes through the keywords in order and meets this one first.
            if name in self._keywords:
                continue
            misplaced = [
                each.name
                for each in self._positions
                if each.kind is each.POSITIONAL_ONLY and each.name in kwargs
            ]
            if misplaced:
                self._fail(
                    "got some positional-only arguments passed as keyword arguments: "
                    f"'{', '.join(misplaced)}'"
                )
            self._fail(f"got an unexpected keyword argument '{name}'")

    def _explain_too_many(self, given: int, kwargs: dict[str, Any]) -> NoReturn:
        most = len(self._positions)
        takes = f"{most}" if self._fewest == most else f"from {self._fewest} to {most}"
        plural = "" if most == 1 and self._fewest == most else "s"
        by_keyword = sum(each.name in kwargs for each in self._keyword_only)
        were = "was" if given == 1 and not by_keyword else "were"
        extra = ""
        if by_keyword:
            extra = (
                f" positional argument{'s' * (given != 1)} (and {by_keyword} keyword-only "
                f"argument{'s' * (by_keyword != 1)})"
            )
        self._fail(f"takes {takes} positional argument{plural} but {given}{extra} {were} given")

    def mask(self, sensitive: bool | Iterable[str]) -> Mask | None:
        """Return what hides the arguments that *sensitive* names; ``ValueError`` for no name."""
        return mask_of(sensitive, self._parameters if self._checked else None)

    def _fail(self, why: str) -> NoReturn:
        raise TypeError(f"{self.name}() {why}")

    def convert(
        self, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> tuple[Sequence[Any], dict[str, Any]]:
        """Return *args* and *kwargs* with values turned into what their annotations say.

        Only annotations that name more than JSON has are acted on: dataclasses, ``msgspec.Struct``
        and pydantic models, enums, dates, times, ``Decimal``, ``UUID``, named tuples, tuples, sets,
        and lists, dictionaries and unions of these. Values that fit already, and everything
        annotated int, str or with a class we do not know, pass as they are. Nothing is changed in
        place. Raises ``TypeError`` naming the parameter whose value cannot be converted.
        """
        converters = self._converters
        if converters is None:
            converters = self._prepare()
        if not converters:
            return args, kwargs
        new_args, new_kwargs = list(args), dict(kwargs)
        for at, name, converter in converters:
            if 0 <= at < len(args):
                new_args[at] = self._converted(self._positions[at].name, args[at], converter)
            elif name is not None and name in kwargs:
                new_kwargs[name] = self._converted(name, kwargs[name], converter)
        return tuple(new_args), new_kwargs

    def _converted(self, name: str, value: Any, converter: _Converter) -> Any:
        try:
            return converter(value)
        except (ValueError, TypeError, ArithmeticError) as error:
            parameter = next(each for each in self._parameters if each.name == name)
            expected = inspect.formatannotation(parameter.annotation)
            if isinstance(parameter.annotation, str):
                expected = parameter.annotation
            raise TypeError(
                f"{self.name}() argument '{name}' must be {expected}, and this "
                f"{type(value).__qualname__} cannot be converted to it: {error}"
            ) from error

    def _prepare(self) -> tuple[tuple[int, str | None, _Converter], ...]:
        """Work out, at first use, which parameters need converting.

        Later than the rest, so that an annotation may name a class defined further down.
        """
        converters = []
        names = _globals_of(self._function)
        for at, each in enumerate((*self._positions, *self._keyword_only)):
            converter = _converter(_resolved(each.annotation, names))
            if converter is not None and each.name not in self._leave:
                position = at if at < len(self._positions) else -1
                # The keyword of that name belongs to **kwargs if the parameter has none.
                name = each.name if each.name in self._keywords else None
                if each.default is None:
                    converter = _unless_none(converter)
                converters.append((position, name, converter))
        self._converters = tuple(converters)
        return self._converters


_BY_POSITION: Final = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
)


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter] | None:
    try:
        return list(inspect.signature(function, follow_wrapped=False).parameters.values())
    except (ValueError, TypeError):
        return None  # Some built-in functions do not tell.


def _names(names: list[str], kind: str) -> str:
    """Return "2 required positional arguments: 'a' and 'b'" as Python writes it."""
    quoted = [f"'{name}'" for name in names]
    if len(quoted) > 2:
        listed = f"{', '.join(quoted[:-1])}, and {quoted[-1]}"
    else:
        listed = " and ".join(quoted)
    return f"{len(names)} required {kind} argument{'s' * (len(names) != 1)}: {listed}"


# -- annotations -------------------------------------------------------------------------------


def _globals_of(function: Any) -> dict[str, Any]:
    """Return the names that *function*'s annotations are written in."""
    while isinstance(function, functools.partial):
        function = function.func
    if not hasattr(function, "__globals__"):
        # A bound method, or an object with __call__.
        function = getattr(function, "__func__", None) or type(function).__call__
    names: dict[str, Any] = getattr(inspect.unwrap(function), "__globals__", {})
    return names


def _resolved(annotation: Any, names: dict[str, Any]) -> Any:
    """Return an annotation with its text evaluated, or ``Any`` if a name in it is not known."""
    if annotation is _EMPTY:
        return Any
    holder = types.SimpleNamespace(__annotations__={"it": annotation})
    try:
        return typing.get_type_hints(holder, names, {}, include_extras=True)["it"]
    except Exception:  # noqa: BLE001 - annotations may be any expression, such as types only checked
        return Any


def _converter(annotation: Any) -> _Converter | None:
    """Return what turns a value into *annotation*, or None if values are to be left alone."""
    annotation = _bare(annotation)
    origin = typing.get_origin(annotation)
    if origin is typing.Union or origin is types.UnionType:
        return _union(typing.get_args(annotation))
    if isinstance(origin, type):
        build = _CONTAINERS.get(origin)
        return build(typing.get_args(annotation)) if build else _object(annotation, origin)
    if not isinstance(annotation, type):
        return None
    if annotation in _CONTAINERS:
        return _CONTAINERS[annotation](())
    return _object(annotation, annotation)


def _bare(annotation: Any) -> Any:
    """Return an annotation without ``Annotated``, ``NewType`` and ``type`` aliases around it."""
    while True:
        if typing.get_origin(annotation) is typing.Annotated:
            annotation = annotation.__origin__
        elif isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType":
            annotation = annotation.__value__
        else:
            return annotation


def _unless_none(converter: _Converter) -> _Converter:
    return lambda value: None if value is None else converter(value)


def _object(annotation: Any, cls: type) -> _Converter | None:
    """Return the converter of a class; what is an instance already passes as it is."""
    make = _maker(annotation, cls)
    if make is None:
        return None
    return lambda value: value if isinstance(value, cls) else make(value)


def _maker(annotation: Any, cls: type) -> _Converter | None:
    if cls in _SCALARS:
        return _SCALARS[cls]
    if issubclass(cls, Enum):
        return cls
    if hasattr(cls, "model_validate") and hasattr(cls, "model_fields"):
        validate: _Converter = cls.model_validate  # pydantic, known by its shape
        return validate
    named_tuple = issubclass(cls, tuple) and hasattr(cls, "_fields")
    if not (hasattr(cls, "__dataclass_fields__") or named_tuple or issubclass(cls, msgspec.Struct)):
        return None
    try:
        # Fails for what msgspec does not know; then such values are left alone.
        msgspec.json.Decoder(annotation, dec_hook=_foreign)
    except (TypeError, NameError):
        return None
    return lambda value: msgspec.convert(
        value, annotation, strict=False, str_keys=True, dec_hook=_foreign
    )


def _foreign(cls: type, value: Any) -> Any:
    """Make a value of a class that msgspec does not know: the dec_hook of conversions."""
    if hasattr(cls, "model_validate"):
        return cls.model_validate(value)
    return value  # msgspec refuses it with both types named, unless it is an instance.


def _read_as(cls: Any) -> _Converter:
    """Return a converter that reads text as the class itself does, all else as msgspec does."""

    def make(value: Any) -> Any:
        if isinstance(value, str):
            return cls.fromisoformat(value)
        return msgspec.convert(value, cls, strict=False)

    return make


def _lax(cls: Any) -> _Converter:
    return lambda value: msgspec.convert(value, cls, strict=False)


_SCALARS: Final[dict[type, _Converter]] = {
    datetime: _read_as(datetime),
    date: _read_as(date),
    time: _read_as(time),
    timedelta: _lax(timedelta),
    Decimal: _lax(Decimal),
    UUID: _lax(UUID),
}


def _union(members: tuple[Any, ...]) -> _Converter | None:
    """Return the converter of ``A | B``: the first member that can take a value does.

    What is of one of the types already passes as it is. If the union also has members that are
    left alone, such as str, then what no other member can take is left alone, too.
    """
    members = tuple(_bare(member) for member in members)
    pairs = [(member, _converter(member)) for member in members if member is not type(None)]
    converters = [converter for _, converter in pairs if converter is not None]
    with_fields = [member for member, converter in pairs if converter and _has_fields(member)]
    if not converters or len(with_fields) > 1:
        return None  # Which of two classes with fields a dictionary is meant for is a guess.
    fitting = tuple(filter(None, map(_plain_class, members)))
    if float in fitting:
        fitting += (int,)  # An int is as good as a float, says PEP 484.
    strict = len(converters) == len(pairs)

    def convert(value: Any) -> Any:
        if isinstance(value, fitting):
            return value
        failure: Exception | None = None
        for converter in converters:
            try:
                made = converter(value)
            except (ValueError, TypeError, ArithmeticError) as error:
                failure = failure or error
            else:
                if made is not value:
                    return made
        if strict and failure is not None:
            raise failure
        return value

    return convert


def _plain_class(member: Any) -> type | None:
    """Return the class that an instance of *member* has, if isinstance can tell."""
    cls = typing.get_origin(member) or member
    if not isinstance(cls, type) or cls in _CONTAINERS:
        return None
    try:
        isinstance(None, cls)
    except TypeError:
        return None  # Any, a TypedDict or a protocol
    return cls


def _has_fields(member: Any) -> bool:
    cls = _plain_class(member)
    return cls is not None and cls not in _SCALARS and not issubclass(cls, Enum | tuple)


def _listed(kind: Callable[[list[Any]], Any], changes: bool) -> Callable[..., _Converter | None]:
    """Return the maker of converters of a list-like container; *changes*: JSON has it as a list."""

    def build(members: tuple[Any, ...]) -> _Converter | None:
        member = _converter(members[0]) if members else None
        if member is None and not changes:
            return None

        def convert(value: Any) -> Any:
            if not isinstance(value, list | tuple | set | frozenset):
                return value
            if member is None:
                return kind(value) if isinstance(value, list) else value
            return kind([member(item) for item in value])

        return convert

    return build


def _tuple(members: tuple[Any, ...]) -> _Converter:
    every = _converter(members[0]) if len(members) == 2 and members[1] is Ellipsis else None
    each = [_converter(member) for member in members if member is not Ellipsis]

    def convert(value: Any) -> Any:
        if not isinstance(value, list | tuple):
            return value
        if every is not None:
            return tuple(every(item) for item in value)
        if any(each) and len(each) == len(value):
            return tuple(
                item if one is None else one(item) for one, item in zip(each, value, strict=True)
            )
        return tuple(value)

    return convert


def _mapping(members: tuple[Any, ...]) -> _Converter | None:
    key, item = (_converter(member) for member in members) if len(members) == 2 else (None, None)
    if key is None and item is None:
        return None

    def convert(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {
            (key(left) if key else left): (item(right) if item else right)
            for left, right in value.items()
        }

    return convert


_CONTAINERS: Final[dict[type, Callable[[tuple[Any, ...]], _Converter | None]]] = {
    list: _listed(list, changes=False),
    collections.abc.Sequence: _listed(list, changes=False),
    collections.abc.Iterable: _listed(list, changes=False),
    collections.abc.Collection: _listed(list, changes=False),
    set: _listed(set, changes=True),
    frozenset: _listed(frozenset, changes=True),
    tuple: _tuple,
    dict: _mapping,
    collections.abc.Mapping: _mapping,
    collections.abc.MutableMapping: _mapping,
}

__all__ = ["Arguments"]
