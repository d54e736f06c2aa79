"""Django's system checks for a host project: which of the documented lines is missing.

Each sentence says what to write, and where; docs/migration.md has the lines together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as Caution
from django.urls import NoReverseMatch, resolve, reverse
from django.utils.module_loading import import_string

from web import plugin
from web.configuration import SQLITE_OPTIONS, SiteSettings

_AUTHENTICATION = "django.contrib.auth.middleware.AuthenticationMiddleware"
_LOCALE = "django.middleware.locale.LocaleMiddleware"

#: The site's own, which needs no import to be known.
_OWN_APPLICATION = "web.asgi.application"


def site(**_: Any) -> Iterable[CheckMessage]:
    """``SITE``, which everything of ours reads."""
    if not isinstance(getattr(settings, "SITE", None), SiteSettings):
        yield Error(
            "The settings lack SITE = load(...), with load from web.configuration.",
            id="labrelay.E001",
        )


def channel_layers(**_: Any) -> Iterable[CheckMessage]:
    """``CHANNEL_LAYERS``, over which pages are told."""
    if "default" not in (getattr(settings, "CHANNEL_LAYERS", None) or {}):
        yield Error("The settings lack CHANNEL_LAYERS with a default layer.", id="labrelay.E002")


def middleware(**_: Any) -> Iterable[CheckMessage]:
    """Ours in ``MIDDLEWARE``, in their places. Without them calls of other sites get through."""
    chain = list(settings.MIDDLEWARE)
    missing = [m for m in (*plugin.OUTER_MIDDLEWARE, *plugin.INNER_MIDDLEWARE) if m not in chain]
    if missing:
        yield Error(
            f"MIDDLEWARE lacks {', '.join(missing)}: begin it with *plugin.OUTER_MIDDLEWARE and "
            "end it with *plugin.INNER_MIDDLEWARE, with plugin from web.",
            id="labrelay.E003",
        )
        return
    front = len(plugin.OUTER_MIDDLEWARE)
    if chain[:front] != plugin.OUTER_MIDDLEWARE:
        yield Error(
            "MIDDLEWARE must begin with *plugin.OUTER_MIDDLEWARE: it sees the errors of those "
            "after it only.",
            id="labrelay.E004",
        )
    before = chain[: min(chain.index(m) for m in plugin.INNER_MIDDLEWARE)]
    late = [m for m in (_AUTHENTICATION, _LOCALE) if m in chain and m not in before]
    if late or not _authenticates(before):
        yield Error(
            "MIDDLEWARE must end with *plugin.INNER_MIDDLEWARE: it needs what "
            f"{(late or [_AUTHENTICATION])[0]} finds out.",
            id="labrelay.E005",
        )


def application(**_: Any) -> Iterable[CheckMessage]:
    """The ASGI application, without whose start nothing would send the requests."""
    named = getattr(settings, "ASGI_APPLICATION", None)
    if named == _OWN_APPLICATION:
        return
    if not named:
        yield Error(
            "The settings lack ASGI_APPLICATION, for example 'clinic.asgi.application'.",
            id="labrelay.E006",
        )
        return
    try:
        found = import_string(named)
    except ImportError:
        sentence = f"ASGI_APPLICATION names {named}, which cannot be imported."
        yield Error(sentence, id="labrelay.E006")
        return
    if "lifespan" not in getattr(found, "application_mapping", {}):
        yield Error(
            f"{named} must be labrelay(get_asgi_application()), with labrelay from "
            "web.application: otherwise requests are taken and never sent.",
            id="labrelay.E007",
        )


def installed(**_: Any) -> Iterable[CheckMessage]:
    """Our applications, all of them, and the addresses."""
    names = {config.name for config in apps.get_app_configs()} | set(settings.INSTALLED_APPS)
    missing = [name for name in plugin.APPS if name not in names]
    if missing:
        yield Error(
            f"INSTALLED_APPS lacks {', '.join(missing)}: add *plugin.APPS, with plugin from web.",
            id="labrelay.E008",
        )
        return
    try:
        pages = reverse("labrelay:studies")
        reverse("labrelay_api:requests")
    except NoReverseMatch:
        yield Error(
            "The addresses are missing: add path('', include('web.site_urls')) to the urlpatterns "
            "of ROOT_URLCONF.",
            id="labrelay.E009",
        )
        return
    if "labrelay" not in resolve(pages).namespaces:
        yield Caution(
            f"Another view answers at {pages}: include web.api_urls at the root, and "
            "web.pages.urls below a prefix of its own.",
            id="labrelay.W002",
        )


def time_zones(**_: Any) -> Iterable[CheckMessage]:
    """``USE_TZ``: what labs tell carries its time zone, and cannot be compared otherwise."""
    if not settings.USE_TZ:
        yield Error("USE_TZ must be True.", id="labrelay.E010")


def sqlite(**_: Any) -> Iterable[CheckMessage]:
    """The options of a SQLite database: without them clicks at the same time fail at random."""
    database = settings.DATABASES.get("default", {})
    options = database.get("OPTIONS", {})
    asked = {key: SQLITE_OPTIONS[key] for key in ("transaction_mode", "init_command")}
    if database.get("ENGINE", "").endswith("sqlite3") and any(
        options.get(key) != value for key, value in asked.items()
    ):
        yield Caution(
            "DATABASES['default']['OPTIONS'] of a SQLite database should be SQLITE_OPTIONS, from "
            "web.configuration.",
            id="labrelay.W001",
        )


def _authenticates(chain: Sequence[str]) -> bool:
    """Whether one of these sets ``request.user``; a host may have derived its own from Django's."""
    from django.contrib.auth.middleware import AuthenticationMiddleware

    found = (import_string(name) for name in chain)
    return any(isinstance(m, type) and issubclass(m, AuthenticationMiddleware) for m in found)


#: Registered by `web.apps`.
ALL = (site, channel_layers, middleware, application, installed, time_zones, sqlite)
