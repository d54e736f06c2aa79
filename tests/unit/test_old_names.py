"""Dotted paths that a host project was told by the version before: they work once more."""

from importlib import import_module

import pytest
from django.apps import AppConfig, apps
from django.utils.module_loading import import_string


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("web.archive.urls.urlpatterns", "web.pages.urls.urlpatterns"),
        ("web.door.headers.strict_headers", "web.access.headers.strict_headers"),
        ("web.door.limits.rate_limited", "web.access.limits.rate_limited"),
        ("web.door.models.ApiToken", "web.access.models.ApiToken"),
        ("web.door.models.AuditEntry", "web.access.models.AuditEntry"),
        ("web.door.models.StudyGrant", "web.access.models.StudyGrant"),
        ("web.door.origin.same_origin", "web.access.origin.same_origin"),
    ],
)
def test_an_old_name_is_what_the_new_one_is(old: str, new: str) -> None:
    assert import_string(old) is import_string(new)


def test_the_old_application_in_a_hosts_settings_is_the_same_with_its_tables() -> None:
    found = AppConfig.create("web.door")
    assert (found.name, found.label) == ("web.access", "labrelay_door")
    assert found.path == apps.get_app_config("labrelay_door").path


def test_the_old_addresses_keep_their_namespace() -> None:
    assert import_module("web.archive.urls").app_name == "labrelay"
