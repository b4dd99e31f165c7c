"""TLS to a real server with certificates of the tests' own authority."""

import logging

import pytest
import servers
from authority import Authority, openssl, tls_server
from servers import LOOPBACK

from celeriac.exceptions import ImproperlyConfigured, OperationalError
from celeriac.stores.base import Options
from celeriac.stores.redis import facts
from celeriac.stores.redis.connection import Connection
from celeriac.stores.redis.ear import Ear
from celeriac.stores.redis.location import locate


@pytest.fixture(scope="module")
def authority():
    with servers.folder() as place:
        yield Authority(place / "ca").make()


@pytest.fixture(scope="module")
def stranger():
    with servers.folder() as place:
        yield Authority(place / "ca").make()


@pytest.fixture(scope="module")
def good(authority):
    with tls_server(authority, authority.sign("good")) as made:
        yield made


@pytest.fixture(scope="module")
def asking(authority):
    """A server that wants a certificate of its clients."""
    with tls_server(authority, authority.sign("asking"), ask=True) as made:
        yield made


def connect(url, ssl=None):
    return Connection(locate(url, ssl=ssl), Options(namespace="n"))


def problem(url, ssl=None, error=OperationalError):
    with pytest.raises(error) as caught:
        connect(url, ssl).call("PING")
    return str(caught.value)


def address(made):
    return f"{LOOPBACK}:{made.port}"


@pytest.mark.parametrize("host", [LOOPBACK, "localhost"])
def test_a_certificate_that_is_right(good, authority, host):
    connection = connect(f"rediss://{host}:{good.port}/1?ssl_ca_certs={authority.ca}")
    assert connection.call("PING") == b"PONG"
    large = b"x" * 3_000_000
    connection.call("SET", "{n}:large", large)
    assert connection.call("GET", "{n}:large") == large


def test_the_settings_of_celery(good, authority):
    url = f"redis://{address(good)}"
    ssl = {"ssl_ca_certs": str(authority.ca), "ssl_cert_reqs": "CERT_REQUIRED"}
    assert connect(url, ssl).call("PING") == b"PONG"
    assert "not signed by a CA that is trusted" in problem(url, ssl=True)


def test_listening_goes_through_tls(good, authority):
    connection = connect(f"rediss://{address(good)}?ssl_ca_certs={authority.ca}")
    ear = Ear(connection, 5.0)
    ear.subscribe([b"c"])
    assert ear.heard(20) == [(b"c", None)]
    # More than one record of TLS, and more than one read.
    sent = [b"%d" % number + b"x" * 40_000 for number in range(20)]
    for each in sent:
        connection.call("PUBLISH", "c", each)
    heard = []
    while len(heard) < len(sent):
        heard += ear.heard(20)
    assert [data for _, data in heard] == sent
    ear.close()


def test_an_authority_that_is_not_known(good):
    text = problem(f"rediss://{address(good)}")
    assert f"The certificate of {address(good)} is not signed by a CA that is trusted" in text
    assert "ssl_ca_certs=/path/ca.pem" in text


def test_another_authority(good, stranger):
    text = problem(f"rediss://{address(good)}?ssl_ca_certs={stranger.ca}")
    assert "not signed by a CA that is trusted" in text


def test_the_systems_authorities_do_not_count_beside_ones_own(good, authority):
    from celeriac.stores.redis.tls import context_of

    here = locate(f"rediss://{address(good)}?ssl_ca_certs={authority.ca}")
    assert len(context_of(here.tls, here.shown).get_ca_certs()) == 1


def test_another_host(authority):
    certificate = authority.sign("elsewhere", names="DNS:elsewhere.example")
    with tls_server(authority, certificate) as made:
        url = f"rediss://{address(made)}?ssl_ca_certs={authority.ca}"
        text = problem(url)
        assert f"The certificate of {address(made)} is not for {LOOPBACK!r}" in text
        assert "Connect by a name that the certificate holds" in text
        assert connect(f"{url}&ssl_check_hostname=false").call("PING") == b"PONG"


def test_one_that_has_expired(authority):
    with tls_server(authority, authority.sign("old", days=-1)) as made:
        text = problem(f"rediss://{address(made)}?ssl_ca_certs={authority.ca}")
    assert text == f"The certificate of {address(made)} has expired. Renew it on the server."


def test_verification_can_be_switched_off_by_name_and_is_told_of(good):
    connection = connect(f"rediss://{address(good)}?ssl_cert_reqs=none")
    assert connection.call("PING") == b"PONG"
    assert "tls" in [each.code for each in facts.traps_of(facts.read(connection))]


def test_in_the_clear_to_a_port_of_tls(good):
    text = problem(f"redis://:hunter2@{address(good)}")
    assert f"{address(good)} speaks TLS only: write rediss://" in text
    assert "hunter2" not in text


# -- certificates of clients ---------------------------------------------------------------------


def test_a_client_with_a_certificate(asking, authority):
    certificate, key = authority.sign("me")
    url = f"rediss://{address(asking)}?ssl_ca_certs={authority.ca}"
    assert connect(f"{url}&ssl_certfile={certificate}&ssl_keyfile={key}").call("PING") == b"PONG"
    ssl = {"ssl_ca_certs": str(authority.ca), "certfile": str(certificate), "keyfile": str(key)}
    assert connect(f"redis://{address(asking)}", ssl).call("PING") == b"PONG"


def test_a_client_without(asking, authority):
    text = problem(f"rediss://{address(asking)}?ssl_ca_certs={authority.ca}")
    assert f"{address(asking)} wants a certificate from us: set ssl_certfile" in text


def test_a_client_with_a_strangers(asking, authority, stranger):
    certificate, key = stranger.sign("me")
    url = f"rediss://{address(asking)}?ssl_ca_certs={authority.ca}"
    text = problem(f"{url}&ssl_certfile={certificate}&ssl_keyfile={key}")
    assert "does not accept our certificate" in text


def test_files_that_cannot_be_used(good, authority, tmp_path):
    certificate, _ = authority.sign("mine")
    _, other_key = authority.sign("theirs")
    rubbish = tmp_path / "rubbish.pem"
    rubbish.write_text("no certificate")
    url = f"rediss://{address(good)}"
    for query, name in (
        (f"ssl_ca_certs={rubbish}", str(rubbish)),
        (f"ssl_certfile={certificate}&ssl_keyfile={other_key}", str(other_key)),
        (f"ssl_certfile={rubbish}&ssl_keyfile={other_key}", str(rubbish)),
    ):
        text = problem(f"{url}?{query}", error=ImproperlyConfigured)
        assert "the certificates cannot be used" in text
        assert name in text


def test_a_key_with_a_password(asking, authority, caplog):
    certificate, key = authority.sign("guarded")
    locked = key.with_suffix(".locked")
    openssl(
        authority.folder, "ec", "-in", str(key), "-aes256", "-passout", "pass:hunter2", "-out",
        str(locked),
    )  # fmt: skip
    url = (
        f"rediss://{address(asking)}?ssl_ca_certs={authority.ca}&ssl_certfile={certificate}"
        f"&ssl_keyfile={locked}"
    )
    caplog.set_level(logging.DEBUG)
    assert connect(f"{url}&ssl_password=hunter2").call("PING") == b"PONG"
    assert "cannot be used" in problem(url, error=ImproperlyConfigured)
    text = problem(f"{url}&ssl_password=hunter3", error=ImproperlyConfigured)
    assert "hunter" not in text + caplog.text
