"""The environment, read once and typed.

Every name can also be given as ``NAME_FILE``, a file that holds the value (as Docker and Kubernetes
mount secrets). A malformed or unreadable value stops the start with a message that names it.
"""

import base64
import os
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from gateway_project.mail import mail_settings

BASE_DIR = Path(__file__).resolve().parent.parent
STATE_DIR = BASE_DIR / "var"
"""What a laptop keeps between runs when nothing else is configured: database, journals, secrets."""

SHORTEST_SECRET = 32
_HOST = re.compile(r"\*|[A-Za-z0-9.*_-]+(:\d+)?|\[?[0-9A-Fa-f:.]+\]?|[0-9A-Fa-f:.]+/\d+")


class EnvironmentInvalid(Exception):
    """The environment holds something the gateway cannot start with; the message names it."""


class _FromFiles(PydanticBaseSettingsSource):
    """Reads ``NAME`` from the file that ``NAME_FILE`` names."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        name = str(field.validation_alias)
        path = os.environ.get(f"{name}_FILE")
        if path is None:
            return None, name, False
        if name in os.environ:
            raise EnvironmentInvalid(f"{name} and {name}_FILE are both set; keep one of them")
        try:
            return Path(path).read_text(encoding="utf-8").strip(), name, False
        except OSError as error:
            raise EnvironmentInvalid(f"{name}_FILE cannot be read: {error.strerror}") from error
        except UnicodeDecodeError:
            raise EnvironmentInvalid(f"{name}_FILE cannot be read: it is not UTF-8") from None

    def __call__(self) -> dict[str, Any]:
        values = {}
        for field_name, field in self.settings_cls.model_fields.items():
            value, name, _ = self.get_field_value(field, field_name)
            if value is not None:
                values[name] = value
        return values


class Environment(BaseSettings):
    """What operators may set. Names are those of the public contract."""

    model_config = SettingsConfigDict(enable_decoding=False, extra="ignore")

    database_url: str = Field(
        default=f"sqlite:///{STATE_DIR / 'gateway.sqlite3'}", validation_alias="DATABASE_URL"
    )
    redis_url: str | None = Field(default=None, validation_alias="REDIS_URL")
    secret_key: SecretStr | None = Field(default=None, validation_alias="GATEWAY_SECRET_KEY")
    encryption_keys: list[SecretStr] = Field(
        default_factory=list, validation_alias="GATEWAY_ENCRYPTION_KEYS"
    )
    issuer: str = Field(default="gateway", validation_alias="GATEWAY_ISSUER", min_length=1)
    audience: str = Field(default="gateway", validation_alias="GATEWAY_AUDIENCE", min_length=1)
    config: Path | None = Field(default=None, validation_alias="GATEWAY_CONFIG")
    spool_dir: Path | None = Field(default=None, validation_alias="GATEWAY_SPOOL_DIR")
    port: int = Field(default=8000, validation_alias="PORT", ge=1, le=65535)
    allowed_hosts: list[str] = Field(
        default_factory=lambda: ["127.0.0.1", "localhost", "[::1]"],
        validation_alias="ALLOWED_HOSTS",
    )
    log_format: Literal["console", "json"] = Field(
        default="console", validation_alias="GATEWAY_LOG_FORMAT"
    )
    on_store_failure: Literal["closed", "open"] = Field(
        default="closed", validation_alias="GATEWAY_ON_STORE_FAILURE"
    )
    allowed_private_hosts: list[str] = Field(
        default_factory=list, validation_alias="GATEWAY_ALLOWED_PRIVATE_HOSTS"
    )
    metrics_token: SecretStr | None = Field(default=None, validation_alias="GATEWAY_METRICS_TOKEN")
    email_url: SecretStr | None = Field(default=None, validation_alias="GATEWAY_EMAIL_URL")

    @field_validator("encryption_keys", "allowed_hosts", "allowed_private_hosts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return [part.strip() for part in value.split(",") if part.strip()]
        return value

    @field_validator("config", "spool_dir", mode="before")
    @classmethod
    def _named(cls, value: object) -> object:
        return value or None  # an empty path would be the working directory

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, value: str | None) -> str | None:
        if not value:
            return None
        if not value.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("begins with redis://, rediss:// or unix://")
        return value

    @field_validator("allowed_hosts", "allowed_private_hosts")
    @classmethod
    def _hosts(cls, value: list[str]) -> list[str]:
        for host in value:
            if not _HOST.fullmatch(host):
                raise ValueError(f"{host!r} is no host name, address or network")
        return value

    @field_validator("secret_key")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < SHORTEST_SECRET:
            raise ValueError(f"needs at least {SHORTEST_SECRET} characters")
        return value

    @field_validator("encryption_keys")
    @classmethod
    def _fernet(cls, value: list[SecretStr]) -> list[SecretStr]:
        for key in value:
            try:
                size = len(base64.urlsafe_b64decode(key.get_secret_value()))
            except ValueError:
                size = 0
            if size != 32:
                raise ValueError("each key is 32 bytes in URL-safe base64, newest first")
        return value

    @field_validator("email_url")
    @classmethod
    def _email(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or not value.get_secret_value():
            return None
        mail_settings(value.get_secret_value())
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, _FromFiles(settings_cls)


def read_environment() -> Environment:
    """Raises EnvironmentInvalid with one line for each variable that is malformed."""
    try:
        return Environment()
    except ValidationError as invalid:
        lines = [
            f"{problem['loc'][0]}: {problem['msg'].removeprefix('Value error, ')}"
            for problem in invalid.errors(include_input=False, include_url=False)
        ]
        raise EnvironmentInvalid("; ".join(lines)) from None
