"""What damaging inputs has found, each once more by itself, where it was felt."""

import json
import logging
import math
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
from click.testing import CliRunner
from damage import DEEP
from decoders import APP, CALL, ID, KEPT_STATE, OTHER, OUTCOMES, PLAIN, SIGNER
from hypothesis import given
from hypothesis import strategies as st
from inline import make_app
from workers import eventually

from celeriac import canvas, compression, groupresult, message, states
from celeriac.bodies import seal, unseal
from celeriac.cli.root import root
from celeriac.conf.table import SETTINGS
from celeriac.conf.values import parse
from celeriac.control import reading, why, wire
from celeriac.control.mailbox import Scope
from celeriac.exceptions import (
    DecodeError,
    EncodeError,
    ImproperlyConfigured,
    SecurityError,
    StoreError,
)
from celeriac.message import Edges, Header, Message, compose
from celeriac.outcome import Outcome, ResultBody
from celeriac.records import (
    Commit,
    Delivery,
    Manifest,
    Record,
    RevokedStamp,
    StoredResult,
    TaskFacts,
    Want,
)
from celeriac.stores import connect
from celeriac.stores.base import Options
from celeriac.stores.redis import packing
from celeriac.stores.redis.location import locate
from celeriac.stores.redis.reading import sound
from celeriac.worker import frames
from celeriac.worker.admission import admit, read
from celeriac.worker.stamps import met_by

HEADER = msgspec.msgpack.encode({"id": ID, "task": "known", "nonce": "n"})
NEST = b"\x91" * DEEP + b"\xc0"


def with_field(name, packed):
    """A message whose header has one more field, given as it is packed."""
    block = bytes([HEADER[0] + 1]) + HEADER[1:] + msgspec.msgpack.encode(name) + packed
    return Message(PLAIN.header, block, CALL)


def leased(wire):
    return Delivery(ID, 1, "o.1.1", wire, "celery")


# -- errors of another class than the documented one ---------------------------------------------


@pytest.mark.parametrize(
    "wire", [NEST, b"\x93\x01" + NEST, with_field("headers", b"\x81\xa1a" + NEST).encode()]
)
def test_a_message_nested_too_deeply_is_refused_and_ends_no_worker(wire):
    with pytest.raises(DecodeError, match="recursion"):
        message.decode(wire)
    assert admit(leased(wire), {}, None).startswith("DecodeError: ")


@pytest.mark.parametrize("version", [NEST[-500:], msgspec.msgpack.encode("9" * 100_000)])
def test_a_version_that_is_none_is_told_in_few_words(version):
    with pytest.raises(DecodeError, match="is not known") as caught:
        message.decode(b"\x93" + version + b"\xc4\x00\xc4\x00")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("name", ["args", "traceback"])
@pytest.mark.parametrize("value", [NEST, b"\xa1\xff"])
def test_a_result_that_is_nested_or_no_text_is_refused(name, value):
    body = (
        b"\x81\xa7failure\x83\xa4type\xa1t\xa7message\xa1m" + msgspec.msgpack.encode(name) + value
    )
    with pytest.raises(DecodeError, match=f"the stored result of task {ID} cannot be read"):
        unseal(body, ID, None)
    record = Record(ID, states.SUCCEEDED, "known", "celery", body=body)
    assert "not kept" in why.explain(why.Situation(record, 0.0)).reason


@pytest.mark.parametrize("body", [b"\x94\x06\x01\xa1s" + NEST, b"\x92\x0a\xa1\xff"])
def test_a_frame_that_is_nested_or_no_text_is_refused(body):
    with pytest.raises(DecodeError, match="no frame"):
        list(frames.Inbox().feed(struct.pack("<I", len(body)) + body))


@pytest.mark.parametrize("signer", [None, SIGNER])
def test_a_publication_nested_too_deeply_is_refused(signer):
    for opened in (wire.open_command, wire.open_events):
        with pytest.raises((DecodeError, SecurityError)):
            opened(signer, NEST)
        with pytest.raises((DecodeError, SecurityError)):
            opened(signer, msgspec.msgpack.encode([1, b"\0" + NEST]))


# -- headers that say what no client does --------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("eta", math.nan), ("eta", math.inf), ("eta", 1e300), ("expires", -1e300),
        ("time_limit", -1.0), ("soft_time_limit", math.nan), ("priority", 10), ("priority", -1),
        ("edges", {"delay": -1.0}), ("edges", {"lasts": math.nan}),
    ],
)  # fmt: skip
def test_times_and_priorities_that_there_are_not_are_refused(name, value):
    with pytest.raises(DecodeError, match="the header block cannot be read"):
        message.decode(with_field(name, msgspec.msgpack.encode(value)).encode())


@given(st.floats(-62_135_596_800, 253_402_300_799), st.integers(0, 9))
def test_those_that_there_are_are_read(at, priority):
    sent = compose(Header(ID, "known", "n", "celery", priority, at, at), CALL)
    assert message.decode(sent.encode()) == sent


