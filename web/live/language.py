"""The language in which a socket speaks: the reader's."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.middleware.locale import LocaleMiddleware
from django.utils import translation
from django.utils.module_loading import import_string


def language_of(scope: dict[str, Any]) -> str:
    """The reader's language, from the same cookie and header that a page's is taken from.

    A host project without Django's middleware for it speaks its own language to everybody.
    """
    if not _readers_choose():
        return settings.LANGUAGE_CODE
    headers = dict(scope.get("headers", []))
    request = HttpRequest()
    request.COOKIES = dict(scope.get("cookies", {}))
    request.META["HTTP_ACCEPT_LANGUAGE"] = headers.get(b"accept-language", b"").decode("latin-1")
    return translation.get_language_from_request(request)


def _readers_choose() -> bool:
    found = (import_string(name) for name in settings.MIDDLEWARE)
    return any(isinstance(one, type) and issubclass(one, LocaleMiddleware) for one in found)
