"""Signatures that were kept as JSON, and what passes between workers and their operators, are read
as they were once written; and no field of what is written lacks a golden file.

See ``golden/make_said.py``; messages and results are held by ``test_golden.py``.
"""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from golden_files import GOLDEN, MESSAGES, RESULTS, body, expected, load_make, wire

from celeriac import bodies, message, signature
from celeriac.control import wire as control
from celeriac.exceptions import DecodeError, SecurityError
from celeriac.message import Edges, Header
from celeriac.outcome import Failure, ResultBody
from celeriac.signing import Signer

make = load_make("make_said")
SIGNATURES = sorted(path.stem for path in GOLDEN.glob("*.signature"))
PUBLICATIONS = sorted(path.stem for path in GOLDEN.glob("*.publication"))


def kept(name: str) -> object:
    return json.loads((GOLDEN / f"{name}.signature").read_text("utf-8"))


def published(name: str) -> bytes:
    return (GOLDEN / f"{name}.publication").read_bytes()


def signer(name: str) -> Signer | None:
    return Signer.from_setting(make.SECRET, make.NAMESPACE) if name.endswith("signed") else None


def opened(name: str, signer: Signer | None):
    data = published(name)
    if name.startswith("command"):
        return control.open_command(signer, data)
    if name.startswith("reply"):
        return control.open_reply(signer, make.TICKET, data)
    return control.open_events(signer, data)


def test_there_are_golden_files() -> None:
    """Guards the guards: without files every test below would pass."""
    assert set(SIGNATURES) == set(make.signatures())
    assert set(PUBLICATIONS) == set(make.publications())


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_signature_kept_as_json_comes_to_what_it_came_to(name: str) -> None:
    found = signature(kept(name), app=make.app)
    assert found.apply().get() == expected(name)["value"]


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_signature_is_still_written_as_it_was(name: str) -> None:
    """So that a version of then reads it, too."""
    assert json.loads(json.dumps(signature(kept(name), app=make.app))) == kept(name)
    assert json.loads(json.dumps(make.signatures()[name])) == kept(name)


@pytest.mark.parametrize("name", PUBLICATIONS)
def test_a_publication_says_what_is_written_beside_it(name: str) -> None:
    found = msgspec.to_builtins(opened(name, signer(name)))
    facts = expected(name)
    if name.startswith("command"):
        facts = msgspec.to_builtins(msgspec.convert(facts, control.Command))
    assert json.loads(json.dumps(found)) == json.loads(json.dumps(facts))


@pytest.mark.parametrize("name", PUBLICATIONS)
def test_a_publication_is_still_written_as_it_was(name: str) -> None:
    assert make.publications()[name] == published(name)


@pytest.mark.parametrize("name", [name for name in PUBLICATIONS if name.endswith("signed")])
def test_a_signed_publication_is_held_against_its_signature(name: str) -> None:
    key = Signer.from_setting("another golden secret", make.NAMESPACE)
    with pytest.raises(SecurityError):
        opened(name, key)
    with pytest.raises(SecurityError, match="carries no signature"):
        opened(name.removesuffix("_signed"), signer(name))


def test_a_publication_of_another_version_is_refused() -> None:
    _, *rest = msgspec.msgpack.decode(published("command"))
    with pytest.raises(DecodeError, match="not a publication of a version known here"):
        control.open_command(None, msgspec.msgpack.encode((2, *rest)))


def fields(kind: type[msgspec.Struct]) -> set[str]:
    return set(kind.__struct_fields__)


def test_every_field_that_is_written_is_in_a_golden_file() -> None:
    """Whoever adds one adds a file: rule 5 of ``docs/internals/protocol.md``."""
    headers = [msgspec.msgpack.decode(message.decode(wire(name)).block) for name in MESSAGES]
    assert fields(Header) <= {field for each in headers for field in each}
    edges = [each["edges"] for each in headers if each.get("edges")]
    assert fields(Edges) <= {field for each in edges for field in each}
    plain = [msgspec.to_builtins(bodies.unseal(body(name), make_id(), None)) for name in RESULTS]
    assert fields(ResultBody) <= {field for each in plain for field in each}
    failures = [each["failure"] for each in plain if each.get("failure")]
    assert fields(Failure) <= {field for each in failures for field in each}
    commands = [expected(name) for name in PUBLICATIONS if name.startswith("command")]
    assert fields(control.Command) <= {field for each in commands for field in each}


def make_id() -> str:
    return str(load_make("make").ID)


def test_make_rewrites_nothing(capsys) -> None:
    def files() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in GOLDEN.iterdir() if path.is_file()}

    before = files()
    make.main()
    assert files() == before
    assert "kept" in capsys.readouterr().out
