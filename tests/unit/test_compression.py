"""Compression: what is packed comes back, no more than allowed is unpacked, and everybody who reads
messages and results reads compressed ones."""

import bz2
import gzip
import importlib
import lzma
import subprocess
import sys

import msgspec
import pytest
import zstandard
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from inline import drain, make_app, stored

from celeriac import Celeriac, serialization, states
from celeriac.bodies import compressed, unseal
from celeriac.cli.root import root
from celeriac.compression import COMPRESSIONS, UNPACKED_MAX, compression_of, pack, unpack
from celeriac.control import notes, reading
from celeriac.control.inspect import situation
from celeriac.control.why import Situation, explain
from celeriac.exceptions import (
    DecodeError,
    ImproperlyConfigured,
    NotInThisVersion,
    PayloadTooLarge,
    ResultTooLarge,
    SecurityError,
)
from celeriac.message import compose, decode
from celeriac.outcome import ResultBody, encode_body
from celeriac.runner import Runner
from celeriac.signals import before_task_publish

KEY = "a secret of some length"
WORDS = "words " * 2000
every = pytest.mark.parametrize("name", COMPRESSIONS)


@pytest.fixture
def app():
    return make_app()


def echo_of(app, **options):
    @app.task(name="echo", **options)
    def echo(value, **more):
        return value

    return echo


def message_of(app, id):
    return decode(stored(app, id).wire)


def result_of(app, id):
    return unseal(stored(app, id).body, id, app.signer)


# -- bytes -----------------------------------------------------------------------------------------


@every
@given(data=st.binary(min_size=1, max_size=2000))
def test_what_is_packed_comes_back(name, data):
    packed = pack(name, data)
    assert unpack(name, packed) == data
    assert pack(name, data) == packed  # a call that is written again has the same bytes


@every
@given(data=st.binary(min_size=1, max_size=200), cut=st.integers(1, 30))
def test_bytes_that_are_cut_short_are_refused(name, data, cut):
    packed = pack(name, data)
    with pytest.raises(DecodeError, match=f"is not {name}"):
        unpack(name, packed[: max(0, len(packed) - cut)])


@every
@given(data=st.binary(min_size=1, max_size=200), more=st.binary(min_size=1, max_size=20))
def test_bytes_that_follow_are_refused(name, data, more):
    with pytest.raises(DecodeError, match=f"is not {name}"):
        unpack(name, pack(name, data) + more)


@every
@given(data=st.binary(max_size=200))
def test_other_bytes_are_refused(name, data):
    with pytest.raises(DecodeError):
        unpack(name, data)


@every
@given(args=st.lists(st.text()), kwargs=st.dictionaries(st.text(), st.integers()))
def test_who_does_not_know_the_field_never_takes_it_for_a_call(name, args, kwargs):
    """An old worker refuses a compressed call; it does not run it with something else."""
    for serializer in serialization.CONTENT_TYPES:
        packed = pack(name, serialization.encode_call(serializer, args, kwargs))
        with pytest.raises(DecodeError):
            serialization.decode(serializer, packed)


def test_other_programs_read_and_write_the_same():
    data = WORDS.encode()
    assert gzip.decompress(pack("gzip", data)) == unpack("gzip", gzip.compress(data)) == data
    assert bz2.decompress(pack("bzip2", data)) == unpack("bzip2", bz2.compress(data)) == data
    assert lzma.decompress(pack("lzma", data)) == unpack("lzma", lzma.compress(data)) == data
    theirs = zstandard.ZstdCompressor(level=19)
    assert unpack("zstd", theirs.compress(data)) == data
    assert zstandard.ZstdDecompressor().decompress(pack("zstd", data)) == data


def test_zstd_that_does_not_say_how_long_it_is():
    silent = zstandard.ZstdCompressor(write_content_size=False)
    assert unpack("zstd", silent.compress(b"hello")) == b"hello"
    with pytest.raises(DecodeError, match="is not zstd"):
        unpack("zstd", silent.compress(bytes(1001)), 1000)