def test_a_message_under_the_id_of_another_is_not_run():
    """A signature fits there, too: who can write to the store could have a task run twice."""
    signature = SIGNER.sign("message", PLAIN.block, CALL)
    wire = Message(PLAIN.header, PLAIN.block, CALL, *signature).encode()
    assert read(leased(wire), SIGNER).header.id == ID
    with pytest.raises(DecodeError, match=f"is that of task '{ID}'"):
        read(Delivery(OTHER, 1, "o.1.1", wire, "celery"), SIGNER)


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (json.loads("[" * 70 + "]" * 70), r"headers\['a'\](\[0\])+ is nested deeper"),
        (2**64, r"headers\['a'\]"),
        (["fine", -(2**63) - 1], r"headers\['a'\]\[1\]"),
        ("\ud800", r"headers\['a'\]"),
    ],
)
def test_headers_that_a_worker_could_not_read_are_not_sent(value, path):
    app = make_app()
    with pytest.raises(EncodeError, match=path):
        app.send_task("known", headers={"a": value})
    assert app.store.inspection.list(limit=1) == []


@pytest.mark.parametrize(
    "value", [b"\x91" * 900 + b"\xc0", b"\x81\x91\x01\x01", b"\xd4\x05\x00", b"\xc4\x01\xff", b"7"]
)
def test_stamps_that_no_client_sends_meet_no_revoke(value):
    wire = with_field("stamps", b"\x81\xa1a\x91" + value).encode()
    revoked = RevokedStamp(1, "a=b", time.time() + 60, None)
    assert met_by(leased(wire), {"a=b": revoked}, time.time()) is None


# -- what user code writes into the sockets of its process ---------------------------------------


@pytest.mark.parametrize("text", [b"order 1234 done\n", b"abc\n\tdef", b"     ", b"\0\0\0\0\0 "])
def test_text_in_the_socket_is_known_at_once(text):
    """Its first four bytes are a length of some 500 MiB, which would be waited for."""
    with pytest.raises(DecodeError):
        list(frames.Inbox().feed(text))


@pytest.mark.parametrize("text", [b"imported fine\n", b"\0\0\0\0     "])
def test_text_in_the_socket_of_a_process_that_imports_is_not_waited_for(text):
    near, far = socket.socketpair()
    with near, far:
        near.settimeout(10)
        far.send(text)
        with pytest.raises(DecodeError):
            frames.receive(near)


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome("nonsense"),
        Outcome(states.RUNNING),
        Outcome(states.SCHEDULED, delay=math.nan),
        Outcome(states.SCHEDULED, delay=math.inf),
        Outcome(states.SCHEDULED, eta=math.nan),
    ],
)
def test_an_outcome_that_no_store_has_a_place_for_is_known(outcome):
    assert not frames.Done(1, outcome, 0.1).sound
    assert all(frames.Done(1, each, 0.1).sound for each in OUTCOMES)


# -- the stores ----------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "sqlite", "redis"])
def store(request, tmp_path, shared):
    url = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/a.db"}.get(request.param)
    namespace = f"fuzz-{time.monotonic_ns()}"
    return connect(url or shared.url("redis"), Options(namespace=namespace))


def test_a_damaged_part_of_a_workflow_is_released_and_lets_the_others_go_on(store):
    """What follows a record is found without its message being read again."""
    first = compose(Header("first", "known", "n", edges=Edges(success=("next",))), CALL)
    second = Header("next", "known", "n", edges=Edges(waits=True))
    store.queue.enqueue([first, Message(second, b"\xc1", CALL)])
    queue = store.queue
    queue.register("o", Manifest(tasks={"known": TaskFacts()}))
    (got,) = queue.exchange("o", 1, 1, [], [], ["celery"], Want(free=1)).deliveries
    commit = Commit(got.fence, Outcome(states.SUCCEEDED))
    (got,) = queue.exchange("o", 1, 2, [commit], [], ["celery"], Want(free=1)).deliveries
    assert got.id == "next"
    refused = admit(got, {}, None)
    assert isinstance(refused, str)
    commit = Commit(got.fence, Outcome(states.FAILED, reason=refused))
    queue.exchange("o", 1, 3, [commit], [], ["celery"], Want())
    (record,) = store.inspection.get(["next"])
    assert (record.state, record.reason[:12]) == (states.FAILED, "DecodeError:")


def test_what_others_publish_on_the_channel_of_an_id_is_read_up():
    for data in (b"\0", b"\xff" * 40, struct.pack(">BIdBH", 0, 1, 0.0, 1, 3) + b"why"):
        assert packing.said(ID, data) is None


