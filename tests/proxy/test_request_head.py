"""What headers ask of the gateway: taken where it makes sense, refused by name where not."""

import asyncio
import re
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.authenticate import Caller
from proxy.errors import InvalidRequest
from proxy.exchange import Exchange, new_record_id
from proxy.paths import Endpoint
from proxy.request_head import LONGEST_USER, MOST_LABELS, end_user, read_head, request_id


def _exchange(headers: dict[bytes, bytes], *, project: str = "") -> Exchange:
    caller = Caller(
        tenant=None,  # type: ignore[arg-type]
        key_id="1",
        key="frontend",
        project=project,
        user="",
        tier="",
        scopes=frozenset(),
        aliases={},
    )
    return Exchange(
        endpoint=Endpoint("chat", "openai"),
        headers=headers,
        snapshot=None,  # type: ignore[arg-type]
        request_id="r",
        record_id="1",
        started_at=0.0,
        caller=caller,
    )


def _read(headers: dict[bytes, bytes], *, project: str = "") -> Exchange:
    exchange = _exchange(headers, project=project)
    read_head(exchange)
    return exchange


def _refused(headers: dict[bytes, bytes]) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as refused:
        _read(headers)
    return refused.value


def test_headers_that_say_nothing_change_nothing() -> None:
    exchange = _read({b"x-request-id": b"1", b"accept": b"*/*"}, project="search")
    assert (exchange.labels, exchange.project, exchange.deadline) == ({}, "search", None)


# ---- labels


@pytest.mark.parametrize(
    ("header", "labels"),
    [
        (b"team=search", {"team": "search"}),
        (b"team=search,env=prod", {"team": "search", "env": "prod"}),
        (b" team=search ,  env=prod ", {"team": "search", "env": "prod"}),
        (b"team=", {"team": ""}),
        (b"path=a/b:c@d+e.f-g h", {"path": "a/b:c@d+e.f-g h"}),
        ("team=süd".encode(), {"team": "süd"}),
        (b"", {}),
        (b"v=" + b"x" * 128, {"v": "x" * 128}),
    ],
)
def test_labels_are_read(header: bytes, labels: dict[str, str]) -> None:
    assert _read({b"x-gateway-labels": header}).labels == labels


@pytest.mark.parametrize(
    "header",
    [
        b" ",
        b"team",
        b"team=a,team=b",
        b"=search",
        b"Team=search",
        b"te am=search",
        b"team=search,",
        b",team=search",
        b"team=search,,env=prod",
        b"team=search;env=prod",
        b"team==search",
        b"team=<script>",
        b'team="search"',
        b"team=a\nb",
        b"team=a\tb",
        b"team=a\x00",
        b"team=s\xfcd",  # not UTF-8
        b"v=" + b"x" * 129,
        b"x" * 65 + b"=v",
    ],
)
def test_labels_that_are_none_are_refused_by_name(header: bytes) -> None:
    refused = _refused({b"x-gateway-labels": header})
    assert refused.param == "x-gateway-labels"


def test_labels_are_bounded_in_number() -> None:
    labels = [f"l{n}=v" for n in range(MOST_LABELS + 1)]
    assert len(_read({b"x-gateway-labels": ",".join(labels[1:]).encode()}).labels) == MOST_LABELS
    refused = _refused({b"x-gateway-labels": ",".join(labels).encode()})
    assert f"more than {MOST_LABELS}" in refused.message


@given(st.binary())
def test_any_header_is_read_or_refused_by_name(header: bytes) -> None:
    for name in (b"x-gateway-labels", b"x-gateway-project"):
        try:
            exchange = _read({name: header})
        except InvalidRequest as refused:
            told = refused.param
        else:
            told = name.decode()
            values = [exchange.project, *exchange.labels, *exchange.labels.values()]
            assert all(value.isprintable() for value in values)
        assert told == name.decode()


# ---- project


def test_a_key_without_a_project_takes_the_one_that_is_named() -> None:
    assert _read({b"x-gateway-project": b"search"}).project == "search"


def test_a_keys_own_project_is_not_to_be_changed() -> None:
    assert _read({b"x-gateway-project": b"other"}, project="search").project == "search"


