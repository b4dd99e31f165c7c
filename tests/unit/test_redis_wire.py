"""The wire of the Redis store: bytes out, replies in, each by its deadline."""

import socket
import threading
import time

import pytest
import redis

from celeriac.stores.redis.wire import NONE, Wire, wire


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.fixture(params=["polled", "with timeouts"])
def pair(request, ends):
    """Both kinds: a socket in the clear, and one that waits as TLS does."""
    ours, theirs = ends
    return (wire(ours) if request.param == "polled" else Wire(ours)), theirs


def soon() -> float:
    return time.monotonic() + 30


def test_replies_come_as_they_were_sent_however_they_are_cut(pair):
    ours, theirs = pair
    theirs.sendall(b"+OK\r\n:7\r\n*2\r\n$1\r\na\r\n$-1\r\n-ERR")
    assert ours.receive(soon()) == b"OK"
    assert ours.ahead() == 7
    assert ours.ahead() == [b"a", None]
    assert ours.ahead() is NONE
    theirs.sendall(b" no such thing\r\n")
    error = ours.receive(soon())
    assert isinstance(error, redis.ResponseError)
    assert str(error) == "ERR no such thing"


def test_more_than_the_socket_holds_is_sent_whole(pair):
    ours, theirs = pair
    data, taken = bytes(range(256)) * 40_000, bytearray()

    def take():
        while len(taken) < len(data):
            taken.extend(theirs.recv(1 << 20))

    reader = threading.Thread(target=take)
    reader.start()
    ours.send(data, soon())
    reader.join(30)
    assert bytes(taken) == data


def test_what_nobody_takes_is_given_up_in_time(pair):
    ours, _theirs = pair
    with pytest.raises(TimeoutError):
        ours.send(bytes(50_000_000), time.monotonic() + 0.05)


@pytest.mark.parametrize("left", [-1.0, 0.0, 0.05])
def test_what_does_not_come_is_given_up_in_time_and_comes_later(pair, left):
    ours, theirs = pair
    with pytest.raises(TimeoutError):
        ours.receive(time.monotonic() + left)
    theirs.sendall(b"+OK\r\n")
    assert ours.receive(soon()) == b"OK"


def test_without_a_deadline_it_waits(pair):
    ours, theirs = pair
    timer = threading.Timer(0.05, theirs.sendall, [b"+OK\r\n"])
    timer.start()
    assert ours.receive(None) == b"OK"
    timer.join()


def test_one_that_hangs_up_is_told_from_one_that_is_silent(pair):
    ours, theirs = pair
    theirs.close()
    with pytest.raises(redis.ConnectionError):
        ours.receive(soon())


def test_what_is_no_reply_is_refused(pair):
    ours, theirs = pair
    theirs.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with pytest.raises(redis.InvalidResponse):
        ours.receive(soon())


def test_another_thread_ends_a_wait(pair):
    ours, _theirs = pair
    timer = threading.Timer(0.05, ours.shutdown)
    timer.start()
    with pytest.raises((redis.ConnectionError, OSError)):
        ours.receive(None)
    timer.join()


def test_once_closed_nothing_goes_and_nothing_is_waited_for(pair):
    ours, _theirs = pair
    ours.close()
    ours.close()
    with pytest.raises((redis.ConnectionError, OSError)):
        ours.receive(soon())
    with pytest.raises(OSError, match="descriptor"):
        ours.send(b"x", soon())
