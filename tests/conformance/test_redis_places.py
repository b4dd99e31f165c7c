"""The Redis store keeps the protocol wherever the server is: behind sentinels, on a cluster,
through TLS and a unix socket."""

import itertools

import pytest
import servers
from msgspec.structs import replace

from celeriac.stores import connect
from celeriac.testing.conformance import StoreSuite

_namespaces = itertools.count(1)


def opening(url, **more):
    """Opens stores at *url*, each in a namespace of its own: on a cluster, on any of its nodes."""
    return lambda options: connect(
        url, replace(options, namespace=f"test{next(_namespaces)}", **more)
    )


@pytest.fixture(scope="module")
def sentinel_url():
    with servers.watched() as group:
        yield group.url


@pytest.fixture(scope="module")
def cluster_url():
    with servers.cluster() as whole:
        yield whole.url


@pytest.fixture(scope="module")
def valkey_cluster_url():
    with servers.cluster("valkey") as whole:
        yield whole.url


@pytest.fixture(scope="module")
def tls_place():
    with servers.folder() as place:
        authority = servers.Authority(place / "ca").make()
        with servers.tls_server(authority, authority.sign("server")) as made:
            yield made, authority


@pytest.fixture(scope="module")
def socket_url():
    with servers.folder() as place, servers.server(unixsocket=str(place / "s")):
        yield f"redis+socket://{place / 's'}"


class TestSentinel(StoreSuite):
    @pytest.fixture
    def open_store(self, sentinel_url):
        return opening(sentinel_url)


class TestCluster(StoreSuite):
    @pytest.fixture
    def open_store(self, cluster_url):
        return opening(cluster_url)


class TestValkeyCluster(StoreSuite):
    @pytest.fixture
    def open_store(self, valkey_cluster_url):
        return opening(valkey_cluster_url)


class TestTls(StoreSuite):
    @pytest.fixture
    def open_store(self, tls_place):
        made, authority = tls_place
        url = f"redis://{servers.LOOPBACK}:{made.port}/3"
        return opening(url, ssl={"ssl_ca_certs": str(authority.ca)})


class TestSocket(StoreSuite):
    @pytest.fixture
    def open_store(self, socket_url):
        return opening(socket_url)
