"""The gateway as an operator runs it: `manage.py serve`, with a database and a spool of its own.

    with GatewayProcess(folder) as gateway:
        gateway.apply({"version": 1, …})
        key = gateway.issue_key("acme", "frontend")
        httpx.post(gateway.url + "/chat/pro", headers=key.headers, json=…)
        gateway.wait_for_record(record_id)

With TEST_DATABASE=postgresql the database is a fresh one on the server of conftest.py.
"""

import copy
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import httpx
import psycopg
import yaml
from psycopg import sql

from tests.private_services import end_with_the_tests, free_port

ROOT = Path(__file__).resolve().parent.parent
SECONDS_TO_START = 60
SECONDS_TO_STOP = 40
RECORD_SECONDS = 1.0
"""How soon a record is visible, as the contract promises."""

SLACK_SECONDS = 4.0
"""What a busy machine may need on top before a test gives up waiting."""

T = TypeVar("T")
Row = dict[str, Any]


def eventually(look: Callable[[], T | None], *, within: float, what: str = "it") -> T:
    """The first result of `look` that is not None. Fails once the time is over."""
    deadline = time.monotonic() + within
    while True:
        found = look()
        if found is not None:
            return found
        assert time.monotonic() < deadline, f"{what} did not happen within {within} s"
        time.sleep(0.01)


@dataclass(frozen=True, slots=True)
class IssuedKey:
    token: str
    key_id: str

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"}


def _environment(**ours: str) -> dict[str, str]:
    """This process's environment without what would configure the gateway by accident."""
    strays = ("GATEWAY_", "DATABASE_URL", "REDIS_URL", "ALLOWED_HOSTS", "DJANGO_", "PORT", "PYTEST")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(strays)}
    return {**kept, **ours}


@contextmanager
def _postgres_database() -> Iterator[str]:
    server = os.environ["TEST_DATABASE_URL"]
    name = f"test_gateway_{secrets.token_hex(6)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    try:
        yield urlsplit(server)._replace(path=f"/{name}").geturl()
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            drop = "DROP DATABASE IF EXISTS {} WITH (FORCE)"
            connection.execute(sql.SQL(drop).format(sql.Identifier(name)))


