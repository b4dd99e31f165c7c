"""Calls are checked as Python would check them; annotated values become what they should be."""

from __future__ import annotations

import dataclasses
import enum
import functools
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, NewType, Optional, TypedDict
from uuid import UUID

import msgspec
import pytest

from celeriac.arguments import Arguments

if typing.TYPE_CHECKING:
    from somewhere import OnlyForTypeCheckers  # noqa: F401 - named in annotations as text


class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"


class Right(enum.Flag):
    READ = 1
    WRITE = 2


@dataclasses.dataclass
class Point:
    x: int
    when: date | None = None


@dataclasses.dataclass
class Point3(Point):
    z: int = 0


@dataclasses.dataclass
class Line:
    points: list[Point]
    colour: Colour = Colour.RED


class Car(msgspec.Struct):
    plate: str


class Pair(NamedTuple):
    left: int
    right: Point


class Row(TypedDict):
    a: int


class Plain:
    pass


class Model:
    """The shape of a pydantic model, as far as arguments look at it."""

    model_fields: ClassVar = {"name": object()}

    def __init__(self, name):
        self.name = name

    def __eq__(self, other):
        return isinstance(other, Model) and self.name == other.name

    __hash__ = None

    @classmethod
    def model_validate(cls, value):
        if not isinstance(value, dict) or "name" not in value:
            raise ValueError("1 validation error for Model: name is missing")
        return cls(value["name"])


UserId = NewType("UserId", UUID)
ID = UUID(int=7)


# -- check -------------------------------------------------------------------------------------


def nothing(): ...
def one(a): ...
def two(a, b=2): ...
def three(a, b, c): ...
def rest(a, *more): ...
def options(a, **more): ...
def keyword_only(a, *, b, c=3): ...
def position_only(a, b=2, /, c=3): ...
def position_and_options(a, /, **more): ...
def everything(a, b=2, /, c=3, *rest, d, e=5, **more): ...


FUNCTIONS = [
    nothing, one, two, three, rest, options, keyword_only, position_only, position_and_options,
    everything,
]  # fmt: skip

CALLS = [
    (args, kwargs)
    for args in [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)]
    for kwargs in [
        {}, {"a": 1}, {"b": 1}, {"b": 1, "c": 1}, {"d": 1}, {"z": 1}, {"a": 1, "b": 1, "c": 1},
        {"b": 1, "z": 1}, {"z": 1, "a": 1}, {"d": 1, "e": 1, "c": 1},
    ]
]  # fmt: skip


def error_of(call: Callable[[], object]) -> str | None:
    try:
        call()
    except TypeError as error:
        # Newer Pythons add a suggestion.
        return str(error).partition(". Did you mean")[0]
    return None


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_a_wrong_call_is_refused_in_python_s_own_words(function):
    arguments = Arguments(function)
    for args, kwargs in CALLS:
        expected = error_of(lambda: function(*args, **kwargs))  # noqa: B023 - called at once
        assert error_of(lambda: arguments.check(args, kwargs)) == expected, (args, kwargs)  # noqa: B023


def test_a_bound_task_does_not_count_self():
    def task(self, a): ...

    arguments = Arguments(task, skip_first=True)
    arguments.check((1,), {})
    arguments.check((), {"a": 1})
    with pytest.raises(TypeError, match=r"task\(\) takes 1 positional argument but 2 were given"):
        arguments.check((1, 2), {})
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'a'"):
        arguments.check((), {})
    with pytest.raises(TypeError, match="unexpected keyword argument 'self'"):
        arguments.check((1,), {"self": 1})


def test_self_may_be_the_first_of_args():
    def task(*args): ...

    Arguments(task, skip_first=True).check((1, 2, 3), {})


def test_methods_partials_and_objects():
    class Greeter:
        def greet(self, name): ...
        def __call__(self, name, *, loud=False): ...

    Arguments(Greeter().greet).check(("x",), {})
    Arguments(Greeter()).check(("x",), {"loud": True})
    Arguments(functools.partial(three, 1)).check((2, 3), {})
    Arguments(functools.partial(three, c=1)).check((1, 2), {})
    for wrong in (Greeter().greet, Greeter(), functools.partial(three, 1, 2)):
        with pytest.raises(TypeError):
            Arguments(wrong).check((1, 2, 3, 4), {})


