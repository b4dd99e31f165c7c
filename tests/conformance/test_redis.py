"""The Redis store keeps the protocol, on Redis and on Valkey."""

import pytest
from msgspec.structs import replace

from celeriac.stores import connect
from celeriac.testing.conformance import StoreSuite


def opening(shared, kind):
    """Opens stores on one server, each in a namespace of its own."""
    url = shared.url(kind)
    return lambda options: connect(url, replace(options, namespace=shared.namespace()))


class TestRedis(StoreSuite):
    @pytest.fixture
    def open_store(self, shared):
        return opening(shared, "redis")


class TestValkey(StoreSuite):
    @pytest.fixture
    def open_store(self, shared):
        return opening(shared, "valkey")
