"""Stamped canvases go through JSON as they are, and nothing but their stamps is changed."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inline import make_app

from celeriac import chain, chord, group
from celeriac.canvas import StampingVisitor, maybe_signature
from celeriac.checks import FLOW_OPTIONS, SEND_OPTIONS
from celeriac.exceptions import EncodeError
from celeriac.stamps import NAMES, checked_stamps, names_of, values_of
from celeriac.workflow import plan

APP = make_app("stamps")


@APP.task(name="name")
def name(*values):
    """A task."""


#: More than 64 bits are refused.
whole = st.integers(-(2**63), 2**64 - 1)
scalars = st.none() | st.booleans() | whole | st.text(max_size=5)
values = scalars | st.lists(scalars, max_size=3) | st.frozensets(st.text(max_size=3), max_size=3)
names = st.text("abc", min_size=1, max_size=2).filter(
    lambda each: each not in SEND_OPTIONS | FLOW_OPTIONS
)
headers = st.dictionaries(names, values, max_size=3)

leaves = st.integers().map(name.s) | st.just(1).map(lambda _: name.map([1, 2]))


def linked(both):
    sig, callback = both
    sig.link(callback)
    return sig


def wider(inner):
    members = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        members.map(chain),
        members.map(group),
        st.tuples(members, inner).map(lambda both: chord(*both)),
        st.tuples(st.integers().map(name.s), inner).map(linked),
        st.just(2).map(lambda count: name.chunks([(1,), (2,), (3,)], count)),
    )


canvases = st.recursive(leaves, wider, max_leaves=8)


class Saying(StampingVisitor):
    """Says the next of *headers* to whoever asks."""

    def __init__(self, headers):
        self.headers = headers
        self.asked = 0

    def next(self):
        self.asked += 1
        return self.headers[self.asked % len(self.headers)] if self.headers else None

    def on_signature(self, sig, **headers):
        return self.next()

    def on_group_start(self, group, **headers):
        return self.next()

    def on_chain_start(self, chain, **headers):
        return self.next()

    def on_callback(self, callback, **header):
        return self.next()


def unstamped(value):
    """*value*, a signature as plain data, without its stamps."""
    if isinstance(value, list):
        return [unstamped(each) for each in value]
    if not isinstance(value, dict):
        return value
    dropped = {NAMES, *names_of(value)}
    return {key: unstamped(each) for key, each in value.items() if key not in dropped}


@given(canvases, st.lists(headers, max_size=4), headers, st.booleans())
def test_stamped_canvases_go_through_json(canvas, said, more, append):
    before = json.loads(json.dumps(canvas))
    canvas.stamp(Saying(said), append, **more)
    data = json.loads(json.dumps(canvas))
    assert unstamped(data) == before
    back = maybe_signature(data, APP)
    assert json.loads(json.dumps(back)) == data
    planned, again = plan(canvas), plan(back)
    stamps = [
        [checked_stamps(part.call.options) for part in each.parts.values() if part.call]
        for each in (planned, again)
    ]
    assert stamps[0] == stamps[1]
    for each in stamps[0]:
        assert set(more) <= set(each), "what is given holds for all"
        assert all(values_of(found) == found for found in each.values()), "none is there twice"


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1])
def test_what_could_not_be_read_back_is_no_stamp(number):
    with pytest.raises(EncodeError, match="the stamp 'a' is a whole number of more than 64 bits"):
        name.s(1).stamp(a=number)
