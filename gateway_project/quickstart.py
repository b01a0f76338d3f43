"""What a first run puts into the database. Everything that is there already stays as it is."""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.contrib.auth import get_user_model

from gateway_project.env import STATE_DIR
from routing import config
from routing.config.yaml_text import dump, load

SEED = Path(__file__).with_name("quickstart.yaml")
ADMIN = "admin"

REAL_PROVIDERS: Mapping[str, tuple[str, str, str, str]] = {
    "OPENAI_API_KEY": ("openai", "openai", "https://api.openai.com/v1", "gpt-4o-mini"),
    "ANTHROPIC_API_KEY": (
        "anthropic",
        "anthropic",
        "https://api.anthropic.com",
        "claude-sonnet-4-20250514",
    ),
    "GEMINI_API_KEY": (
        "gemini",
        "gemini",
        "https://generativelanguage.googleapis.com/v1beta",
        "gemini-2.5-flash",
    ),
    "MISTRAL_API_KEY": ("mistral", "mistral", "https://api.mistral.ai/v1", "mistral-small-latest"),
}
"""By environment variable: provider, dialect, base URL, and a model to begin with, whose name is
the alias to ask for."""


def _with_real_providers(document: dict[str, Any], environment: Mapping[str, str]) -> None:
    for variable, (provider, dialect, base_url, model) in REAL_PROVIDERS.items():
        if not environment.get(variable):
            continue
        document["providers"][provider] = {
            "dialect": dialect,
            "base_url": base_url,
            "credentials": [{"name": "main", "secret": f"env:{variable}"}],
        }
        document["models"][model] = {"provider": provider, "upstream": model}
        document["aliases"][model] = {"routes": [{"targets": [{"model": model}]}]}


def _only_missing(document: dict[str, Any]) -> dict[str, Any]:
    """The sections without the names that the database knows already."""
    stored = config.stored()
    return {
        section: {name: entry for name, entry in entries.items() if name not in stored[section]}
        if isinstance(entries, dict)
        else entries
        for section, entries in document.items()
    }


def seed() -> list[str]:
    """Adds what is missing; returns the lines of what was added."""
    document = load(SEED.read_text())[0]
    _with_real_providers(document, os.environ)
    missing = _only_missing(document)
    return config.apply(dump(missing), source=SEED.name, by="make run").changes


def admin_password() -> str | None:
    """The admin's password, made up on the first run and kept beside the database; None when the
    operator has an admin of their own."""
    users = get_user_model()
    kept = STATE_DIR / "admin_password"
    if not users.objects.filter(is_superuser=True).exists():
        STATE_DIR.mkdir(exist_ok=True)
        kept.touch(mode=0o600)
        kept.write_text(secrets.token_urlsafe(12))
        users.objects.create_superuser(ADMIN, password=kept.read_text())
    user = users.objects.filter(username=ADMIN).first()
    if user is None or not kept.exists() or not user.check_password(kept.read_text()):
        return None
    return kept.read_text()
