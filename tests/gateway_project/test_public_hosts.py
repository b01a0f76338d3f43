"""Where a tenant's URL may lead: public addresses, and private ones that an operator lists."""

import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from django.conf import settings

from gateway_project.public_client import public_client
from gateway_project.public_hosts import (
    AddressRefused,
    AddressUnknown,
    check,
    check_sync,
    is_public,
)
from tests.fake_upstream import FakeUpstream, whole

PUBLIC = ("8.8.8.8", "193.0.14.129", "2001:4860:4860::8888", "64:ff9b::808:808", "::ffff:8.8.8.8")
PRIVATE = (
    *("127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1"),
    *("169.254.169.254", "192.0.2.1", "198.18.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1"),
    *("255.255.255.255", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "fec0::1"),
    *("ff02::1", "2001:db8::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1"),
    *("64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::1", "2002:7f00:1::", "2002:a00:1::1"),
)


class Names:
    """A resolver that a test scripts: each look-up of a name takes the next of its answers."""

    def __init__(self) -> None:
        self.answers: dict[str, list[list[str]]] = {}
        self.asked: list[str] = []

    def look_up(self, host: str, port: int, *_: Any, **__: Any) -> list[tuple[Any, ...]]:
        self.asked.append(host)
        known = self.answers.get(host)
        if known is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        addresses = known.pop(0) if len(known) > 1 else known[0]
        return [(None, None, 0, "", (address, port)) for address in addresses]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    names = Names()
    monkeypatch.setattr(socket, "getaddrinfo", names.look_up)
    return names


@pytest.fixture
def allow(monkeypatch: pytest.MonkeyPatch) -> Any:
    def allow(*hosts: str) -> None:
        monkeypatch.setattr(settings.ENVIRONMENT, "allowed_private_hosts", list(hosts))

    allow()
    return allow


@pytest.fixture
def server() -> Iterator[FakeUpstream]:
    with FakeUpstream() as server:
        yield server


async def _leads(url: str) -> list[str]:
    """What both doors say, which is the same."""
    try:
        expected = check_sync(url)
    except AddressRefused as refusal:
        with pytest.raises(type(refusal)):
            await check(url)
        raise
    assert await check(url) == expected
    return expected


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_one(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", PRIVATE)
def test_a_private_address_is_none(address: str) -> None:
    assert not is_public(address)


async def test_a_name_is_where_its_addresses_are(names: Names, allow: Any) -> None:
    names.answers["login.example"] = [["8.8.8.8", "2001:4860:4860::8888", "8.8.8.8"]]
    assert await _leads("https://login.example/jwks") == ["8.8.8.8", "2001:4860:4860::8888"]


@pytest.mark.parametrize("address", PRIVATE)
async def test_one_private_address_among_public_ones_is_enough_to_refuse(
    names: Names, allow: Any, address: str
) -> None:
    names.answers["login.example"] = [["8.8.8.8", address]]
    with pytest.raises(AddressRefused):
        await _leads("https://login.example/jwks")


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://8.8.8.8/", "file:///etc/passwd", "//8.8.8.8/", "8.8.8.8", "", "http://"),
        *("http://user@8.8.8.8/", "http://u:p@8.8.8.8/", "http://8.8.8.8:99999/", "http://[::1/"),
    ],
)
async def test_what_is_no_plain_url_is_refused(allow: Any, url: str) -> None:
    allow("*")
    with pytest.raises(AddressRefused):
        await _leads(url)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::1]", "2130706433", "0x7f.1", "127.1", "[::ffff:7f00:1]", "localhost"]
)
async def test_no_spelling_of_this_machine_is_public(allow: Any, host: str) -> None:
    with pytest.raises(AddressRefused):
        await _leads(f"http://{host}:8000/")


async def test_a_name_that_nobody_knows_is_told_apart(names: Names, allow: Any) -> None:
    with pytest.raises(AddressUnknown):
        await _leads("https://nowhere.example/")


