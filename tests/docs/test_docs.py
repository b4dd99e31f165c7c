"""The pages say what the code does: blocks run, tables match, links lead somewhere."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import doc_blocks
import layers
import msgspec
import pytest
from source_tree import ROOT

from celeriac import outcome, serialization
from celeriac.conf import SETTINGS, Settings
from celeriac.conf.moot import MOOT
from celeriac.conf.names import CELERY, INSTEAD
from celeriac.exceptions import EncodeError, ImproperlyConfigured
from celeriac.message import Edges, Header
from celeriac.outcome import Failure, ResultBody
from celeriac.serialization.classes import TAGS

PROTOCOL = "docs/internals/protocol.md"
GUARANTEES = "docs/guarantees.md"
DIFFERENCES = "docs/differences.md"
#: Words in `code` on that page that are no settings.
TASK_WORDS = {"acks_late", "reject_on_worker_lost", "autoretry_for", "task_id"}
NAMES = [path.relative_to(ROOT).as_posix() for path in doc_blocks.PAGES]


# -- links and commands ------------------------------------------------------------------------


@pytest.mark.parametrize("page", NAMES)
def test_links_lead_somewhere(page):
    text = doc_blocks.text_of(page)
    for target in doc_blocks.links(text):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        found = (ROOT / page).parent / path if path else ROOT / page
        assert found.exists(), f"{page} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", found.read_text("utf-8"), re.MULTILINE)
            assert anchor in [each.lower().replace(" ", "-") for each in headings]


def _contents() -> set[Path]:
    """The pages that the tables of contents name, patterns included."""
    found = set()
    for page in (ROOT / "docs").rglob("*.md"):
        for block in doc_blocks.blocks(page.relative_to(ROOT).as_posix(), "{toctree}"):
            for entry in block.text.splitlines():
                if entry and not entry.startswith(":"):
                    named = list(page.parent.glob(f"{entry}.md"))
                    assert named or "*" in entry, f"{page}: {entry}"
                    found |= {each.resolve() for each in named}
    return found


def test_every_page_is_in_the_table_of_contents():
    pages = {path.resolve() for path in (ROOT / "docs").rglob("*.md")}
    assert pages - _contents() == {(ROOT / "docs/index.md").resolve()}


# -- guarantees --------------------------------------------------------------------------------


def _python(*args: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *args], capture_output=True, text=True, timeout=60, **options
    )


def test_the_idempotency_key_makes_a_second_attempt_harmless(tmp_path):
    program = doc_blocks.blocks(GUARANTEES, "python")[0].text
    assert program.startswith("# shop.py\n")
    (tmp_path / "shop.py").write_text(program, "utf-8")
    twice = (
        "from contextlib import closing\n"
        "from shop import charge, ledger\n"
        "for _ in range(2):\n"
        "    charge.apply(('anna', 500), task_id='call-1').get()\n"
        "charge.apply(('anna', 500), task_id='call-2').get()\n"
        "with closing(ledger()) as connection:\n"
        "    print(connection.execute('SELECT * FROM charge ORDER BY key').fetchall())\n"
    )
    environment = {**os.environ, "CELERIAC_BROKER_URL": "memory://"}
    run = _python("-W", "error", "-c", twice, cwd=tmp_path, env=environment)
    assert run.stdout == "[('call-1', 500), ('call-2', 500)]\n", run.stderr


def test_the_numbers_of_guarantees_are_the_defaults():
    text = doc_blocks.text_of(GUARANTEES)
    conf = Settings()
    assert f"*lease* ({conf.lease:g} s, renewed by a heartbeat every {conf.heartbeat:g} s)" in text
    assert f"`publish_timeout` ({conf.publish_timeout:g} s)" in text
    assert f"`grace` ({conf.grace:g} s)" in text
    assert f"queued again after {conf.crash_delay:g} s" in text
    assert (conf.max_crashes, conf.max_losses) == (3, 10)
    assert "… for the third time" in text
    assert "the tenth makes it dead" in text
    assert (conf.result_expires, conf.dead_expires) == (86_400, 7 * 86_400)
    assert f"at most {conf.dead_limit:,} of each" in text
    for name in re.findall(r"`([a-z]+(?:_[a-z]+)+)`", text):
        assert name in SETTINGS or name in TASK_WORDS, name


# -- protocol ----------------------------------------------------------------------------------


def _default(field) -> str:
    """How the page writes a field's default."""
    value = field.default
    if value is msgspec.NODEFAULT:
        return "required"
    if value is None:
        return "nil"
    if value == b"":
        return "empty"
    return f"`{json.dumps(value)}`"