def test_zstd_that_says_it_is_shorter_than_it_is():
    honest = bytearray(pack("zstd", bytes(100_000)))
    at = honest.index((100_000).to_bytes(4, "little"))
    honest[at : at + 4] = (1000).to_bytes(4, "little")
    with pytest.raises(DecodeError, match="is not zstd"):
        unpack("zstd", bytes(honest))


# -- bounds ----------------------------------------------------------------------------------------


@every
def test_the_bound_is_exact(name):
    packed = pack(name, bytes(1000))
    assert unpack(name, packed, 1000) == bytes(1000)
    with pytest.raises(DecodeError, match="more than the 999 bytes allowed"):
        unpack(name, packed, 999)


def test_what_may_be_unpacked_is_what_may_be_decoded():
    assert UNPACKED_MAX == serialization.MAX_BYTES


_BOMB = """
import resource, sys
from celeriac.compression import unpack
from celeriac.exceptions import DecodeError
name, path = sys.argv[1:]
unpack(name, open(path + ".small", "rb").read())  # what is needed in any case
bomb = open(path, "rb").read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    unpack(name, bomb)
except DecodeError as error:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, error)
"""


@pytest.mark.parametrize("name", [*COMPRESSIONS, "zstd without its size"])
def test_a_bomb_is_refused_and_takes_no_more_memory_than_allowed(name, tmp_path):
    """A quarter of a gigabyte of zeros: a process of its own makes 64 MiB of it, and copies in
    growing."""
    made, zeros = tmp_path / "bomb", bytes(1024 * 1024)
    kind = name.partition(" ")[0]
    if kind == "zstd":
        if "without" in name:
            stream = zstandard.ZstdCompressor().compressobj()
        else:
            stream = zstandard.ZstdCompressor().compressobj(size=256 * len(zeros))
    else:
        stream = {
            "gzip": lambda: __import__("zlib").compressobj(wbits=31),
            "bzip2": bz2.BZ2Compressor,
            "lzma": lambda: lzma.LZMACompressor(preset=1),
        }[kind]()
    with made.open("wb") as file:
        for _ in range(256):
            file.write(stream.compress(zeros))
        file.write(stream.flush())
    (tmp_path / "bomb.small").write_bytes(pack(kind, b"x"))
    done = subprocess.run(
        [sys.executable, "-c", _BOMB, kind, str(made)], capture_output=True, text=True, timeout=60
    )
    kib, _, words = done.stdout.partition(" ")
    assert "are refused" in words or "is not zstd" in words, done.stderr
    assert int(kib) < 200 * 1024


def test_a_stream_may_not_ask_for_much_memory():
    wide = lzma.compress(b"x" * 100, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 30}])
    with pytest.raises(DecodeError, match=r"[Mm]emory"):
        unpack("lzma", wide)
    params = zstandard.ZstdCompressionParameters(window_log=27, write_content_size=0)
    stream = zstandard.ZstdCompressor(compression_params=params).compressobj()
    with pytest.raises(DecodeError, match="memory"):
        unpack("zstd", stream.compress(b"x" * 100) + stream.flush())


# -- names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "name"),
    [
        *zip(COMPRESSIONS, COMPRESSIONS, strict=True),
        ("zlib", "gzip"), ("application/x-gzip", "gzip"),
        ("bzip", "bzip2"), ("application/x-bz2", "bzip2"),
        ("xz", "lzma"), ("application/x-lzma", "lzma"),
        ("zstandard", "zstd"), ("application/zstd", "zstd"),
    ],
)  # fmt: skip
def test_names_that_celery_knows(given, name):
    assert compression_of(given) == name
    made = make_app(task_compression=given)
    assert made.conf.task_compression == name


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ("brotli", NotInThisVersion, "'brotli' is not in this version. There are gzip"),
        ("gzp", ImproperlyConfigured, "did you mean 'gzip'"),
        (True, TypeError, "such as 'gzip'"),
    ],
)
def test_names_that_are_refused(app, given, error, words):
    with pytest.raises(error, match=words):
        compression_of(given)
    echo = echo_of(app)
    with pytest.raises(error, match=words):
        echo.apply_async((1,), compression=given)
    with pytest.raises(error, match=words):
        app.task(name="other", compression=given)(lambda: None)
    assert app.store.inspection.list(limit=10) == []


