"""Real workers, and damaged messages in their store: they live, what is good runs beside them, and
what is not ends put aside with a reason that people can read."""

import subprocess
import sys
import time

import msgspec
import pytest
from damage import DEEP
from servers import server
from workers import DEADLINE, eventually, site

from celeriac.compression import UNPACKED_MAX, pack
from celeriac.control.mailbox import Mailbox
from celeriac.control.wire import COMMANDS, Command, seal_command
from celeriac.ids import new_nonce, new_task_id
from celeriac.message import Edges, Header, Message, compose

CALL = b"[[7],{}]"
NEST = b"\x91" * DEEP + b"\xc0"
BOMB = pack("bzip2", bytes(UNPACKED_MAX + 1))
NOBODYS = b'[[{"__type__":"nobody","__value__":1}],{}]'

#: A task that prints into every socket of its process, as a program that mixes up its descriptors.
SCRIBBLE = """

@app.task(bind=True)
def scribble(self):
    import stat
    note("start", self.request)
    for name in os.listdir("/proc/self/fd"):
        try:
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                os.write(int(name), b"one two three\\n")
        except OSError:
            continue
"""


def sent(payload=CALL, task="tasks.traced", **fields):
    """A message that is well made, whatever its payload is."""
    return compose(Header(new_task_id(), task, new_nonce(), **fields), payload)


def other(block, **fields):
    """A message that the store knows as *fields* say, with another block on the wire."""
    made = sent(**fields)
    return Message(made.header, block(made.header), CALL)


def block(**fields):
    """A function from a header to a block, with *fields* of any kind put into it."""
    return lambda header: msgspec.msgpack.encode({
        "id": header.id, "task": header.task, "nonce": header.nonce, **fields
    })  # fmt: skip


def nested(header):
    return block(headers=msgspec.Raw(b"\x81\xa1a" + NEST))(header)


#: What is wrong → the message, and how the reason begins that it ends with.
BAD = {
    "a block that is none": (other(lambda _: b"\xc1"), "DecodeError: the header block"),
    "a block that is empty": (other(lambda _: b""), "DecodeError: the header block"),
    "a block nested too deeply": (other(nested), "DecodeError: the header block"),
    "a time that is none": (other(block(eta=float("nan"))), "DecodeError: the header block"),
    "a number for a name": (other(block(task=7)), "DecodeError: the header block"),
    "another task's": (other(block(id="x")), "DecodeError: the message under this id"),
    "a name that nobody registered": (other(block(task="os.system")), "NotRegistered: "),
    "a name that is code": (other(block(task="__import__('os')")), "NotRegistered: "),
    "a compression nobody knows": (sent(compression="rar"), "DecodeError: the content is com"),
    "nothing compressed": (sent(compression="zstd"), "DecodeError: the content is not zstd"),
    "a bomb": (
        sent(BOMB, compression="bzip2"),
        f"DecodeError: {len(BOMB)} bytes of bzip2 are refused: they unpack to more than",
    ),
    "no JSON": (sent(b"\xff\xfe"), "DecodeError: this is not json"),
    "JSON nested too deeply": (sent(b"[" * DEEP + b"]" * DEEP), "DecodeError: this json is nest"),
    "JSON with NaN": (sent(b"[[NaN],{}]"), "DecodeError: this is not json"),
    "no call": (sent(b"[7,{}]"), "InvalidTaskError: "),
    "pickle": (sent(b"\x80\x04.", serializer="pickle"), "ContentDisallowed: "),
    "what is not accepted": (sent(b"\x92\x90\x80", serializer="msgpack"), "ContentDisallowed: "),
    "a class nobody registered": (sent(NOBODYS), "DecodeError: a value is tagged 'nobody'"),
    "too many arguments": (sent(b"[[1,2,3],{}]"), "TypeError: "),
    "an argument of no name": (sent(b'[[],{"self.x":1}]'), "TypeError: "),
}


@pytest.fixture(params=["sqlite prefork", "sqlite solo", "redis prefork", "redis threads"])
def where(request, tmp_path):
    store, pool = request.param.split()
    if store == "sqlite":
        with site(tmp_path) as made:
            yield made, pool
        return
    with server() as found, site(tmp_path, broker=found.url) as made:
        yield made, pool


