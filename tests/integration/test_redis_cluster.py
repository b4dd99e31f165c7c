"""On a cluster of three nodes: one node has all keys of a namespace, and any node leads to it."""

import pytest
import servers
from servers import LOOPBACK

from celeriac.clock import SYSTEM
from celeriac.exceptions import OperationalError
from celeriac.stores.base import Options
from celeriac.stores.redis.bus import RedisBus
from celeriac.stores.redis.connection import Connection
from celeriac.stores.redis.location import locate
from celeriac.stores.redis.script import Script

COUNT = Script.of("count", "return redis.call('INCR', KEYS[1] .. 'n')")


@pytest.fixture(scope="module", params=["redis", "valkey"])
def cluster(request):
    with servers.cluster(request.param) as made:
        yield made


def connect(url, namespace="n"):
    return Connection(locate(url), Options(namespace=namespace))


def test_any_node_leads_to_the_one_that_has_our_keys(cluster):
    owner = cluster.owner_of("{any}:n")
    for number, node in enumerate(cluster.nodes, 1):
        connection = connect(f"redis+cluster://{LOOPBACK}:{node.port}", "any")
        assert connection.run(COUNT) == number
        assert connection.where() == f"{LOOPBACK}:{owner.port}"
        assert connection.server().mode == "cluster"


def test_namespaces_spread_over_the_nodes(cluster):
    found = {connect(cluster.url, f"space{number}").where() for number in range(12)}
    assert len(found) == 3


def test_slots_that_move_are_followed(cluster):
    connection = connect(cluster.url, "moving")
    assert connection.run(COUNT) == 1
    listening = RedisBus(connection).listen("c")
    source = cluster.owner_of("{moving}:n")
    target = next(each for each in cluster.nodes if each is not source)
    slot = source.do("CLUSTER", "KEYSLOT", "{moving}:n")
    old, new = (each.do("CLUSTER", "MYID").decode() for each in (source, target))
    target.do("CLUSTER", "SETSLOT", slot, "IMPORTING", old)
    source.do("CLUSTER", "SETSLOT", slot, "MIGRATING", new)
    keys = source.do("CLUSTER", "GETKEYSINSLOT", slot, 100)
    source.do("MIGRATE", LOOPBACK, target.port, "", 0, 5000, "KEYS", *keys)
    for each in (target, source):
        each.do("CLUSTER", "SETSLOT", slot, "NODE", new)
    assert connection.run(COUNT) == 2
    assert connection.where() == f"{LOOPBACK}:{target.port}"
    # What is published is heard at every node.
    RedisBus(connection).publish("c", b"x")
    assert listening.get(60) == b"x"
    listening.close()


def test_a_cluster_that_is_down_says_so():
    with servers.cluster() as whole:
        connection = Connection(locate(whole.url), Options(namespace="n", timeout=2.0))
        assert connection.run(COUNT) == 1
        owner = whole.owner_of("{n}:n")
        for node in whole.nodes:
            if node is not owner:
                node.stop(9)
        began = SYSTEM.monotonic()
        servers.until("it is down", lambda: b"cluster_state:fail" in owner.do("CLUSTER", "INFO"))
        began = SYSTEM.monotonic()
        with pytest.raises(OperationalError, match="is a cluster that is down"):
            connection.run(COUNT)
        assert SYSTEM.monotonic() - began < 2 + servers.DEADLINE / 2
