"""Values on the wire: what comes back, what is refused and with which words, what reading dares."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import io
import json
import math
import random
import sys
import threading
import types
import uuid
from collections import Counter, OrderedDict, defaultdict, deque
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import ClassVar, NamedTuple

import msgspec
import pytest

from celeriac import serialization
from celeriac.exceptions import (
    ContentDisallowed,
    DecodeError,
    EncodeError,
    ImproperlyConfigured,
    NotInThisVersion,
)
from celeriac.serialization import content_type, decode, encode, name_of, register_type

NAIVE = datetime(2026, 1, 31, 12, 0, 0, 5)  # noqa: DTZ001 - naive ones travel, too
MIDNIGHT = datetime(2026, 1, 1, tzinfo=UTC)

both = pytest.mark.parametrize("serializer", ["json", "msgpack"])


class Colour(enum.Enum):
    RED = "red"
    ODD = (1, 2)


class Level(enum.IntEnum):
    LOW = 1


class Mode(enum.StrEnum):
    FAST = "fast"


class Right(enum.Flag):
    READ = 1
    WRITE = 2


class Asking(enum.Flag):
    A = 1
    B = 2

    @classmethod
    def _missing_(cls, value):
        Asking.asked.append(value)
        return cls.A if value == 64 else super()._missing_(value)


Asking.asked = []


@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    y: tuple[int, ...] = ()


@dataclasses.dataclass
class Order:
    where: Point
    prices: dict[int, Decimal]
    colour: Colour = Colour.RED
    total: int = dataclasses.field(init=False, default=0)


@dataclasses.dataclass
class Loud:
    x: int

    def __post_init__(self):
        raise AssertionError("reading ran a constructor")


class Plain(msgspec.Struct, frozen=True):
    a: int
    b: list[int] = []


class Hooked(msgspec.Struct):
    a: int
    made = 0

    def __post_init__(self):
        Hooked.made += 1


class Model:
    """The shape of a pydantic model, as far as serialization looks at it."""

    model_fields: ClassVar = {"name": types.SimpleNamespace(alias="theName"), "at": object()}

    def __init__(self, name, at):
        self.name, self.at = name, at

    @classmethod
    def model_construct(cls, **values):
        made = object.__new__(cls)
        made.name, made.at = values["theName"], values["at"]
        return made

    def __eq__(self, other):
        return (self.name, self.at) == (other.name, other.at)

    __hash__ = None

    def __repr__(self):
        return f"Model({self.name!r}, {self.at!r})"


class Pair(NamedTuple):
    a: int
    b: int


def round_trip(serializer, value):
    return decode(serializer, encode(serializer, value))


# -- what comes back ---------------------------------------------------------------------------


@both
@pytest.mark.parametrize(
    "value",
    [
        None, True, 0, -1, 1.5, -0.0, 5e-324, "", "ünï\0code\n", [], {}, [1, [2, {"a": None}]],
        2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**400, 10**4300 - 1, -(10**4298),
        NAIVE, datetime(2026, 1, 31, tzinfo=UTC),
        datetime(2026, 1, 31, tzinfo=timezone(timedelta(hours=-5, minutes=-30))),
        date(2026, 1, 31), time(1, 2, 3, 4), time(1, 2, tzinfo=UTC),
        timedelta(days=-1, microseconds=1), timedelta.max, timedelta.min,
        Decimal("1.10"), Decimal("-0"), Decimal("1E+400"), Decimal("Infinity"),
        uuid.UUID(int=5), uuid.uuid4(), uuid.uuid1(),
        b"", b"text", b"\xff\x00", b"__type__",
        set(), {1, "a", None}, frozenset({1}), {(1, (2, "x"))}, {frozenset({1}), frozenset()},
        Colour.RED, Colour.ODD, Level.LOW, Mode.FAST, Right.READ, Right(3), Right(0),
        {Colour.RED}, Point(1), Point(1, (2, 3)), {Point(1, (2,))},
        Order(Point(1), {1: Decimal("1.5"), 2: Decimal(0)}, Colour.ODD),
        Plain(1, [2]), Model("n", date(2026, 1, 1)), [Model("n", {1})],
        {"__type__": "date"}, {"__type__": "date", "__value__": "2026-01-01"},
        {"__type__": {"__type__": {1}, "__value__": 2}, "__value__": [{"__type__": 1}]},
        {"__value__": 1}, ["__type__", "__value__"], {"a": {"__type__": "dict", "__value__": []}},
    ],
    ids=lambda value: str(type(value).__name__),
)  # fmt: skip
def test_values_come_back_as_what_they_were(serializer, value):
    for shape in (value, [value], {"k": [value]}):
        back = round_trip(serializer, shape)
        assert back == shape
        assert type(back) is type(shape)
        # Equal is not enough: StrEnum equals its text, True equals 1.
        assert repr(round_trip(serializer, [value])) == repr([value]) or isinstance(
            value, set | frozenset
        )


@both
@pytest.mark.parametrize(
    ("value", "back"),
    [
        ((1, (2,)), [1, [2]]),
        (
            {7: "a", None: "b", True: "c", 2.5: "d"},
            {"7": "a", "null": "b", "true": "c", "2.5": "d"},
        ),
        ({Mode.FAST: 1, Level.LOW: 2}, {"fast": 1, "1": 2}),
        (Pair(1, 2), [1, 2]),
        (OrderedDict(a=1), {"a": 1}),
        (defaultdict(list, a=[1]), {"a": [1]}),
        (Counter("aab"), {"a": 2, "b": 1}),
        (bytearray(b"ab\xff"), b"ab\xff"),
        (memoryview(b"ab"), b"ab"),
        (type("Text", (str,), {})("x"), "x"),
        (type("Number", (int,), {})(7), 7),
        (type("Real", (float,), {})(7.5), 7.5),
        (type("Moment", (datetime,), {})(2026, 1, 1, tzinfo=UTC), MIDNIGHT),
    ],
)
def test_what_comes_back_plainer_as_in_celery(serializer, value, back):
    assert round_trip(serializer, value) == back


@pytest.mark.parametrize(
    ("value", "tagged"),
    [
        (datetime(2026, 1, 31, tzinfo=UTC), ("datetime", "2026-01-31T00:00:00+00:00")),
        (date(2026, 1, 31), ("date", "2026-01-31")),
        (time(1, 2), ("time", "01:02:00")),
        (Decimal("1.10"), ("decimal", "1.10")),
        (uuid.UUID(int=0), ("uuid", {"hex": "0" * 32, "version": None})),
        (b"text", ("bytes", "text")),
        (b"\xff", ("base64", "/w==")),
        (timedelta(1, 2, 3), ("timedelta", [1, 2, 3])),
        ({1}, ("set", [1])),
        (Right.WRITE, ("enum", {"class": f"{__name__}:Right", "name": "WRITE", "value": 2})),
        (Point(1), ("dataclass", {"class": f"{__name__}:Point", "fields": {
            "x": 1, "y": {"__type__": "tuple", "__value__": []}}})),
        ({"__type__": 1}, ("dict", [["__type__", 1]])),
    ],
)  # fmt: skip
def test_tags_on_the_wire(value, tagged):
    """The wire format: what is queued today must be read by tomorrow's version."""
    tag, plain = tagged
    assert json.loads(encode("json", value)) == {"__type__": tag, "__value__": plain}


