"""Every decoder, with what it reads damaged in every way: it reads it, or refuses it as documented.

No other error comes out, nothing takes long, nothing is imported because somebody wrote it, and
nothing is run, connected to or written (``support/harm.py``).
"""

import logging
import sys
import time

import harm
import pytest
from baits import MODULES
from damage import BOMBS, cut, damaged, flipped, grown
from decoders import DECODERS
from hypothesis import given, settings
from hypothesis import strategies as st

#: Seconds of the processor that one input may take; all take less than a thousandth.
LONG = 2.0
#: Bytes of a seed of which each bit is turned.
SMALL = 1500


def tried(decoder, data):
    """Give *data* to *decoder*; whether it was read."""
    began = time.thread_time()
    try:
        with harm.watched():
            decoder.read(data)
        refused = None
    except decoder.errors as error:
        refused = error
    took = time.thread_time() - began
    assert took < LONG, f"{took:.1f} s for {len(data)} bytes"
    assert len(str(refused)) < 20_000 + len(data)
    return refused is None


@pytest.fixture(params=DECODERS, ids=str, scope="module")
def decoder(request):
    chosen = request.param
    logging.disable()  # what is refused is told, which takes longer than to refuse it
    for seed in chosen.seeds:
        assert tried(chosen, seed), f"{chosen}: a seed is not read"
    before = set(sys.modules)
    yield chosen
    logging.disable(logging.NOTSET)
    late = {name for name in set(sys.modules) - before if not is_ours_or_pythons(name)}
    assert late == set(), "imported while reading"
    assert not MODULES & sys.modules.keys(), "imported because the bytes name it"


def is_ours_or_pythons(name):
    """Parts that are loaded when they are first needed, for errors and other compressions."""
    top = name.partition(".")[0]
    return top in {"celeriac", "zstandard", "hypothesis"} or top in sys.stdlib_module_names


def test_each_bit_turned_and_each_byte_left_out(decoder):
    small = [seed for seed in decoder.seeds if len(seed) <= SMALL]
    assert small, "each decoder has a seed of which this is tried"
    for seed in small:
        for data in (*flipped(seed, decoder.bits), *cut(seed)):
            assert not (tried(decoder, data) and decoder.forged(data))


def test_pieces_that_break_formats(decoder):
    for seed in decoder.seeds:
        for data in grown(seed):
            assert not (tried(decoder, data) and decoder.forged(data))


def test_bombs(decoder):
    seed = decoder.seeds[0]
    for data in BOMBS.values():
        tried(decoder, data)
        tried(decoder, seed[: len(seed) // 2] + data)


def test_damage_of_any_kind(decoder):
    @settings(database=None)
    @given(st.data())
    def search(data):
        given_ = data.draw(damaged(decoder.seeds))
        assert not (tried(decoder, given_) and decoder.forged(given_))

    search()
