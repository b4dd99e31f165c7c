"""URLs of a Redis: what each form means, and what each mistake is told."""

import pytest

from celeriac.exceptions import ImproperlyConfigured
from celeriac.stores import _MODULES
from celeriac.stores.redis.location import SCHEMES, Location, locate
from celeriac.stores.redis.tls import Tls

SECRET = "p@ss/w#rd?%:;é"
QUOTED = "p%40ss%2Fw%23rd%3F%25%3A%3B%C3%A9"


def wrong(url, **more):
    with pytest.raises(ImproperlyConfigured) as caught:
        locate(url, **more)
    return str(caught.value)


def test_every_scheme_leads_to_this_store():
    assert {name for name, module in _MODULES.items() if module.endswith("redis")} == set(SCHEMES)


@pytest.mark.parametrize(
    ("url", "nodes", "db"),
    [
        ("redis://", [("localhost", 6379)], 0),
        ("redis://host", [("host", 6379)], 0),
        ("redis://host:7000/3", [("host", 7000)], 3),
        ("redis://host/", [("host", 6379)], 0),
        ("redis:///2", [("localhost", 6379)], 2),
        ("redis://host?db=4", [("host", 6379)], 4),
        ("redis://host?virtual_host=/5", [("host", 6379)], 5),
        ("redis://[::1]:7000/1", [("::1", 7000)], 1),
        ("redis://[::1]", [("::1", 6379)], 0),
        ("valkey://10.0.0.1:6380", [("10.0.0.1", 6380)], 0),
        ("REDIS://host", [("host", 6379)], 0),
    ],
)
def test_one_server(url, nodes, db):
    found = locate(url)
    assert (found.kind, list(found.nodes), found.db, found.tls) == ("single", nodes, db, None)


@pytest.mark.parametrize(
    ("url", "username", "password"),
    [
        ("redis://host", "", None),
        ("redis://:@host", "", None),
        ("redis://:pw@host", "", "pw"),
        ("redis://me:pw@host", "me", "pw"),
        (f"redis://me:{QUOTED}@host", "me", SECRET),
        ("redis://m%40e:pw@host", "m@e", "pw"),
        ("redis://me:p:w@host", "me", "p:w"),
        ("redis://me:p@w@host", "me", "p@w"),
        ("redis://host?username=me&password=pw", "me", "pw"),
        (f"redis://host?password={QUOTED}", "", SECRET),
    ],
)
def test_who_we_are(url, username, password):
    found = locate(url)
    assert (found.username, found.password) == (username, password)
    assert found.nodes == (("host", 6379),)


@pytest.mark.parametrize("scheme", ["redis+socket", "unix", "valkey+socket"])
def test_unix_sockets(scheme):
    found = locate(f"{scheme}:///run/redis.sock")
    assert (found.path, found.db, found.nodes) == ("/run/redis.sock", 0, ())
    found = locate(f"{scheme}://me:pw@/run/my%20redis.sock?virtual_host=3")
    assert (found.path, found.db) == ("/run/my redis.sock", 3)
    assert (found.username, found.password) == ("me", "pw")


SENTINELS = [
    "sentinel://a:1,b,c:3/2?master_name=main",
    "redis+sentinel://a:1,b,c:3/2?master_name=main",
    "sentinel://a:1/2?master_name=main;sentinel://b;sentinel://c:3",
]


@pytest.mark.parametrize("url", SENTINELS[:2])
def test_sentinels(url):
    found = locate(url)
    assert found.kind == "sentinel"
    assert found.nodes == (("a", 1), ("b", 26379), ("c", 3))
    assert (found.master, found.db, found.tls) == ("main", 2, None)


def test_sentinels_as_celery_writes_them():
    options = {"master_name": "main", "sentinel_kwargs": {"password": "sp", "username": "su"}}
    url = "sentinel://:pw@a:1;sentinel://:pw@b:2/3;sentinel://:pw@c"
    found = locate(url, {**options, "visibility_timeout": 3600})
    assert found.nodes == (("a", 1), ("b", 2), ("c", 26379))
    assert (found.master, found.password, found.db) == ("main", "pw", 3)
    assert (found.sentinel_username, found.sentinel_password) == ("su", "sp")
    assert found.moot == ("visibility_timeout",)


def test_the_url_wins_over_the_transport_options():
    found = locate("sentinel://a?master_name=one", {"master_name": "other"})
    assert found.master == "one"


def test_options_for_sentinels_do_not_disturb_a_single_server():
    found = locate("redis://a", {"master_name": "main", "sentinel_kwargs": {"password": "x"}})
    assert (found.kind, found.master, found.sentinel_password) == ("single", "", None)


@pytest.mark.parametrize("scheme", ["redis+cluster", "valkey+cluster", "rediss+cluster"])
def test_clusters(scheme):
    found = locate(f"{scheme}://me:pw@a:1,b:2,c")
    assert (found.kind, found.nodes) == ("cluster", (("a", 1), ("b", 2), ("c", 6379)))
    assert (found.password, found.tls is not None) == ("pw", scheme == "rediss+cluster")


# -- TLS -----------------------------------------------------------------------------------------


@pytest.fixture
def pem(tmp_path):
    path = tmp_path / "a.pem"
    path.write_text("x")
    return str(path)


