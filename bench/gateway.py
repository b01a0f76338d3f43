"""The gateway itself as a subject, in both of its modes, with everything on (gateway.yaml)."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench import Failure
from bench.calls import Door, served
from bench.process import cores, environment, free_port, running
from bench.subjects import Running

ROOT = Path(__file__).resolve().parent.parent
CONFIG = Path(__file__).with_name("gateway.yaml")
CONFIG_UPSTREAM = "http://127.0.0.1:9900"
"""The upstream that gateway.yaml names, replaced by the one that runs."""

RECORDS_PATIENCE = 10.0
"""Seconds that the last usage records may take to reach the database."""

TITLES = {"sqlite": "gateway, SQLite", "postgres": "gateway, PostgreSQL + Redis"}


class Gateway:
    """SQLite with in-process state, or PostgreSQL with Redis: private ones, on the load's core."""

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.name = f"gateway-{mode}"
        self.title = TITLES[mode]

    def missing(self) -> str | None:
        return None if (ROOT / "manage.py").exists() else "manage.py is not there"

    @contextmanager
    def running(self, upstream: Running, folder: Path) -> Iterator[Running]:
        with _stores(self.mode, folder) as stores:
            secret = "bench-" + "0123456789abcdef" * 4
            spool = str(folder / "spool")
            env = environment(GATEWAY_SECRET_KEY=secret, GATEWAY_SPOOL_DIR=spool, **stores)
            token = _prepare(upstream.door, folder, env)
            door = Door(free_port(), headers=(("authorization", f"Bearer {token}"),))
            served_before = served(upstream.door)
            command = [sys.executable, "manage.py", "serve"]
            command += ["--host", door.host, "--port", str(door.port)]
            log = folder / "gateway.log"
            with running(command, core=cores()[0], log=log, cwd=ROOT, env=env) as process:
                process.wait_ready(door.base + "/readyz")
                yield Running(door, process, translates=True)
                _check_records(upstream.door, served_before, env)


@contextmanager
def _stores(mode: str, folder: Path) -> Iterator[Mapping[str, str]]:
    """The settings that name the database and, with PostgreSQL, Redis."""
    if mode == "sqlite":
        yield {"DATABASE_URL": f"sqlite:///{folder / 'gateway.sqlite3'}"}
        return
    from tests.private_services import PostgresServer, RedisServer, ServiceUnavailable

    with ExitStack() as stack:
        try:
            database = stack.enter_context(PostgresServer())
            redis = stack.enter_context(RedisServer())
        except ServiceUnavailable as error:
            raise Failure(str(error)) from error
        yield {"DATABASE_URL": database.url, "REDIS_URL": redis.url}


def _prepare(upstream: Door, folder: Path, env: Mapping[str, str]) -> str:
    """Tables, configuration, and a JWT: returned."""
    config = folder / "gateway.yaml"
    config.write_text(CONFIG.read_text().replace(CONFIG_UPSTREAM, upstream.base))
    _manage(env, "migrate", "--verbosity", "0")
    _manage(env, "apply_config", str(config))
    issued = _manage(env, "issue_key", "bench", "bench", "--project", "load", "--user", "caller")
    return issued.splitlines()[-1]


def _check_records(upstream: Door, served_before: int, env: Mapping[str, str]) -> None:
    """`Failure` unless every request that the upstream saw has its usage record."""
    expected = served(upstream) - served_before
    until = time.monotonic() + RECORDS_PATIENCE
    while True:
        summary = json.loads(_manage(env, "usage_summary", "--period", "24h", "--json"))
        recorded = int(summary["total"]["requests"])
        if recorded == expected:
            return
        if time.monotonic() > until:
            raise Failure(f"{expected} requests reached the upstream, {recorded} usage records")
        time.sleep(0.5)


def _manage(env: Mapping[str, str], *arguments: str) -> str:
    """Run a management command; its standard output."""
    command = [sys.executable, "manage.py", *arguments]
    ran = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise Failure(f"{' '.join(command[1:3])} failed:\n{(ran.stderr or ran.stdout)[-2000:]}")
    return ran.stdout
