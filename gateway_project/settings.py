"""Django's settings, from the environment alone (see env.py)."""

import hashlib
import secrets
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dj_database_url

from gateway_project.env import BASE_DIR, STATE_DIR, EnvironmentInvalid, read_environment
from gateway_project.mail import mail_settings

try:
    ENVIRONMENT = read_environment()
except EnvironmentInvalid as invalid:
    sys.exit(f"The gateway cannot start: {invalid}")


def _secret_key() -> tuple[str, bool]:
    """The key, and whether the operator gave it. A laptop gets one of its own."""
    if ENVIRONMENT.secret_key is not None:
        return ENVIRONMENT.secret_key.get_secret_value(), True
    kept = STATE_DIR / "secret_key"
    if not kept.exists():
        STATE_DIR.mkdir(exist_ok=True)
        kept.touch(mode=0o600)
        kept.write_text(secrets.token_urlsafe(48))
    return kept.read_text().strip(), False


SECRET_KEY, SECRET_KEY_GIVEN = _secret_key()
DEBUG = False
# Behind a proxy that ends TLS, the browser's origin is https; these are the hosts that may be it.
CSRF_TRUSTED_ORIGINS = [
    f"https://{f'*{host}' if host.startswith('.') else host}"
    for host in ENVIRONMENT.allowed_hosts
    if host != "*"
]
ALLOWED_HOSTS = ENVIRONMENT.allowed_hosts
ROOT_URLCONF = "gateway_project.urls"
ASGI_APPLICATION = "gateway_project.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"

INSTALLED_APPS = [
    "daphne",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "rest_framework",
    "gateway_project",
    "tenants",
    "routing",
    "billing",
    "proxy",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "servestatic.middleware.ServeStaticMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]


def _database() -> dict[str, Any]:
    try:
        settings: dict[str, Any] = {**dj_database_url.parse(ENVIRONMENT.database_url)}
    except (ValueError, KeyError) as error:
        sys.exit(f"The gateway cannot start: DATABASE_URL is malformed: {error}")
    options = dict(settings.get("OPTIONS") or {})
    if settings["ENGINE"] == "django.db.backends.sqlite3":
        options |= {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        }
        Path(settings["NAME"]).parent.mkdir(parents=True, exist_ok=True)
    elif settings["ENGINE"] != "django.db.backends.postgresql":
        sys.exit("The gateway cannot start: DATABASE_URL names neither SQLite nor PostgreSQL")
    else:
        options |= {"connect_timeout": 5}
    settings["OPTIONS"] = options
    return settings


DATABASES = {"default": _database()}


def _spool_dir() -> Path:
    """Journals belong to one database: the default lies beside it, or is named after it."""
    if ENVIRONMENT.spool_dir is not None:
        return ENVIRONMENT.spool_dir
    if urlsplit(ENVIRONMENT.database_url).scheme == "sqlite":
        return Path(str(DATABASES["default"]["NAME"]) + "-spool")
    return STATE_DIR / f"spool-{hashlib.sha256(ENVIRONMENT.database_url.encode()).hexdigest()[:12]}"


SPOOL_DIR = _spool_dir()

CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": ENVIRONMENT.redis_url,
        "KEY_PREFIX": "django",
    }
    if ENVIRONMENT.redis_url
    else {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
}

if ENVIRONMENT.email_url is not None:
    globals().update(mail_settings(ENVIRONMENT.email_url.get_secret_value()))

STATIC_URL = "/static/"
STATIC_ROOT = STATE_DIR / "static"
SERVESTATIC_USE_FINDERS = True

SESSION_COOKIE_HTTPONLY = True
SECURE_CONTENT_TYPE_NOSNIFF = True
X_FRAME_OPTIONS = "DENY"

LOGGING_CONFIG = "gateway_project.logs.configure"
LOGGING = {"format": ENVIRONMENT.log_format}
