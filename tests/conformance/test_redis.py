"""The Redis store keeps the protocol, on Redis and on Valkey."""

import itertools

import pytest
from msgspec.structs import replace
from servers import server

from celeriac.stores import connect
from celeriac.testing.conformance import StoreSuite

_namespaces = itertools.count(1)


def opening(place):
    """Opens stores on one server, each in a namespace of its own."""
    return lambda options: connect(
        place.url, replace(options, namespace=f"test{next(_namespaces)}")
    )


@pytest.fixture(scope="module")
def redis_server():
    with server("redis") as found:
        yield found


@pytest.fixture(scope="module")
def valkey_server():
    with server("valkey") as found:
        yield found


class TestRedis(StoreSuite):
    @pytest.fixture
    def open_store(self, redis_server):
        return opening(redis_server)


class TestValkey(StoreSuite):
    @pytest.fixture
    def open_store(self, valkey_server):
        return opening(valkey_server)
