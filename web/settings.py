"""The environment of the site, read here and nowhere else, and the Django settings made of it."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import dj_database_url
from django.utils.translation import gettext_lazy as _
from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from messages.envelope import Name
from web import logs


class SettingsError(Exception):
    """A variable holds a value that cannot be used; the text is one sentence for an operator."""


def _http_url(url: str) -> str:
    if urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname:
        raise ValueError("must look like http://host:port")
    return url.rstrip("/")


def _broker_urls(urls: SecretStr) -> SecretStr:
    for url in urls.get_secret_value().split(","):
        parts = urlsplit(url.strip())
        whole = parts.scheme in {"amqp", "amqps"} and parts.hostname and parts.username
        if not whole or parts.path in {"", "/"}:
            raise ValueError("must look like amqp://user:password@host:port/vhost")
    return urls


class SiteSettings(BaseSettings):
    """Every variable that the site knows. Defaults fit a machine where all runs on loopback."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    #: Port of the site on loopback; a reverse proxy stands before it.
    web_port: Annotated[int, Field(ge=1, le=65535)] = 8000
    #: One or more brokers, separated by commas: the nodes of a cluster, tried in turn.
    rabbitmq_url: Annotated[SecretStr, AfterValidator(_broker_urls)] = SecretStr(
        "amqp://web@127.0.0.1:5673/mri"
    )
    orthanc_url: Annotated[str, AfterValidator(_http_url)] = "http://127.0.0.1:8043"
    orthanc_user: str = "labrelay"
    orthanc_password: SecretStr = SecretStr("")
    #: Where the default database lies.
    var_dir: Path = Path("var")
    #: Empty: SQLite in `var_dir`.
    database_url: SecretStr = SecretStr("")
    #: Offered as long as no lab has told which models it serves, and chosen when none is named.
    default_model: Name = "breast_dce_phantom"
    #: True: requests go to the lab's pool; false: to the pool of the web machine itself.
    use_local_inference: bool = True
    #: Seconds that a request may take from its acceptance.
    request_deadline_seconds: Annotated[int, Field(ge=1)] = 3600
    #: Seconds that a request may wait for a lab: seven days.
    request_expires_seconds: Annotated[int, Field(ge=1)] = 604_800
    #: Signs sessions. Needed to serve; a command without it gets a random one for its own run.
    secret_key: SecretStr = SecretStr("")
    debug: bool = False
    #: Host names that the site answers to, separated by commas.
    allowed_hosts: str = "127.0.0.1,localhost,[::1]"
    #: False: this process serves pages and leaves the broker to another one.
    run_broker_tasks: bool = True

    @model_validator(mode="after")
    def _long_secret(self) -> SiteSettings:
        if 0 < len(self.secret_key.get_secret_value()) < 32:
            raise ValueError("SECRET_KEY must have 32 characters or more")
        return self

    @property
    def broker_urls(self) -> tuple[str, ...]:
        """The brokers, each with its password: never to be logged."""
        return tuple(url.strip() for url in self.rabbitmq_url.get_secret_value().split(","))

    @property
    def pool(self) -> Literal["lab", "server"]:
        """The pool that new requests go to."""
        return "lab" if self.use_local_inference else "server"

    def why_not_serve(self) -> str | None:
        """Return the sentence that keeps a server from starting, or None."""
        if not (self.secret_key.get_secret_value() or self.debug):
            return "SECRET_KEY is missing: set it to a random text of 32 characters or more"
        return None


def load() -> SiteSettings:
    """Read the environment; raises `SettingsError`, whose text quotes no value."""
    try:
        return SiteSettings()
    except ValidationError as exc:
        problems = [
            f"{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}".removeprefix(": ")
            for e in exc.errors()
        ]
        raise SettingsError(f"the site cannot start: {'; '.join(problems)}") from None


def _database(site: SiteSettings) -> dict[str, Any]:
    url = site.database_url.get_secret_value()
    default = f"sqlite:///{(site.var_dir / 'web.sqlite3').resolve()}"
    database: dict[str, Any] = dict(dj_database_url.parse(url or default))
    # Open as long as its thread: the threads are few and stay (web/handler.py).
    database |= {"CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True}
    if database["ENGINE"].endswith("sqlite3"):
        database["OPTIONS"] = {
            # A transaction takes the write lock at its start: two that read first and write later
            # would otherwise fail at once, whatever the timeout.
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            # FULL: an answer of 202 means that the request is on the disk.
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
        }
        database["TEST"] = {}
    return database


try:
    SITE = load()
except SettingsError as error:
    raise SystemExit(str(error)) from None

SECRET_KEY = SITE.secret_key.get_secret_value() or secrets.token_urlsafe(48)
DEBUG = SITE.debug
ALLOWED_HOSTS = [host.strip() for host in SITE.allowed_hosts.split(",") if host.strip()]
ORTHANC_URL = SITE.orthanc_url
ORTHANC_USER = SITE.orthanc_user
ORTHANC_PASSWORD = SITE.orthanc_password.get_secret_value()

ROOT_URLCONF = "web.urls"
ASGI_APPLICATION = "web.asgi.application"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "web.apps.SiteConfig",
    "web.inference",
    "web.labs",
]
MIDDLEWARE = [
    "web.errors.json_errors",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
WEB_ROOT = Path(__file__).resolve().parent
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [WEB_ROOT / "templates"],
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

DATABASES = {"default": _database(SITE)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
# In one process; the database stays the truth, and a lost push heals (web/live/watch.py).
CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}

LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("ko", _("Korean"))]
LOCALE_PATHS = [WEB_ROOT / "locale"]
USE_TZ = True
TIME_ZONE = "UTC"

STATIC_URL = "/static/"
STATICFILES_DIRS = [WEB_ROOT / "static"]
# Served from where they lie: no `collectstatic` that could be forgotten.
WHITENOISE_USE_FINDERS = True

LOGIN_URL = "/login/"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/login/"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SAMESITE = "Lax"
X_FRAME_OPTIONS = "DENY"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"

LOGGING = logs.configuration(debug=DEBUG)
