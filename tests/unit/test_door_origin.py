"""Which calls come from another site's page, by what a browser says."""

from __future__ import annotations

from typing import Any

import pytest
from django.http import HttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from django.test import RequestFactory

from web.access.origin import is_foreign, knows_host

HERE = {"host": "mri.example:8443"}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
        {"origin": "https://mri.example:8443"},
        {"origin": "http://mri.example:8443"},
        {"origin": "https://MRI.example:8443", "sec-fetch-site": "Same-Origin"},
        {"host": "mri.example", "origin": "https://mri.example"},
        {"host": "mri.example:443", "origin": "https://mri.example"},
        {"host": "[::1]:8000", "origin": "http://[::1]:8000"},
    ],
    ids=str,
)
def test_a_call_of_a_page_of_this_site_or_of_a_program_is_not_foreign(
    headers: dict[str, str],
) -> None:
    assert not is_foreign(HERE | headers)


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "something new"},
        {"origin": "https://mri.example:8443", "sec-fetch-site": "cross-site"},
        {"origin": "https://evil.example"},
        {"origin": "https://evil.example", "sec-fetch-site": "same-origin"},
        {"origin": "https://mri.example"},
        {"origin": "https://mri.example:9443"},
        {"origin": "https://mri.example.evil.example:8443"},
        {"origin": "https://evil.example/mri.example:8443"},
        {"origin": "https://mri.example:8443/path"},
        {"origin": "null"},
        {"origin": "file://"},
        {"origin": "https://[broken"},
        {"origin": "https://mri.example:port"},
        {"origin": "https://evil.example", "x-forwarded-host": "evil.example"},
        {"host": "", "origin": "https://mri.example:8443"},
    ],
    ids=str,
)
def test_a_call_of_another_page_is_foreign(headers: dict[str, str]) -> None:
    assert is_foreign(HERE | headers)


TRUSTED = ["https://login.example", "https://*.Friend.example", "https://Capital.example:8443"]


@pytest.mark.parametrize(
    ("origin", "trusted"),
    [
        ("https://login.example", True),
        ("http://login.example", False),
        ("https://www.login.example", False),
        ("https://sso.friend.example", True),
        ("https://a.b.friend.example", True),
        ("https://friend.example", True),
        ("http://sso.friend.example", False),
        ("https://sso.friend.example:8443", False),
        ("https://evilfriend.example", False),
        ("https://sso.friend.example.evil.example", False),
        ("https://capital.example:8443", True),
        ("https://capital.example", False),
        ("https://[broken", False),
        ("null", False),
    ],
)
def test_an_origin_that_a_host_project_trusts_is_not_foreign(
    settings: Any, origin: str, trusted: bool
) -> None:
    settings.CSRF_TRUSTED_ORIGINS = TRUSTED
    headers = HERE | {"origin": origin, "sec-fetch-site": "cross-site"}
    assert is_foreign(headers) is not trusted
    assert is_foreign(headers, friends=False)


@pytest.mark.parametrize("origin", ["https://sso.friend.example", "https://friend.example"])
def test_a_wildcard_means_what_it_means_to_django(settings: Any, origin: str) -> None:
    settings.CSRF_TRUSTED_ORIGINS = TRUSTED
    call = RequestFactory(headers={"origin": origin}).post("/")
    assert CsrfViewMiddleware(lambda _: HttpResponse())._origin_verified(call)


@pytest.mark.parametrize("believed", [True, False])
def test_the_host_of_a_proxy_counts_where_the_project_says_so(
    settings: Any, believed: bool
) -> None:
    settings.USE_X_FORWARDED_HOST = believed
    settings.ALLOWED_HOSTS = ["outside.example"]
    headers = HERE | {"origin": "https://outside.example", "x-forwarded-host": "outside.example"}
    assert is_foreign(headers) is not believed
    assert knows_host(headers) is believed


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("mri.example", True),
        ("mri.example:8443", True),
        ("[::1]:8000", True),
        ("evil.example", False),
        ("mri.example.evil.example", False),
        ("", False),
        ("[broken", False),
    ],
)
def test_a_host_that_the_settings_do_not_name_is_not_known(
    settings: Any, host: str, known: bool
) -> None:
    settings.ALLOWED_HOSTS = ["mri.example", "[::1]"]
    assert knows_host({"host": host}) is known
