"""What a soak sends and does is its seed's alone; its table, its book and what counts as flat."""

import importlib.util
import itertools
import os
import random
import socket
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import soak_play
from chaos_tasks import SETTINGS
from noting_worker import ASKED, RETURNED
from servers import LOOPBACK, until
from soak_book import Book, Tail
from soak_faults import Lasting
from soak_oracle import MUST_BE_NONE
from soak_plan import (
    KINDS,
    OUTLIVED,
    SHAPES,
    WORKERS,
    batch,
    generation_of,
    kept_seeds,
    long_ones,
    parse_seed,
    strikes,
)
from soak_play import STORES
from soak_report import Report, table
from soak_vitals import ALLOWED, ENOUGH, Vitals, of_process
from wires import Proxy

from celeriac import states
from celeriac.testing.ledger import Ledger, Line

SOAK = Path(__file__).parents[1] / "soak"


def first_strikes(seed, number, store="redis", count=300):
    return list(itertools.islice(strikes(seed, number, store), count))


def test_a_seed_says_what_is_sent_and_done():
    assert batch("7", 3) == batch("7", 3)
    assert first_strikes("7", 3) == first_strikes("7", 3)
    assert batch("7", 3) != batch("7", 4)
    assert batch("7", 3) != batch("8", 3)
    assert first_strikes("7", 3) != first_strikes("7", 4)


def test_each_order_has_an_id_of_its_generation_and_ends_that_there_are():
    for number in range(30):
        orders = batch("1", number)
        assert len({each.id for each in orders}) == len(orders)
        for each in orders:
            assert generation_of(each.id) == generation_of(each.last) == number
            assert each.ends <= states.TERMINAL


def test_every_kind_of_order_and_of_strike_has_its_turn():
    orders = [each for number in range(20) for each in batch("1", number)]
    assert {each.kind for each in orders} == set(KINDS)
    for store, kind in (("sqlite", "lock"), ("sqlite", "full"), ("redis", "restart"),
                        ("redis", "full"), ("valkey", "black hole")):  # fmt: skip
        done = {each.kind for each in first_strikes("1", 0, store, 2000)}
        assert {*WORKERS, kind} <= done
    assert "lock" not in {each.kind for each in first_strikes("1", 0, "redis", 2000)}


def test_what_can_be_outlived_takes_longer_than_a_lease():
    orders = [each for number in range(20) for each in batch("1", number)]
    found = set(long_ones(orders))
    taken = [each.args[0] for each in orders if each.id in found]
    assert min(taken) >= SETTINGS["lease"]
    assert max(taken) < OUTLIVED[1], "it would end after its supervisor goes on"
    assert OUTLIVED[0] > SETTINGS["lease"] + 1, "nobody else would have begun it"


def test_connections_that_nobody_uses_any_more_do_not_add_up():
    with socket.create_server((LOOPBACK, 0)) as server, Proxy(server.getsockname()[1]) as proxy:
        for _ in range(3):
            client = socket.create_connection((LOOPBACK, proxy.port))
            peer, _ = server.accept()
            client.sendall(b"?")
            assert peer.recv(1) == b"?"
            proxy.forsake()
            assert len(proxy._pairs) == 1
            client.close()
            until("the proxy knows", lambda: proxy._given_up)
            peer.settimeout(0.05)
            with pytest.raises(TimeoutError):  # the server is not told
                peer.recv(1)
            peer.close()


def test_every_pool_has_its_turn():
    assert {pool for pool, _ in SHAPES} == {"prefork", "threads", "asyncio"}


def test_some_of_what_lasts_is_longer_than_a_lease_and_some_is_not():
    seconds = [each.seconds for each in first_strikes("1", 0)]
    lease = SETTINGS["lease"]
    assert min(seconds) < lease / 2
    assert max(seconds) > lease * 2


def test_seeds_are_read():
    assert parse_seed("12") == ("12", 0)
    assert parse_seed(" 12/7\n") == ("12", 7)
    for bad in ("", "/3", "1/x"):
        with pytest.raises(ValueError, match="a seed is"):
            parse_seed(bad)
    assert kept_seeds("# told\n\nredis 12/7  # lost\nsqlite 3\n") == [
        ("redis", "12/7"),
        ("sqlite", "3"),
    ]


