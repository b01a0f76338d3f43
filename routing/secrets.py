"""Secrets at rest: encrypted with the newest key, readable with any of the keys in force."""

import base64
import functools

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.db import models


class SecretUnreadable(Exception):
    """None of the encryption keys in force opens a stored secret."""


@functools.cache
def _keys() -> MultiFernet:
    given = [key.get_secret_value() for key in settings.ENVIRONMENT.encryption_keys]
    if not given:
        derive = HKDF(hashes.SHA256(), length=32, salt=None, info=b"gateway secrets at rest")
        given = [base64.urlsafe_b64encode(derive.derive(settings.SECRET_KEY.encode())).decode()]
    return MultiFernet([Fernet(key) for key in given])


def encrypt(plain: str) -> str:
    return _keys().encrypt(plain.encode()).decode()


def decrypt(stored: str) -> str:
    """Raises SecretUnreadable."""
    try:
        return _keys().decrypt(stored.encode()).decode()
    except InvalidToken:
        raise SecretUnreadable(
            "a stored secret opens with none of GATEWAY_ENCRYPTION_KEYS "
            "(derived from GATEWAY_SECRET_KEY when that is unset)"
        ) from None


class EncryptedTextField(models.TextField):
    """Text that the database only ever sees encrypted; the empty string stays empty."""

    def get_prep_value(self, value: str | None) -> str | None:
        return encrypt(value) if value else value

    def from_db_value(self, value: str | None, *_: object) -> str | None:
        return decrypt(value) if value else value
