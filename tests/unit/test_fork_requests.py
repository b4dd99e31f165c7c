"""Requests to the zygote: each arrives whole and with its own descriptors."""

import os
import socket

from celeriac.worker import frames
from celeriac.worker.zygote import receive_with_fds, send_with_fds


def test_requests_that_wait_together_are_all_read_each_with_its_descriptors():
    ours, theirs = socket.socketpair()
    pipes = [os.pipe() for _ in range(3)]
    requests = [frames.Fork("executor", slot, f"executor {slot}") for slot in range(3)]
    received = []
    try:
        for request, (reader, writer) in zip(requests, pipes, strict=True):
            send_with_fds(ours, request, [reader, writer])
        for request in requests:
            got, fds = receive_with_fds(theirs)
            received += fds
            assert got == request
            assert len(fds) == 2
        for (reader, _), fd in zip(pipes, received[::2], strict=True):
            assert os.path.sameopenfile(reader, fd)
        ours.close()
        assert receive_with_fds(theirs) == (None, [])
    finally:
        for fd in [*received, *(each for pair in pipes for each in pair)]:
            os.close(fd)
        ours.close()
        theirs.close()
