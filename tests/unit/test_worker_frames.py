"""Frames: what is sent is what is read, wherever the stream is cut."""

import socket
import threading

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from celeriac.exceptions import DecodeError
from celeriac.outcome import Outcome
from celeriac.records import Delivery
from celeriac.worker import frames

TEXT = st.text(max_size=12)
BYTES = st.binary(max_size=40)
COUNT = st.integers(0, 2**63 - 1)
DELIVERIES = st.builds(
    Delivery, TEXT, COUNT, TEXT, BYTES, TEXT, COUNT, COUNT, COUNT, st.none() | BYTES
)
OUTCOMES = st.builds(
    Outcome,
    state=TEXT,
    body=st.none() | BYTES,
    keep=st.booleans(),
    reason=TEXT,
    delay=st.floats(0, 1e6),
    charge=st.sampled_from(["", "retry", "crash"]),
    parts=st.lists(BYTES, max_size=2).map(tuple),
)
FRAMES = st.one_of(
    st.builds(frames.Run, COUNT, st.lists(DELIVERIES, max_size=3)),
    st.builds(frames.Stop),
    st.builds(frames.Hook, DELIVERIES, OUTCOMES),
    st.builds(frames.Ready, COUNT),
    st.builds(frames.Done, COUNT, OUTCOMES, st.floats(0, 1e6)),
    st.builds(frames.Update, COUNT, TEXT, st.none() | BYTES),
    st.builds(frames.Skipped, COUNT),
    st.builds(frames.Fork, TEXT, COUNT, TEXT),
    st.builds(frames.Forked, COUNT, COUNT),
    st.builds(frames.Loaded, BYTES, COUNT),
    st.builds(frames.Broken, TEXT, st.booleans()),
)


@settings(max_examples=settings().max_examples // 3)  # each of them cuts at every byte
@given(st.lists(FRAMES, max_size=3))
def test_frames_are_read_as_they_were_sent_wherever_the_stream_is_cut(sent: list[frames.Frame]):
    stream = b"".join(map(frames.encode, sent))
    for cut in range(len(stream) + 1):
        inbox = frames.Inbox()
        assert [*inbox.feed(stream[:cut]), *inbox.feed(stream[cut:])] == sent


@given(st.lists(FRAMES, max_size=3))
def test_frames_can_come_a_byte_at_a_time(sent: list[frames.Frame]):
    inbox = frames.Inbox()
    stream = b"".join(map(frames.encode, sent))
    assert [frame for byte in stream for frame in inbox.feed(bytes([byte]))] == sent


@given(st.lists(FRAMES, max_size=4), FRAMES)
def test_a_reader_that_stops_early_leaves_no_lock_on_the_buffer(
    sent: list[frames.Frame], last: frames.Frame
):
    inbox = frames.Inbox()
    reading = inbox.feed(b"".join(map(frames.encode, [last, *sent])))
    assert next(reading) == last
    reading.close()
    # The frame that was being handled is still there, and so is everything behind it.
    assert list(inbox.feed(b"")) == [last, *sent]


def test_a_length_no_frame_has_is_refused():
    with pytest.raises(DecodeError, match="out of step"):
        list(frames.Inbox().feed(b"\xff\xff\xff\xff"))


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x93\x01\x02", b"\x91\x63", b"\xa5hello"])
def test_what_is_no_frame_is_refused_and_what_came_before_it_is_not_lost(body: bytes):
    stream = frames.encode(frames.Ready(1)) + len(body).to_bytes(4, "little") + body
    reading = frames.Inbox().feed(stream)
    assert next(reading) == frames.Ready(1)
    with pytest.raises(DecodeError, match="no frame"):
        next(reading)


def test_a_blocking_reader_takes_one_frame_and_not_a_byte_more():
    ours, theirs = socket.socketpair()
    big = frames.Broken("x" * 500_000)  # more than the socket takes at once
    with ours, theirs:
        sender = threading.Thread(
            target=ours.sendall,
            args=(frames.encode(frames.Ready(7)) + frames.encode(big) + b"\x01\x02",),
        )
        sender.start()
        assert frames.receive(theirs) == frames.Ready(7)
        assert frames.receive(theirs, theirs.recv(3)) == big
        sender.join()
        assert theirs.recv(10) == b"\x01\x02"


@pytest.mark.parametrize("kept", [0, 2, 4, 9])
def test_a_stream_that_ends_within_a_frame_reads_as_ended(kept: int):
    ours, theirs = socket.socketpair()
    with theirs:
        with ours:
            ours.sendall(frames.encode(frames.Broken("half of it"))[:kept])
        assert frames.receive(theirs) is None


@pytest.mark.parametrize(
    ("state", "meta", "sound"),
    [("P", b"x", True), ("P", None, True), (5, b"x", False), (["a"], None, False), ("P", 1, False)],
)
def test_a_state_that_makes_no_sense_does_not_put_the_stream_out_of_step(state, meta, sound):
    data = frames.encode(frames.Update(7, state, meta)) + frames.encode(frames.Skipped(8))
    first, second = frames.Inbox().feed(data)
    assert (first.key, first.state, first.meta, first.sound) == (7, state, meta, sound)
    assert second == frames.Skipped(8)
