"""The clinic as an ASGI application."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "clinic.settings")
django_application = get_asgi_application()

# Only now: it reads the settings.
from web.application import labrelay

application = labrelay(django_application)
