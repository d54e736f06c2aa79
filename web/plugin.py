"""What a Django project adds to become Labrelay's host; the site itself is one such project."""

from __future__ import annotations

#: For ``INSTALLED_APPS``, after Django's own. `ninja` brings the files of the API's page.
APPS = [
    "channels",
    "ninja",
    "web.apps.SiteConfig",
    "web.access",
    "web.labs",
    "web.inference",
    "web.follower",
]

#: For the front of ``MIDDLEWARE``: what must see every answer, also those of the others.
OUTER_MIDDLEWARE = ["web.errors.json_errors"]

#: For the end of ``MIDDLEWARE``: what wants to know the user and the language.
INNER_MIDDLEWARE = ["web.access.origin.same_origin", "web.access.limits.rate_limited"]
