"""The SQLite store keeps the protocol."""

import pytest

from celeriac.stores import connect
from celeriac.testing.conformance import StoreSuite


class TestSqlite(StoreSuite):
    @pytest.fixture
    def open_store(self, tmp_path):
        return lambda options: connect(f"sqlite:///{tmp_path}/tasks.db", options)
