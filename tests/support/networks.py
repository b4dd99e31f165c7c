"""Hosts on a network of their own that can be cut off from each other: real network namespaces.

A packet to or from a host that is cut off goes nowhere, and nobody is told: neither a reset nor an
end of the connection, as when a switch dies. Processes run on a host by the words in its
:attr:`Host.on`; what they share with everybody is the file system.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import servers
from workers import Site, Worker

_NAMES = Path("/run/netns")
_MARK = "celeriac-"
#: The network of the hosts. It exists in their namespaces alone.
_NET = "10.213.0"
PORT = 6379
NEEDS = "network namespaces need root and the command `ip`: apt-get install iproute2 (.ci/run does)"


class Unavailable(Exception):
    """There can be no network namespaces here."""


@dataclass(frozen=True)
class Host:
    """One host. *on*: what is put before a command that is to run there."""

    name: str
    namespace: str
    hub: str
    address: str

    @property
    def on(self) -> list[str]:
        return ["nsenter", f"--net={_NAMES / self.namespace}"]

    def cut_off(self) -> None:
        """Nothing gets through any more, either way; its cable stays in, so nobody is told."""
        _ip("-n", self.hub, "link", "set", self.name, "nomaster")

    def heal(self) -> None:
        _ip("-n", self.hub, "link", "set", self.name, "master", "bridge")


class Network:
    """Hosts beside each other, made when they are first named."""

    def __init__(self) -> None:
        self._hub = self._namespace("hub")
        self._hosts: dict[str, Host] = {}
        _ip("-n", self._hub, "link", "add", "bridge", "type", "bridge")
        _ip("-n", self._hub, "link", "set", "bridge", "up")

    def host(self, name: str, address: int = 0) -> Host:
        """The host *name*; with *address*, the last number of its address, if it is new."""
        if name not in self._hosts:
            found = address or len(self._hosts) + 10
            made = Host(name, self._namespace(name), self._hub, f"{_NET}.{found}")
            _ip("-n", self._hub, "link", "add", name, "type", "veth",
                "peer", "name", "eth0", "netns", made.namespace)  # fmt: skip
            # As a machine has it that comes back: neighbours go on with what they have learned.
            hardware = f"02:00:00:00:00:{found:02x}"
            _ip("-n", made.namespace, "link", "set", "eth0", "address", hardware)
            _ip("-n", self._hub, "link", "set", name, "master", "bridge")
            _ip("-n", self._hub, "link", "set", name, "up")
            _ip("-n", made.namespace, "addr", "add", f"{made.address}/24", "dev", "eth0")
            for link in ("lo", "eth0"):
                _ip("-n", made.namespace, "link", "set", link, "up")
            self._hosts[name] = made
        return self._hosts[name]

    def destroy(self, host: Host) -> None:
        """Take the host away, its end of all connections with it. Its processes must have ended."""
        del self._hosts[host.name]
        _ip("-n", self._hub, "link", "del", host.name)
        _ip("netns", "del", host.namespace)

    def _namespace(self, name: str) -> str:
        made = f"{_MARK}{os.getpid()}-{name}"
        _ip("netns", "add", made)
        return made


@contextlib.contextmanager
def network() -> Iterator[Network]:
    """A network without hosts. Its namespaces are gone afterwards, whatever happens."""
    if shutil.which("ip") is None or shutil.which("nsenter") is None:
        raise servers.Missing(NEEDS)  # it can be installed, so nothing is passed over
    if os.geteuid() != 0:
        raise Unavailable(NEEDS)
    _clear_away()
    try:
        try:
            made = Network()
        except subprocess.CalledProcessError as error:  # a container without the rights, say
            raise Unavailable(f"{NEEDS}; here: {error.stderr.strip()}") from None
        yield made
    finally:
        for each in _left_by(os.getpid()):
            _ip("netns", "del", each)


def _left_by(pid: int) -> list[str]:
    if not _NAMES.exists():
        return []
    return [each.name for each in _NAMES.iterdir() if each.name.startswith(f"{_MARK}{pid}-")]


def _clear_away() -> None:
    """Remove what test processes left behind that were killed."""
    for each in _NAMES.iterdir() if _NAMES.exists() else ():
        pid = each.name.removeprefix(_MARK).partition("-")[0]
        if each.name.startswith(_MARK) and pid.isdigit() and not psutil.pid_exists(int(pid)):
            _ip("netns", "del", each.name)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True, timeout=60)


@contextlib.contextmanager
def store_on(host: Host, folder: Path) -> Iterator[servers.Server]:
    """A Redis on *host* that keeps what it acknowledged in *folder*. The test looks at it by its
    unix socket, which is on no network; :func:`url_on` is what the network calls it."""
    path = folder / "socket"
    options = {
        "bind": host.address, "unixsocket": str(path), "appendonly": "yes",
        "appendfsync": "always",
    }  # fmt: skip
    client: dict[str, object] = {"unix_socket_path": str(path)}
    made = servers.Server(
        folder, servers.redis_binary(), PORT, options, client, before=tuple(host.on)
    )
    try:
        yield made.start()
    finally:
        made.stop()


def url_on(host: Host) -> str:
    return f"redis://{host.address}:{PORT}/0"


def worker_on(host: Host, place: Site, *options: str, **environment: str) -> Worker:
    """Start a worker on *host*: with a name of its own, and where no other finds its lock file."""
    temporary = place.folder / f"tmp-{host.name}"
    temporary.mkdir(exist_ok=True)
    with place.command_on(host.on):
        return place.worker(
            "-n", f"{host.name}@{host.name}", *options, TMPDIR=str(temporary), **environment
        )
