"""A clinic's own settings as they were, and below them the lines of docs/migration.md."""

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent
DATA_DIR = Path(os.environ.get("CLINIC_DATA", "."))

SECRET_KEY = "the-clinic-keeps-its-own-key-of-fifty-characters-or-so"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "clinic.urls"
LANGUAGE_CODE = "ko"
AUTH_USER_MODEL = "portal.Account"
LOGIN_URL = "enter"
STATIC_URL = "/static/"
STATIC_ROOT = DATA_DIR / "static"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "clinic.portal",
]

# No LocaleMiddleware: this clinic speaks Korean to everybody.
MIDDLEWARE = [
    "clinic.portal.middleware.stamped",
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
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

DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": DATA_DIR / "clinic.sqlite3"}
}

# From here on: what docs/migration.md adds.

from web import plugin
from web.configuration import load

SITE = load(secret_key=SECRET_KEY, debug=DEBUG)
INSTALLED_APPS += plugin.APPS
MIDDLEWARE = [*plugin.OUTER_MIDDLEWARE, *MIDDLEWARE, *plugin.INNER_MIDDLEWARE]
CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
ASGI_APPLICATION = "clinic.asgi.application"
USE_TZ = True

from web.configuration import SQLITE_OPTIONS

DATABASES["default"]["OPTIONS"] = SQLITE_OPTIONS