def test_damaged_messages_end_put_aside_and_the_worker_works_on(where):
    place, pool = where
    queue = place.store.queue
    first, good, last = sent(), sent(), sent()
    waits = Header(new_task_id(), "tasks.traced", new_nonce(), edges=Edges(waits=True))
    after = Message(waits, b"\xc1", CALL)
    before = sent(edges=Edges(success=(after.id,)))
    unknown = sent(task="os.system")
    queue.enqueue([first, *(each for each, _ in BAD.values()), before, after, unknown, good])
    worker = place.worker("-P", pool).ready()
    ids = [each.id for each, _ in BAD.values()]
    ended = dict(zip(BAD, place.ended(ids), strict=True))
    for what, (_, reason) in BAD.items():
        record = ended[what]
        assert (what, record.state, record.reason[: len(reason)]) == (what, "failed", reason)
        assert (what, record.attempt, record.crashes, record.losses) == (what, 1, 0, 0)
        assert len(record.reason) < 1500
    bad_part, *fine = place.ended([after.id, before.id, first.id, good.id])
    assert bad_part.reason.startswith("DecodeError: ")
    assert {each.state for each in fine} == {"succeeded"}
    # It is counted, and whoever looks is told.
    assert place.store.inspection.counts().states["celery"]["failed"] == len(BAD) + 1
    told = celeriac(place, "why", ids[0])
    assert "Failed" in told
    assert "the header block cannot be read" in told
    assert "os.system" in celeriac(place, "why", unknown.id)
    # None was run, nor the task of a name that nobody knows.
    ran = {line.id for line in place.ledger("start")}
    assert ran == {first.id, before.id, good.id}
    assert place.record(unknown.id).parked
    # The same worker still works.
    queue.enqueue([last])
    assert place.ended([last.id])[0].state == "succeeded"
    assert worker.stop() == 0
    assert "Traceback" not in worker.text()


def celeriac(place, *args):
    """What the command line says."""
    command = [sys.executable, "-m", "celeriac", "-A", "tasks", *args]
    done = subprocess.run(
        command, cwd=place.folder, env=place.environment, capture_output=True, text=True,
        timeout=DEADLINE, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def plain(said):
    """A publication as others may write it."""
    return msgspec.msgpack.encode([1, b"\0" + msgspec.msgpack.encode(said)])


def test_what_is_no_command_ends_no_worker(tmp_path):
    with site(tmp_path) as place:
        worker = place.worker().ready()
        odd = {"ticket": "t", "method": "shutdown", "sent": time.time()}
        for data in (
            b"", b"\xc1", NEST, msgspec.msgpack.encode([1, b"\0" + NEST]),
            seal_command(None, Command(**odd, pattern="[")),
            # A regular expression that would be matched for years.
            plain({**odd, "pattern": "((.|.)*)*!", "matcher": "pcre"}),
            seal_command(None, Command("u", "pool_grow", time.time(), {"n": 1e300})),
            seal_command(None, Command("v", "time_limit", time.time(), {"task_name": ["a"]})),
            seal_command(None, Command("w", "x" * 100_000, time.time(), {"\0": NEST})),
        ):  # fmt: skip
            if len(data) < 60_000:  # what a datagram holds
                place.store.bus.publish(COMMANDS, data)
        answers = Mailbox(place.store, None).ask("ping", timeout=DEADLINE).by_worker()
        assert list(answers.values()) == [{"ok": "pong"}]
        assert worker.process.poll() is None
        (good,) = place.send("tasks.add", 1, 2)
        assert place.ended([good])[0].state == "succeeded"


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_task_that_prints_into_its_process_socket_is_put_aside_and_nothing_else(tmp_path, pool):
    with site(tmp_path) as place:
        tasks = place.folder / "tasks.py"
        tasks.write_text(tasks.read_text() + SCRIBBLE)
        worker = place.worker("-P", pool, "-c", "2").ready()
        (bad,) = place.send("tasks.scribble")
        good = place.send("tasks.traced", count=20)
        assert {each.state for each in place.ended(good)} == {"succeeded"}
        (record,) = place.ended([bad])
        assert record.state == "dead"
        assert "what it sent was no message" in record.reason
        (after,) = place.send("tasks.add", 1, 2)
        assert place.ended([after])[0].state == "succeeded"
        assert worker.process.poll() is None


@pytest.mark.parametrize("text", [b"one two three\n", b"order 1234 done\n"])
def test_an_application_that_prints_into_sockets_as_it_is_imported_is_told(tmp_path, text):
    with site(tmp_path) as place:
        (place.folder / "tasks.py").write_text(
            "import os, stat\n"
            "for name in os.listdir('/proc/self/fd'):\n"
            "    try:\n"
            "        if stat.S_ISSOCK(os.fstat(int(name)).st_mode):\n"
            f"            os.write(int(name), {text!r})\n"
            "    except OSError:\n"
            "        continue\n"
        )
        worker = place.worker()
        status = eventually(
            lambda: worker.process.poll() is not None and worker.process, "it has ended"
        )
        assert status.returncode not in (0, None)
        assert "writes to file descriptors it did not open" in worker.text()
        assert "Traceback" not in worker.text()