@pytest.mark.parametrize(
    ("entry", "url", "address"),
    [
        ("idp.internal", "http://idp.internal/", "10.0.0.7"),
        ("idp.internal", "http://IDP.internal./", "10.0.0.7"),
        ("*.internal", "http://idp.internal/", "10.0.0.7"),
        ("idp.internal:8080", "http://idp.internal:8080/", "10.0.0.7"),
        ("10.0.0.7", "http://idp.internal/", "10.0.0.7"),
        ("10.0.0.0/8", "http://idp.internal/", "10.0.0.7"),
        ("10.0.0.7:443", "https://idp.internal/", "10.0.0.7"),
        ("10.0.0.0/8", "http://idp.internal/", "::ffff:10.0.0.7"),
        ("fd00::/8", "http://idp.internal/", "fd12::1"),
        ("[fd12::1]", "http://idp.internal/", "fd12::1"),
        ("*", "http://idp.internal/", "169.254.169.254"),
    ],
)
async def test_what_is_listed_may_be_private(
    names: Names, allow: Any, entry: str, url: str, address: str
) -> None:
    allow("other.internal", entry)
    names.answers["idp.internal"] = names.answers["idp.internal."] = [[address]]
    assert await _leads(url) == [address]


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("internal", "http://idp.internal/"),
        ("idp.internal:8080", "http://idp.internal:8081/"),
        ("10.0.0.8", "http://idp.internal/"),
        ("10.1.0.0/16", "http://idp.internal/"),
        ("10.0.0.7:443", "http://idp.internal/"),
        ("*.internal", "http://idp.internal.evil.example/"),
    ],
)
async def test_what_is_not_listed_may_not(names: Names, allow: Any, entry: str, url: str) -> None:
    allow(entry)
    names.answers["idp.internal"] = names.answers["idp.internal.evil.example"] = [["10.0.0.7"]]
    with pytest.raises(AddressRefused):
        await _leads(url)


class TestTheClient:
    async def test_connects_to_the_address_that_was_checked(
        self, names: Names, allow: Any, server: FakeUpstream
    ) -> None:
        """A second look-up would lead elsewhere; there is none."""
        allow("127.0.0.1")
        names.answers["rebound.example"] = [["127.0.0.1"], ["10.0.0.1"]]
        server.at("jwks").answers(whole(b"{}"))
        async with await public_client(timeout=5) as client:
            answer = await client.get(f"http://rebound.example:{server.port}/jwks/")
        assert answer.status_code == 200
        assert names.asked == ["rebound.example"]
        assert server.received[0].header("host") == f"rebound.example:{server.port}"

    async def test_checks_each_request_anew(
        self, names: Names, allow: Any, server: FakeUpstream
    ) -> None:
        allow("127.0.0.1")
        names.answers["rebound.example"] = [["127.0.0.1"], ["10.0.0.1"]]
        async with await public_client(timeout=5) as client:
            await client.get(f"http://rebound.example:{server.port}/jwks/")
            with pytest.raises(AddressRefused):
                await client.get(f"http://rebound.example:{server.port}/jwks/")
        assert len(server.received) == 1

    async def test_follows_no_redirect(self, allow: Any, server: FakeUpstream) -> None:
        allow("127.0.0.1")
        elsewhere = {"location": f"http://127.0.0.1:{server.port}/secret/"}
        server.at("jwks").answers(whole(b"", status=302, headers=elsewhere))
        async with await public_client(timeout=5) as client:
            answer = await client.get(f"http://127.0.0.1:{server.port}/jwks/")
        assert answer.status_code == 302
        assert len(server.received) == 1

    async def test_takes_the_next_address_where_one_does_not_answer(
        self, names: Names, allow: Any, server: FakeUpstream
    ) -> None:
        allow("127.0.0.0/8")
        names.answers["two.example"] = [["127.0.0.2", "127.0.0.1"]]
        async with await public_client(timeout=5) as client:
            assert (await client.get(f"http://two.example:{server.port}/jwks/")).status_code == 200

    async def test_leaves_plain_http_to_private_hosts_where_it_is_told_to(
        self, names: Names, allow: Any
    ) -> None:
        names.answers["public.example"] = [["8.8.8.8"]]
        async with await public_client(timeout=5, tls_only=True) as client:
            with pytest.raises(AddressRefused, match="https"):
                await client.get("http://public.example/jwks")

    async def test_wants_a_certificate_of_the_name_and_not_of_the_address(
        self, names: Names, allow: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        allow("127.0.0.1")
        names.answers["tls.example"] = [["127.0.0.1"]]
        seen: list[httpx.Request] = []

        async def keep(_: object, request: httpx.Request) -> httpx.Response:
            seen.append(request)
            return httpx.Response(200)

        monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", keep)
        async with await public_client(timeout=5) as client:
            await client.get("https://tls.example/jwks")
        assert seen[0].url.host == "127.0.0.1"
        assert seen[0].extensions["sni_hostname"] == "tls.example"
        assert seen[0].headers["host"] == "tls.example"