def grown(values, seconds=ENOUGH * 2):
    vitals = Vitals()
    for at, value in enumerate(values):
        moment = at * seconds / len(values)
        vitals.add(moment, {"supervisor, MiB": value, "supervisor, descriptors": 10})
    return {each.name: each for each in vitals.trends()}["supervisor, MiB"]


def test_what_grows_is_found_once_there_is_enough_to_see():
    _, more = ALLOWED["MiB"]
    slope = [40 + more * 4 * at / 100 + 8 * at / 100 for at in range(100)]
    assert not grown(slope).flat
    assert "grows" in str(grown(slope))
    assert grown(slope, seconds=ENOUGH).flat
    assert "too short" in str(grown(slope, seconds=ENOUGH))


def test_a_warm_up_and_what_moves_about_are_no_growth():
    assert grown([20] * 15 + [40, 41] * 45).flat
    assert grown([40, 60] * 50).flat


def test_descriptors_may_be_a_few_more():
    vitals = Vitals()
    for at in range(100):
        vitals.add(at * 10.0, {"zygote, descriptors": 6 + at // 5})
    (trend,) = vitals.trends()
    assert not trend.flat


def descriptors(of, minutes=10):
    """How the descriptors of somebody went who had *of(seconds)*."""
    vitals = Vitals()
    for at in range(0, minutes * 60, 2):
        vitals.add(float(at), {"supervisor, descriptors": of(at)})
    (trend,) = vitals.trends()
    return trend


@pytest.mark.parametrize("minutes", [5, 10, 60])
@pytest.mark.parametrize("noise", [0, 1])
def test_descriptors_that_leak_slowly_are_found(minutes, noise):
    """One a minute: in five minutes fewer than may be open besides."""
    trend = descriptors(lambda at: 20 + at // 60 + 15 * noise * (at % 14 < 8), minutes)
    assert not trend.flat
    assert "grows" in str(trend)


@pytest.mark.parametrize("when", [130, 200, 300, 450, 590])
@pytest.mark.parametrize("noise", [0, 1])
def test_a_step_of_descriptors_is_no_leak(when, noise):
    assert descriptors(lambda at: 20 + 5 * (at > when) + 15 * noise * (at % 14 < 8)).flat


def test_two_steps_of_descriptors_and_what_moves_about_are_no_leak():
    pick = random.Random(1)
    assert descriptors(lambda at: 20 + 3 * (at > 240) + 2 * (at > 400)).flat
    assert descriptors(lambda at: 20 + 2 * (at // 60 % 2)).flat
    assert descriptors(lambda at: 20 + 5 * (at < 300)).flat
    assert all(descriptors(lambda at: pick.randint(20, 25)).flat for _ in range(200))


def test_descriptors_that_rise_by_more_than_a_few_at_once_are_found():
    assert not descriptors(lambda at: 20 + 8 * (at > 300)).flat


def test_descriptors_that_come_and_go_are_no_growth():
    vitals = Vitals()
    for at in range(100):
        vitals.add(at * 10.0, {"supervisor, descriptors": 20 + 40 * (at > 70 and at % 5 != 0)})
    (trend,) = vitals.trends()
    assert trend.flat


def test_samples_are_bounded_and_those_of_a_process_that_is_gone_are_none():
    vitals = Vitals()
    for at in range(5000):
        vitals.add(at, {"a, MiB": 1})
    assert len(vitals.samples) < 2500
    assert (vitals.samples[0][0] < 100, vitals.samples[-1][0]) == (True, 4999)
    assert of_process("us", os.getpid())["us, MiB"] > 1
    assert of_process("us", 2**22 + 1) == {}


def report(tmp_path, **more):
    return Report("redis", "12", tmp_path, **more)


def test_the_table_has_a_column_for_each_store_and_what_must_be_none(tmp_path):
    other = Report("sqlite", "12", tmp_path)
    other.counts["lost"] = 3
    other.faults["executor"] = 4
    lines = list(table([report(tmp_path), other]))
    assert lines[0] == "| | redis | sqlite |"
    assert "| **lost (0)** | 0 | 3 |" in lines
    assert "| faults: SIGKILL of an executor | 0 | 4 |" in lines
    assert sum("(0)**" in line for line in lines) == len(MUST_BE_NONE)


def test_a_failed_run_says_what_to_begin_with(tmp_path):
    made = report(tmp_path)
    made.problems = [
        "g31.4 (short): lost",
        "g30.2.7: has not ended",
        "worker-3.log ended by itself",
    ]
    assert made.begins(0, 40) == "12/29"
    assert made.begins(30, 40) == "12/30"
    made.problems = ["worker-3.log ended by itself"]
    assert made.begins(0, 40) == "12/39"


def test_what_grows_fails_a_run(tmp_path):
    made = report(tmp_path)
    for at in range(100):
        made.vitals.add(at * 10.0, {"zygote, MiB": 20 + at})
    assert made.found()[0].startswith("zygote, MiB")


def test_a_tail_reads_whole_lines_once(tmp_path):
    path = tmp_path / "file"
    tail = Tail(path)
    assert tail.news() == []
    path.write_bytes(b"one\ntw")
    assert tail.news() == ["one"]
    with path.open("ab") as file:
        file.write(b"o\nthree\n")
    assert tail.news() == ["two", "three"]
    assert tail.news() == []


class TestBook:
    @pytest.fixture
    def path(self, tmp_path):
        return tmp_path / "ledger"

    @pytest.fixture
    def book(self, path):
        return Book(path)

    def test_what_ran_is_handed_out_once(self, path, book, tmp_path):
        for event in ("start", "end"):
            Ledger(path).write("g1.0", 1, event)
        Ledger(path).write("g1.1.4", 1, "start")
        path.with_name("ledger.parts").write_text("g1.1.4 g1.1 4\n")
        log = tmp_path / "log"
        log.write_text("Task g1.1.4 cannot begin yet, it is put back\n")
        book.read([log])
        ran = book.take({"g1.0": 1, "g1.1.4": 2}, ["g1.1"])
        assert [len(ran.starts[id]) for id in ("g1.0", "g1.1.4")] == [1, 1]
        assert ran.parts == {("g1.1", 4): {"g1.1.4"}}
        assert ran.put_back["g1.1.4"] == 1
        book.read([log])
        assert book.take({"g1.0": 1}, ["g1.1"]).lines == []

    def test_what_was_handed_back_after_it_had_begun_was_interrupted(self, path, book):
        lines = [
            ("g1.0", 1, RETURNED, ASKED), ("g1.0", 1, RETURNED, "ok"),
            ("g1.1", 1, RETURNED, ASKED), ("g1.1", 1, RETURNED, "fenced"),
            ("g1.2", 1, RETURNED, ASKED),  # and nobody was told
            ("g1.3", 1, states.SCHEDULED, "ok"),
        ]  # fmt: skip
        path.with_name("ledger.verdicts").write_text(
            "".join(f"\n{id}\t{attempt}\tw.0.1\t{state}\t{verdict}\t." + "\n" * (id == "g1.3")
                    for id, attempt, state, verdict in lines)
        )  # fmt: skip
        book.read([])
        ran = book.take(dict.fromkeys(("g1.0", "g1.1", "g1.2", "g1.3"), 2), [])
        assert dict(ran.interrupted) == {"g1.0": 1, "g1.2": 1}

    @pytest.mark.parametrize("put_back", [False, True])
    def test_what_fell_with_its_neighbours_may_begin_again_under_its_lease(
        self, path, book, tmp_path, put_back
    ):
        def lines(pid, *starts):
            with path.open("a") as file:
                file.writelines(str(Line(id, at, "start", 1.0, pid)) for id, at in starts)

        again = 2 if put_back else 1
        lines(7, ("g1.0", 1), ("g1.1", 1))
        lines(8, ("g1.0", again))
        log = tmp_path / "log"
        log.write_text("Task g1.0 cannot begin yet, it is put back\n" * put_back)
        book.read([log])
        ids = {"g1.0": again, "g1.1": 1}
        assert len(book.take(ids, []).lines) == 3

        lines(7, ("g1.0", 1), ("g1.1", 1))
        lines(8, ("g1.0", again))
        with log.open("a") as file:
            file.write("Task g1.0 cannot begin yet, it is put back\n" * put_back)
            file.write("executor 7 died of signal 9 (SIGKILL); its peak memory was 3 MiB; ")
            file.write("it ran 2 tasks, which run again one by one\n")
        book.read([log])
        left = [(each.id, each.pid) for each in book.take(ids, []).lines]
        assert sorted(left) == [("g1.0", 8), ("g1.1", 7)]

    def test_who_has_just_begun_is_known(self, path, book):
        now = time.monotonic()
        lines = [
            Line("g1.0", 1, "start", now - 60, 5), Line("g1.1", 1, "start", now, 6),
            Line("g1.2", 1, "start", now, 7), Line("g1.2", 1, "end", now, 7),
            Line("g1.3", 1, "start", now, 8),
        ]  # fmt: skip
        path.write_text("".join(map(str, lines)))
        book.read([])
        assert book.just_begun(["g1.0", "g1.1", "g1.2", "g1.9"], 30.0) == [6]

    def test_what_nobody_asks_for_is_forgotten(self, path, book, monkeypatch):
        Ledger(path).write("g1.0", 1, "start")
        Ledger(path).write("some-uuid", 1, "start")
        book.read([])
        book.forget(2)
        assert len(book.take({"g1.0": 1, "some-uuid": 1}, []).lines) == 1
        Ledger(path).write("some-uuid", 1, "end")
        book.read([])
        later = time.monotonic() + 1000
        monkeypatch.setattr(time, "monotonic", lambda: later)
        book.forget(2)
        assert book.take({"some-uuid": 1}, []).lines == []


@pytest.fixture
def run():
    spec = importlib.util.spec_from_file_location("soak_run", SOAK / "run.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_a_seed_that_failed_is_kept_once(tmp_path, run):
    path = tmp_path / "seeds.txt"
    path.write_text("# told\n")
    for _ in range(2):
        run.keep(report(tmp_path), "g1.0: lost\nand more", path)
    assert kept_seeds(path.read_text()) == [("redis", "12")]
    assert path.read_text().rstrip().endswith(": g1.0: lost")


class Breaking:
    """A soak of the fourth generation, in whose end something is not as it should."""

    def __init__(self, place, store, url, report, *, first, **more):
        self.next, self.client, self.store = first + 2, None, report.store

    def run(self, *_):
        if self.store == "sqlite":
            raise AssertionError("not within 60 s: no process is left behind")
        raise TimeoutError("no result within 5 s")


def test_a_soak_that_breaks_off_is_kept_and_the_next_store_has_its_turn(
    tmp_path, run, monkeypatch, capsys
):
    @contextmanager
    def nowhere(kind, folder):
        yield None, SimpleNamespace(lasting=Lasting()), ""

    monkeypatch.setattr(soak_play, "Soak", Breaking)
    monkeypatch.setattr(soak_play, "stage", nowhere)
    monkeypatch.setattr(run, "Enough", lambda: lambda: False)
    monkeypatch.setattr(run, "PLACE", tmp_path)
    monkeypatch.setattr(run, "KEPT", tmp_path / "seeds.txt")
    run.KEPT.touch()
    assert run.run(["sqlite", "redis"], "7/2", 1.0) == 2
    assert kept_seeds(run.KEPT.read_text()) == [("sqlite", "7/2"), ("redis", "7/2")]
    assert "AssertionError: not within 60 s: no process" in run.KEPT.read_text()
    told = capsys.readouterr().out
    assert "| | sqlite | redis |" in told
    assert "| **other problems (0)** | 1 | 1 |" in told
    assert 'raise TimeoutError("no result within 5 s")' in told, "the traceback is there"


def test_what_is_kept_can_be_read():
    assert all(store in STORES for store, _ in kept_seeds((SOAK / "seeds.txt").read_text()))
