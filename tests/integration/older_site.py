"""What a site of today answers from the database that ``VAR_DIR`` holds: one JSON object.

``python -m tests.integration.older_site`` runs as a process of its own, as a site is configured
once.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import django


def main() -> None:
    """Ask the API and the staff's pages as the older site's users, and go on with one request."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "web.settings"  # noqa: TID251 - as Django wants it
    django.setup()
    from django.conf import settings
    from django.contrib.auth.models import User
    from django.test import Client

    host = settings.ALLOWED_HOSTS[0]
    answers: dict[str, Any] = {}
    reader = Client(SERVER_NAME=host, HTTP_HOST=host)
    reader.force_login(User.objects.get(username="reader"))
    answers["requests"] = reader.get("/api/v1/requests").json()
    answers["labs"] = reader.get("/api/v1/labs").json()
    staff = Client(SERVER_NAME=host, HTTP_HOST=host)
    staff.force_login(User.objects.get(username="staff"))
    answers["pages"] = {
        path: staff.get(path).status_code
        for path in (
            "/admin/labrelay_inference/inferencerequest/",
            "/admin/labrelay_inference/deadletter/",
            "/admin/labrelay_inference/verdict/",
            "/admin/labrelay_labs/lab/",
            "/admin/labrelay_door/auditentry/",
            "/admin/labrelay_door/studygrant/",
            "/admin/labrelay_door/apitoken/",
        )
    }
    answers["rows"] = _rows()
    answers["goes_on"] = _goes_on()
    json.dump(answers, sys.stdout)


def _goes_on() -> str:
    """The state of the older site's uploading request once its lab has said that it is done."""
    from django.db import transaction
    from django.utils import timezone

    from messages.events import InferenceCompleted, ModelReference
    from web.inference.models import InferenceRequest
    from web.inference.record import record_event

    row = InferenceRequest.objects.get(state="uploading")
    event = InferenceCompleted(
        request_id=row.pk,
        attempt=row.attempt,
        delivery=row.delivery,
        sequence=row.sequence + 1,
        lab=row.lab,
        at=timezone.now(),
        sr_instance_id="-".join(["0badcafe"] * 5),
        tumor_detected=False,
        volume_voxels=0,
        volume_ml=0.0,
        longest_diameter_mm=0.0,
        slices=134,
        slices_with_tumor=0,
        model=ModelReference(name=row.model, version="1.0.0", sha256="a" * 64),
        stage_seconds={},
    )
    with transaction.atomic():
        record_event(event)
    row.refresh_from_db()
    return row.state


def _rows() -> dict[str, int]:
    from django.apps import apps

    return {
        model._meta.label: model._default_manager.count()
        for model in apps.get_models()
        if model._meta.app_label.startswith("labrelay")
    }


if __name__ == "__main__":
    main()