def test_what_celery_wrote_is_read():
    text = (
        b'[{"__type__": "date", "__value__": "2026-01-31T00:00:00"},'
        b'{"__type__": "uuid", "__value__": {"hex": "00000000000040008000000000000000",'
        b' "version": 4}}, {"__type__": "bytes", "__value__": "x"},'
        b'{"__type__": "decimal", "__value__": "1.5"}, {"__type__": "mine", "more": 1}]'
    )
    assert decode("application/json", text) == [
        date(2026, 1, 31),
        uuid.UUID("00000000-0000-4000-8000-000000000000"),
        b"x",
        Decimal("1.5"),
        {"__type__": "mine", "more": 1},
    ]


def test_plain_json_is_plain():
    assert encode("json", (["a", 1], {"b": None})) == b'[["a",1],{"b":null}]'


def test_msgpack_keeps_what_json_cannot():
    nan, inf = round_trip("msgpack", [float("nan"), float("-inf")])
    assert math.isnan(nan)
    assert inf == float("-inf")
    assert b"\xff\x00" in encode("msgpack", b"\xff\x00")


def test_an_object_may_say_what_it_is_on_the_wire():
    class Car:
        def __json__(self):
            return {"plate": "B 1", "since": date(2026, 1, 1)}

    assert round_trip("json", [Car()]) == [{"plate": "B 1", "since": date(2026, 1, 1)}]


