"""Signatures: what is covered, how keys rotate, and what a refusal says."""

from __future__ import annotations

import copy
import hashlib
import hmac
import pickle

import pytest

from celeriac.exceptions import ImproperlyConfigured, SecurityError
from celeriac.signing import KINDS, Signer, derived_id

SECRET = "correct horse battery staple"
OTHER = "another secret, long enough"


@pytest.fixture
def signer() -> Signer:
    return Signer.from_setting(SECRET, "shop")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("body", [b"", b"body", b"x" * 100_000])
def test_what_was_signed_verifies(signer, kind, body):
    key_id, signature = signer.sign(kind, b"header", body)
    assert len(signature) == 32
    signer.verify(kind, b"header", body, key_id, signature)


def test_the_signature_is_hmac_sha256_over_the_documented_fields(signer):
    """Written out by hand, so that another language could do it from the description."""
    fields = [
        b"celeriac 1",
        derived_id(SECRET).encode(),
        b"shop",
        b"message",
        b"the header",
        hashlib.sha256(b"the body").digest(),
    ]
    covered = b"".join(len(field).to_bytes(4, "big") + field for field in fields)
    expected = hmac.digest(SECRET.encode(), covered, "sha256")
    assert signer.sign("message", b"the header", b"the body") == (derived_id(SECRET), expected)


@pytest.mark.parametrize("length", [16, 63, 64, 65, 200])
def test_secrets_of_every_length_are_padded_as_hmac_says(length):
    secret = b"k" * length
    signer = Signer({"a": secret}, "n")
    fields = [b"celeriac 1", b"a", b"n", b"result", b"", hashlib.sha256(b"").digest()]
    covered = b"".join(len(field).to_bytes(4, "big") + field for field in fields)
    assert signer.sign("result", b"", b"")[1] == hmac.digest(secret, covered, "sha256")


def test_a_signature_never_changes_between_versions(signer):
    """A golden value: what is queued must verify after an upgrade."""
    assert signer.sign("message", b"header", b"body")[1].hex() == (
        "19ef42a20298d51187bc094aff5938bdb57d606cc59bf0ce7acbf721d88d6744"
    )


@pytest.mark.parametrize(
    ("kind", "header", "body"),
    [
        ("result", b"header", b"body"),
        ("message", b"headeR", b"body"),
        ("message", b"header", b"bodY"),
        ("message", b"headerb", b"ody"),
        ("message", b"", b"headerbody"),
    ],
)
def test_any_change_is_refused(signer, kind, header, body):
    key_id, signature = signer.sign("message", b"header", b"body")
    with pytest.raises(SecurityError, match="does not fit"):
        signer.verify(kind, header, body, key_id, signature)


def test_every_flipped_bit_of_the_signature_is_refused(signer):
    key_id, signature = signer.sign("message", b"header", b"body")
    for bit in range(256):
        forged = bytearray(signature)
        forged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SecurityError):
            signer.verify("message", b"header", b"body", key_id, bytes(forged))
    with pytest.raises(SecurityError):
        signer.verify("message", b"header", b"body", key_id, signature[:16])


def test_the_namespace_is_covered(signer):
    key_id, signature = signer.sign("message", b"header", b"body")
    elsewhere = Signer.from_setting(SECRET, "blog")
    with pytest.raises(SecurityError, match="namespace 'blog'"):
        elsewhere.verify("message", b"header", b"body", key_id, signature)


def test_a_missing_signature_is_refused_with_what_to_do(signer):
    with pytest.raises(SecurityError, match=r"carries no signature.*Set the same security_key"):
        signer.verify("message", b"header", b"body", "", b"")


def test_an_unknown_key_is_named_and_so_are_the_known_ones(signer):
    key_id, signature = Signer.from_setting(OTHER, "shop").sign("result", b"h", b"b")
    with pytest.raises(SecurityError, match=f"this result is signed with key '{key_id}'") as info:
        signer.verify("result", b"h", b"b", key_id, signature)
    assert signer.key_id in str(info.value)