@pytest.mark.parametrize("setting", ["task_compression", "result_compression"])
@pytest.mark.parametrize("value", ["brotli", "gzp", 1])
def test_a_setting_that_is_no_compression_is_refused(setting, value):
    with pytest.raises(ImproperlyConfigured, match=setting):
        Celeriac("x", set_as_current=False, **{setting: value})


def test_settings_come_from_the_environment_and_under_celerys_old_name(monkeypatch):
    monkeypatch.setenv("CELERIAC_RESULT_COMPRESSION", "bzip2")
    made = make_app()
    made.config_from_object({"CELERY_MESSAGE_COMPRESSION": "zlib"})
    assert (made.conf.task_compression, made.conf.result_compression) == ("gzip", "bzip2")


_MISSING = """
import sys
sys.modules["zstandard"] = None
from celeriac import Celeriac
from celeriac.compression import unpack
from celeriac.exceptions import DecodeError, ImproperlyConfigured
for case in (
    lambda: Celeriac("x", broker="memory://x", task_compression="zstd").conf.task_compression,
    lambda: Celeriac("x", broker="memory://x").send_task("a", compression="zstd"),
    lambda: unpack("zstd", b"x"),
):
    try:
        case()
    except (ImproperlyConfigured, DecodeError) as error:
        print(type(error).__name__, error)
"""


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="Python has zstd itself")
def test_a_missing_package_is_told_with_what_installs_it():
    done = subprocess.run(
        [sys.executable, "-c", _MISSING], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.count('pip install "celeriac[zstd]"') == 3, done.stdout + done.stderr


def test_nothing_is_loaded_where_nothing_is_compressed():
    code = "import sys, celeriac.message, celeriac.outcome; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert not set(done.stdout.split()) & {"zstandard", "lzma", "bz2"}


# -- calls -----------------------------------------------------------------------------------------


@every
def test_a_call_is_compressed_and_runs(app, name):
    echo = echo_of(app)
    result = echo.apply_async((WORDS,), compression=name)
    message = message_of(app, result.id)
    assert message.header.compression == name
    assert len(message.payload) < 2000
    assert result.args == [WORDS]
    ((_, outcome),) = drain(app)
    assert outcome.state == states.SUCCEEDED
    assert result.get(timeout=5) == WORDS


def test_the_call_says_it_over_the_task_over_the_setting():
    app = make_app(task_compression="gzip")
    echo = echo_of(app)
    other = app.task(name="other", compression="bzip2")(lambda value: value)

    def sent(result):
        return message_of(app, result.id).header.compression

    assert sent(echo.delay(1)) == "gzip"
    assert sent(other.delay(1)) == "bzip2"
    assert sent(other.apply_async((1,), compression="xz")) == "lzma"
    assert sent(other.s(1).set(compression="zstd").apply_async()) == "zstd"
    assert sent(app.send_task("echo", (1,))) == "gzip"
    assert sent(app.send_task("echo", (1,), compression="lzma")) == "lzma"
    assert [each[1].state for each in drain(app)] == [states.SUCCEEDED] * 6


def test_a_base_class_a_route_and_an_annotation_say_it():
    app = make_app(
        task_routes={"routed": {"compression": "zlib"}},
        task_annotations={"annotated": {"compression": "bzip2"}},
    )

    class Packed(app.Task):
        compression = "xz"

    sent = [
        app.task(name="based", base=Packed)(lambda: None).delay(),
        app.task(name="routed")(lambda: None).delay(),
        app.task(name="annotated")(lambda: None).delay(),
    ]
    found = [message_of(app, each.id).header.compression for each in sent]
    assert found == ["lzma", "gzip", "bzip2"]


def test_nothing_is_compressed_unless_somebody_asks(app):
    message = message_of(app, echo_of(app).delay(1).id)
    assert message.header.compression == ""
    assert b"compression" not in message.block
    assert message.content() is message.payload


@pytest.mark.parametrize("settings", [{"task_compression": "gzip"}, {}])
def test_many_at_once(settings):
    app = make_app(**settings)
    echo = echo_of(app) if settings else echo_of(app, compression="gzip")
    results = app.enqueue_many([echo.s(WORDS + str(n)) for n in range(3)])
    found = [message_of(app, each.id).header.compression for each in results]
    assert found == ["gzip"] * 3
    drain(app)
    assert [each.get(timeout=5) for each in results] == [WORDS + str(n) for n in range(3)]


def test_payload_max_counts_what_is_on_the_wire(monkeypatch):
    app = make_app(payload_max=2000)
    echo = echo_of(app)
    with pytest.raises(PayloadTooLarge):
        echo.delay(WORDS)
    echo.apply_async((WORDS,), compression="gzip")
    import random

    noise = random.Random(7).randbytes(3000)
    with pytest.raises(PayloadTooLarge, match="2,000 are allowed"):
        echo.apply_async((noise,), compression="gzip")
    monkeypatch.setattr("celeriac.client.UNPACKED_MAX", 10_000)
    with pytest.raises(PayloadTooLarge, match="10,000 are allowed"):
        echo.apply_async((WORDS,), compression="gzip")


def test_a_signature_covers_what_is_on_the_wire():
    app = make_app(security_key=KEY)
    result = echo_of(app).apply_async((WORDS,), compression="gzip")
    message = message_of(app, result.id)
    signed = (message.key_id, message.signature)
    app.signer.verify("message", message.block, message.payload, *signed)
    with pytest.raises(SecurityError):
        app.signer.verify("message", message.block, message.content(), *signed)
    again = msgspec.structs.replace(message.header, compression="")
    with pytest.raises(SecurityError):
        app.signer.verify("message", compose(again, b"").block, message.payload, *signed)


def test_a_retry_with_other_arguments_keeps_it(app):
    @app.task(name="again", bind=True, max_retries=3)
    def again(self, value):
        if self.request.retries == 0:
            raise self.retry(args=(value * 2,), countdown=0)
        if self.request.retries == 1:
            raise self.retry(args=(value * 2,), countdown=0, compression="xz")
        return value

    result = again.apply_async(("words ",), compression="gzip")
    found = []
    for _ in range(3):
        found.append(message_of(app, result.id).header.compression)
        drain(app)
    assert result.get(timeout=5) == "words " * 4
    assert "gzip" in found
    assert message_of(app, result.id).header.compression == "lzma"


def test_eager_runs_go_through_it():
    app = make_app(task_always_eager=True, task_compression="gzip", result_compression="bzip2")
    echo = echo_of(app)
    assert echo.delay((1, 2)).get() == [1, 2]
    assert echo.apply((WORDS,), compression="zstd").get() == WORDS
    with pytest.raises(ImproperlyConfigured):
        echo.apply((1,), compression="gzp")


def test_receivers_of_sending_see_and_change_the_arguments(app):
    echo = echo_of(app)

    def change(body, **kwargs):
        body[1]["more"] = "added"

    before_task_publish.connect(change, weak=False)
    try:
        result = echo.apply_async((WORDS,), compression="gzip")
    finally:
        before_task_publish.disconnect(change)
    message = message_of(app, result.id)
    assert message.header.compression == "gzip"
    assert serialization.decode("json", message.content()) == [[WORDS], {"more": "added"}]


def test_a_model_is_converted_as_ever(app):
    from datetime import date

    @app.task(name="day")
    def day(on: date) -> str:
        return type(on).__name__

    result = day.apply_async((date(2026, 1, 31),), compression="zstd")
    drain(app)
    assert result.get(timeout=5) == "date"


# -- readers that cannot ---------------------------------------------------------------------------


def run_of(app, header, payload):
    """The outcome of a message as some other program has sent it."""
    app.store.queue.enqueue([app.client.signed(header, payload)])
    ((_, outcome),) = drain(app)
    return outcome


@pytest.fixture
def header(app):
    ran = []
    app.task(name="t")(lambda *args: ran.append(args))
    yield app.client.message("t", (), {}, options={"compression": "gzip"}).header
    assert ran == []


def test_a_compression_that_nobody_knows_fails_by_name(app, header):
    header = msgspec.structs.replace(header, compression="snappy")
    outcome = run_of(app, header, b"[[],{}]")
    assert outcome.state == states.FAILED
    assert "compressed as 'snappy'" in outcome.reason
    assert "update whoever reads it" in outcome.reason


def test_a_payload_that_is_not_compressed_as_it_says_fails(app, header):
    outcome = run_of(app, header, b"[[],{}]")
    assert outcome.state == states.FAILED
    assert outcome.reason.startswith("DecodeError: the content is not gzip")


def test_a_bomb_fails_its_task(app, header):
    outcome = run_of(app, header, gzip.compress(bytes(UNPACKED_MAX + 1)))
    assert outcome.state == states.FAILED
    assert "unpack to more than the 67,108,864 bytes allowed" in outcome.reason


def test_what_cannot_be_read_can_still_be_shown(app, header):
    header = msgspec.structs.replace(header, compression="snappy", argsrepr="(***)")
    app.store.queue.enqueue([app.client.signed(header, b"[[],{}]")])
    found = situation(app.store, header.id, 0.0)
    assert explain(found).as_dict()["state"] == "PENDING"
    assert notes.received(decode(found.record.wire), 0)["kwargs"] == "(cannot be read here)"


# -- results ---------------------------------------------------------------------------------------


@every
def test_a_result_is_compressed_and_read(name):
    app = make_app(result_compression=name)
    result = echo_of(app).delay(WORDS)
    drain(app)
    body = result_of(app, result.id)
    assert body.compression == name
    assert len(body.value) < 2000
    assert result.get(timeout=5) == WORDS
    assert app.AsyncResult(result.id).info == WORDS


def test_a_signed_result_is_verified_before_it_is_unpacked():
    app = make_app(security_key=KEY, result_compression="gzip")
    result = echo_of(app).delay(WORDS)
    drain(app)
    assert result.get(timeout=5) == WORDS
    other = compressed(ResultBody(value=b'"x"'), "gzip", result.id)
    with pytest.raises(SecurityError):
        unseal(encode_body(other), result.id, app.signer)


def test_result_max_counts_what_is_stored(monkeypatch):
    app = make_app(result_max=2000, result_compression="gzip")
    echo = echo_of(app)
    fits = echo.delay(WORDS)
    drain(app)
    assert fits.get(timeout=5) == WORDS
    monkeypatch.setattr("celeriac.bodies.UNPACKED_MAX", 10_000)
    large = echo.delay(WORDS)
    ((_, outcome),) = drain(app)
    assert outcome.state == states.FAILED
    with pytest.raises(ResultTooLarge):
        large.get(timeout=5)


def test_what_update_state_shows_is_compressed(app):
    app = make_app(result_compression="gzip")
    seen = []

    @app.task(name="shows", bind=True)
    def shows(self):
        self.update_state(state="PROGRESS", meta={"text": WORDS})
        seen.append(app.AsyncResult(self.request.id).info)
        record = app.store.results.get_many([self.request.id])[0]
        seen.append(unseal(record.meta, self.request.id, None).compression)

    shows.delay()
    ((_, outcome),) = drain(app)
    assert outcome.state == states.SUCCEEDED, outcome.reason
    assert seen == [{"text": WORDS}, "gzip"]


def test_a_failure_is_kept_as_ever():
    app = make_app(result_compression="gzip")
    result = app.task(name="bad")(lambda: 1 / 0).delay()
    drain(app)
    with pytest.raises(ZeroDivisionError):
        result.get(timeout=5)


def test_a_result_that_is_a_bomb_is_refused(app):
    body = ResultBody(value=gzip.compress(bytes(UNPACKED_MAX + 1)), compression="gzip")
    with pytest.raises(DecodeError, match="unpack to more"):
        body.content()


# -- who shows them --------------------------------------------------------------------------------


def test_events_show_arguments_and_results_and_do_not_unpack_large_ones():
    app = make_app(result_compression="gzip")
    echo = echo_of(app)
    message = app.client.message("echo", ("short",), {}, options={"compression": "gzip"})
    assert notes.received(message, 0)["args"] == "('short',)"
    large = app.client.message("echo", ("x" * 100_000,), {}, options={"compression": "gzip"})
    assert notes.received(large, 0)["args"] == "(cannot be read here)"
    echo.delay("short")
    ((delivery, outcome),) = drain(app)
    assert notes.end_of(delivery.id, outcome, 0.1, None)["result"] == "'short'"


def test_sensitive_arguments_stay_hidden(app):
    hides = app.task(name="hides", sensitive=["word"])(lambda word: word)
    message = message_of(app, hides.apply_async(("hunter2",), compression="gzip").id)
    assert notes.hider_of(message, sensitive=True)("it was hunter2") == "it was ***"


def test_what_cannot_be_read_hides_all_where_some_is_sensitive(app):
    """A machine without a package must not show what it would hide if it had it."""
    hides = app.task(name="hides", sensitive=["word"])(lambda word: word)
    result = hides.apply_async(("hunter2",), compression="gzip")
    drain(app)
    record = stored(app, result.id)
    message = decode(record.wire)
    header = msgspec.structs.replace(message.header, compression="snappy")
    unread = compose(header, message.payload)
    assert notes.hider_of(unread, sensitive=True)("it was hunter2") == "***"
    assert "hunter2" not in reading.hider_of(record)(str(record))
    record = msgspec.structs.replace(record, wire=unread.encode())
    assert "hunter2" not in explain(Situation(record, 0.0)).reason


_PROGRAM = """
from celeriac import Celeriac
app = Celeriac(
    "shown", broker={url!r}, set_as_current=False,
    task_compression="gzip", result_compression="zstd",
    task_serializer={name!r}, result_serializer={name!r}, accept_content=["json", "msgpack"],
)
app.task(name="echo")(lambda value: value)
app.task(name="bad")(lambda value: 1 / 0)
"""


@pytest.mark.parametrize("serializer", ["json", "msgpack"])
def test_the_command_line_shows_arguments_and_results(tmp_path, monkeypatch, serializer):
    module = f"shown_{serializer}"
    program = _PROGRAM.format(url=f"sqlite:///{tmp_path}/c.db", name=serializer)
    (tmp_path / f"{module}.py").write_text(program)
    monkeypatch.syspath_prepend(tmp_path)
    app = importlib.import_module(module).app
    good, bad = app.send_task("echo", ("a word",)), app.send_task("bad", ("a word",))
    drain(app)
    for command in (["why", good.id], ["dead", "show", bad.id], ["result", good.id]):
        shown = CliRunner().invoke(root, ["-A", module, *command])
        assert shown.exit_code == 0, shown.output
        assert "a word" in shown.output, command


def test_the_tools_for_tests_see_the_arguments(app):
    from celeriac.testing.enqueued import view

    message = app.client.message("echo", (WORDS,), {}, options={"compression": "gzip"})
    assert view(message, ("json",), None).args[0] == WORDS


def test_the_runner_reads_what_it_is_given(app):
    """An executor asks the header once; a message without compression is not copied."""
    echo = echo_of(app)
    runner = Runner(app, "here")
    result = echo.apply_async((WORDS,), compression="gzip")
    ((delivery, _),) = drain(app)
    task, context = runner.read(delivery)
    runner.close()
    assert (task.name, list(context.args), result.id) == ("echo", [WORDS], context.id)
