"""A host project that lacks a line of docs/migration.md is told which one, by Django's checks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import pytest
from django.core.checks import CheckMessage
from django.urls import include, path

from web import host_checks, plugin
from web.configuration import load


def ids(check: Callable[..., Iterable[CheckMessage]]) -> list[str | None]:
    return [message.id for message in check()]


class OwnAddressesOnly:
    urlpatterns: ClassVar[list[Any]] = []


def page(_request: Any) -> None:
    """Never called."""


class RootTaken:
    urlpatterns: ClassVar[list[Any]] = [path("", page), path("", include("web.site_urls"))]


def test_the_site_by_itself_lacks_nothing() -> None:
    assert [ids(check) for check in host_checks.ALL] == [[]] * len(host_checks.ALL)


def test_the_settings_of_a_host_are_asked_for(settings: Any) -> None:
    settings.SITE = None
    settings.CHANNEL_LAYERS = {}
    settings.USE_TZ = False
    assert ids(host_checks.site) == ["labrelay.E001"]
    assert ids(host_checks.channel_layers) == ["labrelay.E002"]
    assert ids(host_checks.time_zones) == ["labrelay.E010"]


@pytest.mark.parametrize("lost", [*plugin.OUTER_MIDDLEWARE, *plugin.INNER_MIDDLEWARE])
def test_each_middleware_is_asked_for_by_name(settings: Any, lost: str) -> None:
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if name != lost]
    (message,) = host_checks.middleware()
    assert message.id == "labrelay.E003"
    assert lost in message.msg


def test_middleware_in_the_wrong_place_is_found(settings: Any) -> None:
    right = list(settings.MIDDLEWARE)
    settings.MIDDLEWARE = [*right[1:], right[0]]
    assert ids(host_checks.middleware) == ["labrelay.E004"]
    inner = plugin.INNER_MIDDLEWARE
    others = [name for name in right if name not in (*plugin.OUTER_MIDDLEWARE, *inner)]
    settings.MIDDLEWARE = [*plugin.OUTER_MIDDLEWARE, *inner, *others]
    assert ids(host_checks.middleware) == ["labrelay.E005"]


@pytest.mark.parametrize(
    ("application", "found"),
    [
        (None, ["labrelay.E006"]),
        ("nowhere.asgi.application", ["labrelay.E006"]),
        ("tests.unit.test_host_checks.page", ["labrelay.E007"]),
    ],
)
def test_an_application_that_would_never_send_a_request_is_found(
    settings: Any, application: str | None, found: list[str]
) -> None:
    settings.ASGI_APPLICATION = application
    assert ids(host_checks.application) == found


def test_missing_applications_and_addresses_are_found(settings: Any) -> None:
    settings.ROOT_URLCONF = OwnAddressesOnly
    assert ids(host_checks.installed) == ["labrelay.E009"]
    settings.ROOT_URLCONF = RootTaken
    assert ids(host_checks.installed) == ["labrelay.W002"]
    settings.INSTALLED_APPS = [name for name in settings.INSTALLED_APPS if name != "web.labs"]
    assert ids(host_checks.installed) == ["labrelay.E008"]


def test_sqlite_without_its_options_is_found(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(settings.DATABASES["default"], "OPTIONS", {})
    assert ids(host_checks.sqlite) == ["labrelay.W001"]
    monkeypatch.setitem(settings.DATABASES["default"], "ENGINE", "django.db.backends.postgresql")
    assert ids(host_checks.sqlite) == []


def test_what_a_host_decides_comes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "e" * 40)
    monkeypatch.setenv("DEBUG", "true")
    site = load(secret_key="h" * 40, debug=False)
    assert site.secret_key.get_secret_value() == "h" * 40
    assert site.debug is False
