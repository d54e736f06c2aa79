"""The language of an old call's sentences: Korean, unless the caller states another."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest
from django.utils.translation import get_supported_language_variant
from django.utils.translation.trans_real import parse_accept_lang_header

#: The old front end shows the sentences as they are, and its readers are Korean.
DEFAULT = "ko"


def language_of(request: HttpRequest) -> str:
    """The first language that cookie or ``Accept-Language`` names and the site speaks."""
    stated = [request.COOKIES.get(settings.LANGUAGE_COOKIE_NAME, "")]
    header = request.headers.get("Accept-Language", "")
    stated += [language for language, _quality in parse_accept_lang_header(header)]
    for language in stated:
        try:
            return get_supported_language_variant(language)
        except LookupError:
            continue
    return DEFAULT