@pytest.mark.parametrize(
    ("kind", "heading"),
    [
        (Header, "## The header"),
        (Edges, "### Edges"),
        (ResultBody, "## Results"),
        (Failure, "### Failure"),
    ],
)
def test_the_tables_name_every_field_and_default(kind, heading):
    table = doc_blocks.rows(doc_blocks.section(doc_blocks.text_of(PROTOCOL), heading))
    written = {doc_blocks.code(row[0]): row[2] for row in table}
    fields = {field.name: _default(field) for field in msgspec.structs.fields(kind)}
    assert written == fields
    assert [doc_blocks.code(row[0]) for row in table] == [*fields], "once each, in this order"


def test_the_tags_are_those_of_the_serializers():
    table = doc_blocks.section(doc_blocks.text_of(PROTOCOL), "## Serializers")
    tags = doc_blocks.rows(table[table.index("| tag |") :])
    assert {doc_blocks.code(row[0]) for row in tags} == TAGS


def test_limits_of_failures_are_as_written():
    assert (outcome.MESSAGE_MAX, outcome.TRACEBACK_MAX) == (16 * 1024, 64 * 1024)
    assert SETTINGS["payload_max"].default == 1024 * 1024
    assert serialization.MAX_DEPTH == 64


# -- files and words ---------------------------------------------------------------------------


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "docs/internals/worker.md", PROTOCOL])
def test_files_that_are_named_exist(page):
    known = [path.relative_to(ROOT).as_posix() for path in (ROOT / "src/celeriac").rglob("*")]
    names = re.findall(r"`([\w/]+\.(?:py|sql))`", doc_blocks.prose(doc_blocks.text_of(page)))
    assert names
    missing = [
        name
        for name in names
        if not any(each.endswith(f"/{name}") for each in known) and not (ROOT / name).exists()
    ]
    assert missing == []


def _named_tests() -> list[tuple[str, str]]:
    """The tests that the page of the surface names: file and function, "" for the whole file."""
    found = []
    for row in doc_blocks.text_of("docs/internals/surface.md").splitlines():
        file = ""
        for word in re.findall(r"`([^` ]+)`", row.rstrip("|").rpartition("|")[2]):
            if named := re.fullmatch(r"(?:[\w/]+/)?(test_\w+\.py)(?:::(\S+))?", word):
                file = named[1]
                found.append((file, named[2] or ""))
            elif file and re.match(r"test_|…", word):
                found.append((file, word))
    return found


def test_the_tests_of_the_surface_exist():
    written: dict[str, set[str]] = {}
    for path in (ROOT / "tests").rglob("test_*.py"):
        names = re.findall(r"def (test_\w+)", path.read_text("utf-8"))
        written.setdefault(path.name, set()).update(names)
    assert len(_named_tests()) > 100
    for file, name in _named_tests():
        assert file in written, file
        pattern = re.escape(name.partition("[")[0]).replace("…", ".*")
        assert not name or any(re.fullmatch(pattern, each) for each in written[file]), (file, name)


def test_the_numbers_of_the_worker_are_the_constants():
    from celeriac.worker import paces
    from celeriac.worker.duties import heart, limits
    from celeriac.worker.pools import prefork

    text = " ".join(doc_blocks.text_of("docs/internals/worker.md").split())
    assert f"mean of at most {paces.BRIEF_SECONDS * 1000:g} ms" in text
    assert f"at most {paces.AHEAD_SECONDS * 1000:g} ms of work, {paces.AHEAD_MAX} del" in text
    assert f"longer than {prefork.LONG_SECONDS * 1000:g} ms is reported" in text
    assert f"lock files every {heart.PROBE_SECONDS:g} s" in text
    assert f"`/proc`, every {limits.MEMORY_SECONDS:g} s" in text


def test_the_layers_that_are_drawn_are_those_that_are_held():
    picture = doc_blocks.blocks("ARCHITECTURE.md")[0].text
    package = ROOT / "src/celeriac"
    for rank, line in zip(range(7, -1, -1), picture.splitlines(), strict=True):
        label, *words = line.split()
        drawn = set()
        for word in words:
            if not word.endswith((".py", "/")):
                break  # the remark begins
            drawn.add(word.removesuffix(".py").removesuffix("/"))
        there = {
            name
            for name in layers.LAYERS[rank]
            if (package / name).is_dir() or (package / f"{name}.py").exists()
        }
        assert label == f"L{rank}"
        assert drawn == there - {"__main__"}


