"""Secrets at rest: what the database sees, and which keys open it."""

from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from gateway_project.env import read_environment
from routing import secrets
from routing.models import Credential
from routing.secrets import SecretUnreadable, decrypt, encrypt
from tests.factories import CredentialFactory, HmacSignerFactory, WebhookFactory

OLD, NEW, OTHER = (urlsafe_b64encode(bytes([n]) * 32).decode() for n in (1, 2, 3))
PLAIN = "sk-the-provider's-own-secret"

UseKeys = Callable[..., None]


@pytest.fixture
def use_keys(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[UseKeys]:
    """Puts encryption keys in force, newest first, as a restart with them would."""

    def use(*keys: str) -> None:
        monkeypatch.setenv("GATEWAY_ENCRYPTION_KEYS", ",".join(keys))
        settings.ENVIRONMENT = read_environment()
        secrets._keys.cache_clear()

    yield use
    secrets._keys.cache_clear()


def _stored(row: Any, column: str = "secret") -> str:
    """What lies in the database itself."""
    with connection.cursor() as cursor:
        cursor.execute(f'SELECT "{column}" FROM "{row._meta.db_table}" WHERE id = %s', [row.pk])
        return str(cursor.fetchone()[0])


@pytest.mark.django_db
@pytest.mark.parametrize("make", [CredentialFactory, HmacSignerFactory, WebhookFactory])
def test_a_secret_is_encrypted_at_rest_and_read_back(make: Any) -> None:
    row = make(secret=PLAIN)
    stored = _stored(row)
    assert PLAIN not in stored
    assert "provider" not in stored
    assert decrypt(stored) == PLAIN
    row.refresh_from_db()
    assert row.secret == PLAIN


@pytest.mark.django_db
def test_no_secret_stays_no_secret() -> None:
    row = CredentialFactory(secret="")
    assert _stored(row) == ""
    row.refresh_from_db()
    assert row.secret == ""


@given(st.text(min_size=1))
def test_any_text_is_read_back_as_it_was(plain: str) -> None:
    assert decrypt(encrypt(plain)) == plain


def test_the_same_secret_is_never_stored_alike() -> None:
    assert encrypt(PLAIN) != encrypt(PLAIN)


def test_the_newest_key_encrypts_and_the_older_ones_still_read(use_keys: UseKeys) -> None:
    use_keys(OLD)
    before = encrypt(PLAIN)
    use_keys(NEW, OLD)
    assert decrypt(before) == PLAIN
    after = encrypt(PLAIN)
    use_keys(NEW)
    assert decrypt(after) == PLAIN
    with pytest.raises(SecretUnreadable):
        decrypt(before)


@pytest.mark.django_db
def test_a_row_that_is_saved_again_moves_to_the_newest_key(use_keys: UseKeys) -> None:
    use_keys(OLD)
    row = CredentialFactory(secret=PLAIN)
    use_keys(NEW, OLD)
    Credential.objects.get(pk=row.pk).save()
    use_keys(NEW)
    assert Credential.objects.get(pk=row.pk).secret == PLAIN


@pytest.mark.django_db
def test_a_secret_that_no_key_opens_says_which_setting_is_wrong(use_keys: UseKeys) -> None:
    use_keys(OLD)
    row = CredentialFactory(secret=PLAIN)
    use_keys(OTHER)
    with pytest.raises(SecretUnreadable, match="GATEWAY_ENCRYPTION_KEYS") as unreadable:
        Credential.objects.get(pk=row.pk)
    assert _stored(row) not in str(unreadable.value)


@pytest.mark.parametrize("stored", ["", "plain text", PLAIN, "gAAAAA", "\x00"])
def test_what_was_never_encrypted_is_not_read(stored: str) -> None:
    with pytest.raises(SecretUnreadable):
        decrypt(stored)


def test_a_changed_character_is_noticed() -> None:
    stored = encrypt(PLAIN)
    middle = len(stored) // 2
    changed = stored[:middle] + ("A" if stored[middle] != "A" else "B") + stored[middle + 1 :]
    with pytest.raises(SecretUnreadable):
        decrypt(changed)


def test_without_encryption_keys_the_secret_key_opens_them(
    use_keys: UseKeys, settings: Any
) -> None:
    use_keys()
    stored = encrypt(PLAIN)
    use_keys()
    assert decrypt(stored) == PLAIN
    settings.SECRET_KEY = "another secret key, also long enough"
    use_keys()
    with pytest.raises(SecretUnreadable):
        decrypt(stored)


def test_a_fingerprint_tells_secrets_apart_and_only_this_installation_can_make_it(
    settings: Any,
) -> None:
    secrets._fingerprint_key.cache_clear()
    ours = secrets.fingerprint("sk-a")
    assert ours == secrets.fingerprint("sk-a") != secrets.fingerprint("sk-b")
    settings.SECRET_KEY = "another secret key, also long enough"
    secrets._fingerprint_key.cache_clear()
    try:
        assert secrets.fingerprint("sk-a") != ours
    finally:
        secrets._fingerprint_key.cache_clear()
