"""The site by itself as an ASGI application."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "web.settings")  # noqa: TID251 - as Django wants

import django

# First: the imports below need it.
django.setup(set_prefix=False)

from web.application import labrelay  # noqa: E402
from web.handler import OneThreadHandler  # noqa: E402

application = labrelay(OneThreadHandler())
