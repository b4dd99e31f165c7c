"""Messages that differ in id and nonce alone are, written together, what each is by itself."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from celeriac.ids import new_calls
from celeriac.message import Alike, Header, compose, decode, encode_all
from celeriac.stores.redis.packing import plain_entries, plain_entry

# Names that hold what stands around them in the encoded header, too.
TEXTS = st.one_of(st.text(max_size=300), st.sampled_from(["nonce", "\xa5nonce\xb0", "id", "task"]))
MOMENTS = st.none() | st.floats(0, 4e9)
HEADERS = st.builds(
    Header,
    id=st.just(""),
    task=TEXTS,
    nonce=st.just(""),
    queue=TEXTS,
    priority=st.integers(0, 9),
    eta=MOMENTS,
    expires=MOMENTS,
    time_limit=MOMENTS,
    ignore_result=st.none() | st.booleans(),
    sent=st.floats(0, 4e9),
    origin=TEXTS,
    root=TEXTS,
    parent=TEXTS,
    headers=st.none() | st.dictionaries(TEXTS, TEXTS, max_size=3),
    argsrepr=TEXTS,
    kwargsrepr=TEXTS,
    compression=TEXTS,
)


@given(HEADERS, st.lists(st.binary(max_size=300), max_size=4))
def test_written_together_or_one_by_one_is_the_same(header, payloads):
    calls = new_calls(len(payloads))
    alike = Alike(header, calls, payloads)
    each = [
        compose(msgspec.structs.replace(header, id=id, nonce=nonce), payload)
        for (id, nonce), payload in zip(calls, payloads, strict=True)
    ]
    assert list(alike) == each == [alike[at] for at in range(len(alike))]
    assert alike.headers() == [message.header for message in each]
    assert encode_all(alike) == encode_all(each) == [message.encode() for message in each]
    assert [decode(wire) for wire in alike.encode()] == each


@given(HEADERS, st.lists(st.binary(max_size=300), min_size=1, max_size=4))
def test_what_redis_is_given_is_the_same(header, payloads):
    plain = msgspec.structs.replace(header, eta=None, expires=None)
    alike = Alike(plain, new_calls(len(payloads)), payloads)
    assert plain_entries(alike) == [plain_entry(each) for each in alike]


def test_a_task_named_like_an_id_or_a_mark_takes_nobody_s_place():
    ((id, nonce),) = new_calls(1)
    for name in (id, nonce, f"{id}{nonce}"):
        alike = Alike(Header("", name, ""), [(id, nonce)], [b"[[],{}]"])
        assert alike.encode() == [alike[0].encode()]


def test_a_part_is_alike_as_well():
    alike = Alike(Header("", "job", ""), new_calls(5), [b"%d" % at for at in range(5)])
    part = alike[1:3]
    assert isinstance(part, Alike)
    assert list(part) == list(alike)[1:3]
    assert alike[-1] in alike
    assert alike[-1] == list(alike)[-1]
    assert Alike(alike.header, [], []).encode() == []
