"""The network between a test and its server: a proxy that cuts and stalls, ports that answer
wrongly or not at all. All on loopback."""

import contextlib
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Self

from servers import DEADLINE, LOOPBACK


class Proxy:
    """A TCP proxy in front of *port* that can cut, stall and drip. A context manager."""

    def __init__(self, port: int) -> None:
        self.target = port
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port = self._listener.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._flowing = threading.Event()
        self._flowing.set()
        #: Bytes that still pass from the server before everything is cut; None: no limit.
        self.answers_left: int | None = None
        #: The same of bytes from the client.
        self.requests_left: int | None = None
        #: Seconds that each piece of an answer takes, or a function that says so for each.
        self.delay: float | Callable[[], float] = 0.0
        self.accepted = 0
        self._forsaken: set[socket.socket] = set()
        self._reset: set[socket.socket] = set()
        #: Sockets on which nothing passes until their event says so.
        self._held: dict[socket.socket, threading.Event] = {}
        #: Pairs of which one direction has ended.
        self._halves: set[frozenset[socket.socket]] = set()
        #: Those on which nothing passes any more and one end has given up.
        self._given_up: set[frozenset[socket.socket]] = set()
        self._lock = threading.Lock()
        self._arrivals: list[float] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._flowing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(DEADLINE)
        self.cut()

    @property
    def sockets(self) -> int:
        """How many it has open for connections."""
        return 2 * len(self._pairs)

    def cut(self) -> None:
        """End every connection; new ones are taken."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for each in (each for pair in pairs for each in pair):
            self._forsaken.discard(each)
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def stall(self) -> None:
        """Let nothing pass, and say nothing."""
        self._flowing.clear()

    def flow(self) -> None:
        self._flowing.set()

    @contextlib.contextmanager
    def hold(self, share: float, pick: random.Random) -> Iterator[None]:
        """Let nothing pass on that share of the connections; what was sent arrives late, even if
        who sent it has given up."""
        going = threading.Event()
        with self._lock:
            held = [each for pair in self._pairs if pick.random() < share for each in pair]
            self._held.update(dict.fromkeys(held, going))
        try:
            yield
        finally:
            going.set()
            for each in held:
                self._held.pop(each, None)

    def forsake(self, *, requests: bool = True, answers: bool = True) -> None:
        """Let nothing more pass on the connections that there are, for good, and say nothing: their
        peer has vanished. Or in one direction only: where *requests* are let through they are
        obeyed, and nobody hears of it. New connections are taken, and those that were forsaken
        before and that one end has given up since are closed, or they would add up."""
        with self._lock:
            given_up, self._given_up = self._given_up, set()
        for pair in given_up:
            self._close(pair)
        for client, upstream in self._pairs:
            self._forsaken.update([client] * requests + [upstream] * answers)

    def reset(self) -> None:
        """End every connection with RST, which drops what is under way; new ones are taken."""
        with self._lock:
            pairs = list(self._pairs)
        for each in (each for pair in pairs for each in pair):
            self._reset.add(each)
            with contextlib.suppress(OSError):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                each.shutdown(socket.SHUT_RD)  # wakes the pump, and says nothing to the other end

    def half_close(self) -> None:
        """Tell each client that there will be no more answers; what it sends still arrives."""
        for client, _ in list(self._pairs):
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_WR)

    def count_arrivals(self) -> list[float]:
        """A list that grows by the time of each connection from now on."""
        self._arrivals = []
        return self._arrivals

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed: the end
                return
            self.accepted += 1
            self._arrivals.append(time.monotonic())
            try:
                upstream = socket.create_connection((LOOPBACK, self.target))
            except OSError:
                client.close()
                continue
            with self._lock:
                self._pairs.append((client, upstream))
            for source, sink, answers in ((client, upstream, False), (upstream, client, True)):
                threading.Thread(
                    target=self._pump, args=(source, sink, answers), daemon=True
                ).start()

    def _pump(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._flowing.wait()
                if (going := self._held.get(source)) is not None:
                    going.wait()
                if source in self._forsaken:
                    continue
                if answers and self.delay:
                    time.sleep(self.delay() if callable(self.delay) else self.delay)
                left = self.answers_left if answers else self.requests_left
                # A request that is whole is answered: cut right behind it, its sender might have
                # the answer, and meet the end of the connection with what it sends next.
                if left is not None and len(data) >= left + (not answers):
                    sink.sendall(data[:left])
                    self._passed(answers, None)
                    break
                sink.sendall(data)
                if left is not None:
                    self._passed(answers, left - len(data))
        if source in self._forsaken:
            with self._lock:
                self._given_up.add(frozenset((source, sink)))
            return
        for each in () if source in self._reset else (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._over(frozenset((source, sink)))

    def _over(self, pair: frozenset[socket.socket]) -> None:
        """One direction of *pair* has ended; once both have, it is closed."""
        with self._lock:
            if pair not in self._halves:
                self._halves.add(pair)
                return
            self._halves.remove(pair)
        self._close(pair)

    def _close(self, pair: frozenset[socket.socket]) -> None:
        with self._lock:
            self._pairs = [each for each in self._pairs if frozenset(each) != pair]
            self._halves.discard(pair)
        for each in pair:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)  # a pump may wait on it
            each.close()
            self._reset.discard(each)
            self._forsaken.discard(each)

    def _passed(self, answers: bool, left: int | None) -> None:
        if answers:
            self.answers_left = left
        else:
            self.requests_left = left


@contextlib.contextmanager
def speaking(say: bytes = b"", *, hang_up: bool = False) -> Iterator[int]:
    """A port where something answers that is no Redis: it says *say* once it is spoken to."""
    listener = socket.create_server((LOOPBACK, 0))
    kept: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:  # closed: the end
                return
            with contextlib.suppress(OSError):
                client.recv(1)
                client.sendall(say)
            client.close() if hang_up else kept.append(client)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(DEADLINE)
        for each in kept:
            each.close()


@contextlib.contextmanager
def swallowing() -> Iterator[int]:
    """A port that neither takes nor refuses a connection, as behind a firewall that drops."""
    listener = socket.socket()
    listener.bind((LOOPBACK, 0))
    listener.listen(0)
    port = listener.getsockname()[1]
    waiting = []
    try:
        # The kernel takes one or two that nobody accepts, then drops what comes.
        for _ in range(4):
            each = socket.socket()
            each.setblocking(False)
            waiting.append(each)
            with contextlib.suppress(BlockingIOError):
                each.connect((LOOPBACK, port))
        time.sleep(0.1)
        yield port
    finally:
        for each in waiting:
            each.close()
        listener.close()
