"""Which hosts may be called when a tenant names the URL."""

import socket
from typing import Any

import pytest

from gateway_project import public_hosts
from gateway_project.public_hosts import AddressRefused

PUBLIC = "93.184.215.14"


@pytest.fixture
def allow(settings: Any) -> Any:
    """Sets GATEWAY_ALLOWED_PRIVATE_HOSTS."""

    def set_to(*hosts: str) -> None:
        settings.ENVIRONMENT = settings.ENVIRONMENT.model_copy(
            update={"allowed_private_hosts": list(hosts)}
        )

    return set_to


@pytest.fixture
def lead(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes every name lead to these addresses."""

    def to(*addresses: str) -> None:
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, 0)) for one in addresses]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)

    return to


def test_a_public_host_has_its_addresses(lead: Any) -> None:
    lead(PUBLIC, "2001:4860:4860::8888", PUBLIC)
    assert public_hosts.check("https://hooks.example/ai") == [PUBLIC, "2001:4860:4860::8888"]


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "192.0.2.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:0:7f00:1::",
        "fe80::1%eth0",
        "fc00::1",
        "ff02::1",
    ],
)
def test_a_host_that_is_not_public_is_refused(lead: Any, address: str) -> None:
    lead(PUBLIC, address)
    with pytest.raises(AddressRefused, match=r"hooks\.example is at a private address"):
        public_hosts.check("https://hooks.example/secret-path")


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost", "2130706433", "0x7f.1"])
def test_loopback_is_refused_however_it_is_written(host: str) -> None:
    with pytest.raises(AddressRefused):
        public_hosts.check(f"http://{host}:8000/")


@pytest.mark.parametrize(
    ("allowed", "url"),
    [
        ("*", "http://hooks.internal/"),
        ("hooks.internal", "http://hooks.internal/"),
        ("Hooks.Internal", "http://HOOKS.internal./"),
        (".internal", "http://hooks.internal/"),
        ("*.internal", "http://hooks.internal/"),
        ("hooks.internal:8080", "http://hooks.internal:8080/"),
        ("10.0.0.7", "http://hooks.internal/"),
        ("10.0.0.7:443", "https://hooks.internal/"),
        ("10.0.0.0/8", "http://hooks.internal/"),
    ],
)
def test_the_list_allows_it(lead: Any, allow: Any, allowed: str, url: str) -> None:
    lead("10.0.0.7")
    allow("other.internal", allowed)
    assert public_hosts.check(url) == ["10.0.0.7"]


@pytest.mark.parametrize("allowed", ["[fd00::7]", "fd00::7", "fd00::/8"])
def test_the_list_allows_ipv6(lead: Any, allow: Any, allowed: str) -> None:
    lead("fd00::7")
    allow(allowed)
    assert public_hosts.check("http://hooks.internal/") == ["fd00::7"]


@pytest.mark.parametrize(
    "allowed", ["internal", "oks.internal", "hooks.internal:8080", "10.0.0.8", "10.0.1.0/24"]
)
def test_the_list_allows_no_more_than_it_says(lead: Any, allow: Any, allowed: str) -> None:
    lead("10.0.0.7")
    allow(allowed)
    with pytest.raises(AddressRefused):
        public_hosts.check("http://hooks.internal/")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("ftp://hooks.example/", "no http"),
        ("https://hooks.example:x/", "no http"),
        ("https:///path", "cannot be resolved"),
        ("https://nowhere.invalid/", "nowhere.invalid cannot be resolved"),
        (f"https://{'a' * 70}.example/", "cannot be resolved"),
    ],
)
def test_what_leads_nowhere_is_refused(url: str, says: str) -> None:
    with pytest.raises(AddressRefused, match=says):
        public_hosts.check(url)