def test_lazy_text_of_django_travels_as_text():
    promise = type("Promise", (), {"__module__": "django.utils.functional"})
    lazy = type("Lazy", (promise,), {"__str__": lambda self: "Guten Tag"})
    assert round_trip("json", [lazy()]) == ["Guten Tag"]


def test_unset_attributes_stay_unset():
    @dataclasses.dataclass(slots=True)
    class Slotted:
        a: int
        b: int = dataclasses.field(init=False)

    register_type(Slotted, "test.Slotted")
    back = round_trip("json", Slotted(1))
    assert back.a == 1
    assert not hasattr(back, "b")


# -- what cannot be sent -----------------------------------------------------------------------


def recursive_list():
    value = [1]
    value.append({"again": value})
    return value


def nested(levels):
    value = []
    for _ in range(levels - 1):
        value = [value]
    return value


async def coroutine():
    pass


@both
@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: (lambda: 1), "functions and classes do not travel"),
        (lambda: int, "functions and classes do not travel"),
        (lambda: print, "functions and classes do not travel"),
        (lambda: (item for item in ()), r"pass list\(value\)"),
        (lambda: deque([1]), r"pass list\(value\)"),
        (lambda: range(3), r"pass list\(value\)"),
        (lambda: {}.keys(), r"pass list\(value\)"),  # noqa: PLW0108
        (lambda: types.MappingProxyType({}), r"pass dict\(value\)"),
        (threading.Lock, "of type _thread.lock.*make it inside the task"),
        (lambda: io.BytesIO(b"x"), "open it inside the task"),
        (object, "pass its primary key"),
        (lambda: 1j, r"value\.real, value\.imag"),
        (lambda: ValueError("x"), r"pass str\(value\)"),
        (lambda: Path("x"), r"pass str\(value\)"),
        (asyncio.Lock, "make it inside the task"),
        (lambda: type("User", (), {"_meta": 1})(), r"primary key \(value\.pk\)"),  # noqa: PLW0108
        (lambda: type("Row", (), {"__mapper__": 1})(), "primary key"),  # noqa: PLW0108
        (lambda: "a\ud800", "lone surrogate"),
        (lambda: {"\ud800": 1}, "lone surrogate"),
        (lambda: 10**4300, "more than 4,300 digits"),
        (lambda: -(10**9000), "more than 4,300 digits"),
        (lambda: {(1, 2): 3}, r"key <tuple> of type tuple, and keys are text"),
        (lambda: {date(2026, 1, 1): 3}, r"key <datetime.date> of type datetime.date"),
        (lambda: {1: "a", "1": "b"}, "another one that is the same as text"),
        (recursive_list, r"contains itself: it is the same object as args\[1\]\['user'\]"),
        (lambda: nested(1000), "deeper than the 64 levels"),
    ],
)  # fmt: skip
def test_the_zoo(serializer, make, says):
    animal = make()
    for args in ((0, {"user": animal}), (0, {"user": animal, "since": date(2026, 1, 1)})):
        with pytest.raises(EncodeError, match=says) as info:
            encode(serializer, (args, {}), ("args", "kwargs"))
        assert info.value.path.startswith("args[1]['user']")
        assert str(info.value).startswith(info.value.path)


def test_a_coroutine_says_await():
    animal = coroutine()
    with pytest.raises(EncodeError, match="await it first"):
        encode("json", [animal])
    animal.close()


