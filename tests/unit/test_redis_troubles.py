"""Error replies and the system's errors, in words that say what to do."""

import errno
import socket

import pytest

from celeriac.exceptions import ImproperlyConfigured, OperationalError, StoreError, StoreFull
from celeriac.stores.redis import troubles
from celeriac.stores.redis.location import locate

HERE = locate("redis://me:hunter2@cache:6379/9")
OPEN = locate("redis://cache")


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ("OOM command not allowed when used memory > 'maxmemory'.", "OOM"),
        ("ERR unknown command", "ERR"),
        ("DUPLICATE 12-34", "DUPLICATE"),
        ("NOSCRIPT No matching script.", "NOSCRIPT"),
        # A script's own call that failed, as Redis before 7 tells of it.
        (("ERR Error running script (call to f_0a): @user_script:7: -OOM command "
         "not allowed when used memory > 'maxmemory'."), "OOM"),
        (("ERR Error running script (call to f_0a): @user_script:7: -MISCONF Redis "
         "is configured to save RDB snapshots"), "MISCONF"),
        ("lower case", "ERR"),
        ("", "ERR"),
    ],
)  # fmt: skip
def test_the_kind_of_a_reply(reply, kind):
    assert troubles.kind_of(reply) == kind


@pytest.mark.parametrize(
    ("reply", "error", "words"),
    [
        ("OOM no", StoreFull, "nothing was stored"),
        ("MISCONF no", StoreFull, "cannot write to its disk"),
        ("LOADING no", troubles.NotNow, "still loads its data"),
        ("BUSY no", troubles.NotNow, "SCRIPT KILL"),
        ("READONLY no", troubles.NotNow, "name the primary"),
        ("NOREPLICAS no", troubles.NotNow, "min-replicas-to-write"),
        ("CLUSTERDOWN no", troubles.NotNow, "hash slots have no node"),
        ("MOVED 1 a:2", ImproperlyConfigured, "redis+cluster://"),
        ("NOPERM this user has no permissions to run the 'evalsha' command", OperationalError,
         "'evalsha'"),
        ("WRONGPASS invalid username-password pair", OperationalError, "user 'me'"),
        ("NOAUTH Authentication required.", OperationalError, "refuses the password"),
        ("ERR invalid password", OperationalError, "refuses the password"),
        (("ERR AUTH <password> called without any password configured for the default user. Are "
         "you sure your configuration is correct?"), OperationalError, "the server has none set"),
        ("ERR DB index is out of range", ImproperlyConfigured, "no database 9"),
        ("ERR max number of clients reached", troubles.NotNow, "maxclients"),
        ("ERR unknown command `EVALSHA`", OperationalError, "a proxy or a compatible service"),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", StoreError,
         "another program"),
        ("ERR user_script:3: attempt to index a nil value", StoreError, "refused enqueue: ERR"),
    ],
)  # fmt: skip
def test_what_a_reply_becomes(reply, error, words):
    made = troubles.refused(reply, HERE, "enqueue")
    assert type(made) is error
    assert words in str(made)
    assert "hunter2" not in str(made)


def test_a_script_that_refuses():
    made = troubles.refused("DUPLICATE 12-34", HERE, "enqueue")
    assert isinstance(made, troubles.ScriptError)
    assert (made.kind, made.text, str(made)) == ("DUPLICATE", "12-34", "DUPLICATE 12-34")


def test_a_password_that_was_not_given():
    made = troubles.refused("NOAUTH Authentication required.", OPEN, "GET")
    assert "wants a password and none is given" in str(made)


def test_what_may_pass_is_told_from_what_does_not():
    assert troubles.refused("LOADING", OPEN, "GET").passing
    assert troubles.unreachable(OPEN, "h", 1, ConnectionRefusedError()).passing
    assert not troubles.refused("WRONGPASS no", OPEN, "GET").passing


# -- no connection -------------------------------------------------------------------------------


def test_refused_names_host_port_and_what_to_check():
    error = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
    text = str(troubles.unreachable(OPEN, "cache", 6379, error))
    assert text.startswith("Cannot connect to cache:6379: connection refused.")
    for word in ("server runs", "host and port", "bind", "firewall"):
        assert word in text
    assert "container" not in text


def test_an_unknown_name():
    text = str(troubles.unreachable(OPEN, "cahce", 6379, socket.gaierror(-2, "Name not known")))
    assert "'cahce' is not known here" in text


def test_a_socket():
    here = locate("unix:///run/r.sock")
    text = str(troubles.unreachable(here, "", 0, FileNotFoundError(2, "No such file")))
    assert "Nobody answers at the socket /run/r.sock: no such file" in text


@pytest.fixture
def outside(monkeypatch, tmp_path):
    """No sign of a container."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setattr(troubles, "_MARKS", (tmp_path / "dockerenv",))
    monkeypatch.setattr(troubles, "_CGROUP", tmp_path / "cgroup")
    return tmp_path


def refused(host):
    error = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
    return str(troubles.unreachable(OPEN, host, 6379, error))


def test_outside_a_container_nothing_is_said_of_one(outside):
    assert "container" not in refused("localhost")
    (outside / "cgroup").write_text("0::/user.slice\n")
    assert "container" not in refused("localhost")


@pytest.mark.parametrize("sign", ["dockerenv", "cgroup", "kubernetes"])
def test_localhost_inside_a_container(outside, monkeypatch, sign):
    if sign == "dockerenv":
        (outside / "dockerenv").touch()
    elif sign == "cgroup":
        (outside / "cgroup").write_text("0::/kubepods.slice/x\n")
    else:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    for host in ("localhost", "127.0.0.1", "::1"):
        assert f"inside a container, where {host} is the container itself" in refused(host)
        assert "redis://redis:6379/0 in Compose" in refused(host)
    assert "inside a container" not in refused("cache")
