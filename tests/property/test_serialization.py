"""Any tree of the types that travel comes back as it was, through both serializers."""

from __future__ import annotations

import dataclasses
import enum
import json
from datetime import timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.exceptions import DecodeError, EncodeError
from celeriac.serialization import decode, encode
from celeriac.serialization.classes import TAGS


class Suit(enum.Enum):
    HEARTS = "h"
    SPADES = ("s", 1)


class Bit(enum.IntFlag):
    A = 1
    B = 2


@dataclasses.dataclass(frozen=True)
class Card:
    suit: Suit
    extra: Any = None


def without_microseconds(offset: timedelta) -> timedelta:
    return timedelta(seconds=int(offset.total_seconds()))


# What a file name or a form field can bring: everything but lone surrogates.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
plain_leaves = st.none() | st.booleans() | numbers | texts
offsets = st.builds(
    timezone, st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(without_microseconds)
)
hashable_leaves = (
    plain_leaves
    | st.binary(max_size=20)
    | st.datetimes()
    | st.datetimes(timezones=offsets)
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.sampled_from([*Suit, Bit.A, Bit.B, Bit.A | Bit.B, Bit(0)])
    | st.sampled_from(["__type__", "__value__", '"__type__"'])
)
keys = texts | st.sampled_from(["__type__", "__value__", "class", "fields"])
# Inside a set everything is kept: tuples, and tuples in tuples.
hashables = st.recursive(
    hashable_leaves,
    lambda inner: (
        st.tuples(inner, inner)
        | st.frozensets(inner, max_size=3)
        | st.builds(Card, st.sampled_from(Suit), inner)
    ),
    max_leaves=5,
)
trees = st.recursive(
    hashable_leaves | st.sets(hashables, max_size=3) | st.frozensets(hashables, max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(keys, inner, max_size=4)
        | st.builds(
            Card, st.sampled_from(Suit), inner | st.dictionaries(hashables, inner, max_size=2)
        )
    ),
    max_leaves=20,
)
untagged = texts.filter(lambda key: key != "__type__")
plain_trees = st.recursive(
    plain_leaves,
    lambda inner: st.lists(inner, max_size=12) | st.dictionaries(untagged, inner, max_size=4),
    max_leaves=30,
)
serializers = st.sampled_from(["json", "msgpack"])


def same(left: Any, right: Any) -> bool:
    """Equal, and of the same types all the way down: 1, 1.0, True and an Enum of 1 differ."""
    if type(left) is not type(right) or left != right:
        return False
    if isinstance(left, list | tuple):
        return all(map(same, left, right))
    if isinstance(left, dict):
        return all(same(left[key], right[key]) for key in left)
    if isinstance(left, Card):
        return same(left.extra, right.extra)
    return True


@given(serializers, trees)
def test_rich_trees_come_back(serializer, tree):
    assert same(decode(serializer, encode(serializer, tree)), tree)


@given(serializers, st.lists(trees, max_size=3), st.dictionaries(texts, trees, max_size=3))
def test_calls_come_back(serializer, args, kwargs):
    data = encode(serializer, (tuple(args), kwargs), ("args", "kwargs"))
    assert same(decode(serializer, data), [args, kwargs])


@given(serializers, st.datetimes(timezones=st.timezones()))
def test_moments_in_named_zones_keep_time_and_offset(serializer, moment):
    """The zone's name is lost, as in Celery.

    Compared as text, because a moment in the hour that a clock change repeats equals no moment of
    another zone (PEP 495).
    """
    assert decode(serializer, encode(serializer, moment)).isoformat() == moment.isoformat()


@given(plain_trees)
def test_plain_json_is_just_json(tree):
    """Any other program reads it with its own JSON parser."""
    assert same(json.loads(encode("json", tree)), tree)


@given(
    serializers, trees, st.lists(st.sampled_from(["list", "dict", "card", "tuple"]), max_size=70)
)
def test_what_could_be_written_can_be_read(serializer, tree, shells):
    wrap = {
        "list": lambda inner: [inner],
        "dict": lambda inner: {"k": inner},
        "card": lambda inner: Card(Suit.HEARTS, inner),
        "tuple": lambda inner: (inner,),
    }
    for shell in shells:
        tree = wrap[shell](tree)
    try:
        data = encode(serializer, tree)
    except EncodeError as error:
        assert "deeper than the 64 levels" in str(error)  # noqa: PT017 - most trees are written
    else:
        decode(serializer, data)


json_documents = st.recursive(
    plain_leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(keys, inner, max_size=4)
        | st.fixed_dictionaries({
            "__type__": st.sampled_from([*sorted(TAGS), "nobody"]) | inner,
            "__value__": inner | st.fixed_dictionaries({
                "class": st.just(f"{__name__}:Card") | st.just(f"{__name__}:Suit") | texts,
                "name": texts, "value": inner, "hex": texts,
                "fields": st.dictionaries(st.sampled_from(["suit", "extra", "other"]), inner),
            }),
        })
    ),
    max_leaves=20,
)  # fmt: skip


@given(json_documents)
def test_tags_made_up_by_anybody_are_read_or_refused(document):
    """Nothing but DecodeError ever comes out of reading."""
    try:
        decode("json", json.dumps(document).encode())
    except DecodeError:
        return


@given(serializers, st.binary(max_size=200))
def test_noise_is_read_or_refused(serializer, data):
    try:
        decode(serializer, data)
    except DecodeError:
        return


def test_same_tells_what_equality_does_not():
    assert same([1, {"a": (2,)}], [1, {"a": (2,)}])
    for left, right in (([1], [True]), ([1], [1.0]), (Bit.A, 1), (Card(Suit.HEARTS, 1), None)):
        assert not same(left, right)
    assert timedelta(1) == timedelta(hours=24)
    with pytest.raises(DecodeError):
        decode("json", b"{")