def test_an_open_file(tmp_path):
    with (tmp_path / "f").open("w") as file, pytest.raises(EncodeError, match="pass its path"):
        encode("json", [file])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_json_has_no_nan(value):
    with pytest.raises(EncodeError, match="pass None instead, or use the serializer") as info:
        encode("json", {"a": [1.0, value]}, "result")
    assert info.value.path == "result['a'][1]"


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (lambda bad: [[1, bad]], "value[0][1]"),
        (lambda bad: {"a": {"it's": bad}}, """value['a']["it's"]"""),
        (lambda bad: {5: bad}, "value[5]"),
        (lambda bad: Order(Point(bad), {}), "value.where.x"),
        (lambda bad: [Plain(1, [bad])], "value[0].b[0]"),
        (lambda bad: {"k" * 100: bad}, "value['" + "k" * 56 + "…]"),
        (lambda bad: [{bad}], "value[0]{…}"),
        (lambda bad: {"__type__": bad}, "value['__type__']"),
        (lambda bad: [[bad, date(2026, 1, 1)]], "value[0][0]"),
        (lambda bad: bad, "value"),
    ],
)
def test_paths(value, path):
    with pytest.raises(EncodeError) as info:
        encode("json", value(object()))
    assert info.value.path == path


def test_errors_do_not_show_values_or_run_their_code():
    class Secret:
        def __repr__(self):
            raise AssertionError("the error asked the value")

        def __getattr__(self, name):
            raise AssertionError("the error asked the value")

    with pytest.raises(EncodeError, match=r"Secret, which json cannot hold"):
        encode("json", ["password", Secret()])


def test_the_same_list_twice_is_no_recursion():
    shared = [{1}]
    assert round_trip("json", [shared, shared]) == [shared, shared]


def test_an_object_that_answers_with_new_objects_for_ever():
    class Endless:
        def __json__(self):
            return Endless()

    with pytest.raises(EncodeError, match="deeper than the 64"):
        encode("json", Endless())


@both
def test_the_depth_allowed_is_the_same_both_ways(serializer):
    assert round_trip(serializer, nested(64)) == nested(64)
    with pytest.raises(EncodeError, match="64 levels"):
        encode(serializer, nested(65))
    for value in (lambda inner: {1: inner}, lambda inner: Point(inner), lambda inner: {"a": inner}):  # noqa: PLW0108
        written = None
        for levels in range(1, 80):
            shape = date(2026, 1, 1)
            for _ in range(levels):
                shape = value(shape)
            try:
                written = encode(serializer, shape)
            except EncodeError:
                break
            decode(serializer, written)  # What could be written can be read.
        else:
            pytest.fail("no limit was met")
        assert written is not None


# -- reading -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"nul", b"NaN", b"[Infinity]", b"1e999", b"1 2", b"\xff", b'"\xff"',
        b'"\\ud800"',
        b"[1,]", b"'a'", b"9" * 5000, b"[" * 100_000, b"[" * 65 + b"]" * 65,
        b'{"a":' * 65 + b"1" + b"}" * 65, b"\x80\x04K\x01.",
        b'{"__type__":"nobody","__value__":1}', b'{"__type__":["date"],"__value__":1}',
        b'{"__type__":"date","__value__":1}', b'{"__type__":"date","__value__":"tomorrow"}',
        b'{"__type__":"datetime","__value__":null}', b'{"__type__":"time","__value__":"25:00"}',
        b'{"__type__":"timedelta","__value__":[1]}', b'{"__type__":"timedelta","__value__":"abc"}',
        b'{"__type__":"timedelta","__value__":[1e300,0,0]}', b'{"__type__":"int","__value__":"1x"}',
        b'{"__type__":"decimal","__value__":"x"}', b'{"__type__":"decimal","__value__":[0,[1],2]}',
        b'{"__type__":"uuid","__value__":{}}', b'{"__type__":"uuid","__value__":"abc"}',
        b'{"__type__":"uuid","__value__":{"hex":5}}', b'{"__type__":"base64","__value__":"*"}',
        b'{"__type__":"set","__value__":1}', b'{"__type__":"tuple","__value__":{"a":1}}',
        b'{"__type__":"dict","__value__":[[[],1]]}', b'{"__type__":"dict","__value__":[1]}',
        b'{"__type__":"dict","__value__":{}}', b'{"__type__":"enum","__value__":1}',
        b'{"__type__":"enum","__value__":{"class":1,"value":1}}',
        b'{"__type__":"dataclass","__value__":{"class":"a:b","fields":[]}}',
        b'{"__type__":"dataclass","__value__":{"fields":{}}}',
    ],
    ids=lambda data: repr(data[:40]),
)  # fmt: skip
def test_garbage_is_a_decode_error(data):
    with pytest.raises(DecodeError):
        decode("json", data)


