"""The ground that all tests stand on: a database, the services, the recordings.

`TEST_DATABASE` picks the database: `sqlite` (default) or `postgresql`. `DATABASE_URL` names the
very database that the tests see, so a program that a test starts works on the same data.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

import django
import hypothesis
import psycopg
import pytest
from django.conf import settings
from psycopg import sql

from tests.private_services import (
    PostgresServer,
    RedisCluster,
    RedisServer,
    ServiceUnavailable,
)

CI = os.environ.get("CI") == "true"
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
RECORDINGS = Path(__file__).resolve().parent.parent.parent / "shared" / "recordings"

# How long an example takes says more about the machine's other work than about ours.
hypothesis.settings.register_profile(
    "unhurried", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("unhurried")

_until_the_end = ExitStack()
_no_database: ServiceUnavailable | None = None


def _set_up() -> None:
    if settings.configured:  # from another environment: whose database would the tests clear?
        raise pytest.UsageError("Django was set up too early: unset DJANGO_SETTINGS_MODULE")
    for name in list(os.environ):
        if name.startswith(("GATEWAY_", "REDIS_URL", "DATABASE_URL", "ALLOWED_HOSTS")):
            del os.environ[name]  # what a developer runs with is no business of the tests
    folder = _until_the_end.enter_context(tempfile.TemporaryDirectory(prefix="test-"))
    os.environ["DJANGO_SETTINGS_MODULE"] = "gateway_project.settings"
    os.environ["GATEWAY_SECRET_KEY"] = "known to every test, and long enough"
    os.environ["GATEWAY_SPOOL_DIR"] = f"{folder}/spool"
    os.environ["DATABASE_URL"] = _database_url(folder)
    django.setup()
    # xdist's workers must not inherit it, or pytest-django sets up theirs before this file is read.
    del os.environ["DJANGO_SETTINGS_MODULE"]


def _database_url(folder: str) -> str:
    choice = os.environ.get("TEST_DATABASE", "sqlite")
    if choice == "sqlite":
        return f"sqlite:///{folder}/test_gateway.sqlite3"  # a file: threads and programs share it
    if choice != "postgresql":
        raise pytest.UsageError(f"TEST_DATABASE is sqlite or postgresql, not {choice!r}")
    try:
        server = _until_the_end.enter_context(PostgresServer())
    except ServiceUnavailable as reason:
        global _no_database  # noqa: PLW0603
        _no_database = reason
        return "postgresql:///none"
    os.environ["TEST_DATABASE_URL"] = server.url  # which xdist's workers inherit
    return _beside(server.url, f"test_gateway{WORKER}")


def _beside(url: str, database: str) -> str:
    return urlsplit(url)._replace(path=f"/{database}").geturl()


# Now, not in a hook: other conftest files and factories import models while pytest still starts.
_set_up()


def pytest_configure() -> None:
    if _no_database is not None:
        pytest.exit(f"The suite on PostgreSQL was skipped: {_no_database}", returncode=int(CI))


def pytest_unconfigure() -> None:
    _until_the_end.close()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks what needs Redis; leaves to each database the tests that belong there."""
    from django.db import connection

    other = "once" if connection.vendor == "postgresql" else "postgres"
    here, elsewhere = [], []
    for item in items:
        if "redis_url" in getattr(item, "fixturenames", ()):
            item.add_marker("redis")
        (elsewhere if item.get_closest_marker(other) else here).append(item)
    if elsewhere:
        config.hook.pytest_deselected(items=elsewhere)
        items[:] = here


@pytest.fixture(scope="session")
def django_db_modify_db_settings() -> None:
    """Gives the test database the name that DATABASE_URL already has, one for each xdist worker."""
    database = settings.DATABASES["default"]
    database.setdefault("TEST", {})["NAME"] = database["NAME"]


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """An empty PostgreSQL database, whichever database the suite runs on."""
    name = f"test_empty{WORKER}"
    with ExitStack() as stack:
        try:
            server = stack.enter_context(PostgresServer())
        except ServiceUnavailable as reason:
            _do_without(reason)
        with psycopg.connect(server.url, autocommit=True) as connection:
            drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            connection.execute(drop)
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            yield _beside(server.url, name)
            connection.execute(drop)


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Redis database that a test may flush."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(RedisServer())
        except ServiceUnavailable as reason:
            _do_without(reason)
        # Workers may share a given server: each takes the next of its numbered databases.
        first = int(urlsplit(server.url).path.strip("/") or 0)
        yield _beside(server.url, str(first + int(WORKER.removeprefix("gw") or 0)))


@pytest.fixture(scope="session")
def redis_cluster_url() -> Iterator[str]:
    """A Redis Cluster that a test may flush."""
    try:
        with RedisCluster() as cluster:
            yield cluster.url
    except ServiceUnavailable as reason:
        _do_without(reason)


def _do_without(reason: ServiceUnavailable) -> NoReturn:
    if CI:
        pytest.fail(str(reason))
    pytest.skip(str(reason))


@pytest.fixture(scope="session")
def recordings() -> Path:
    """The folder of recorded provider traffic, which lies beside the checkout, not in it."""
    if not RECORDINGS.is_dir():
        pytest.skip("the recordings of provider traffic are not beside this checkout")
    return RECORDINGS
