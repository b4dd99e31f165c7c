"""Through sentinels: the primary is found, and found again after it has died."""

import pytest
import servers
from servers import LOOPBACK, until

from celeriac import stores
from celeriac.clock import SYSTEM
from celeriac.exceptions import OperationalError
from celeriac.stores.base import Options
from celeriac.stores.redis.bus import RedisBus
from celeriac.stores.redis.connection import Connection
from celeriac.stores.redis.location import locate
from celeriac.stores.redis.script import Script

COUNT = Script.of("count", "return redis.call('INCR', KEYS[1] .. 'n')")


def connect(url, transport=None, timeout=5.0):
    return Connection(locate(url, transport), Options(namespace="n", timeout=timeout))


def test_the_primary_is_found_and_found_again_after_its_death():
    with servers.watched() as group:
        connection = connect(group.url, timeout=30.0)
        assert connection.run(COUNT) == 1
        assert connection.where() == f"{LOOPBACK}:{group.primary.port}"
        listening = RedisBus(connection).listen("news")
        # Acknowledged by the replica: what follows is not about losing the last writes.
        group.primary.do("WAIT", 1, 20_000)
        # One sentinel is dead, too, and must not be waited for long.
        group.sentinels[0].stop()
        group.primary.stop(9)
        began = SYSTEM.monotonic()
        assert connection.run(COUNT) == 2
        assert SYSTEM.monotonic() - began < 30
        assert connection.where() == f"{LOOPBACK}:{group.replica.port}"
        # A subscription comes back by itself.
        heard = None
        end = SYSTEM.monotonic() + servers.DEADLINE
        while heard is None and SYSTEM.monotonic() < end:
            RedisBus(connection).publish("news", b"x")
            heard = listening.get(0.2)
        assert heard == b"x"
        listening.close()


def test_a_primary_that_was_demoted_is_left():
    """Failing over by hand: the old primary lives on as a replica, and its links with it."""
    with servers.watched() as group:
        connection = connect(group.url, timeout=30.0)
        assert connection.run(COUNT) == 1
        group.primary.do("WAIT", 1, 20_000)
        group.sentinels[0].do("SENTINEL", "FAILOVER", group.name)
        until("the old one follows", lambda: group.primary.do("ROLE")[0] == b"slave")
        assert connection.run(COUNT) == 2
        assert connection.where() == f"{LOOPBACK}:{group.replica.port}"


def test_a_sentinel_that_missed_a_failover_misleads_nobody():
    """One that is cut off goes on naming a primary that is gone; the others know better."""
    with servers.watched(sentinels=1) as group, servers.folder() as place:
        gone, port = servers.free_ports(2)
        lines = {f"sentinel monitor {group.name}": f"{LOOPBACK} {gone} 2"}
        misled = servers.Sentinel(place, servers.sentinel_binary(), port, lines)
        try:
            misled.start()
            hosts = f"{LOOPBACK}:{port},{LOOPBACK}:{group.sentinels[0].port}"
            url = f"sentinel://{hosts}/0?master_name={group.name}"
            for _ in range(10):  # in any order
                assert connect(url).where() == f"{LOOPBACK}:{group.primary.port}"
        finally:
            misled.stop()


def test_passwords_of_servers_and_sentinels():
    with servers.watched("p@ss", sentinels=1) as group:
        host = f"{LOOPBACK}:{group.sentinels[0].port}"
        options = {"master_name": group.name}
        assert connect(f"sentinel://:p%40ss@{host}/0", options).run(COUNT) == 1
        with pytest.raises(OperationalError, match="wants a password and none is given"):
            connect(f"sentinel://{host}/0", options).run(COUNT)
        # The sentinel wants one of its own.
        sentinel = group.sentinels[0]
        sentinel.do("ACL", "SETUSER", "watcher", "on", ">hunter2", "+@all")
        sentinel.do("ACL", "SETUSER", "default", "off")
        url = f"sentinel://:p%40ss@{host}/0"
        with pytest.raises(OperationalError) as caught:
            connect(url, options).run(COUNT)
        assert "wants a password and none is given" in str(caught.value)
        options["sentinel_kwargs"] = {"username": "watcher", "password": "hunter2"}
        assert connect(url, options).run(COUNT) == 2


def test_replicas_without_min_replicas_are_told():
    with servers.watched(sentinels=1) as group:
        url = f"sentinel://{LOOPBACK}:{group.sentinels[0].port}/0?master_name={group.name}"
        store = stores.connect(url, Options())

        def told():
            return {each.code: each.what for each in store.inspection.traps()}

        assert "it has replicas and min-replicas-to-write is 0" in told()["replicas"]
        group.primary.do("CONFIG", "SET", "min-replicas-to-write", "1")
        assert "replicas" not in told()
        # By the name of the replica itself, that is the trap.
        codes = {each.code for each in stores.connect(group.replica.url).inspection.traps()}
        assert "replica" in codes


def test_no_sentinel_answers():
    ports = servers.free_ports(2)
    hosts = ",".join(f"{LOOPBACK}:{port}" for port in ports)
    began = SYSTEM.monotonic()
    with pytest.raises(OperationalError) as caught:
        connect(f"sentinel://{hosts}/0?master_name=main").call("PING")
    assert SYSTEM.monotonic() - began < 5 + servers.DEADLINE / 2
    for port in ports:
        assert f"{LOOPBACK}:{port}: connection refused" in str(caught.value)