def test_a_callable_without_a_signature_accepts_everything():
    Arguments(dict).check((1, 2, 3), {"x": 1})
    assert Arguments(dict).convert((1,), {}) == ((1,), {})


def test_a_decorator_is_believed_about_what_it_accepts():
    """One that adds an argument would else make every right call wrong."""

    def with_session(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            return function("session", *args, **kwargs)

        return wrapper

    @with_session
    def task(session, user: UUID): ...

    arguments = Arguments(task)
    arguments.check((1,), {})
    assert arguments.convert((str(ID),), {}) == ((str(ID),), {})


# -- convert -----------------------------------------------------------------------------------


def converted(annotation: Any, value: Any) -> Any:
    def task(a): ...

    task.__annotations__["a"] = annotation
    by_position, _ = Arguments(task).convert((value,), {})
    _, by_keyword = Arguments(task).convert((), {"a": value})
    assert by_keyword["a"] == by_position[0]
    return by_position[0]


@pytest.mark.parametrize(
    ("annotation", "value", "result"),
    [
        (datetime, "2026-01-31T12:00:00+00:00", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        (datetime, "2026-01-31 12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        (datetime, 0, datetime(1970, 1, 1, tzinfo=UTC)),
        (date, "2026-01-31", date(2026, 1, 31)),
        (time, "12:30", time(12, 30)),
        (timedelta, 90, timedelta(seconds=90)),
        (timedelta, "PT90S", timedelta(seconds=90)),
        (Decimal, "1.10", Decimal("1.10")),
        (Decimal, 5, Decimal(5)),
        (UUID, str(ID), ID),
        (UserId, str(ID), ID),
        ("UUID", str(ID), ID),
        (Colour, "red", Colour.RED),
        (Right, 3, Right.READ | Right.WRITE),
        (Point, {"x": 1, "when": "2026-01-31"}, Point(1, date(2026, 1, 31))),
        (Point, {"x": "1", "when": date(2026, 1, 31)}, Point(1, date(2026, 1, 31))),
        (Line, {"points": [Point(1), {"x": 2}], "colour": "green"},
         Line([Point(1), Point(2)], Colour.GREEN)),
        (Car, {"plate": "B 1"}, Car("B 1")),
        (Model, {"name": "n"}, Model("n")),
        (Pair, [1, {"x": 2}], Pair(1, Point(2))),
        (list[Point], [{"x": 1}, Point(2)], [Point(1), Point(2)]),
        (list[Right], [Right.READ, 2], [Right.READ, Right.WRITE]),
        (list[Model], [{"name": "n"}], [Model("n")]),
        (Sequence[UUID], [str(ID)], [ID]),
        (Iterable[UUID], (str(ID),), [ID]),
        (dict[str, Point], {"a": {"x": 1}}, {"a": Point(1)}),
        (dict[UUID, int], {str(ID): "left alone"}, {ID: "left alone"}),
        (Mapping[str, list[Decimal]], {"a": ["1"]}, {"a": [Decimal(1)]}),
        (set[UUID], [str(ID)], {ID}),
        (set[int], [1, 1], {1}),
        (frozenset, [1], frozenset({1})),
        (tuple[int, int], [1, 2], (1, 2)),
        (tuple, [1, 2], (1, 2)),
        (tuple[UUID, ...], [str(ID)], (ID,)),
        (tuple[str, UUID], ["a", str(ID)], ("a", ID)),
        (Point | None, {"x": 1}, Point(1)),
        (Optional[Point], None, None),  # noqa: UP045 - people write it so
        (Annotated[Point, "a note"], {"x": 1}, Point(1)),
        (Colour | Point, "red", Colour.RED),
        (Colour | Point, {"x": 1}, Point(1)),
        (list[Point] | Point, {"x": 1}, Point(1)),
        (list[Point] | Point, [{"x": 1}], [Point(1)]),
        (int | Point, {"x": 1}, Point(1)),
    ],
)  # fmt: skip
def test_annotated_values_become_what_they_should_be(annotation, value, result):
    made = converted(annotation, value)
    assert made == result
    assert type(made) is type(result)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (int, "5"), (str, 5), (float, 1), (bool, "yes"), (Any, {"x": 1}), (object, 1), (None, 1),
        (bytes, "text"), (list, (1, 2)), (dict, [1]), (list[int], ["a"]),
        (dict[str, int], {"a": "b"}),
        (Plain, {"x": 1}), (list[Plain], [1]), (Row, {"a": "b"}), (Callable[[], int], 1),
        (Literal["a"], "b"), (type[Plain], "Plain"), (int | None, "5"), (typing.TypeVar("T"), 1),
        ("OnlyForTypeCheckers", {"x": 1}), ("not ( valid", 1), ("list[OnlyForTypeCheckers]", [1]),
        (str | UUID, str(ID)), (UUID | str, str(ID)), (datetime | int, 5), (float | Decimal, 5),
        (Point | str, "a"), (Point | Row, {"b": 1}), (Point | Any, 5), (Point | Line, {"x": 1}),
        (list[Point], "not a list"), (dict[str, Point], [1]), (tuple[UUID, ...], "text"),
        (Point, Point3(1)), (list[Point], [Point3(1)]),
        (date, datetime(2026, 1, 1, tzinfo=UTC)),
        (Colour, Colour.RED), (Right, Right.READ | Right.WRITE), (Model, Model("n")),
        (Car, Car("p")),
        (Pair, Pair(1, Point(2))), (datetime, datetime(2026, 1, 1, tzinfo=UTC)),
        (Point | None, None),
        (set[UUID], {ID}), (tuple[int, ...], (1, 2)),
    ],
)  # fmt: skip
def test_what_fits_or_is_none_of_our_business_is_left_alone(annotation, value):
    made = converted(annotation, value)
    assert made == value
    assert type(made) is type(value)


@pytest.mark.parametrize(
    ("annotation", "value", "says"),
    [
        (datetime, "tomorrow", r"argument 'a' must be datetime.datetime, and this str cannot be"),
        (UUID, "x", "argument 'a' must be uuid.UUID, and this str .*Invalid UUID"),
        (Decimal, "x", "must be decimal.Decimal"),
        (Decimal, [1], "must be decimal.Decimal, and this list"),
        (Colour, "blue", "'blue' is not a valid Colour"),
        (Point, {"when": None}, "this dict cannot be converted to it: .*required field `x`"),
        (Point, 5, "Point, and this int cannot be converted"),
        (Line, {"points": [{"x": "y"}]}, r"\$\.points\[0\]\.x"),
        (Model, {}, "name is missing"),
        (list[UUID], [str(ID), "x"], "must be list.uuid.UUID., and this list"),
        (set[UUID], [[1]], "must be set"),
        (Point | None, 5, "and this int"),
        ("Point | None", 5, r"must be Point \| None, and this int"),
        (Point | list[Point], 5, "and this int"),
    ],
)
def test_what_cannot_be_converted_is_refused_with_name_and_types(annotation, value, says):
    with pytest.raises(TypeError, match=says) as info:
        converted(annotation, value)
    assert "task() argument 'a'" in str(info.value)


def test_none_is_a_default_that_may_be_passed():
    def task(when: datetime = None): ...  # noqa: RUF013 - people write it so

    assert Arguments(task).convert((None,), {}) == ((None,), {})


def test_every_kind_of_parameter_is_converted():
    def task(self, a: UUID, /, b: UUID, *rest: UUID, c: UUID, **more: UUID): ...

    text = str(ID)
    args, kwargs = Arguments(task, skip_first=True).convert(
        [text, text, text], {"c": text, "d": text, "a": text}
    )
    # What *rest and **more collect is left alone, even under the name of a position-only parameter.
    assert args == (ID, ID, text)
    assert kwargs == {"c": ID, "d": text, "a": text}


def test_conversion_changes_nothing_in_place():
    def task(a: list[Point], b: Point): ...

    args, kwargs = ([{"x": 1}],), {"b": {"x": 2}}
    assert Arguments(task).convert(args, kwargs) == (([Point(1)],), {"b": Point(2)})
    assert args == ([{"x": 1}],)
    assert kwargs == {"b": {"x": 2}}


def test_nothing_is_copied_when_nothing_needs_converting():
    def task(a: int, b: str = ""): ...

    args, kwargs = (1,), {"b": "x"}
    made = Arguments(task).convert(args, kwargs)
    assert made[0] is args
    assert made[1] is kwargs


def test_an_annotation_may_name_what_is_defined_later():
    def task(a: Later): ...  # noqa: F821 - that is the point

    arguments = Arguments(task)
    globals()["Later"] = dataclasses.make_dataclass("Later", [("x", int)])
    try:
        (made,), _ = arguments.convert(({"x": 1},), {})
        assert made.x == 1
    finally:
        del globals()["Later"]