def test_the_readme_shows_the_path_that_an_error_names():
    order = {"items": [1, 2, 3, {"price": object()}]}
    with pytest.raises(EncodeError) as caught:
        serialization.encode("json", ([order], {}), ("args", "kwargs"))
    path = caught.value.path
    assert path in str(caught.value)
    assert f"`{path}`" in doc_blocks.text_of("README.md")


# -- Redis -------------------------------------------------------------------------------------


def test_the_urls_of_redis_are_those_that_are_accepted():
    from celeriac import stores
    from celeriac.stores.redis import location

    table = doc_blocks.section(doc_blocks.text_of("docs/howto/redis.md"), "## URLs")
    urls = re.findall(r"`(.*?)`", " ".join(cell for row in doc_blocks.rows(table) for cell in row))
    assert len(urls) > 15
    for url in urls:
        assert location.locate(url).moot == (), url
    shown = {url.partition(":")[0] for url in urls}
    assert shown == set(location.SCHEMES)
    reference = doc_blocks.text_of("docs/reference/stores.md")
    for scheme in location.SCHEMES:
        assert f"`{scheme}://" in reference
        assert stores.check_url(f"{scheme}://x") == scheme


def test_what_a_url_of_redis_may_say_is_named():
    from celeriac.stores.redis import location, tls

    text = doc_blocks.text_of("docs/howto/redis.md")
    options = doc_blocks.rows(text[text.index("\n| option |") :])
    assert set(re.findall(r"`(ssl_\w+)`", " ".join(row[0] for row in options))) == set(tls._NAMES)
    named = set(re.findall(r"`(\w+)`", doc_blocks.section(text, "## URLs")))
    assert location._KNOWN - {"virtual_host"} <= named


# -- differences -------------------------------------------------------------------------------


def test_every_setting_of_celery_that_is_not_there_is_named():
    page = doc_blocks.text_of("docs/reference/settings.md")
    named = set(re.findall(r"`([a-z0-9_]+)`", page[page.index("change nothing\n") :]))
    assert set(INSTEAD) | set(MOOT) <= CELERY - set(SETTINGS)
    assert sorted(named) == sorted(CELERY - set(SETTINGS))


@pytest.mark.parametrize("name", ["beat_schedule", "beat_scheduler", "security_certificate"])
def test_a_refused_setting_is_an_error(name):
    """Holds the page's general sentence on three that differ."""
    with pytest.raises(ImproperlyConfigured, match=name):
        Settings(**{name: 1})


def _words(text: str) -> set[str]:
    return set(re.findall(r"[\w-]+", text))


def test_every_option_that_is_refused_is_named():
    from celeriac import declined
    from celeriac.app import absent, options
    from celeriac.cli import pools, refused

    page = _words(doc_blocks.text_of(DIFFERENCES))
    long_names = {
        names[-1] if names[-1].startswith("--") else names[0] for names, _, _ in refused.WORKER
    }
    wanted = {*declined._LATER, *options._LATER, *absent.LATER, *absent.LATER_ARGUMENTS}
    wanted |= {*refused.COMMANDS, *long_names, *pools.INSTEAD}
    named = page | {"--purge"}
    assert sorted(wanted - named - {"thread", "--discard"}) == []


def _error(make) -> str:
    with pytest.raises(Exception) as caught:
        make()
    return f"{type(caught.value).__name__}: {caught.value}"


def test_the_errors_that_are_shown_are_the_errors_that_come():
    from celeriac.app import Celeriac
    from celeriac.declined import check_options
    from celeriac.stores import check_url

    app = Celeriac(broker="memory://", set_as_current=False)

    shown = doc_blocks.blocks(DIFFERENCES, "text")[0].text
    errors = [
        _error(lambda: check_options({"shadow": "x"}, "apply_async()", app)),
        _error(lambda: Settings(security_certificate="x")),
        _error(lambda: check_url("amqp://localhost")),
        _error(lambda: Settings(worker_pool="gevent")),
    ]
    assert "\n".join(errors) + "\n" == shown
