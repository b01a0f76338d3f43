"""Secrets of a file: where they come from, how they are kept, and that nobody sees them."""

import logging
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import override_settings

from routing import config, secrets
from routing.models import Credential
from tenants.models import HmacSigner, Tenant, Webhook
from tests.routing.conftest import Apply, Refuse

POOL = "providers: {p: {dialect: demo, credentials: [{name: main, secret: '%s'}]}}"
PATH = "providers.p.credentials[0].secret"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIVEN", "sk-from-the-environment")
    monkeypatch.delenv("MISSING", raising=False)


def _stored() -> tuple[str, str]:
    row = Credential.objects.get()
    return row.secret, row.secret_reference


def test_an_env_secret_is_read_when_it_is_applied(apply: Apply) -> None:
    outcome = apply(POOL % "env:GIVEN")
    assert outcome.warnings == []
    assert _stored() == ("sk-from-the-environment", "env:GIVEN")
    assert "secret: env:GIVEN" in config.export()


def test_a_file_secret_is_read_when_it_is_applied(apply: Apply, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-from-a-file\n")
    apply(POOL % f"file:{tmp_path}/key")
    assert _stored() == ("sk-from-a-file", f"file:{tmp_path}/key")


def test_a_literal_is_kept_without_a_reference(apply: Apply) -> None:
    apply(POOL % "sk-literal")
    assert _stored() == ("sk-literal", "")
    assert "secret: stored:p/main" in config.export()


def test_a_secret_is_encrypted_at_rest(apply: Apply) -> None:
    apply(POOL % "sk-literal")
    with connection.cursor() as cursor:
        cursor.execute("SELECT secret FROM routing_credential")
        [(sealed,)] = cursor.fetchall()
    assert "sk-literal" not in sealed


@pytest.mark.parametrize("reference", ["env:MISSING", "file:/no/such/file", "file:/"])
def test_a_reference_with_nothing_behind_it_is_a_warning(apply: Apply, reference: str) -> None:
    outcome = apply(POOL % reference)
    [warning] = outcome.warnings
    assert warning.startswith(f"{PATH}: ")
    assert _stored() == ("", reference)
    assert f"secret: {reference}" in config.export()
    assert apply(POOL % reference).changes == []


def test_an_empty_variable_is_an_unset_one(apply: Apply, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISSING", "")
    assert apply(POOL % "env:MISSING").warnings


@pytest.mark.parametrize(
    ("reference", "said"), [("env:", "needs a name"), ("file:/" + "x" * 300, "at most 300")]
)
def test_a_reference_that_cannot_be_one_is_refused(
    refuse: Refuse, reference: str, said: str
) -> None:
    [problem] = refuse(POOL % reference)
    assert problem.startswith(PATH)
    assert said in problem


def test_a_file_that_is_no_secret_is_a_warning(apply: Apply, tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "empty").write_text("\n")
    assert apply(POOL % f"file:{tmp_path}/binary").warnings
    assert apply(POOL % f"file:{tmp_path}/empty").warnings


def test_a_rotated_secret_is_a_change_that_is_not_shown(
    apply: Apply, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply(POOL % "env:GIVEN")
    monkeypatch.setenv("GIVEN", "sk-rotated")
    assert apply(POOL % "env:GIVEN").changes == ["~ providers.p.credentials.main.secret"]
    assert _stored()[0] == "sk-rotated"


def test_a_variable_that_goes_takes_its_secret_with_it(
    apply: Apply, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply(POOL % "env:GIVEN")
    monkeypatch.delenv("GIVEN")
    outcome = apply(POOL % "env:GIVEN")
    assert outcome.changes == ["~ providers.p.credentials.main.secret"]
    assert outcome.warnings
    assert _stored() == ("", "env:GIVEN")


def test_a_new_literal_is_a_change_that_is_not_shown(apply: Apply) -> None:
    apply(POOL % "sk-old")
    assert apply(POOL % "sk-new").changes == ["~ providers.p.credentials.main.secret"]


def test_stored_keeps_what_is_there(apply: Apply) -> None:
    apply(POOL % "sk-literal")
    assert apply(POOL % "stored:p/main").changes == []
    text = POOL.replace("name: main", "name: main, weight: 3") % "stored:p/main"
    assert apply(text).changes == ["~ providers.p.credentials.main.weight: 1 -> 3"]
    assert _stored() == ("sk-literal", "")


def test_stored_keeps_the_reference_too(apply: Apply) -> None:
    apply(POOL % "env:GIVEN")
    assert apply(POOL % "stored:p/main").changes == []
    assert _stored() == ("sk-from-the-environment", "env:GIVEN")


def test_stored_needs_something_to_keep(apply: Apply, refuse: Refuse) -> None:
    assert refuse(POOL % "stored:p/main") == [f"{PATH}: nothing is stored here to keep"]
    apply(POOL % "env:MISSING")
    assert refuse(POOL % "stored:p/main") == [f"{PATH}: nothing is stored here to keep"]


def test_stored_keeps_only_what_is_its_own(apply: Apply, refuse: Refuse) -> None:
    apply(POOL % "sk-literal")
    assert refuse(POOL % "stored:other/main") == [f"{PATH}: only 'stored:p/main' can be kept here"]


def test_a_tenants_secrets_have_places_of_their_own(apply: Apply, small_file: str) -> None:
    apply(small_file)
    exported = config.export()
    for place in (
        "stored:openai/spare",
        "stored:acme/own/main",
        "stored:acme/hmac/shopify",
        "stored:acme/webhooks/https://hooks.acme.example/ai",
    ):
        assert f"secret: {place}\n" in exported
    assert apply(exported, prune=True).changes == []
    assert HmacSigner.objects.get().secret == "shared-secret"
    assert Webhook.objects.get().secret == "whsec"
    assert apply(small_file.replace("whsec", "other")).changes == [
        "~ tenants.acme.webhooks[https://hooks.acme.example/ai].secret"
    ]


def test_a_webhook_may_lose_its_secret(apply: Apply) -> None:
    hook = "tenants: {t: {webhooks: [{url: 'https://x.example', events: [provider.down], %s}]}}"
    apply(hook % "format: slack, secret: s")
    assert apply(hook % "format: slack").changes == [
        "- tenants.t.webhooks[https://x.example].secret"
    ]
    assert Webhook.objects.get().secret == ""


def test_nobody_sees_a_secret(
    apply: Apply, refuse: Refuse, small_file: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    literals = ("sk-a-literal", "sk-own", "shared-secret", "whsec")
    changed = small_file.replace("weight: 0", "weight: 1").replace("X-Hmac", "X-Other")
    broken = small_file.replace("tier: free", "tier: gold")
    said: list[Any] = [
        apply(small_file),
        apply(changed),
        refuse(broken),
        refuse(small_file.replace("dialect: openai", "dialect: opnai")),
        config.export(),
        config.stored(),
        apply("tenants: {}", prune=True),
        caplog.text,
    ]
    assert not [literal for literal in literals if literal in str(said)]


def test_a_secret_that_cannot_be_opened_is_mended(apply: Apply) -> None:
    apply(POOL % "env:GIVEN")
    text = POOL.replace("name: main", "name: main, weight: 3") % "stored:p/main"
    secrets._keys.cache_clear()
    try:
        with override_settings(SECRET_KEY="another key that opens nothing of before"):
            assert apply(config.export()).changes == ["~ providers.p.credentials.main.secret"]
            assert _stored()[0] == "sk-from-the-environment"
            secrets._keys.cache_clear()
        outcome = apply(text)
        assert outcome.changes == ["~ providers.p.credentials.main.weight: 1 -> 3"]
        assert "cannot be read" in outcome.warnings[0]
    finally:
        secrets._keys.cache_clear()


def test_a_tenant_without_secrets_has_none(apply: Apply) -> None:
    apply("tenants: {t: {}}")
    assert Tenant.objects.get().hmac_signers.count() == 0
