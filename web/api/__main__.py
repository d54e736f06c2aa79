"""Print the OpenAPI document (see `make schemas`)."""

from __future__ import annotations

import os
import sys

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "web.settings")  # noqa: TID251 - as Django wants

import django

# First: the API's modules import Django's models.
django.setup()

from web.api.api import rendered  # noqa: E402

sys.stdout.write(rendered())
