"""Ids: unique, in order, the same again where they must be, and safe to print."""

import os
import threading
import time
import timeit
from uuid import RFC_4122, UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac import ids
from celeriac.ids import (
    derived_id,
    new_call,
    new_calls,
    new_nonce,
    new_owner_id,
    new_task_id,
    valid_id,
)


def test_a_task_id_is_a_uuid_of_version_7_that_begins_with_the_time():
    before = time.time_ns() // 1_000_000
    text = new_task_id()
    parsed = UUID(text)
    assert str(parsed) == text
    assert (parsed.version, parsed.variant) == (7, RFC_4122)
    # The counter may run on into the milliseconds when other tests have made many ids.
    assert before - 1 <= parsed.int >> 80 <= before + 60_000
    assert valid_id(text)


def test_ids_grow():
    made = [new_task_id() for _ in range(20_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_ids_grow_when_the_clock_is_set_back_and_when_a_millisecond_is_full(monkeypatch):
    moment = time.time_ns() + 3_600 * 10**9
    monkeypatch.setattr(ids, "_last_tick", 0)
    monkeypatch.setattr(ids, "time_ns", lambda: moment)
    made = [new_task_id() for _ in range(5_000)]  # the counter has 4,096 values
    monkeypatch.setattr(ids, "time_ns", lambda: moment - 60 * 10**9)
    made += [new_task_id() for _ in range(10)]
    assert made == sorted(made)
    assert {UUID(each).version for each in made} == {7}


def test_ids_are_unique_between_threads():
    made: list[list[str]] = [[] for _ in range(4)]
    threads = [
        threading.Thread(target=lambda mine=mine: mine.extend(new_task_id() for _ in range(3_000)))
        for mine in made
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    together = [each for mine in made for each in mine]
    assert len(set(together)) == 12_000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_makes_other_ids(monkeypatch):
    # With the clock standing still and the counter inherited, only the random part can differ.
    moment = time.time_ns()
    monkeypatch.setattr(ids, "time_ns", lambda: moment)
    new_task_id()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, new_task_id().encode())
        os._exit(0)
    mine = new_task_id()
    os.waitpid(child, 0)
    theirs = os.read(reader, 100).decode()
    os.close(reader)
    os.close(writer)
    assert mine[:18] == theirs[:18], "the test should have made time and counter the same"
    assert mine != theirs


def test_a_task_id_costs_less_than_a_random_uuid():
    """A ratio, so that a slow machine does not fail: both draw from the kernel once."""
    ours, theirs = [], []
    for _ in range(200):  # by turns, until the machine has let both run undisturbed
        ours.append(timeit.timeit(new_task_id, number=1_000))
        theirs.append(timeit.timeit(lambda: str(uuid4()), number=1_000))
        if len(ours) >= 10 and min(ours) < min(theirs):
            return
    pytest.fail(f"{min(ours):.6f} s where uuid4 takes {min(theirs):.6f} s")


@pytest.mark.parametrize("new", [new_owner_id, new_nonce])
def test_owner_ids_and_nonces_are_16_hex_digits(new):
    made = {new() for _ in range(1_000)}
    assert len(made) == 1_000
    assert all(len(each) == 16 and int(each, 16) >= 0 and valid_id(each) for each in made)


def test_a_derived_id_never_changes():
    """Golden: a release that computed it otherwise would run successors twice."""
    assert derived_id("0198-parent", "link", 0) == "d021b470-08e7-8ee9-8eb0-2679b7f68f94"


@given(st.text("ab.-", min_size=1), st.sampled_from(["link", "errback", "map"]), st.integers(0, 99))
def test_derived_ids_are_valid_and_depend_on_everything(parent, edge, ordinal):
    one = derived_id(parent, edge, ordinal)
    assert one == derived_id(parent, edge, ordinal)
    assert (UUID(one).version, UUID(one).variant) == (8, RFC_4122)
    assert valid_id(one)
    others = {
        derived_id(parent + "a", edge, ordinal),
        derived_id(parent, edge + "x", ordinal),
        derived_id(parent, edge, ordinal + 1),
    }
    assert one not in others


def test_a_derived_id_refuses_what_could_be_read_in_two_ways():
    with pytest.raises(ValueError, match="must not hold"):
        derived_id("a|b", "link", 0)
    with pytest.raises(ValueError, match="must not hold"):
        derived_id("a", "b|link", 0)


@pytest.mark.parametrize(
    "text", ["a", "celery", "7", "mail.fast", "worker1@host:2/x-y_z", "a" * 128]
)
def test_valid(text):
    assert valid_id(text)


@pytest.mark.parametrize(
    "text",
    ["", "a" * 129, "-a", ".a", "_a", "a b", "a\n", "a\0", "ä", "é1", "a*", "a{b}", "a;b", "٣"],
)
def test_not_valid(text):
    assert not valid_id(text)


def test_many_calls_at_once_are_like_one_after_the_other(monkeypatch):
    moment = time.time_ns()
    monkeypatch.setattr(ids, "time_ns", lambda: moment)
    before = new_task_id()
    made = new_calls(5_000)  # over the end of a millisecond, which has 4,096 values
    together = [before, *(id for id, _ in made), new_task_id()]
    assert together == sorted(together)
    assert len(set(together)) == len(together)
    assert {(UUID(each).version, UUID(each).variant) for each in together} == {(7, RFC_4122)}
    assert {str(UUID(each)) for each in together} == set(together)
    marks = {mark for _, mark in made}
    assert len(marks) == 5_000
    assert all(len(mark) == 16 and int(mark, 16) >= 0 for mark in marks)
    assert not any(id.replace("-", "")[20:] in mark for id, mark in made)


def test_no_calls_take_no_time_part():
    first = new_task_id()
    assert new_calls(0) == []
    assert new_task_id() > first


def test_id_and_mark_of_one_call_share_no_bits(monkeypatch):
    monkeypatch.setattr(ids, "urandom", lambda count: bytes(range(count)))
    for id, mark in (new_call(), *new_calls(1)):
        assert id[19:] == "8001-020304050607"
        assert mark == "08090a0b0c0d0e0f"
