"""Secrets at rest: encrypted with the newest key, readable with any of the keys in force."""

import base64
import functools
import hashlib

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.db import models


class SecretUnreadable(Exception):
    """None of the encryption keys in force opens a stored secret."""


def _derived(purpose: bytes) -> bytes:
    derive = HKDF(hashes.SHA256(), length=32, salt=None, info=purpose)
    return derive.derive(settings.SECRET_KEY.encode())


@functools.cache
def _keys() -> MultiFernet:
    given = [key.get_secret_value() for key in settings.ENVIRONMENT.encryption_keys]
    if not given:
        given = [base64.urlsafe_b64encode(_derived(b"gateway secrets at rest")).decode()]
    return MultiFernet([Fernet(key) for key in given])


@functools.cache
def _fingerprint_key() -> bytes:
    return _derived(b"gateway fingerprints of secrets")


def fingerprint(secret: str) -> str:
    """Enough to see that a secret has changed. Without GATEWAY_SECRET_KEY, which all workers of an
    installation share, nobody can try guesses against it."""
    return hashlib.blake2b(secret.encode(), key=_fingerprint_key(), digest_size=8).hexdigest()


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
