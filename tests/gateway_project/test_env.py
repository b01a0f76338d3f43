"""The environment: what may be left out, what may come from a file, and what stops the start."""

import os
import subprocess
import sys
from base64 import urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway_project.env import BASE_DIR, Environment, EnvironmentInvalid, read_environment

SECRET = "a secret that is thirty-two long"
FERNET_KEYS = [urlsafe_b64encode(bytes([n]) * 32).decode() for n in (1, 2)]
NAMES = [str(field.validation_alias) for field in Environment.model_fields.values()]

Read = Callable[..., Environment]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Read:
    """Reads an environment that holds nothing but what a test says."""

    def read_only(**variables: str) -> Environment:
        for name in NAMES:
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(f"{name}_FILE", raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return read_environment()

    return read_only


def test_everything_has_a_default(read: Read) -> None:
    environment = read()
    assert environment.database_url.startswith("sqlite:///")
    assert environment.redis_url is None
    assert environment.secret_key is None
    assert environment.encryption_keys == []
    assert (environment.issuer, environment.audience) == ("gateway", "gateway")
    assert environment.port == 8000
    assert environment.on_store_failure == "closed"
    assert environment.config is None
    assert environment.spool_dir is None


def test_lists_are_split_at_commas(read: Read) -> None:
    environment = read(
        ALLOWED_HOSTS="gateway.example, .internal ,",
        GATEWAY_ALLOWED_PRIVATE_HOSTS="10.0.0.7",
        GATEWAY_ENCRYPTION_KEYS=",".join(FERNET_KEYS),
    )
    assert environment.allowed_hosts == ["gateway.example", ".internal"]
    assert environment.allowed_private_hosts == ["10.0.0.7"]
    assert [key.get_secret_value() for key in environment.encryption_keys] == FERNET_KEYS


@pytest.mark.parametrize("name", ["GATEWAY_CONFIG", "GATEWAY_SPOOL_DIR"])
def test_an_empty_path_is_no_path(read: Read, name: str) -> None:
    environment = read(**{name: ""})
    assert environment.config is None
    assert environment.spool_dir is None


@pytest.mark.parametrize("name", NAMES)
def test_every_name_can_come_from_a_file(read: Read, tmp_path: Path, name: str) -> None:
    values = {
        "PORT": "9000",
        "REDIS_URL": "redis://cache:6379/1",
        "GATEWAY_SECRET_KEY": SECRET,
        "GATEWAY_ENCRYPTION_KEYS": FERNET_KEYS[0],
        "GATEWAY_LOG_FORMAT": "json",
        "GATEWAY_ON_STORE_FAILURE": "open",
        "GATEWAY_EMAIL_URL": "smtp://mail.example?from=ai@acme.example",
    }
    value = values.get(name, "mounted")
    file = tmp_path / "mounted"
    file.write_text(f"{value}\n")
    assert read(**{f"{name}_FILE": str(file)}) == read(**{name: value}) != read()


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"PORT": "http"}, "PORT: "),
        ({"PORT": "0"}, "PORT: "),
        ({"PORT": "65536"}, "PORT: "),
        ({"PORT": ""}, "PORT: "),
        ({"GATEWAY_SECRET_KEY": "short"}, "GATEWAY_SECRET_KEY: needs at least 32 characters"),
        ({"GATEWAY_SECRET_KEY": ""}, "GATEWAY_SECRET_KEY: "),
        ({"GATEWAY_ENCRYPTION_KEYS": "not base64!"}, "GATEWAY_ENCRYPTION_KEYS: each key is 32"),
        ({"GATEWAY_ENCRYPTION_KEYS": "c2hvcnQ="}, "GATEWAY_ENCRYPTION_KEYS: each key is 32"),
        ({"GATEWAY_ENCRYPTION_KEYS": "schlüssel"}, "GATEWAY_ENCRYPTION_KEYS: each key is 32"),
        (
            {"GATEWAY_ENCRYPTION_KEYS": f"{FERNET_KEYS[0]},{FERNET_KEYS[1][:-4]}"},
            "GATEWAY_ENCRYPTION_KEYS: each key is 32",
        ),
        ({"REDIS_URL": "cache:6379"}, "REDIS_URL: "),
        ({"ALLOWED_HOSTS": "https://gateway.example"}, "ALLOWED_HOSTS: "),
        ({"GATEWAY_ALLOWED_PRIVATE_HOSTS": "a b"}, "GATEWAY_ALLOWED_PRIVATE_HOSTS: "),
        ({"GATEWAY_EMAIL_URL": "mail.example:587"}, "GATEWAY_EMAIL_URL: is like smtp://"),
        ({"GATEWAY_EMAIL_URL": "smtp://mail.example"}, "GATEWAY_EMAIL_URL: needs the sender"),
        ({"GATEWAY_EMAIL_URL": "smtp://mail.example:x?from=a@b"}, "GATEWAY_EMAIL_URL: has a port"),
        ({"GATEWAY_EMAIL_URL": "smtp://h?from=a@b&ssl=on"}, "GATEWAY_EMAIL_URL: knows no options"),
        ({"GATEWAY_LOG_FORMAT": "xml"}, "GATEWAY_LOG_FORMAT: "),
        ({"GATEWAY_ON_STORE_FAILURE": "maybe"}, "GATEWAY_ON_STORE_FAILURE: "),
        ({"GATEWAY_ISSUER": ""}, "GATEWAY_ISSUER: "),
        ({"GATEWAY_AUDIENCE": ""}, "GATEWAY_AUDIENCE: "),
        ({"PORT_FILE": "/nowhere/port"}, "PORT_FILE cannot be read"),
        ({"PORT": "80", "PORT_FILE": "/nowhere/port"}, "PORT and PORT_FILE are both set"),
    ],
)
def test_what_is_malformed_is_named(read: Read, variables: dict[str, str], says: str) -> None:
    with pytest.raises(EnvironmentInvalid) as invalid:
        read(**variables)
    assert says in str(invalid.value)