@pytest.mark.parametrize(
    "data",
    [b"", b"\xc1", b"\x91" * 100_000, b"\x91" * 65 + b"\xc0", b"\x81\xa1a" * 65 + b"\xc0",
     b"\xd4\x05a", b"\xa1\xff", b"\xdd\xff\xff\xff\xff", b"\x81\x80\x02", b"\xc0\xc0",
     b"\xc7\x0c\xff" + b"\xff" * 12],
)  # fmt: skip
def test_garbage_is_a_decode_error_in_msgpack(data):
    with pytest.raises(DecodeError):
        decode("msgpack", data)


def test_size_is_bounded():
    with pytest.raises(DecodeError, match="11 bytes of json are refused: 10 are allowed"):
        decode("json", b'"123456789"', max_bytes=10)
    assert decode("json", b'"12345678"', max_bytes=10) == "12345678"


def test_a_long_shallow_value_is_not_deep():
    value = [{"a": [i]} for i in range(1000)]
    assert round_trip("json", value) == value
    assert round_trip("msgpack", value) == value


def test_reading_imports_nothing():
    unloaded = "this.that"
    for name in ("antigravity:x", "antigravity:Fly", f"{unloaded}:C", ":x", "", "os:system"):
        text = json.dumps(
            {"__type__": "dataclass", "__value__": {"class": name, "fields": {"a": 1}}}
        )
        assert decode("json", text.encode()) == {"a": 1}
        text = json.dumps(
            {"__type__": "enum", "__value__": {"class": name, "name": "A", "value": 1}}
        )
        assert decode("json", text.encode()) == 1
    assert "antigravity" not in sys.modules


def test_reading_does_not_wake_a_lazy_module():
    module = types.ModuleType("lazy_module_of_test")
    module.__getattr__ = lambda name: pytest.fail("reading ran code of a module")
    sys.modules[module.__name__] = module
    try:
        text = json.dumps({"__type__": "enum", "__value__": {
            "class": "lazy_module_of_test:Heavy", "name": "A", "value": 1}})  # fmt: skip
        assert decode("json", text.encode()) == 1
    finally:
        del sys.modules[module.__name__]


def test_a_name_must_be_the_class_s_own():
    """An alias, a base class seen through a subclass or a class of another kind is not taken."""
    for name in (f"{__name__}:Colour", f"{__name__}:uuid", f"{__name__}:msgspec.Struct"):
        text = json.dumps({"__type__": "dataclass", "__value__": {"class": name, "fields": {}}})
        assert decode("json", text.encode()) == {}


def test_reading_runs_no_constructor():
    loud = object.__new__(Loud)
    loud.x = 1
    assert round_trip("json", loud) == loud


def test_a_struct_with_a_hook_is_rebuilt_only_if_registered():
    before = Hooked.made
    written = encode("json", Hooked(1))
    assert decode("json", written) == {"a": 1}
    assert Hooked.made == before + 1  # by this test, not by reading
    register_type(Hooked)
    assert decode("json", written) == Hooked(1)


def test_what_a_flag_makes_of_other_values_is_not_asked_unless_it_is_registered():
    written = encode("json", Asking(3))
    plain = json.loads(written)
    plain["__value__"].update(name="A|X", value=64)
    Asking.asked.clear()
    assert decode("json", json.dumps(plain).encode()) == 64
    assert Asking.asked == []
    register_type(Asking)
    assert decode("json", json.dumps(plain).encode()) is Asking.A
    assert decode("json", written) is Asking(3)


def test_local_classes_come_back_plain():
    @dataclasses.dataclass(frozen=True)
    class Local:
        a: int

    Shade = enum.Enum("Shade", {"DARK": 3}, module="nowhere", qualname="Shade")
    assert round_trip("json", [Local(1), Shade.DARK]) == [{"a": 1}, 3]
    assert round_trip("json", {Local(1)}) == [{"a": 1}]  # a dictionary fits in no set


