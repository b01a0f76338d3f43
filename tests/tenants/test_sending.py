"""How one delivery goes out: to the address that was checked, under the name of its host."""

import datetime
import smtplib
import socket
import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway_project import public_client
from tenants import sending
from tenants.events import Event
from tenants.sending import Letter, Outcome, Unsendable, send_all, signing_key
from tests.factories import NOON
from tests.tenants.conftest import Environment
from tests.webhook_receiver import WebhookReceiver

HOST = "hooks.acme.example"
AN_HOUR = datetime.timedelta(hours=1)


def letter(url: str, **values: str) -> Letter:
    return Letter(
        **{"format": "standard", "url": url, "secret": "hidden", "message_id": "msg_1", **values},
        sent_at=datetime.datetime.now(tz=datetime.UTC),
        event=Event("provider.down", "acme", "k", NOON),
    )


async def send(one: Letter) -> Outcome:
    (outcome,) = await send_all([one])
    return outcome


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names lead to this machine at their first look-up and into the void ever after; the list
    gets each name that was looked up."""
    names: list[str] = []
    real = socket.getaddrinfo

    def look_up(host: Any, port: Any, *rest: Any, **options: Any) -> Any:
        host = host.decode() if isinstance(host, bytes) else host
        if not host.endswith(".example"):
            return real(host, port, *rest, **options)
        names.append(host)
        address = "127.0.0.1" if len(names) == 1 else "192.0.2.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return names


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Of HOST, signed by itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(tz=datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - AN_HOUR)
        .not_valid_after(now + AN_HOUR)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "host.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return file


async def test_a_name_is_looked_up_once(receiver: WebhookReceiver, looked_up: list[str]) -> None:
    assert await send(letter(f"http://{HOST}:{receiver.port}/ai?x=1")) == Outcome(status=204)
    assert looked_up == [HOST]
    assert receiver.received[0].headers["host"] == f"{HOST}:{receiver.port}"
    assert receiver.received[0].path == "/ai?x=1"


@pytest.mark.parametrize(("host", "arrives"), [(HOST, True), ("other.acme.example", False)])
async def test_the_certificate_must_be_the_hosts(
    environment: Environment,
    looked_up: list[str],
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
    host: str,
    arrives: bool,
) -> None:
    environment(allowed_private_hosts=["*.acme.example"])
    trusted = ssl.create_default_context(cafile=certificate)
    monkeypatch.setattr(public_client, "trusted", lambda: trusted)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    with WebhookReceiver(tls) as receiver:
        outcome = await send(letter(f"https://{host}:{receiver.port}/"))
    assert (outcome == Outcome(status=204)) is arrives
    assert len(receiver.received) == arrives
    if not arrives:
        assert "CERTIFICATE_VERIFY_FAILED" in outcome.error


async def test_no_proxy_of_the_environment_is_asked(
    receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    assert await send(letter(receiver.url)) == Outcome(status=204)


async def test_one_that_cannot_be_sent_holds_up_no_other(receiver: WebhookReceiver) -> None:
    gone = Outcome("the webhook is gone", is_final=True)
    letters = [letter("http://nowhere.invalid/"), gone, letter("no url"), letter(receiver.url)]
    outcomes = await send_all(letters)
    assert outcomes[0].error.startswith("nowhere.invalid does not resolve")
    assert outcomes[1:] == [
        gone,
        Outcome("this is no http:// or https:// URL"),
        Outcome(status=204),
    ]


async def test_a_surprise_is_named_by_its_kind_alone(
    receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def surprise(*_: object, **__: object) -> None:
        raise httpx.ReadError("something about very-hidden-path")

    monkeypatch.setattr(httpx.AsyncClient, "send", surprise)
    assert await send(letter(receiver.url)) == Outcome("failed: ReadError")


async def test_a_mail_server_that_refuses_is_named_by_its_code(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise smtplib.SMTPAuthenticationError(535, b"the password hunter2 is wrong")

    environment(email_url="set")
    monkeypatch.setattr(sending, "send_mail", refuse)
    outcome = await send(letter("mailto:finance@acme.example", format="email"))
    assert outcome.error == "the mail server did not take it: SMTPAuthenticationError 535"


def test_a_letter_shows_no_secret() -> None:
    assert "hidden" not in repr(letter("https://hooks.acme.example/hidden-path"))


def test_a_signing_key_may_lack_its_padding() -> None:
    assert signing_key("whsec_YQ") == signing_key("whsec_YQ==") == b"a"
    assert signing_key("plain") == b"plain"
    with pytest.raises(Unsendable):
        signing_key("whsec_!")
