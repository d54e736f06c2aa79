"""Which calls come from another site's page, by what a browser says."""

from __future__ import annotations

from typing import Any

import pytest

from web.door.origin import is_foreign, knows_host

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


def test_an_origin_that_a_host_project_trusts_is_not_foreign(settings: Any) -> None:
    settings.CSRF_TRUSTED_ORIGINS = ["https://login.example"]
    headers = HERE | {"origin": "https://login.example", "sec-fetch-site": "cross-site"}
    assert not is_foreign(headers)


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