def test_all_that_is_malformed_is_named_at_once(read: Read) -> None:
    with pytest.raises(EnvironmentInvalid) as invalid:
        read(PORT="http", GATEWAY_LOG_FORMAT="xml")
    assert "PORT: " in str(invalid.value)
    assert "GATEWAY_LOG_FORMAT: " in str(invalid.value)


def test_a_file_that_is_no_text_is_named(read: Read, tmp_path: Path) -> None:
    file = tmp_path / "binary"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(EnvironmentInvalid, match="GATEWAY_SECRET_KEY_FILE cannot be read"):
        read(GATEWAY_SECRET_KEY_FILE=str(file))


@pytest.mark.parametrize("name", ["GATEWAY_SECRET_KEY", "GATEWAY_ENCRYPTION_KEYS"])
def test_a_malformed_secret_is_not_repeated(read: Read, name: str) -> None:
    with pytest.raises(EnvironmentInvalid) as invalid:
        read(**{name: "hunter2"})
    assert "hunter2" not in str(invalid.value)


def test_secrets_are_masked_where_they_are_shown(read: Read) -> None:
    environment = read(
        GATEWAY_SECRET_KEY=SECRET,
        GATEWAY_ENCRYPTION_KEYS=FERNET_KEYS[0],
        GATEWAY_METRICS_TOKEN="metrics-please",
    )
    for secret in (SECRET, FERNET_KEYS[0], "metrics-please"):
        assert secret not in repr(environment)
        assert secret not in str(environment.model_dump())


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({"DATABASE_URL": "nonsense"}, "DATABASE_URL"),
        ({"DATABASE_URL": "oracle-of-delphi://x"}, "DATABASE_URL"),
        ({"DATABASE_URL": ""}, "DATABASE_URL"),
        ({"PORT": "http"}, "PORT"),
        ({"GATEWAY_SECRET_KEY": "short"}, "GATEWAY_SECRET_KEY"),
    ],
)
def test_the_start_stops_with_one_line_that_names_it(variables: dict[str, str], name: str) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=BASE_DIR,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("The gateway cannot start: ")
    assert name in done.stderr
    assert "Traceback" not in done.stderr