@pytest.mark.parametrize("scheme", ["rediss", "valkeys", "rediss+sentinel"])
def test_tls_verifies_everything_by_default(scheme):
    assert locate(
        f"{scheme}://host?master_name=m" if "s+" in scheme else f"{scheme}://host"
    ).tls == (Tls(verify=True, check_hostname=True))


@pytest.mark.parametrize(
    ("text", "verify"),
    [
        ("required", True), ("CERT_REQUIRED", True), ("optional", True), ("CERT_OPTIONAL", True),
        ("none", False), ("CERT_NONE", False),
    ],
)  # fmt: skip
def test_what_ssl_cert_reqs_means(text, verify):
    tls = locate(f"rediss://host?ssl_cert_reqs={text}").tls
    assert (tls.verify, tls.check_hostname) == (verify, verify)


def test_options_of_tls(pem):
    url = f"rediss://host?ssl_ca_certs={pem}&ssl_certfile={pem}&ssl_keyfile={pem}"
    tls = locate(f"{url}&ssl_password=k&ssl_check_hostname=false").tls
    assert tls == Tls(
        verify=True, check_hostname=False, ca_certs=pem, certfile=pem, keyfile=pem, key_password="k"
    )


def test_broker_use_ssl(pem):
    import ssl

    assert locate("redis://host", ssl=True).tls == Tls()
    given = {"ssl_cert_reqs": ssl.CERT_NONE, "ssl_ca_certs": pem}
    assert locate("redis://host", ssl=given).tls == Tls(
        verify=False, check_hostname=False, ca_certs=pem
    )
    assert locate("redis://host", ssl={"ca_certs": pem, "cert_reqs": ssl.CERT_REQUIRED}).tls == Tls(
        ca_certs=pem
    )
    assert locate("redis://host", ssl=None).tls is locate("redis://host", ssl=False).tls is None


# -- mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis://host/mail", "'mail' is no database"),
        ("redis://host/-1", "no database"),
        ("redis://host/1/2", "no database"),
        ("redis://host:port", "host:port with a port from 1 to 65535"),
        ("redis://host:70000", "host:port with a port"),
        ("redis://::1:6379", "an IPv6 address"),
        ("redis://a,b", "names 2 servers and is for one"),
        ("redis://host?sockettimeout=3", "Did you mean socket_timeout?"),
        ("redis://host?what", "no list of options"),
        ("redis://host?what=1", "there is no option 'what'"),
        ("redis://host?master_name=m", "there is no option 'master_name'"),
        ("redis://host?ssl_cert_reqs=none", "write rediss://"),
        ("rediss://host?ssl_cert_reqs=maybe", "write required (the default), or none"),
        ("rediss://host?ssl_ca_cert=x", "Did you mean ssl_ca_certs?"),
        ("rediss://host?ssl_ca_certs=/never/ca.pem", "/never/ca.pem, which is not there"),
        ("rediss://host?ssl_check_hostname=perhaps", "write true or false"),
        ("redis+socket://", "names no socket"),
        ("unix://host/path", "three slashes"),
        ("sentinel://a", "add ?master_name=mymaster"),
        ("sentinel://?master_name=m", "names no host"),
        ("redis+cluster://a/1", "database 0 only"),
        ("redis+cluster://", "names no host"),
        ("redis://:pa/ss@host", "%2F"),
        ("redis://:pa#ss@host", "%23"),
        ("redis:host", "no URL of a Redis"),
    ],
)  # fmt: skip
def test_mistakes_are_told(url, words):
    assert words in wrong(url)


def test_a_unix_socket_has_no_tls():
    assert "has no TLS" in wrong("unix:///run/r.sock", ssl=True)


@pytest.mark.parametrize(
    "url",
    [
        "redis://me:hunter2@host:port",
        "redis://:hunter2@host/mail",
        "redis://:hunter2/3@host",
        "redis://:hunter2#x@host",
        "redis://:hunter2;x@host:port",
        "redis://:hunter2@x@host/mail",
        "redis://host/mail?password=hunter2",
        "redis://host?password=hunter2&what=1",
        "sentinel://:hunter2@a;sentinel://:hunter2@b",
        "sentinel://a?sentinel_password=hunter2",
        "rediss://host?ssl_password=hunter2&ssl_what=1",
        "redis:hunter2://:hunter2@host",
        "redis:me:hunter2@host",
    ],
)
def test_no_mistake_shows_a_password(url):
    assert "hunter2" not in wrong(url)


def test_no_text_of_a_location_shows_a_password():
    options = {"sentinel_kwargs": {"password": "hunter2"}}
    url = "sentinel://me:hunter2@host/0?master_name=m&ssl_password=hunter2"
    found = locate(url, options)
    assert found.password == found.sentinel_password == found.tls.key_password == "hunter2"
    for text in (repr(found), str(found), found.shown, f"{found}", repr(found.tls), str([found])):
        assert "hunter2" not in text
    assert "me:***@host" in found.shown


def test_what_changes_nothing_is_kept_for_a_notice():
    found = locate("redis://host?socket_timeout=3&max_connections=2", {"visibility_timeout": 1})
    assert found.moot == ("max_connections", "socket_timeout", "visibility_timeout")
    assert isinstance(found, Location)
