"""Whose an address is: ours to bound and to answer for, or a host project's own."""

from __future__ import annotations

from django.conf import settings
from django.urls import Resolver404, ResolverMatch, resolve

#: Where the addresses of programs are fixed, in a host project too: what nobody answers there is
#: ours to refuse.
FIXED_PREFIXES = ("/api/v1/", "/api/mri/segmentation/", "/dicom-web/")

_NAMESPACES = frozenset({"labrelay", "labrelay_api", "labrelay_viewer"})

#: The addresses of the site by itself, its log-in and Django's admin among them.
OWN_ADDRESSES = "web.urls"


def is_ours(path: str) -> bool:
    """Whether we answer at this path (without the prefix of a script).

    Of the site by itself every address is ours; of a host project those of our views.
    """
    if settings.ROOT_URLCONF == OWN_ADDRESSES:
        return True
    try:
        match = resolve(path)
    except Resolver404:
        return path.startswith(FIXED_PREFIXES)
    return is_our_view(match)


def is_our_view(match: ResolverMatch) -> bool:
    """Whether the view behind an address is one of ours."""
    return not _NAMESPACES.isdisjoint(match.namespaces) or match.func.__module__.startswith("web.")