def test_an_empty_header_says_nothing() -> None:
    exchange = _read(
        {b"x-gateway-project": b"", b"x-gateway-timeout": b"", b"x-gateway-labels": b""}
    )
    assert (exchange.labels, exchange.project, exchange.deadline) == ({}, "", None)


@pytest.mark.parametrize("header", [b" ", b"Search", b"a b", b"../x", b"a" * 65, b"a\n", b"\xff"])
def test_a_project_that_is_no_name_is_refused(header: bytes) -> None:
    assert _refused({b"x-gateway-project": header}).param == "x-gateway-project"


# ---- timeout


@pytest.mark.parametrize(
    ("header", "seconds"), [(b"20s", 20), (b"250ms", 0.25), (b"2m", 120), (b"1ms", 0.001)]
)
async def test_a_timeout_is_a_moment_on_the_loops_clock(header: bytes, seconds: float) -> None:
    before = asyncio.get_running_loop().time()
    exchange = _read({b"x-gateway-timeout": header})
    after = asyncio.get_running_loop().time()
    assert exchange.deadline is not None
    assert before + seconds <= exchange.deadline <= after + seconds


@pytest.mark.parametrize(
    "header", [b" ", b"20", b"soon", b"-1s", b"1 s", b"\xff", b"1e3s", b"infs"]
)
async def test_a_timeout_that_is_no_duration_is_refused(header: bytes) -> None:
    refused = _refused({b"x-gateway-timeout": header})
    assert refused.param == "x-gateway-timeout"
    assert "a duration is" in refused.message


@pytest.mark.parametrize("header", [b"0s", b"0ms", b"0.0m"])
async def test_a_timeout_of_nothing_is_refused(header: bytes) -> None:
    assert _refused({b"x-gateway-timeout": header}).param == "x-gateway-timeout"


# ---- ids


@pytest.mark.parametrize(
    "given_id", [b"1", b"req-123", b"a/b:c+d=e@f.g_h", b"x" * 128, b"550e8400-e29b-41d4-a716"]
)
def test_a_safe_request_id_is_kept(given_id: bytes) -> None:
    assert request_id(given_id) == given_id.decode()


@pytest.mark.parametrize(
    "given_id",
    [None, b"", b" ", b"a b", b"a\n", b"a\r\nset-cookie: x", b"<b>", b'"', b"\xff", b"x" * 129],
)
def test_any_other_request_id_is_replaced(given_id: bytes | None) -> None:
    fresh = {request_id(given_id) for _ in range(5)}
    assert len(fresh) == 5
    assert all(re.fullmatch(r"req_[0-9a-f]{24}", one) for one in fresh)


@given(st.floats(0, 10**10))
def test_a_record_id_is_a_uuid_of_its_moment(now: float) -> None:
    made = uuid.UUID(new_record_id(now))
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == int(now * 1000)
    assert str(made) == new_record_id(now)[:13] + str(made)[13:]


def test_record_ids_sort_by_time_and_never_meet() -> None:
    ids = [new_record_id(1_800_000_000 + n / 1000) for n in range(1_000)]
    assert ids == sorted(ids)
    assert len({new_record_id(1_800_000_000) for _ in range(1_000)}) == 1_000


# ---- users


@pytest.mark.parametrize(
    ("fixed", "named", "user"),
    [
        ("ada", "bob", "ada"),
        ("", "bob", "bob"),
        ("", None, ""),
        ("", "", ""),
        ("", "Ada Löwe 🦁", "Ada Löwe 🦁"),
        ("", "a\nb\x00c\u2028d\x7f", "abcd"),
        ("", "\ud83dada", "ada"),
        ("", "x" * 300, "x" * LONGEST_USER),
        ("", "\n" * 10 + "x" * 300, "x" * LONGEST_USER),
    ],
)
def test_the_end_user_is_the_keys_own_or_the_one_that_is_named(
    fixed: str, named: str | None, user: str
) -> None:
    assert end_user(fixed, named) == user


@given(st.text(st.characters()))
def test_any_end_user_can_be_stored_and_shown(named: str) -> None:
    user = end_user("", named)
    assert user == "" or user.isprintable()
    assert len(user) <= LONGEST_USER
    user.encode()