class Clerk(AbstractContextManager["Clerk"]):
    """Management commands of one installation, in one process (see clerk.py)."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.clerk"],
            cwd=ROOT,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._turn = threading.Lock()

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(SECONDS_TO_STOP)
        self._process.stdout.close()

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._turn:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        assert line, "the clerk is gone"
        answer: dict[str, Any] = json.loads(line)
        assert answer["error"] is None, answer
        return answer

    def manage(self, *words: object) -> str:
        """Standard output of a management command."""
        return str(self._ask({"command": [str(word) for word in words]})["out"])

    def rows(self, model: str, **wanted: object) -> list[Row]:
        """Rows of a model, such as `billing.Attempt`, in its own order."""
        return list(self._ask({"rows": [model, wanted]})["rows"])


class GatewayProcess(AbstractContextManager["GatewayProcess"]):
    """One installation and its server. It ends with the context, or with the tests."""

    def __init__(
        self,
        folder: Path,
        *,
        configuration: Mapping[str, Any] | None = None,
        through: Callable[[str], str] = lambda url: url,
        workers: int = 1,
        **environment: str,
    ) -> None:
        """`through` may put something between the server and its database: it gets the URL of the
        database and returns the one that the server is told."""
        self.folder = folder
        self.spool = folder / "spool"
        self.port = 0
        self._configuration = configuration
        self._through = through
        self._workers = workers
        self._extra = environment
        self._stack = ExitStack()
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            database_url = f"sqlite:///{self.folder}/gateway.sqlite3"
            if os.environ.get("TEST_DATABASE") == "postgresql":
                database_url = stack.enter_context(_postgres_database())
            self.environment = _environment(
                DATABASE_URL=database_url,
                GATEWAY_SPOOL_DIR=str(self.spool),
                GATEWAY_SECRET_KEY=secrets.token_hex(32),
                GATEWAY_LOG_FORMAT="json",
                **self._extra,
            )
            self.clerk = stack.enter_context(Clerk(self.environment))
            self.clerk.manage("migrate", "--verbosity", "0")
            if self._configuration is not None:
                self.apply(self._configuration)
            stack.callback(self._end)
            self.start()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # ---- life

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log_file(self) -> Path:
        return self.folder / "gateway.log"

    def start(self) -> None:
        """Starts the server, on a port of its own each time, and waits until it is ready."""
        self.port = free_port()
        url = self._through(self.environment["DATABASE_URL"])
        with self.log_file.open("ab") as log:
            self._server = subprocess.Popen(
                [
                    *(sys.executable, "manage.py", "serve"),
                    *("--port", str(self.port), "--workers", str(self._workers)),
                ],
                cwd=ROOT,
                env={**self.environment, "DATABASE_URL": url},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the tests
                preexec_fn=end_with_the_tests(signal.SIGKILL),  # noqa: PLW1509
            )
        eventually(self._is_ready, within=SECONDS_TO_START, what="the start of the gateway")

    @contextmanager
    def another(self) -> Iterator["GatewayProcess"]:
        """A second server of this installation, on a port of its own."""
        twin = copy.copy(self)
        twin.folder = self.folder / f"twin-{secrets.token_hex(4)}"
        twin.folder.mkdir()
        try:
            twin.start()
            yield twin
        finally:
            twin._end()

    def _is_ready(self) -> bool | None:
        assert self._server is not None
        code = self._server.poll()
        assert code is None, f"the gateway ended with {code}: {self.log()[-2000:]}"
        try:
            ready = httpx.get(f"{self.url}/readyz", timeout=5, trust_env=False)
        except httpx.TransportError:
            return None
        return True if ready.status_code == 200 else None

    def kill(self) -> None:
        """`kill -9`."""
        assert self._server is not None
        self._server.kill()
        self._server.wait()

    def terminate(self) -> None:
        """SIGTERM, without waiting."""
        assert self._server is not None
        self._server.terminate()

    def is_closed(self) -> bool | None:
        """True once nobody listens any more; None before, for `eventually`."""
        try:
            httpx.get(f"{self.url}/healthz", timeout=1, trust_env=False)
        except httpx.ConnectError:
            return True
        except httpx.TransportError:
            return None
        return None

    def wait(self) -> int:
        """The exit code, once the server has ended."""
        assert self._server is not None
        return self._server.wait(SECONDS_TO_STOP)

    def _end(self) -> None:
        if self._server is not None and self._server.poll() is None:
            self.kill()

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def log_lines(self, event: str) -> list[Row]:
        """What the server logged under one event."""
        lines = [line for line in self.log().splitlines() if line.startswith("{")]
        return [line for line in map(json.loads, lines) if line.get("event") == event]

    def taken_out(self, name: str) -> list[Row]:
        """What is left alone, of all that has this in its name."""
        state = httpx.get(f"{self.url}/readyz?verbose", trust_env=False).json()
        return [one for one in state["taken_out"] if name in one["subject"]]

    # ---- configuration and keys

    def apply(self, configuration: Mapping[str, Any]) -> str:
        """Applies a configuration; what it leaves out stays as it is."""
        path = self.folder / "applied.yaml"
        path.write_text(yaml.safe_dump(dict(configuration)))
        return self.clerk.manage("apply_config", path)

    def issue_key(self, tenant: str, name: str = "worker", **options: object) -> IssuedKey:
        """`alias`, `scope` may be lists; `opaque=True` is a flag."""
        words: list[object] = ["issue_key", tenant, name, "--json"]
        for option, value in options.items():
            if value is True:
                words.append(f"--{option}")
            else:
                for item in value if isinstance(value, list) else [value]:
                    words += [f"--{option}", item]
        issued = json.loads(self.clerk.manage(*words))
        return IssuedKey(token=issued["token"], key_id=issued["key_id"])

    # ---- what was recorded

    def records(self, **wanted: object) -> list[Row]:
        return self.clerk.rows("billing.UsageRecord", **wanted)

    def attempts(self, record_id: str) -> list[Row]:
        return self.clerk.rows("billing.Attempt", record_id=record_id)

    def wait_for_record(self, record_id: str, *, within: float = SLACK_SECONDS) -> Row:
        """The record once it is there."""

        def look() -> Row | None:
            found = self.records(record_id=record_id)
            assert len(found) <= 1
            return found[0] if found else None

        return eventually(look, within=within, what=f"the record {record_id}")

    def wait_for_records(
        self, count: int, *, within: float = SLACK_SECONDS, **wanted: object
    ) -> list[Row]:
        """As many records as that, and not more."""

        def look() -> list[Row] | None:
            found = self.records(**wanted)
            assert len(found) <= count, f"{len(found)} records"
            return found if len(found) == count else None

        return eventually(look, within=within, what=f"{count} records of {wanted}")

    def refusals(self, **wanted: object) -> dict[str, int]:
        """Requests refused, by code."""
        counts: dict[str, int] = {}
        for row in self.clerk.rows("billing.RefusalCount", **wanted):
            counts[row["code"]] = counts.get(row["code"], 0) + row["requests"]
        return counts
