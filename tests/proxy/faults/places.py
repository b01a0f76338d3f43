"""Where the providers of the table are: upstreams that answer, and places where nobody does."""

import socketserver
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.fake_upstream import FakeUpstream
from tests.private_services import free_port
from tests.proxy.conftest import nobody_answers
from tests.proxy.faults.certificate import self_signed
from tests.proxy.faults.fault import Place


@dataclass(frozen=True, slots=True)
class Places:
    """Where providers are, and the upstreams behind them."""

    failing: FakeUpstream
    well: FakeUpstream
    urls: Mapping[Place, str]

    def url(self, place: Place, name: str) -> str:
        """The base URL of a provider of that name."""
        if place == "upstream":
            return self.failing.url(name)
        return f"{self.urls[place]}/{name}/v1"


@contextmanager
def places(folder: Path) -> Iterator[Places]:
    with ExitStack() as stack:
        certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.load_cert_chain(self_signed(folder))
        failing = stack.enter_context(FakeUpstream(keeps_connections=False))
        plain_port = stack.enter_context(_no_tls())
        behind_tls = stack.enter_context(FakeUpstream(tls=certificate))
        silent_port = stack.enter_context(nobody_answers())
        urls: dict[Place, str] = {
            "nobody": f"http://127.0.0.1:{free_port()}",
            "unreachable": f"http://127.0.0.1:{silent_port}",
            "untrusted": f"https://127.0.0.1:{behind_tls.port}",
            "no TLS": f"https://127.0.0.1:{plain_port}",
            "only TLS": f"http://127.0.0.1:{behind_tls.port}",
        }
        yield Places(failing, stack.enter_context(FakeUpstream()), urls)


class _Plain(socketserver.BaseRequestHandler):
    """Answers a TLS handshake as a plain web server does."""

    def handle(self) -> None:
        self.request.recv(4096)
        self.request.sendall(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n")


@contextmanager
def _no_tls() -> Iterator[int]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Plain) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