def test_rotation():
    old = Signer.from_setting({"2025": OTHER}, "shop")
    both = Signer.from_setting({"2025": OTHER, "2026a": SECRET}, "shop")
    turned = Signer.from_setting([("2026a", SECRET), ("2025", OTHER)], "shop")
    new = Signer.from_setting({"2026a": SECRET}, "shop")
    assert both.key_id == "2025"
    assert turned.key_id == "2026a"
    assert turned.key_ids == ("2026a", "2025")

    from_old, from_new = old.sign("message", b"h", b"b"), turned.sign("message", b"h", b"b")
    for reader in (old, both, turned):
        reader.verify("message", b"h", b"b", *from_old)
    for reader in (both, turned, new):
        reader.verify("message", b"h", b"b", *from_new)
    with pytest.raises(SecurityError, match="known: '2026a'"):
        new.verify("message", b"h", b"b", *from_old)


def test_one_secret_under_two_ids_gives_two_signatures():
    """The key id is covered: whoever changes it changes the message."""
    signer = Signer.from_setting({"a": SECRET, "b": SECRET}, "shop")
    _, signature = signer.sign("message", b"h", b"b")
    with pytest.raises(SecurityError):
        signer.verify("message", b"h", b"b", "b", signature)


def test_text_and_bytes_are_the_same_secret():
    signed = Signer.from_setting(SECRET, "shop").sign("message", b"h", b"b")
    Signer.from_setting(SECRET.encode(), "shop").verify("message", b"h", b"b", *signed)


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("short", "has 5 characters and needs at least 16"),
        ({"a": "x" * 15}, "'a' has 15 characters"),
        (b"short", "has 5 characters"),
        ({}, "holds no key"),
        ([], "holds no key"),
        ({"a": 12}, "must be a string or bytes, not int"),
        ({1: SECRET}, "a key id is a string"),
        ({"": SECRET}, "a key id is a string"),
        ([{"id": "a", "secret": SECRET}], "list of another shape"),
        (["just one secret, in a list"], "list of another shape"),
        ("/run/secrets/celeriac_key", "looks like the path of a file"),
        ("keys/production-2026.pem", "looks like the path of a file"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE", "looks like the content of a PEM file"),
        (b"-----BEGIN PRIVATE KEY-----\nMIIE", "looks like the content of a PEM file"),
    ],
)
def test_a_setting_that_cannot_be_a_key_is_refused(setting, says):
    with pytest.raises(ImproperlyConfigured, match=says):
        Signer.from_setting(setting, "shop")


def test_too_short_says_how_to_make_one():
    with pytest.raises(ImproperlyConfigured, match=r"secrets\.token_urlsafe\(32\)"):
        Signer.from_setting("short", "shop")


def test_the_documented_example_key_runs():
    assert Signer.from_setting("your-secret-key-here", "shop").key_id


def test_bytes_that_look_like_a_path_are_a_secret():
    assert Signer.from_setting(b"/looks/like/a/path", "shop").key_id


def test_an_unknown_kind_is_a_programming_error(signer):
    with pytest.raises(KeyError):
        signer.sign("gossip", b"h", b"b")


def test_no_secret_is_shown(signer):
    shown = [repr(signer), str(signer)]
    for attempt in (
        lambda: signer.verify("message", b"h", b"b", "nobody", b"x" * 32),
        lambda: signer.verify("message", b"h", b"b", signer.key_id, b"x" * 32),
        lambda: Signer.from_setting("hunter2", "shop"),
        lambda: Signer.from_setting("/etc/hunter2/secret", "shop"),
    ):
        with pytest.raises((SecurityError, ImproperlyConfigured)) as info:
            attempt()
        shown.append(str(info.value))
    assert not any(SECRET in text or "hunter2" in text for text in shown)


def test_a_signer_is_neither_pickled_nor_copied(signer):
    with pytest.raises(TypeError, match="holds secrets"):
        pickle.dumps(signer)
    with pytest.raises(TypeError, match="holds secrets"):
        copy.deepcopy(signer)
