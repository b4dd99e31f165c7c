"""What goes to the scripts of the Redis store and comes back, and the form of the scripts."""

import re
import struct

import msgspec
import pytest

from celeriac import states
from celeriac.message import Edges
from celeriac.records import StoredResult
from celeriac.stores.base import Options
from celeriac.stores.redis import packing, scripts
from celeriac.testing.conformance import message


def base_of(entry: bytes) -> bytes:
    """What the server makes of an entry: time and number are filled in."""
    return entry[:4] + struct.pack(">dd", 1700000000.25, 7.0) + entry[20:]


def test_a_plain_message_is_read_as_it_was_packed():
    sent = message("a", task="shop.pay", queue="slow", priority=9, nonce="n")
    kept = base_of(packing.plain_entry(sent))
    base = packing.read_base(kept)
    assert (base.task, base.queue, base.priority, base.nonce) == ("shop.pay", "slow", 9, "n")
    assert (base.enqueued, base.order, base.flags, base.expires) == (1700000000.25, 7, 0, None)
    assert packing.wire_of(kept) == sent.encode()
    assert packing.queue_in(kept) == "slow"


def test_an_id_that_stands_for_one_call_is_marked():
    assert packing.read_base(base_of(packing.plain_entry(message("a", nonce="a")))).flags == (
        packing.UNIQUE
    )


def test_flags_tell_what_a_message_has():
    edges = Edges(waits=True, success=("b",))
    header = message("a", eta=1.0, expires=2.0, edges=edges).header
    assert packing.flags_of(header) == (
        packing.EXPIRES | packing.ETA | packing.EDGES | packing.WAITS
    )
    assert packing.flags_of(message("a").header) == 0


def test_bytes_go_beside_the_request_and_are_named_by_their_index():
    beside = packing.Beside(4)
    row = beside.message(message("a", edges=Edges(success=("b",), join=("J", 3))))
    assert row[8:] == (4, 5, False, False)
    edges = [["b"], [], ["J", 3], False, False, False, [], False, False, False]
    assert msgspec.msgpack.decode(beside.values[0]) == edges
    assert beside.values[1].endswith(b"[[],{}]")
    # The server's reader knows no binary type.
    assert b"\xc4" not in packing.pack(row)


@pytest.mark.parametrize("edges", [Edges(takes="b"), Edges(failure=("e",)), Edges(own=("e",))])
def test_a_message_says_its_workflow_and_whether_it_refers_to_others(edges):
    row = packing.Beside(4).message(message("a", flow="F", edges=edges))
    assert row[10:] == ("F", True)


def test_a_queued_record_needs_no_state():
    kept = base_of(packing.plain_entry(message("a")))
    record = packing.read_record("a", None, kept, None, None)
    assert record is not None
    assert (record.state, record.task, record.attempt) == (states.QUEUED, "job", 0)
    assert record.wire == message("a").encode()
    assert packing.read_record("a", None, None, None, None) is None


@pytest.mark.parametrize("body", [None, b"", b"\x00result"])
def test_what_is_said_of_a_small_result_is_the_result(body):
    reason = "ValueError: größer".encode()
    data = struct.pack(">BIdBH", ord("f"), 2, 5.5, body is not None, len(reason)) + reason
    expected = StoredResult("a", states.FAILED, 2, body, "ValueError: größer", 5.5)
    assert packing.said("a", data + (body or b"")) == expected
    assert packing.said("a", b"") is None


def test_progress_tells_no_metadata_from_empty_metadata():
    assert packing.read_progress(None) == (None, None)
    assert packing.read_progress(b"PROGRESS\0-") == ("PROGRESS", None)
    assert packing.read_progress(b"PROGRESS\0+") == ("PROGRESS", b"")
    assert packing.read_progress(b"PROGRESS\0+a\0b") == ("PROGRESS", b"a\0b")


@pytest.mark.parametrize("name", scripts.names())
def test_each_script_says_what_it_does_and_names_no_field_that_is_not_there(name):
    text = scripts.script(name, flags=False).text
    assert "$" not in re.sub(r"'[^'\n]*'", "", text)
    own = scripts._source(name)
    assert own.startswith(f"-- {name}: ")
    assert "Returns" in own.partition("\n\n")[0] or "Returns" in own[:1200]


@pytest.mark.parametrize("name", scripts.names())
def test_only_what_drains_may_run_on_a_full_server(name):
    flagged = scripts.script(name, flags=True).text.startswith("#!lua flags=allow-oom\n")
    keeps = {"enqueue_plain", "enqueue_members", "enqueue", "open_join", "claim", "put"}
    keeps.add("save_entry")
    assert flagged == (name not in keeps)
    # Without flags it is a first write that opens the way; those that read alone need none.
    plain = scripts.script(name, flags=False).text
    opened = plain.startswith("redis.call('UNLINK', KEYS[1] .. 'no such key')\n")
    assert opened == (flagged and name not in {"read", "look", "stamps"})
    assert not plain.startswith("#!")


def test_the_options_go_in_the_order_the_scripts_know():
    values = msgspec.msgpack.decode(
        scripts.pack_options(Options(result_expires=None, lease=3.0, mirror=True), cluster=True)
    )
    told = dict(zip(scripts.OPTIONS, values, strict=True))
    assert (told["result_expires"], told["lease"], told["mirror"], told["cluster"]) == (
        False,
        3.0,
        True,
        True,
    )
