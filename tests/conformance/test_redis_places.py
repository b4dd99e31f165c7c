"""The Redis store keeps the protocol wherever the server is and however old: behind sentinels, on a
cluster, through TLS and a unix socket, on Redis 6.2."""

import pytest
import servers
from authority import Authority, tls_server
from msgspec.structs import replace

from celeriac.stores import connect
from celeriac.testing.conformance import StoreSuite


def opening(shared, url, **more):
    """Opens stores at *url*, each in a namespace of its own: on a cluster, on any of its nodes."""
    return lambda options: connect(url, replace(options, namespace=shared.namespace(), **more))


@pytest.fixture(scope="module")
def tls_place():
    with servers.folder() as place:
        authority = Authority(place / "ca").make()
        with tls_server(authority, authority.sign("server")) as made:
            yield made, authority


@pytest.fixture(scope="module")
def socket_url():
    with servers.folder() as place, servers.server(unixsocket=str(place / "s")):
        yield f"redis+socket://{place / 's'}"


class TestOldest(StoreSuite):
    """Redis 6.2: there scripts have no flags."""

    @pytest.fixture
    def open_store(self, shared):
        return opening(shared, shared.url("redis-6.2"))


class TestSentinel(StoreSuite):
    @pytest.fixture
    def open_store(self, shared):
        return opening(shared, shared.url("sentinel"))


class TestCluster(StoreSuite):
    @pytest.fixture
    def open_store(self, shared):
        return opening(shared, shared.url("cluster"))


class TestValkeyCluster(StoreSuite):
    @pytest.fixture
    def open_store(self, shared):
        return opening(shared, shared.url("valkey-cluster"))


class TestTls(StoreSuite):
    @pytest.fixture
    def open_store(self, shared, tls_place):
        made, authority = tls_place
        url = f"redis://{servers.LOOPBACK}:{made.port}/3"
        return opening(shared, url, ssl={"ssl_ca_certs": str(authority.ca)})


class TestSocket(StoreSuite):
    @pytest.fixture
    def open_store(self, shared, socket_url):
        return opening(shared, socket_url)