def test_a_record_that_others_have_changed_is_named():
    with pytest.raises(StoreError, match=f"what Redis keeps of task {ID} is damaged"):
        sound(ID, packing.read_record, ID, b"\0" * 40, None, None, None)
    with pytest.raises(StoreError, match="damaged"):
        sound(ID, packing.read_other, b"\0" * 8 + NEST)
    wrong = KEPT_STATE.replace(b"\xa5o.1.7", b"\x07")  # a number for a nonce
    with pytest.raises(StoreError, match="damaged: AttributeError"):
        sound(ID, packing.read_record, ID, wrong, None, None, None)


def test_a_bell_that_is_no_text_ends_no_wait(tmp_path, monkeypatch):
    opened = connect(f"sqlite:///{tmp_path}/a.db", Options())
    opened.queue.enqueue([PLAIN])
    opened.queue.register("o", Manifest(tasks={"known": TaskFacts()}))
    (got,) = opened.queue.exchange("o", 1, 1, [], [], ["celery"], Want(free=1)).deliveries

    def bells():
        # Not all sockets: one that is being made has another name in another folder at first.
        return list(tmp_path.glob("a.db-bells/*/results/*"))

    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(opened.results.wait, [ID], 60.0)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ringer:
            for each in eventually(bells, "somebody listens"):
                monkeypatch.chdir(each.parent)  # an address holds 108 bytes
                ringer.sendto(b"\xff\xfe\n" + ID.encode(), each.name)
        commit = Commit(got.fence, Outcome(states.SUCCEEDED))
        opened.queue.exchange("o", 1, 2, [commit], [], ["celery"], Want())
        assert waits.result(60.0)[ID].state == states.SUCCEEDED


# -- what people are shown -----------------------------------------------------------------------


def test_a_signed_result_is_shown():
    body = seal(ResultBody("json", b"42"), ID, SIGNER)
    record = Record(ID, states.SUCCEEDED, "known", "celery", body=body)
    assert "result 42" in why.explain(why.Situation(record, 0.0)).reason
    failed = Record(ID, states.FAILED, "known", "celery", body=seal(FAILED, ID, SIGNER))
    assert "no such thing" in reading.last_stack(failed)


FAILED = unseal(OUTCOMES[1].body, ID, None)


# -- what people and their programs hand over ----------------------------------------------------


def test_dictionaries_that_were_no_map_say_so():
    short = {"xmap": {}, "xstarmap": {"task": {}}, "chunks": {"task": 1, "it": []}}
    for kind, kwargs in short.items():
        plain = {"task": "celery.map", "subtask_type": kind, "kwargs": kwargs}
        with pytest.raises(TypeError, match=f"this dictionary was no {kind}: it has no '"):
            canvas.signature(plain, app=APP)


@pytest.mark.parametrize(
    "line", [b"[1]", b'{"a":1}', b"3", b"[[1,null],null]", b'[["c",null],[[]]]']
)
def test_what_was_saved_as_a_group_and_is_none_is_refused(line):
    body = seal(ResultBody("json", line), "x:group", None)
    APP.results.put_many([StoredResult("x:group", states.SUCCEEDED, 0, body, "", time.time())])
    with pytest.raises(DecodeError, match="what was saved as group x is no group"):
        groupresult.GroupResult.restore("x", APP)


@pytest.mark.parametrize("text", ["[" * DEEP, "[" + "9" * 5000 + "]"])
def test_arguments_on_the_command_line_that_python_cannot_read_are_refused(text):
    answer = CliRunner().invoke(root, ["-A", "x", "call", "x", "--args", text])
    assert answer.exit_code == 2
    assert "cannot be read as JSON" in answer.output
    assert "Traceback" not in answer.output


@pytest.mark.parametrize("text", ['{"a": 1}', '{"a": "b"}', '{"a":' * DEEP, "[" * DEEP])
def test_queues_in_the_environment_that_are_none_are_refused(text):
    with pytest.raises(ValueError, match="expected"):
        parse(SETTINGS["task_queues"], text)


@pytest.mark.parametrize("url", ["redis://a:{}", "redis://a/{}", "sentinel://a:{}?master_name=m"])
def test_numbers_of_thousands_of_digits_in_a_url_are_refused(url):
    with pytest.raises(ImproperlyConfigured):
        locate(url.format("9" * 5000))


# -- patterns of commands ------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", ["(", "[", "*", "a{99999999999999999999}", "(" * 2000])
def test_a_pattern_that_is_none_is_refused_where_it_is_written(pattern):
    with pytest.raises(ValueError, match="which is no regular expression"):
        Scope.of(pattern=pattern, matcher="pcre")


# -- bombs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", compression.COMPRESSIONS)
def test_what_unpacks_to_too_much_is_not_run(name):
    bomb = compression.pack(name, bytes(compression.UNPACKED_MAX + 1))
    wire = compose(Header(ID, "known", "n", compression=name), bomb).encode()
    with pytest.raises(DecodeError, match="unpack to more than"):
        message.decode(wire).content()


@pytest.fixture(autouse=True)
def quiet():
    logging.disable()
    yield
    logging.disable(logging.NOTSET)
