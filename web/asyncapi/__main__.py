"""Print the AsyncAPI document (see `make schemas`)."""

from __future__ import annotations

import os
import sys

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "web.settings")  # noqa: TID251 - as Django wants

import django

# First: the models of the socket's messages stand beside Django's.
django.setup()

from web.asyncapi.document import rendered  # noqa: E402

sys.stdout.write(rendered())
