"""What version 1 once put on the wire must be readable for ever.

The files in ``golden`` were written by ``golden/make.py`` and are never written again. A change
that fails here loses tasks that are queued while people update.
"""

from __future__ import annotations

import json

import msgspec
import pytest
from golden_files import GOLDEN, MESSAGES, RESULTS, body, expected, load_make, wire

from celeriac import bodies, message, outcome, serialization
from celeriac.exceptions import DecodeError, SecurityError
from celeriac.signing import Signer

SIGNED_MESSAGES = [name for name in MESSAGES if "signed" in name]
SIGNED_RESULTS = [name for name in RESULTS if "signed" in name]


make = load_make()
make.register_types()


def signer() -> Signer:
    return Signer.from_setting(make.SECRET, make.NAMESPACE)


def test_there_are_golden_files():
    """Guards the guards: without files every test below would pass."""
    assert len(MESSAGES) >= 8
    assert len(RESULTS) >= 5
    assert SIGNED_MESSAGES
    assert SIGNED_RESULTS


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_decodes_to_what_is_written_beside_it(name):
    found, facts = message.decode(wire(name)), expected(name)
    known = {key: value for key, value in facts["header"].items() if key != "added_later"}
    given = msgspec.to_builtins(found.header)
    assert json.loads(json.dumps(given)) == known
    args, kwargs = serialization.decode(found.header.serializer, found.content())
    assert (repr(args), repr(kwargs)) == (facts["args"], facts["kwargs"])
    assert (found.key_id, found.signature.hex()) == (facts["key_id"], facts["signature"])


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_goes_on_as_it_came(name):
    """Byte for byte, or a signature would no longer fit."""
    assert message.decode(wire(name)).encode() == wire(name)


@pytest.mark.parametrize("name", [name for name in MESSAGES if name != "later_field"])
def test_a_header_is_still_written_as_it_was(name):
    found = message.decode(wire(name))
    assert message.compose(found.header, found.payload).block == found.block


def test_a_field_of_a_later_release_is_passed_over_and_kept_on_the_wire():
    found = message.decode(wire("later_field"))
    assert found.header.task == "tasks.add"
    assert b"added_later" in found.block


@pytest.mark.parametrize("name", SIGNED_MESSAGES)
def test_a_signature_still_verifies(name):
    found = message.decode(wire(name))
    signer().verify("message", found.block, found.payload, found.key_id, found.signature)


@pytest.mark.parametrize("name", SIGNED_MESSAGES)
@pytest.mark.parametrize("part", ["block", "payload"])
def test_a_changed_message_is_refused(name, part):
    found = message.decode(wire(name))
    parts = {"block": found.block, "payload": found.payload}
    parts[part] = parts[part][:-1] + bytes([parts[part][-1] ^ 1])
    with pytest.raises(SecurityError, match="does not fit"):
        signer().verify("message", parts["block"], parts["payload"], found.key_id, found.signature)


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_decodes_to_what_is_written_beside_it(name):
    found, facts = bodies.unseal(body(name), make.ID, None), expected(name)
    assert found.serializer == facts["serializer"]
    value = found.content()
    shown = None if value is None else repr(serialization.decode(found.serializer, value))
    assert shown == facts["value"]
    assert list(found.children) == facts.get("children", [])
    told = None if found.progress is None else msgspec.to_builtins(found.progress)
    assert json.loads(json.dumps(told)) == facts.get("progress")
    failure = None if found.failure is None else msgspec.to_builtins(found.failure)
    assert json.loads(json.dumps(failure)) == facts["failure"]


@pytest.mark.parametrize("name", sorted(set(RESULTS) - set(SIGNED_RESULTS)))
def test_a_result_is_still_written_as_it_was(name):
    assert outcome.encode_body(outcome.decode_body(body(name))) == body(name)


@pytest.mark.parametrize("name", SIGNED_RESULTS)
def test_a_result_still_verifies_for_its_task_and_for_no_other(name):
    assert bodies.unseal(body(name), make.ID, signer()) == bodies.unseal(body(name), make.ID, None)
    with pytest.raises(SecurityError, match="does not fit"):
        bodies.unseal(body(name), make.OTHER, signer())
    with pytest.raises(SecurityError, match="carries no signature"):
        bodies.unseal(body("result_plain"), make.ID, signer())


@pytest.mark.parametrize("name", SIGNED_RESULTS)
def test_a_result_is_still_signed_as_it_was(name):
    plain = bodies.unseal(body(name), make.ID, None)
    assert bodies.seal(plain, make.ID, signer()) == body(name)


def test_a_signed_result_of_another_version_is_refused_by_its_number():
    _, *rest = msgspec.msgpack.decode(body("result_signed"))
    with pytest.raises(DecodeError, match="version 2 is not known"):
        bodies.unseal(msgspec.msgpack.encode((2, *rest)), make.ID, signer())


def test_a_field_added_later_does_not_break_a_signed_result():
    later = msgspec.msgpack.encode({"value": b"3", "added_later": 1})
    key_id, mac = signer().sign("result", make.ID.encode(), later)
    data = msgspec.msgpack.encode((1, later, key_id, mac))
    assert bodies.unseal(data, make.ID, signer()).value == b"3"


def test_another_version_is_refused_by_its_number():
    _, *rest = msgspec.msgpack.decode(wire("plain"))
    with pytest.raises(DecodeError, match="message version 2 is not known"):
        message.decode(msgspec.msgpack.encode((2, *rest)))


@pytest.mark.parametrize("cut", [0, 1, 10, -1])
def test_a_message_cut_short_is_refused(cut):
    with pytest.raises(DecodeError):
        message.decode(wire("full_header")[:cut])


def test_make_rewrites_nothing(capsys):
    before = {path: path.read_bytes() for path in GOLDEN.iterdir() if path.is_file()}
    make.main()
    assert {path: path.read_bytes() for path in GOLDEN.iterdir() if path.is_file()} == before
    assert "kept" in capsys.readouterr().out
