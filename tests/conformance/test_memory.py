"""The memory store keeps the protocol."""

import os

import pytest

from celeriac.exceptions import ImproperlyConfigured, OperationalError
from celeriac.stores import connect
from celeriac.stores.base import Options
from celeriac.stores.memory import make_store
from celeriac.testing.conformance import StoreSuite, message


class TestMemory(StoreSuite):
    @pytest.fixture
    def open_store(self):
        return lambda options: make_store("memory://", options)


def test_one_url_names_one_store_in_a_process():
    one = connect("memory://test-one-url")
    one.queue.enqueue([message("a")])
    assert connect("memory://test-one-url").inspection.get(["a"])[0] is not None
    assert connect("memory://test-other-url").inspection.get(["a"]) == [None]


def test_one_url_with_other_options_is_refused():
    connect("memory://test-options")
    with pytest.raises(ImproperlyConfigured, match="other options"):
        connect("memory://test-options", Options(lease=3.0))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_is_told_that_it_cannot_use_it():
    store = connect("memory://test-fork")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            store.queue.enqueue([message("a")])
        except OperationalError as error:
            os.write(write, str(error).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with os.fdopen(read) as told:
        assert "forked child" in told.read()
    assert store.inspection.get(["a"]) == [None]
