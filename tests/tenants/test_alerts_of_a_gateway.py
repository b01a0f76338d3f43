"""Alerts of a gateway as an operator runs it, from a key that ends soon to a verified webhook."""

import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway_process import GatewayProcess, eventually
from tests.webhook_receiver import WebhookReceiver

SECRET = "shared-with-the-receiver"


class MailServer(socketserver.ThreadingTCPServer):
    """Takes what it is sent."""

    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Conversation)
        self.mails: list[str] = []


class Conversation(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, MailServer)
        self._say("220 ready")
        for line in self.rfile:
            match line.split()[0].upper():
                case b"DATA":
                    self._say("354 go on")
                    lines = iter(self.rfile.readline, b".\r\n")
                    self.server.mails.append(b"".join(lines).decode())
                    self._say("250 taken")
                case b"QUIT":
                    self._say("221 bye")
                    return
                case _:
                    self._say("250 fine")

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    with MailServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def _wait_for(gateway: GatewayProcess, **wanted: object) -> None:
    """Until a delivery is like this."""
    eventually(
        lambda: gateway.clerk.rows("tenants.Delivery", **wanted) or None,
        within=20,
        what=f"a delivery with {wanted}",
    )


def test_a_key_that_ends_soon_is_heard_of_and_a_dead_worker_loses_nothing(
    tmp_path: Path, mail_server: MailServer
) -> None:
    with WebhookReceiver() as receiver:
        webhooks = [
            {"url": receiver.url, "events": ["key.expiring"], "secret": SECRET},
            {
                "url": "mailto:finance@acme.example",
                "format": "email",
                "events": ["key.expiring"],
            },
        ]
        configuration = {"version": 1, "tenants": {"acme": {"webhooks": webhooks}}}
        receiver.answers(500, 204)
        mail_url = f"smtp://127.0.0.1:{mail_server.server_address[1]}?from=ai@acme.example&tls=no"
        with GatewayProcess(
            tmp_path,
            configuration=configuration,
            GATEWAY_ALLOWED_PRIVATE_HOSTS="127.0.0.1",
            GATEWAY_EMAIL_URL=mail_url,
        ) as gateway:
            gateway.kill()
            key = gateway.issue_key("acme", ttl="20h")
            gateway.start()
            _wait_for(gateway, state="delivered", error="", recipient="finance@acme.example")
            _wait_for(gateway, state="pending", error="HTTP 500")
            gateway.kill()
            gateway.start()
            _wait_for(gateway, state="delivered", status=204, attempts=2)
            gateway.terminate()
            assert gateway.wait() == 0
            log = gateway.log()
        assert len(receiver.received) == 2
        payload = receiver.received[1].verified(SECRET.encode())
        assert payload["type"] == "key.expiring"
        assert (payload["data"]["key_id"], payload["data"]["within"]) == (key.key_id, "1d")
        (mail,) = mail_server.mails
        assert "To: finance@acme.example" in mail
        assert "From: ai@acme.example" in mail
        assert key.key_id in mail
        assert "very-hidden-path" not in log
        assert SECRET not in log
