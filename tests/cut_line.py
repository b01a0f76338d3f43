"""A line between the gateway and its database, which a test may cut and mend.

The database itself goes on: what stands between is a relay of its own on 127.0.0.1.
"""

import contextlib
import select
import socket
import struct
import threading
from typing import Self
from urllib.parse import urlsplit


class Line(contextlib.AbstractContextManager["Line"]):
    """Relays TCP to the server of a URL; cut, it refuses and resets."""

    def __init__(self) -> None:
        self._server: tuple[str, int] | None = None
        self._listener: socket.socket | None = None
        self._port = 0
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()

    def to(self, url: str) -> str:
        """The URL by which the server is reached over this line. A file is reached directly."""
        parts = urlsplit(url)
        if parts.hostname is None:
            return url
        self._server = (parts.hostname, parts.port or 5432)
        if self._listener is None:
            self.mend()
        login, at, _ = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{login}{at}127.0.0.1:{self._port}").geturl()

    @property
    def is_whole(self) -> bool:
        return self._listener is not None

    def cut(self) -> None:
        """From now on nobody listens, and whoever was connected is cut off."""
        listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        with self._lock:
            pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    end.shutdown(socket.SHUT_RDWR)
                end.close()

    def mend(self) -> None:
        """Listens again, where it did before."""
        self._listener = socket.create_server(("127.0.0.1", self._port))
        self._port = self._listener.getsockname()[1]
        threading.Thread(target=self._listen, args=[self._listener], daemon=True).start()

    def _listen(self, listener: socket.socket) -> None:
        assert self._server is not None
        while True:
            try:
                near, _ = listener.accept()
                far = socket.create_connection(self._server)
            except OSError:
                return
            with self._lock:
                self._pairs.add((near, far))
            threading.Thread(target=self._relay, args=[near, far], daemon=True).start()

    def _relay(self, near: socket.socket, far: socket.socket) -> None:
        other = {near: far, far: near}
        try:
            while True:
                for end in select.select([near, far], [], [])[0]:
                    data = end.recv(65536)
                    if not data:
                        return
                    other[end].sendall(data)
        except (OSError, ValueError):  # cut
            return
        finally:
            with self._lock:
                self._pairs.discard((near, far))
            near.close()
            far.close()