def test_the_two_sides_of_a_rolling_update():
    def written(**fields):
        value = {"class": f"{__name__}:Point", "fields": fields}
        return json.dumps({"__type__": "dataclass", "__value__": value}).encode()

    assert decode("json", written(x=1)) == Point(1)
    assert decode("json", written(x=1, y=[], z=3)) == Point(1, [])
    with pytest.raises(DecodeError, match="'x' of Point is missing"):
        decode("json", written(y=[]))
    gone = {"class": f"{__name__}:Colour", "name": "BLUE", "value": "blue"}
    with pytest.raises(DecodeError, match="no member 'BLUE' here"):
        decode("json", json.dumps({"__type__": "enum", "__value__": gone}).encode())


@both
def test_bytes_at_random_never_do_more_than_fail(serializer):
    chance = random.Random(7)
    seeds = [
        encode(serializer, value)
        for value in (
            [1, "a", None, {"b": 1.5}],
            {date(2026, 1, 1), Colour.RED},
            Order(Point(1), {}),
        )
    ]
    read = 0
    for _ in range(3000):
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            decode(serializer, bytes(data))
            read += 1
        except DecodeError:
            pass
    assert read


# -- names -------------------------------------------------------------------------------------


def test_content_types():
    assert content_type("json") == "application/json"
    assert content_type("msgpack") == "application/x-msgpack"
    assert name_of("application/json; charset=utf-8") == "json"
    assert name_of("application/x-msgpack") == name_of("msgpack") == "msgpack"


@pytest.mark.parametrize("accept", [("json",), ["application/json"], {"json", "msgpack"}])
@pytest.mark.parametrize("given", ["json", "application/json"])
def test_accepted_by_name_or_content_type(accept, given):
    assert decode(given, b"[1]", accept) == [1]


def test_what_is_not_accepted_is_refused_before_it_is_read():
    with pytest.raises(ContentDisallowed, match=r"'msgpack' is refused; accepted here: json\."):
        decode("application/x-msgpack", b"\xc1", ["json"])
    with pytest.raises(ContentDisallowed, match="accepted here: nothing"):
        decode("json", b"1", ())
    with pytest.raises(ContentDisallowed, match="text/plain"):
        decode("text/plain", b"1")


@pytest.mark.parametrize("name", ["pickle", "application/x-python-serialize"])
def test_pickle_is_refused_by_name(name):
    with pytest.raises(NotInThisVersion, match=r"'pickle' is not in this version.*never on by def"):
        encode(name, 1)
    with pytest.raises(ContentDisallowed, match="never on by default"):
        decode(name, b"\x80\x04K\x01.", accept=["pickle", "json"])


def test_yaml_and_the_unknown_are_refused():
    with pytest.raises(NotInThisVersion, match="'yaml' is not in this version"):
        encode("yaml", 1)
    with pytest.raises(ImproperlyConfigured, match=r"no serializer 'jason'.*json and msgpack"):
        encode("jason", 1)
    with pytest.raises(ImproperlyConfigured, match="no serializer 'jason'"):
        content_type("jason")


# -- registering -------------------------------------------------------------------------------


class Money:
    def __init__(self, cents):
        self.cents = cents


def test_a_registered_class_travels():
    with pytest.raises(EncodeError, match="register_type"):
        encode("json", Money(5))
    register_type(Money, "money", lambda money: {"cents": Decimal(money.cents)},
                  lambda plain: Money(int(plain["cents"])))  # fmt: skip
    assert json.loads(encode("json", Money(5)))["__type__"] == "money"
    assert round_trip("json", [Money(5)])[0].cents == 5
    with pytest.raises(DecodeError, match="registered decoder of 'money' failed: KeyError"):
        decode("json", b'{"__type__":"money","__value__":{}}')


def test_a_class_of_main_is_known_by_a_name_given_to_it():
    Size = enum.Enum("Size", {"BIG": 1}, module="__main__", qualname="Size")
    register_type(Size, "shop:Size")
    assert round_trip("json", Size.BIG) is Size.BIG


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ((object,), "is no Enum, dataclass"),
        ((object, "o", str), "an encoder and a decoder, or neither"),
        ((object, "date", str, str), "belongs to a built-in type"),
    ],
)
def test_what_cannot_be_registered(given, says):
    with pytest.raises(ValueError, match=says):
        register_type(*given)


def test_the_built_in_tags_are_those_that_are_read():
    assert set(serialization.revive.__globals__["_REVIVERS"]) == serialization.classes.TAGS
